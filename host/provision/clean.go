package provision

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"slices"
	"strings"

	"fn-threatq/abi/manifest"
	"fn-threatq/host/resilient"
	"fn-threatq/host/rest"
)

// formerRules were replaced in 1.0.1 by Sync Indicator and Sync Comment.
var formerRules = []string{"ThreatQ: Add Indicator", "ThreatQ: Add Comment"}

// formerFunctions are the two that 1.0.1 took back and the ten that 1.1.0 did. Three of
// the ten, and Add Indicator, have come back: as other functions of the same title.
var formerFunctions = []string{
	"ThreatQ: Add Indicator", "ThreatQ: Add Comment",
	"ThreatQ: Sync Incident", "ThreatQ: Sync Indicator", "ThreatQ: Import Attachment", "ThreatQ: Sync Task", "ThreatQ: Historical Sync",
	"ThreatQ: Set Task Status", "ThreatQ: Sync Comment", "ThreatQ: Find Related Indicators", "ThreatQ: Mark as False Positive",
	"ThreatQ: Mark as True Positive",
}

// Former is a rule or a function that a version before 1.1.0 has left.
type Former struct {
	Kind Kind   `json:"kind"`
	Name string `json:"name"` // display name
	ID   int64  `json:"id"`
	// APIName of a function.
	APIName string `json:"api_name,omitempty"`
	// UsedBy are the workflows that call it, as far as SOAR tells: it does not name
	// playbooks.
	UsedBy []string `json:"used_by,omitempty"`
}

func (f Former) about() string {
	text := "left by a version before 1.1.0"
	if f.APIName != "" {
		text = "API name " + f.APIName + ", " + text
	}
	return text
}

// String names it as an administrator knows it.
func (f Former) String() string { return fmt.Sprintf("%s %s", f.Kind, f.Name) }

// FindFormer lists what former versions have left, in the order in which it can be
// removed: rules, then functions (contract: removing customizations). What an installed
// module brings is current, whatever it is called, and what sends to another message
// destination is somebody else's.
func FindFormer(d *Document, s *Server) (found []Former) {
	for _, r := range s.Rules {
		current := slices.Contains(d.currentRules, manifest.RoutingName(r.Name))
		if slices.Contains(formerRules, r.Name) && !current && slices.Equal(r.Destinations, []string{Destination}) {
			found = append(found, Former{Kind: KindRule, Name: r.Name, ID: r.ID})
		}
	}
	for _, f := range s.Functions {
		current := slices.Contains(d.currentFunctions, f.Name)
		if slices.Contains(formerFunctions, f.Title) && !current && f.Destination == Destination {
			found = append(found, Former{KindFunction, f.Title, f.ID, f.Name, f.Workflows})
		}
	}
	return found
}

// Remove deletes what FindFormer found. What a workflow or a playbook calls stays, and the
// rest is deleted all the same; told hears of each, with nil or the *RefusedError that
// says who uses it. The error at the end is *RefusedError when something stays, else
// *ForbiddenError or that of the client; what was not reached is found by the next
// FindFormer.
func Remove(ctx context.Context, client *resilient.Client, a resilient.Account, former []Former, told func(Former, error)) error {
	var left []string
	for _, f := range former {
		err := f.remove(ctx, client)
		var inUse *RefusedError
		if errors.As(err, &inUse) {
			left = append(left, f.Name)
		} else if err != nil {
			return mayNot(a, "delete the "+f.String(), err)
		}
		told(f, err)
	}
	if left != nil {
		return &RefusedError{fmt.Sprintf("still in use: %s; take them out of what uses them, then run customize --clean again", strings.Join(left, ", "))}
	}
	return nil
}

// remove does not try what SOAR would refuse. Of playbooks only the refusal tells.
func (f Former) remove(ctx context.Context, client *resilient.Client) error {
	if len(f.UsedBy) > 0 {
		return &RefusedError{fmt.Sprintf("used by the workflow %s", strings.Join(f.UsedBy, ", "))}
	}
	del := client.DeleteFunction
	if f.Kind == KindRule {
		del = client.DeleteRule
	}
	err := del(ctx, f.ID)
	var refused *rest.Error
	if errors.As(err, &refused) && refused.Status == http.StatusBadRequest {
		return &RefusedError{"SOAR refuses: " + refused.Reason()}
	}
	return err
}
