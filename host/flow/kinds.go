package flow

import (
	"sync"

	"fn-threatq/abi"
	"fn-threatq/abi/manifest"
)

// kinds tell the messages that somebody waits for: menu items, by a person, and
// functions, by a workflow. Of a rule the message says only the id; what it is
// becomes known when its first message is worked on.
type kinds struct {
	flow *Flow

	mu sync.Mutex
	// menu is known of rules by their ids.
	menu map[int64]bool
}

func newKinds(f *Flow) *kinds { return &kinds{flow: f, menu: map[int64]bool{}} }

// kind is what is found out later about a message: the rule's id.
func (e *envelope) kind(m Message) any {
	if e.ActionID == nil || e.isFunction(m) {
		return nil
	}
	return *e.ActionID
}

// urgent reports whether somebody waits for the message, as far as is known.
// Activity fields are a menu item's (contract: message bodies).
func (k *kinds) urgent(m Message, e *envelope) bool {
	if e.isFunction(m) || len(e.Properties) > 0 {
		return true
	}
	if e.ActionID == nil {
		return false
	}
	k.mu.Lock()
	menu, known := k.menu[*e.ActionID]
	if !known {
		// One asks; the others are set right by its answer.
		k.menu[*e.ActionID] = false
	}
	k.mu.Unlock()
	if !known {
		k.flow.working.Go(func() { k.find(m, e) })
	}
	return menu
}

// find asks for the rule of a message that waits.
func (k *kinds) find(m Message, e *envelope) {
	setup := k.flow.pin()
	defer setup.using.Done()
	title, err := setup.ruleTitle(k.flow.run, e)
	if err != nil {
		k.mu.Lock()
		delete(k.menu, *e.ActionID)
		k.mu.Unlock()
		return
	}
	name := manifest.RoutingName(title)
	if module := setup.Modules.Find(abi.KindRule, name); module != nil {
		k.learn(e, module, &abi.Action{Kind: abi.KindRule, Name: name})
	}
}

// learn notes what the rule of a message is, and moves those that wait.
func (k *kinds) learn(e *envelope, m Module, a *abi.Action) {
	rule := m.Manifest().Rule(a.Name)
	if a.Kind != abi.KindRule || rule == nil || e.ActionID == nil || rule.Automatic {
		return
	}
	k.mu.Lock()
	known := k.menu[*e.ActionID]
	k.menu[*e.ActionID] = true
	k.mu.Unlock()
	if !known {
		k.flow.lanes.hurry(*e.ActionID)
	}
}
