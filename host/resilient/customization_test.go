package resilient_test

import (
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"fn-threatq/host/resilient"
	"fn-threatq/host/resilient/resilienttest"
)

func TestCustomizationsAreRead(t *testing.T) {
	s := start(t, resilienttest.Options{})
	c := newClient(t, options(t, s))

	version, err := c.ServerVersion(t.Context())
	require.NoError(t, err)
	assert.Equal(t, resilient.ServerVersion{Major: 47, Build: 8304, Text: "47.0.8304"}, version)
	assert.True(t, version.Before(resilient.ServerVersion{Major: 47, Minor: 1}))
	assert.True(t, version.Before(resilient.ServerVersion{Major: 51}))
	assert.False(t, version.Before(resilient.ServerVersion{Major: 47, Build: 9000}), "builds do not count")
	assert.False(t, version.Before(resilient.ServerVersion{Major: 35, Minor: 2}))

	rules, err := c.Rules(t.Context())
	require.NoError(t, err)
	require.Len(t, rules, 14)
	sync := rules[0]
	assert.Equal(t, "ThreatQ: Sync Incident", sync.Name)
	assert.Equal(t, "incident", sync.Object)
	assert.True(t, sync.Automatic)
	assert.True(t, sync.Enabled)
	assert.Equal(t, "any", sync.Logic)
	assert.Equal(t, []string{"fn_threatq"}, sync.Destinations)
	require.Len(t, sync.Conditions, 3)
	assert.Equal(t, "object_added", sync.Conditions[0].Method)
	assert.Empty(t, sync.Conditions[0].Field)
	assert.Equal(t, "incident.description", sync.Conditions[2].Field)
	assert.Empty(t, sync.Fields)

	fields, err := c.Fields(t.Context(), resilient.ActivityFields)
	require.NoError(t, err)
	byUUID := map[string]resilient.Field{}
	for _, f := range fields {
		byUUID[f.UUID] = f
	}
	menu := rules[6]
	assert.Equal(t, "ThreatQ: Import Attachment", menu.Name)
	assert.False(t, menu.Automatic)
	require.Len(t, menu.Fields, 3)
	assert.Equal(t, "threatq_attachment_type", byUUID[menu.Fields[0]].Name)
	assert.Equal(t, "select", byUUID[menu.Fields[0]].InputType)

	functions, err := c.Functions(t.Context())
	require.NoError(t, err)
	require.Len(t, functions, 4)
	assert.Equal(t, "threatq_add_indicator", functions[0].Name)
	assert.Equal(t, "ThreatQ: Add Indicator", functions[0].Title)
	assert.Equal(t, "fn_threatq", functions[0].Destination)
	assert.Empty(t, functions[0].Inputs, "lists come without them")
	one, err := c.Function(t.Context(), functions[0].ID)
	require.NoError(t, err)
	assert.Len(t, one.Inputs, 4)
	assert.Equal(t, "Adds an indicator to ThreatQ", one.Description)
}

func TestADestinationTellsWhoMaySubscribe(t *testing.T) {
	s := start(t, resilienttest.Options{})
	destinations, err := newClient(t, options(t, s)).Destinations(t.Context())
	require.NoError(t, err)
	require.Len(t, destinations, 1)
	d := destinations[0]
	assert.Equal(t, "fn_threatq", d.Name)
	assert.True(t, d.Admits(resilient.Account{Type: resilient.User, ID: 4}))
	assert.False(t, d.Admits(resilient.Account{Type: resilient.User, ID: 7}))
	assert.True(t, d.Admits(resilient.Account{Type: resilient.APIKey, ID: 7}))
	assert.False(t, d.Admits(resilient.Account{Type: resilient.APIKey, ID: 4}))
}

func TestRulesThatMayNotBeReadAreSaidSo(t *testing.T) {
	s := start(t, resilienttest.Options{ActionsForbidden: true})
	_, err := newClient(t, options(t, s)).Rules(t.Context())
	require.ErrorIs(t, err, resilient.ErrRulesForbidden)
}
