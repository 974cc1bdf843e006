package resilient

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"strconv"
	"sync"
	"time"

	"fn-threatq/host/rest"
)

const (
	fieldsMaxAge  = time.Hour   // age at which field definitions are read again
	betweenMisses = time.Minute // between two readings because something was not found
)

// ErrRulesForbidden means that the account may not read the rules.
var ErrRulesForbidden = errors.New("the account may not read the rules of the SOAR organization, so actions cannot be told apart; give the account or API key the right to read them")

// UnknownRuleError means that SOAR has no rule of this id.
type UnknownRuleError struct{ ID int64 }

func (e *UnknownRuleError) Error() string {
	return fmt.Sprintf("SOAR has no rule with id %d; it may have been deleted since the action was sent", e.ID)
}

// Field defines a field of incidents, an activity field or an input (contract: FieldDef).
type Field struct {
	ID        int64
	Name      string // API name
	Label     string
	Tooltip   string
	UUID      string
	Prefix    string // "properties" for custom and activity fields
	InputType string // text, textarea, number, boolean, select, multiselect, datepicker, …
	Required  string // always, close, or empty
	Values    []FieldValue
}

// FieldValue is one choice of a select field.
type FieldValue struct {
	Value string // a number as text, as type_info spells it; letters for statuses
	Label string
	UUID  string
}

// ValueLabel returns the label of a choice.
func (f Field) ValueLabel(value string) (label string, ok bool) {
	for _, v := range f.Values {
		if v.Value == value {
			return v.Label, true
		}
	}
	return "", false
}

// Directory knows the names behind the ids in actions. It reads them from SOAR when they
// are first asked for and keeps them; it is safe for use by many goroutines.
type Directory struct {
	client   *Client
	rules    table[map[int64]string]
	incident table[[]Field]
	activity table[[]Field]

	mu        sync.Mutex
	viewItems map[int64]*table[[]string]
}

// Directory returns a new, empty directory.
func (c *Client) Directory() *Directory {
	d := &Directory{client: c, viewItems: map[int64]*table[[]string]{}}
	d.rules.load = d.readRules
	d.incident.load = func(ctx context.Context) ([]Field, error) { return c.Fields(ctx, "incident") }
	d.activity.load = func(ctx context.Context) ([]Field, error) { return c.Fields(ctx, ActivityFields) }
	return d
}

// RuleName returns the display name of a rule. For an id that it does not know it reads the
// rules again, at most once a minute. Errors: *UnknownRuleError, ErrRulesForbidden, or that
// of the call.
func (d *Directory) RuleName(ctx context.Context, id int64) (string, error) {
	name, ok, err := find(ctx, &d.rules, 0, func(rules map[int64]string) (string, bool) {
		name, ok := rules[id]
		return name, ok
	})
	if err == nil && !ok {
		err = &UnknownRuleError{ID: id}
	}
	return name, err
}

// FieldLabels maps the labels of a rule's activity fields to their API names, which
// administrators choose freely. Where the rule itself cannot be read — deleted, or no
// permission — all activity fields are taken whose label is unique.
func (d *Directory) FieldLabels(ctx context.Context, actionID int64) (map[string]string, error) {
	fields, _, err := d.activity.get(ctx, fieldsMaxAge)
	if err != nil {
		return nil, err
	}
	uuids, _, err := d.viewItemsOf(actionID).get(ctx, fieldsMaxAge)
	var failed *rest.Error
	switch {
	case errors.As(err, &failed) && (failed.Status == http.StatusNotFound || failed.Status == http.StatusForbidden):
		return uniqueLabels(fields), nil
	case err != nil:
		return nil, err
	}
	labels := map[string]string{}
	for _, uuid := range uuids {
		field, ok, err := find(ctx, &d.activity, fieldsMaxAge, func(fields []Field) (Field, bool) {
			for _, f := range fields {
				if f.UUID == uuid {
					return f, true
				}
			}
			return Field{}, false
		})
		if err != nil {
			return nil, err
		}
		if _, taken := labels[field.Label]; ok && !taken {
			labels[field.Label] = field.Name
		}
	}
	return labels, nil
}

func uniqueLabels(fields []Field) map[string]string {
	labels, count := map[string]string{}, map[string]int{}
	for _, f := range fields {
		labels[f.Label] = f.Name
		count[f.Label]++
	}
	for label, n := range count {
		if n > 1 {
			delete(labels, label)
		}
	}
	return labels
}

// FieldOption returns the label of a choice of an activity field, for actions whose
// type_info lacks it; ok is false when SOAR does not know it either.
func (d *Directory) FieldOption(ctx context.Context, field string, id int64) (label string, ok bool, err error) {
	value := strconv.FormatInt(id, 10)
	return find(ctx, &d.activity, fieldsMaxAge, func(fields []Field) (string, bool) {
		for _, f := range fields {
			if f.Name == field {
				return f.ValueLabel(value)
			}
		}
		return "", false
	})
}

// IncidentFields returns the definitions of all incident fields, at most an hour old. The
// caller must not change them.
func (d *Directory) IncidentFields(ctx context.Context) ([]Field, error) {
	fields, _, err := d.incident.get(ctx, fieldsMaxAge)
	return fields, err
}

func (d *Directory) readRules(ctx context.Context) (map[int64]string, error) {
	list, err := d.client.Rules(ctx)
	if err != nil {
		return nil, err
	}
	rules := make(map[int64]string, len(list))
	for _, rule := range list {
		rules[rule.ID] = rule.Name
	}
	return rules, nil
}

// viewItemsOf is the table of the uuids of a rule's activity fields, in their order.
func (d *Directory) viewItemsOf(actionID int64) *table[[]string] {
	d.mu.Lock()
	defer d.mu.Unlock()
	t := d.viewItems[actionID]
	if t == nil {
		t = &table[[]string]{load: func(ctx context.Context) ([]string, error) { return d.readViewItems(ctx, actionID) }}
		d.viewItems[actionID] = t
	}
	return t
}

func (d *Directory) readViewItems(ctx context.Context, actionID int64) ([]string, error) {
	var answer struct {
		ViewItems viewItems `json:"view_items"`
	}
	if err := d.client.get(ctx, "/actions/"+strconv.FormatInt(actionID, 10), nil, &answer); err != nil {
		return nil, err
	}
	return answer.ViewItems.of(ActivityFields), nil
}
