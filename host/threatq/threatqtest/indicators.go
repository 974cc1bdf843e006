package threatqtest

import (
	"net/http"
	"net/netip"
	"net/url"
	"strings"
)

func (s *Server) createIndicators(c *call) reply {
	items, ok := c.items()
	if !ok || len(items) == 0 {
		return badBody()
	}
	var rows []row
	for _, f := range items {
		o, existing, field, text := s.putIndicator(f, s.opts.Normalize)
		if text != "" {
			return s.invalid(field, text)
		}
		r := s.store.created(o)
		r["existing"] = "N"
		if existing {
			r["existing"] = "Y"
		}
		if !s.store.expand(r, o, c.query.Get("with")) {
			return crashed()
		}
		rows = append(rows, r)
	}
	return s.many(http.StatusCreated, rows)
}

// putIndicator makes an indicator or adds sources and attributes to the existing one of the same type and value.
// The status and description of an existing one stay.
func (s *Server) putIndicator(f fields, normalize bool) (o *object, existing bool, field, text string) {
	st := s.store
	value := f.text("value")
	if strings.TrimSpace(value) == "" {
		return nil, false, "value", "The value field is required."
	}
	typ := s.indicatorType(f)
	if typ == nil {
		return nil, false, "type", "The selected type is invalid."
	}
	status := s.status(f)
	if status == nil && (f.has("status") || f.has("status_id")) {
		return nil, false, "status", "The selected status is invalid."
	}
	if field, text := s.checkFields(kindByCollection["indicators"], f, true); text != "" {
		return nil, false, field, text
	}
	n := normalized{value: value, typ: typ.name}
	if normalize {
		n = normalizeValue(typ.name, value)
		if typ = byName(st.indicatorTypes, n.typ); typ == nil {
			return nil, false, "type", "The selected type is invalid."
		}
	}
	if !validValue(typ.name, n.value) {
		return nil, false, "value", "The value is not a valid " + typ.name + "."
	}
	o, existing = s.upsertIndicator(typ, n.value)
	if !existing {
		o.fields["description"] = orNull(f.text("description"))
		o.statusID = 3 // an item without status becomes Indirect
		if status != nil {
			o.statusID = status.id
		}
	}
	s.addParts(o, f)
	for _, a := range n.attributes {
		st.addAttribute(o, fields{"name": a[0], "value": a[1], "sources": f["sources"]})
	}
	if n.host != "" {
		s.deriveHost(o, n, f)
	}
	return o, existing, "", ""
}

func (s *Server) upsertIndicator(typ *lookup, value string) (o *object, existing bool) {
	k := kindByCollection["indicators"]
	if o := s.indicator(typ.id, value); o != nil {
		o.deleted = "" // posting a deleted value brings it back
		o.updated = s.store.now()
		o.touched = o.updated
		return o, true
	}
	o = s.store.insert(k, 0, value)
	o.typeID, o.class = typ.id, typ.class
	return o, false
}

func (s *Server) indicator(typeID int, value string) *object {
	for _, o := range s.store.tables[kindByCollection["indicators"]].byName[strings.ToLower(value)] {
		if o.typeID == typeID {
			return o
		}
	}
	return nil
}

// deriveHost makes the host of a URL a related indicator of its own, with the same status.
func (s *Server) deriveHost(o *object, n normalized, f fields) {
	typ := byName(s.store.indicatorTypes, n.hostType)
	if typ == nil {
		return
	}
	host, existing := s.upsertIndicator(typ, n.host)
	if !existing {
		host.statusID = o.statusID
	}
	s.addParts(host, fields{"sources": f["sources"]})
	s.store.link(o, host)
}

func (s *Server) indicatorType(f fields) *lookup {
	if id, ok := f.number("type_id"); ok {
		return byID(s.store.indicatorTypes, id)
	}
	name, id := f.name("type")
	if id != 0 {
		return byID(s.store.indicatorTypes, id)
	}
	return byName(s.store.indicatorTypes, name)
}

func (s *Server) status(f fields) *lookup {
	if id, ok := f.number("status_id"); ok {
		return byID(s.store.statuses, id)
	}
	name, id := f.name("status")
	if id != 0 {
		return byID(s.store.statuses, id)
	}
	return byName(s.store.statuses, name)
}

