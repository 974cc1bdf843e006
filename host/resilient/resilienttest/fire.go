package resilienttest

import (
	"crypto/hmac"
	"encoding/base64"
	"reflect"
	"slices"
	"strings"
)

// cause is a save that may fire automatic rules.
type cause struct {
	kind           string
	incident, task Object
	object, before Object
	added, removed bool
}

// fire prepares the messages of the automatic rules whose conditions the save meets.
func (s *Server) fire(c *call, why cause) {
	if s.options.OnMessage == nil {
		return
	}
	objectType := why.kind
	if objectType == "comment" {
		objectType = "note"
	}
	sub := subject{incident: why.incident, task: why.task}
	switch objectType {
	case "artifact":
		sub.artifact = why.object
	case "note":
		sub.note = why.object
	case "attachment":
		sub.attachment = why.object
	}
	operation := "modified"
	if why.added {
		operation = "created"
	} else if why.removed {
		operation = "deleted"
	}
	var skipped []any
	if c != nil { // a person's save has no token
		skipped = s.tokenRules(c.token)
	}
	for i := range s.world.rules {
		rule := &s.world.rules[i]
		if rule.Type != 0 || rule.Disabled || rule.ObjectType != objectType || slices.Contains(skipped, any(rule.ID)) || !rule.meets(why) {
			continue
		}
		s.caused = append(s.caused, s.actionMessage(rule, sub, ActionOptions{Operation: operation}))
	}
}

// meets says whether a save fires the rule; a rule without conditions runs at every save.
func (r *Rule) meets(why cause) bool {
	for _, condition := range r.Conditions {
		name, _ := condition[0].(string)
		switch condition[1] {
		case "object_added":
			if why.added {
				return true
			}
		case "object_removed":
			if why.removed {
				return true
			}
		case "changed":
			if why.before != nil && !reflect.DeepEqual(lookup(why.before, name), lookup(why.object, name)) {
				return true
			}
		}
	}
	return len(r.Conditions) == 0
}

// tokenRules are the rules that a context token of this server names.
func (s *Server) tokenRules(token string) []any {
	parts := strings.Split(token, ".")
	if len(parts) != 3 {
		return nil
	}
	data, err := base64.RawURLEncoding.DecodeString(parts[1])
	if err != nil {
		return nil
	}
	v, err := decode(data)
	payload, isObject := v.(Object)
	if err != nil || !isObject || !hmac.Equal([]byte(s.contextToken(payload)), []byte(token)) {
		return nil
	}
	if end, limited := payload["expirationDate"].(int64); limited && end < s.now() {
		return nil
	}
	rules, _ := payload["actions"].([]any)
	return rules
}
