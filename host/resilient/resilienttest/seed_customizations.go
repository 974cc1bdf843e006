package resilienttest

import (
	"fmt"
	"maps"
	"slices"
	"strings"
)

// The methods of this file act like an administrator in the customization settings. As
// those of the other seeds they panic when what they name does not exist.

// ChangeRule edits the rules of a name, as many as there are.
func (s *Server) ChangeRule(name string, edit func(*Rule)) {
	locked(s, func() bool {
		if s.ruleNamed(name) < 0 {
			panic(fmt.Sprintf("resilienttest: no rule named %q", name))
		}
		for i := range s.world.rules {
			if s.world.rules[i].Name == name {
				edit(&s.world.rules[i])
			}
		}
		return true
	})
}

// ChangeFunction edits the function of an API name.
func (s *Server) ChangeFunction(name string, edit func(*Function)) {
	locked(s, func() bool {
		i := s.functionNamed(name)
		if i < 0 {
			panic(fmt.Sprintf("resilienttest: no function named %q", name))
		}
		edit(&s.world.functions[i])
		return true
	})
}

// ChangeDestination sets keys of a message destination.
func (s *Server) ChangeDestination(programmaticName string, values map[string]any) {
	locked(s, func() bool {
		d := s.destination(programmaticName)
		if d == nil {
			panic(fmt.Sprintf("resilienttest: no message destination named %q", programmaticName))
		}
		maps.Copy(d, normalise(values).(Object))
		return true
	})
}

// SetImportFails changes Options.ImportFails.
func (s *Server) SetImportFails(text string) {
	locked(s, func() bool { s.options.ImportFails = text; return true })
}

// AddFunction makes a function and returns its id; its inputs must exist.
func (s *Server) AddFunction(f Function) int64 {
	return locked(s, func() int64 {
		f.ID, f.UUID = s.state.newID("function"), stableUUID("function/"+f.Name)
		s.world.functions = append(s.world.functions, f)
		return f.ID
	})
}

// AddDestination makes a message destination that nobody may subscribe to.
func (s *Server) AddDestination(programmaticName string) {
	locked(s, func() bool { s.addDestination(programmaticName); return true })
}

func (s *Server) addDestination(programmaticName string) {
	o := cloneObject(s.world.templates["destination"])
	o["id"], o["name"], o["programmatic_name"], o["export_key"] = s.state.newID("destination"), programmaticName, programmaticName, programmaticName
	o["users"], o["api_keys"], o["uuid"] = []any{}, []any{}, stableUUID("destination/"+programmaticName)
	s.state.destinations = append(s.state.destinations, o)
}

// AddWorkflow makes a workflow, which the functions that it calls tell of.
func (s *Server) AddWorkflow(w Workflow) {
	locked(s, func() bool { s.world.workflows = append(s.world.workflows, w); return true })
}

// AddPlaybook makes a playbook; only a refusal to delete a function tells of it.
func (s *Server) AddPlaybook(w Workflow) {
	locked(s, func() bool { s.world.playbooks = append(s.world.playbooks, w); return true })
}

// RemoveWorkflow deletes the workflow or playbook of this name.
func (s *Server) RemoveWorkflow(name string) {
	locked(s, func() bool {
		named := func(w Workflow) bool { return w.Name == name }
		s.world.workflows = slices.DeleteFunc(s.world.workflows, named)
		s.world.playbooks = slices.DeleteFunc(s.world.playbooks, named)
		return true
	})
}

// Rules are all rules of the organization, oldest first.
func (s *Server) Rules() []Rule {
	return locked(s, func() []Rule { return slices.Clone(s.world.rules) })
}

// Functions are all functions of the organization, oldest first.
func (s *Server) Functions() []Function {
	return locked(s, func() []Function { return slices.Clone(s.world.functions) })
}

// MayRead tells, as the broker of a SOAR asks, whether the account of an e-mail address or
// an API key may subscribe to the queue of a message destination.
func (s *Server) MayRead(login, queue string) bool {
	name, ours := strings.CutPrefix(queue, fmt.Sprintf("actions.%d.", s.home.ID))
	users, keys := s.Subscribers(name)
	s.mu.Lock()
	defer s.mu.Unlock()
	if login == s.options.APIKeyID {
		return ours && slices.Contains(keys, any(int64(7)))
	}
	return ours && login == s.options.Email && slices.Contains(users, any(int64(4)))
}

// Subscribers are the users and API keys that may subscribe to a message destination; nil
// for both when there is no such destination.
func (s *Server) Subscribers(programmaticName string) (users, apiKeys []any) {
	s.mu.Lock()
	defer s.mu.Unlock()
	d := s.destination(programmaticName)
	users, _ = d["users"].([]any)
	apiKeys, _ = d["api_keys"].([]any)
	return slices.Clone(users), slices.Clone(apiKeys)
}
