package kit

import "strings"

// Imported begins the description of every artifact that the integration makes
// from an indicator.
const Imported = "Imported from ThreatQ"

// IsOwn recognises an own artifact: made by our account, and described as
// imported. The account alone is not enough, as other integrations may share it
// (contract: loops, order, concurrency).
func (k *Kit) IsOwn(a Artifact) bool {
	return strings.HasPrefix(strings.TrimSpace(a.Description), Imported) && k.isUs(a)
}

func (k *Kit) isUs(a Artifact) bool {
	// Servers before API keys have a user object without a type.
	if kind := a.creator.Get("type").Text(); kind != "" && !strings.EqualFold(kind, k.Site.AccountType) {
		return false
	}
	if k.Site.AccountID != 0 {
		return a.creator.Get("id").Int() == k.Site.AccountID
	}
	name := a.creator.Get("name").Text()
	return name != "" && strings.EqualFold(name, k.Site.AccountName)
}
