package kit

import (
	"fn-threatq/abi/guest"
	"fn-threatq/abi/guest/jsonvalue"
)

// EventURL is the address of an event in ThreatQ's user interface.
func (k *Kit) EventURL(event int64) string {
	return k.Site.ThreatQURL + "/events/" + id(event) + "/details"
}

// IndicatorURL is the address of an indicator in ThreatQ's user interface.
func (k *Kit) IndicatorURL(indicator int64) string {
	return k.Site.ThreatQURL + "/indicators/" + id(indicator) + "/details"
}

// IncidentURL is the address of the incident in SOAR's user interface.
func (k *Kit) IncidentURL() string {
	return k.Site.ResilientURL + "/#incidents/" + id(k.IncidentID) + "?orgId=" + id(k.Site.OrgID)
}

// link links objects of a collection to an event. Linking again changes nothing
// (contract: links), so it may be repeated.
func (k *Kit) link(event int64, collection string, ids []int64) *guest.CallError {
	if len(ids) == 0 {
		return nil
	}
	list := make([]jsonvalue.Raw, 0, len(ids))
	for _, n := range ids {
		list = append(list, jsonvalue.Obj("id", n))
	}
	return k.do(write("POST", "/api/events/"+id(event)+"/"+collection, jsonvalue.Arr(list), true)).Err
}
