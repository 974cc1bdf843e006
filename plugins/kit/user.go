package kit

import (
	"strings"

	"fn-threatq/abi"
	"fn-threatq/abi/guest"
	"fn-threatq/abi/guest/jsonvalue"
)

// Owner is a user of SOAR, as far as an answer tells; the zero Owner is nobody.
type Owner struct {
	// ID is set where the answer has no more than the id.
	ID          int64
	Email, Name string
}

func (o Owner) isNobody() bool { return o == Owner{} }

// ownerOf reads the owner of an object. With names in place of ids SOAR gives
// the e-mail address; the name stands in keys of its own.
func ownerOf(v jsonvalue.Value) Owner {
	handle := v.Get("owner_id")
	if handle.IsNull() {
		return Owner{}
	}
	o := Owner{Name: oneLine(v.Get("owner_fname").Text() + " " + v.Get("owner_lname").Text())}
	label := handle.Text()
	switch handle.Kind() {
	case jsonvalue.Number:
		o.ID, label = handle.Int(), ""
	case jsonvalue.Object:
		o.ID, label = handle.Get("id").Int(), handle.Get("name").Text()
	}
	switch {
	case strings.Contains(label, "@"):
		o.Email = strings.TrimSpace(label)
	case o.Name == "":
		o.Name = oneLine(label)
	}
	return o
}

// assignees finds for each owner the source id that ThreatQ takes as assignee of
// a task; an owner whom ThreatQ does not know is left out. The list of users may
// be closed to the account: nobody is known then.
func (k *Kit) assignees(owners []Owner) map[Owner]int64 {
	wanted := map[Owner]*Owner{}
	var users []jsonvalue.Value
	var err *guest.CallError
	strands := []func(){func() { users, err = k.rows("/api/users", "source") }}
	for _, owner := range owners {
		if owner.isNobody() || wanted[owner] != nil {
			continue
		}
		full := owner
		wanted[owner] = &full
		if owner.Email == "" && owner.ID != 0 {
			strands = append(strands, func() { k.completeOwner(&full) })
		}
	}
	if len(wanted) == 0 {
		return nil
	}
	k.Together(strands...)
	if err != nil {
		k.Log("tasks get no assignee: " + err.Error())
		return nil
	}
	found := map[Owner]int64{}
	for _, owner := range owners {
		if full := wanted[owner]; full != nil {
			if source := k.userSource(users, *full); source != 0 {
				found[owner] = source
			}
		}
	}
	return found
}

// completeOwner reads e-mail address and name of an owner of whom only the id is
// known. An owner who cannot be read keeps what is known.
func (k *Kit) completeOwner(o *Owner) {
	result := k.do(get(abi.Resilient, "/users/"+id(o.ID), nil))
	if result.Err != nil {
		return
	}
	o.Email = strings.TrimSpace(result.Body.Get("email").Text())
	if name := oneLine(result.Body.Get("fname").Text() + " " + result.Body.Get("lname").Text()); name != "" {
		o.Name = name
	}
}

// userSource matches by e-mail address, else by display name. A name that
// several users of ThreatQ have matches nobody.
func (k *Kit) userSource(users []jsonvalue.Value, o Owner) int64 {
	var named []int64
	for _, user := range users {
		source := user.Get("source", "id").Int()
		if source == 0 || !user.Get("deleted_at").IsNull() {
			continue
		}
		if o.Email != "" && strings.EqualFold(strings.TrimSpace(user.Get("email").Text()), o.Email) {
			return source
		}
		if name := foldName(o.Name); name != "" && foldName(user.Get("display_name").Text()) == name {
			named = append(named, source)
		}
	}
	switch len(named) {
	case 0:
		return 0
	case 1:
		return named[0]
	}
	k.Log("several ThreatQ users are called " + o.Name + "; the task is assigned to none of them")
	return 0
}
