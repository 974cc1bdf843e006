package kit

import (
	"strings"

	"fn-threatq/abi"
	"fn-threatq/abi/guest"
	"fn-threatq/abi/guest/jsonvalue"
	"fn-threatq/plugins/kit/text"
)

// Kit is an action together with the settings of the integration.
type Kit struct {
	*guest.Action
	// Source is the name under which everything is written to ThreatQ.
	Source string

	// pause lets the other strands start their calls; see Together.
	pause    func()
	incident *guest.Result
	known    map[string]names
	// attributes are those of EventAttributes, once known.
	attributes []Attribute
	// kinds are the object types, once known, by all their names.
	kinds map[string]objectKind
	// weakRole says that ThreatQ hid a look-up table from us.
	weakRole bool
}

// New reads the settings. A setting that cannot be used ends the action.
func New(a *guest.Action) *Kit {
	k := &Kit{Action: a, pause: func() {}, known: map[string]names{}}
	k.Source = sourceName(a.Setting("custom_source"))
	if k.tlp() == nil {
		k.Fail(abi.CodeInput, "Setting tlp: "+quote(a.Setting("tlp"))+" is none of red, amber, green, white.")
	}
	return k
}

// sourceName makes a source name usable: ThreatQ's clients split it at commas.
func sourceName(setting string) string {
	name := strings.TrimSpace(strings.ReplaceAll(text.Clean(setting), ",", " "))
	if name == "" {
		return "Resilient"
	}
	return text.CutRunes(name, text.SourceNameRunes)
}

// tlp is the id of the configured marking (contract: indicators, bulk upsert),
// jsonvalue.Omit when none is configured, nil when it is misspelt.
func (k *Kit) tlp() any {
	switch strings.ToLower(strings.TrimSpace(k.Setting("tlp"))) {
	case "":
		return jsonvalue.Omit
	case "red":
		return 1
	case "amber":
		return 2
	case "green":
		return 3
	case "white":
		return 4
	}
	return nil
}

// sources is the source list of what we write.
func (k *Kit) sources() jsonvalue.Raw {
	return jsonvalue.Arr(jsonvalue.Obj("name", k.Source, "tlp_id", k.tlp()))
}

// DefaultStatus is the status of a new indicator when the user chose none.
func (k *Kit) DefaultStatus() string {
	if status := strings.TrimSpace(k.Setting("default_indicator_status")); status != "" {
		return status
	}
	return "Review"
}