func (s *Server) changeIndicator(o *object, f fields) (field, text string) {
	typ := byID(s.store.indicatorTypes, o.typeID)
	if f.has("type") || f.has("type_id") {
		if typ = s.indicatorType(f); typ == nil {
			return "type", "The selected type is invalid."
		}
	}
	value := o.name
	if f.has("value") {
		value = f.text("value")
	}
	if !validValue(typ.name, value) {
		return "value", "The value is not a valid " + typ.name + "."
	}
	if other := s.indicator(typ.id, value); other != nil && other != o {
		return "value", "The value has already been taken."
	}
	if f.has("status") || f.has("status_id") {
		status := s.status(f)
		if status == nil {
			return "status", "The selected status is invalid."
		}
		o.statusID = status.id
	}
	if value != o.name {
		s.store.rename(o, value)
	}
	o.typeID, o.class = typ.id, typ.class
	return "", ""
}

var hashLengths = map[string]int{"MD5": 32, "SHA-1": 40, "SHA-256": 64, "SHA-384": 96, "SHA-512": 128}

// validValue is the server's check of a value against its type; only types with a clear form are checked.
func validValue(typ, value string) bool {
	switch typ {
	case "IP Address":
		addr, err := netip.ParseAddr(value)
		return err == nil && addr.Is4()
	case "IPv6 Address":
		addr, err := netip.ParseAddr(value)
		return err == nil && addr.Is6()
	case "CIDR Block":
		_, err := netip.ParsePrefix(value)
		return err == nil
	case "FQDN":
		return strings.Contains(value, ".") && !strings.ContainsAny(value, " /:@,;\"'") && len(value) <= 253
	case "Email Address":
		local, domain, ok := strings.Cut(value, "@")
		return ok && local != "" && strings.Contains(domain, ".") && !strings.ContainsAny(value, " <>")
	case "URL":
		return !strings.ContainsAny(value, " \t\n") && strings.ContainsAny(value, "./:")
	}
	if length, ok := hashLengths[typ]; ok {
		return len(value) == length && strings.Trim(strings.ToLower(value), "0123456789abcdef") == ""
	}
	return true
}

// normalized is a value after the server's clean-up (contract: normalisation); attributes are name and value.
type normalized struct {
	value, typ     string
	host, hostType string
	attributes     [][2]string
}

func normalizeValue(typ, value string) normalized {
	value = strings.Trim(value, " \t\r\n\"'`")
	value = strings.NewReplacer("[.]", ".", "(.)", ".", "[:]", ":").Replace(value)
	n := normalized{value: value, typ: typ}
	switch typ {
	case "URL":
		return normalizeURL(value)
	case "FQDN", "Email Address", "MD5", "SHA-1", "SHA-256", "SHA-384", "SHA-512":
		n.value = strings.ToLower(value)
	case "IP Address":
		if host, port, ok := strings.Cut(value, ":"); ok && !strings.Contains(port, ":") {
			n.value, n.attributes = host, [][2]string{{"Port", port}}
		}
	}
	return n
}

func normalizeURL(value string) normalized {
	if len(value) > 4 && strings.EqualFold(value[:4], "hxxp") {
		value = "http" + value[4:]
	}
	n := normalized{value: value, typ: "URL"}
	scheme, rest, ok := strings.Cut(value, "://")
	if ok {
		n.attributes = [][2]string{{"Scheme", strings.ToLower(scheme)}}
	} else {
		rest = value
	}
	u, err := url.Parse("http://" + rest)
	if err != nil || u.Hostname() == "" {
		return n
	}
	host, hostType := strings.ToLower(u.Hostname()), "FQDN"
	if addr, err := netip.ParseAddr(host); err == nil {
		hostType = "IPv6 Address"
		if addr.Is4() {
			hostType = "IP Address"
		}
	}
	tail := strings.TrimPrefix(rest, rest[:strings.IndexAny(rest+"/", "/?#")])
	if tail == "" || tail == "/" {
		n.value, n.typ = host, hostType
		if port := u.Port(); port != "" {
			n.attributes = append(n.attributes, [2]string{"Port", port})
		}
		return n
	}
	n.value = strings.ToLower(u.Host) + tail
	n.host, n.hostType = host, hostType
	return n
}
