package resilienttest

import "slices"

// prepare brings the World's customizations to what is said to be installed.
func (s *Server) prepare(installed Installed) {
	switch installed {
	case InstalledNothing:
		s.uninstall()
	case Installed100:
		s.installFormer("ThreatQ: Add Indicator", "ThreatQ: Add Comment")
	case Installed101:
		s.installFormer("ThreatQ: Sync Indicator", "ThreatQ: Sync Comment")
	}
}

// uninstall takes away what the app's own import brings.
func (s *Server) uninstall() {
	s.world.rules, s.world.functions, s.state.destinations = nil, nil, nil
	s.world.fields["actioninvocation"], s.world.fields["__function"] = nil, nil
	s.state.next["destination"], s.state.next["rule"], s.state.next["function"] = 9, 41, 11
}

// installFormer gives the rules and functions of versions before 1.1.0: a function for
// each rule, and automatic rules without conditions, which fire at every save. Indicator
// and comment are the names of the two rules for artifacts and notes.
func (s *Server) installFormer(indicator, comment string) {
	current := s.world.functions
	s.world.rules = slices.DeleteFunc(s.world.rules, func(r Rule) bool { return r.ID > 50 }) // recreated ones
	s.world.functions = nil
	for i := range s.world.rules {
		r := &s.world.rules[i]
		switch r.Name {
		case "ThreatQ: Sync Indicator":
			r.Name = indicator
		case "ThreatQ: Sync Comment":
			r.Name = comment
		}
		r.Conditions, r.LogicType = nil, "all"
		f := Function{Name: formerName(r.Name), DisplayName: r.Name, Description: "Version 1.0", Inputs: []string{"incident_id"}}
		// The names of some have stayed; what they ask for has not.
		if same := slices.IndexFunc(current, func(c Function) bool { return c.DisplayName == r.Name }); same >= 0 && r.Name != "ThreatQ: Mark as True Positive" {
			f.Name = current[same].Name
		}
		f.ID, f.UUID = s.state.newID("function"), stableUUID("function/"+f.Name)
		s.world.functions = append(s.world.functions, f)
	}
}

// formerName is the API name of a function of version 1.0, which is a guess.
func formerName(title string) string {
	name := []rune("fn_")
	for _, r := range title {
		switch {
		case r >= 'A' && r <= 'Z':
			name = append(name, r+'a'-'A')
		case r == ' ':
			name = append(name, '_')
		case r != ':':
			name = append(name, r)
		}
	}
	return string(name)
}
