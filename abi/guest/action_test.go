package guest_test

import (
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"fn-threatq/abi"
	"fn-threatq/abi/guest"
	"fn-threatq/abi/guest/guesttest"
)

func TestAnActionHoldsAllOfTheInput(t *testing.T) {
	sent := abi.Action{
		ID: "m-9", Kind: abi.KindFunction, Name: ruleName, Title: "T", Operation: "modified", Object: "artifact",
		IncidentID: 1, TaskID: 2, NoteID: 3, ArtifactID: 4, AttachmentID: 5,
		Fields:   map[string]abi.JSON{"status": abi.JSON(`"Active"`), "confidence": abi.JSON(`80`)},
		Inputs:   map[string]abi.JSON{"indicator_value": abi.JSON(`"1.2.3.4"`), "tags": abi.JSON(`["a","b"]`)},
		Snapshot: abi.Snapshot{IncidentName: "n", ArtifactType: "IP Address", ArtifactValue: "1.2.3.4", Name: "task"},
		User:     "Ada", Parent: "m-8",
	}
	var got guest.Action
	guesttest.Run(t, rules(func(a *guest.Action) guest.Reply {
		got = *a
		assert.Equal(t, "Active", a.Field("status").Text())
		assert.Equal(t, int64(80), a.Field("confidence").Int())
		assert.False(t, a.Field("nothing").Exists())
		assert.Equal(t, "1.2.3.4", a.Input("indicator_value").Text())
		assert.Equal(t, 2, a.Input("tags").Len())
		assert.Equal(t, "SOAR", a.Setting("source"))
		assert.Empty(t, a.Setting("none"))
		assert.True(t, a.SettingBool("sync_passwords"))
		assert.False(t, a.SettingBool("none"))
		assert.False(t, a.State().Exists())
		assert.Equal(t, int64(1_700_000_000_005), a.Now)
		return guest.Done("x")
	}), sent, guesttest.Options{Now: 1_700_000_000_005, Settings: map[string]string{"source": "SOAR", "sync_passwords": "True"}}, echo)

	assert.Equal(t, []any{"m-9", "function", ruleName, "T", "modified", "artifact", "Ada", "m-8"},
		[]any{got.ID, got.Kind, got.Name, got.Title, got.Operation, got.Object, got.User, got.Parent})
	assert.Equal(t, []int64{1, 2, 3, 4, 5}, []int64{got.IncidentID, got.TaskID, got.NoteID, got.ArtifactID, got.AttachmentID})
	assert.Equal(t, guest.Snapshot{IncidentName: "n", ArtifactType: "IP Address", ArtifactValue: "1.2.3.4", Name: "task"}, got.Snapshot)
	assert.Equal(t, guest.Site{OrgID: 201, OrgName: "Example Org", ResilientURL: "https://soar.example.com", ThreatQURL: "https://threatq.example.com",
		AccountType: "apikey", AccountID: 17, AccountName: "threatq integration"}, got.Site)
	assert.Equal(t, 1, got.Turn)
}

func TestChanceIsTheSameInEveryTurnAndAnotherInEveryAction(t *testing.T) {
	draw := func(seed, state string) (numbers []uint64) {
		r := func(a *guest.Action) guest.Reply {
			numbers = append(numbers, a.Random().Uint64(), a.Random().Uint64())
			return guest.Done("x")
		}
		turn(t, r, func(in *abi.Input) { in.Seed, in.State = seed, abi.JSON(state) })
		return numbers
	}
	first := draw("00000000000000a1", "")
	assert.NotEqual(t, first[0], first[1])
	assert.Equal(t, first, draw("00000000000000a1", ""))
	assert.NotEqual(t, first, draw("00000000000000a2", ""))
	assert.NotEqual(t, first, draw("00000000000000a1", `{"page":2}`), "after a cut the numbers would repeat")

	out := turn(t, func(a *guest.Action) guest.Reply { a.Random(); return guest.Done("x") }, func(in *abi.Input) { in.Seed = "x" })
	require.NotNil(t, out.Fail)
	assert.Equal(t, abi.CodeModule, out.Fail.Code)
}

func TestRegisterRefusesATakenName(t *testing.T) {
	r := func(*guest.Action) guest.Reply { return guest.Reply{} }
	guest.Register("only_once", r)
	assert.PanicsWithValue(t, "guest.Register: the name only_once is taken", func() { guest.Register("only_once", r) })
	assert.Panics(t, func() { guest.Register("", r) })
	assert.Panics(t, func() { guest.Register("nil", nil) })
}
