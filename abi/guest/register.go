package guest

// registered are the rules of this module; init functions fill it, and nothing
// changes it afterwards.
var registered = map[string]Rule{}

// Register adds a rule to the module. Call it in an init function of the
// module's main package. The name is the routing name of a rule
// (threatq_sync_incident) or the API name of a function; where both have the same
// name, the one rule tells them apart by Action.Kind. A name that is taken
// panics: the module would not do what its manifest says.
func Register(name string, r Rule) {
	if name == "" || r == nil {
		panic("guest.Register: a rule needs a name and a function")
	}
	if _, taken := registered[name]; taken {
		panic("guest.Register: the name " + name + " is taken")
	}
	registered[name] = r
}
