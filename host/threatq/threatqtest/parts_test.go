package threatqtest_test

import (
	"fmt"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"fn-threatq/host/threatq/threatqtest"
)

func TestAttributes(t *testing.T) {
	c := start(t, threatqtest.Options{})
	id := c.s.AddIndicator("FQDN", "a.example.com", "Active")
	path := fmt.Sprintf("/api/indicators/%d/attributes", id)
	add := func(name, value, source string) record {
		return c.must("POST", path, fmt.Sprintf(`{"name":%q,"value":%q,"sources":[{"name":%q}]}`, name, value, source)).list()[0]
	}
	high := add("Severity", "High", "Feed")
	assert.NotEqual(t, high["id"], high["attribute_id"], "a row is not its name")
	again := add("severity", "High", "Resilient")
	assert.Equal(t, high["id"], again["id"], "the same name and value is the same row")
	assert.Equal(t, []string{"Feed", "Resilient"}, c.s.Attributes("indicators", id)[0].Sources)
	low := add("Severity", "Low", "Resilient")
	assert.NotEqual(t, high["id"], low["id"], "another value is another row")
	assert.Equal(t, high["attribute_id"], low["attribute_id"])

	rows := c.get(path + "?with=attribute&sort=-id").list()
	require.Equal(t, []any{"Low", "High"}, values(rows, "value"))
	assert.NotContains(t, rows[0], "sources", "row sources are visible in details alone")
	assert.Equal(t, 500, c.get(path+"?with=attribute,sources").Status)
	details := c.must("GET", fmt.Sprintf("/api/indicators/%d/details", id), "").one()
	assert.Len(t, details["attributes"].([]any)[0].(map[string]any)["sources"], 2)

	target := fmt.Sprintf("%s/%v", path, low["id"])
	assert.Equal(t, 400, c.do("PUT", target, `{"value":"High"}`).Status, "that value has a row")
	assert.Equal(t, "Medium", c.must("PUT", target, `{"value":"Medium"}`).one()["value"])
	assert.Equal(t, 404, c.do("DELETE", fmt.Sprintf("%s/%v", path, low["attribute_id"]), "").Status, "the id of the name hits no row")
	assert.Equal(t, 204, c.do("DELETE", target, "").Status)
	assert.Equal(t, 404, c.do("DELETE", target, "").Status)
	assert.Len(t, c.s.Attributes("indicators", id), 1)
	for _, bad := range []string{`{"name":"","value":"x"}`, `{"name":"x"}`, `[{"name":"x","value":"y"},{"name":"x","value":""}]`, `[]`} {
		assert.Equal(t, 400, c.do("POST", path, bad).Status, bad)
	}
	assert.Len(t, c.s.Attributes("indicators", id), 1, "a list is taken whole or not at all")
}

func TestOldAttributeManners(t *testing.T) {
	c := start(t, threatqtest.Options{OldAttributeRows: true, NoAttributePut: true, IgnoreAttributesOnCreate: true})
	c.must("POST", "/api/events", `{"title":"T","type":"Incident","happened_at":"2020-01-31 09:15:00","attributes":[{"name":"A","value":"1"}]}`)
	assert.Empty(t, c.s.Attributes("events", 55))
	c.must("POST", "/api/events/55/attributes", `[{"name":"A","value":"1"},{"name":"A","value":"2"}]`)
	row := c.get("/api/events/55/attributes?with=attribute").list()[0]
	assert.NotContains(t, row, "name")
	assert.Equal(t, "A", row["attribute"].(map[string]any)["name"])
	assert.Equal(t, 405, c.do("PUT", "/api/events/55/attributes/901", `{"value":"3"}`).Status)
}

func TestSources(t *testing.T) {
	c := start(t, threatqtest.Options{})
	id := c.s.AddIndicator("FQDN", "a.example.com", "Active", "Feed")
	path := fmt.Sprintf("/api/indicators/%d/sources", id)
	added := c.must("POST", path, `{"name":"Resilient","tlp":{"name":"AMBER"}}`).list()[0]
	assert.Equal(t, 0.0, added["existing"])
	assert.Equal(t, 2.0, added["tlp_id"])
	assert.Equal(t, 1.0, c.must("POST", path, `[{"name":"resilient"}]`).list()[0]["existing"])
	assert.Equal(t, []string{"Feed", "Resilient"}, c.s.Indicators()[0].Sources)
	listed := c.get(path).list()
	assert.Equal(t, added["id"], listed[1]["pivot"].(map[string]any)["id"])
	assert.Equal(t, 204, c.do("DELETE", fmt.Sprintf("%s/%v", path, added["id"]), "").Status)
	assert.Equal(t, 404, c.do("DELETE", fmt.Sprintf("%s/%v", path, added["id"]), "").Status)
	assert.Equal(t, 400, c.do("POST", path, `{"name":""}`).Status)
}

func TestLinks(t *testing.T) {
	c := start(t, threatqtest.Options{})
	event := c.s.AddEvent("Incident", "T")
	a, b := c.s.AddIndicator("FQDN", "a.example.com", "Active"), c.s.AddIndicator("FQDN", "b.example.com", "Review")
	path := fmt.Sprintf("/api/events/%d/indicators", event)
	pivot := func(r record) any { return r["pivot"].(map[string]any)["id"] }
	first := c.must("POST", path, fmt.Sprintf(`[{"id":%d},{"id":"%d"}]`, a, b)).list()
	require.Len(t, first, 2)
	again := c.must("POST", fmt.Sprintf("/api/indicators/%d/events", a), fmt.Sprintf(`{"id":%d}`, event)).list()
	assert.Equal(t, pivot(first[0]), pivot(again[0]), "from the other side it is the same link")
	assert.Equal(t, []int{a, b}, c.s.Links("events", event, "indicators"))

	rows := c.get(path + "?with=type,status&limit=1&offset=1").list()
	require.Len(t, rows, 1)
	assert.Equal(t, "b.example.com", rows[0]["value"])
	assert.Equal(t, "Review", rows[0]["status"].(map[string]any)["name"])
	assert.NotContains(t, c.get(path).list()[0], "status", "names come on demand alone")

	assert.Equal(t, 400, c.do("POST", fmt.Sprintf("/api/indicators/%d/indicators", a), fmt.Sprintf(`{"id":%d}`, a)).Status, "an object is not linked to itself")
	assert.Equal(t, 404, c.do("POST", path, `{"id":9999}`).Status)
	assert.Equal(t, 204, c.do("DELETE", fmt.Sprintf("/api/indicators/%d/events", a), fmt.Sprintf(`[%v]`, pivot(first[0]))).Status)
	assert.Equal(t, []int{b}, c.s.Links("events", event, "indicators"))
	c.s.Delete("indicators", b)
	assert.Empty(t, c.s.Links("events", event, "indicators"))
}

func TestDeletedIndicatorStaysVisible(t *testing.T) {
	c := start(t, threatqtest.Options{})
	event := c.s.AddEvent("Incident", "T")
	id := c.s.Seed(threatqtest.Object{Collection: "indicators", Name: "a.example.com", Deleted: true})
	c.s.Link("events", event, "indicators", id)
	assert.NotNil(t, c.get(fmt.Sprintf("/api/events/%d/indicators", event)).list()[0]["deleted_at"])
	assert.NotNil(t, c.get("/api/indicators?value=a.example.com").list()[0]["deleted_at"])
	assert.Equal(t, 0, c.must("POST", "/api/indicators/query", `{}`).Total)
	assert.Equal(t, "Y", c.must("POST", "/api/indicators", `{"value":"a.example.com","type":"FQDN"}`).list()[0]["existing"])
	assert.False(t, c.s.Indicators()[0].Deleted)
}

func TestComments(t *testing.T) {
	c := start(t, threatqtest.Options{})
	c.s.AddEvent("Incident", "T")
	first := c.must("POST", "/api/events/55/comments", `{"value":"x"}`).one()
	second := c.must("POST", "/api/events/55/comments?with=sources", `{"value":"x"}`).one()
	assert.NotEqual(t, first["id"], second["id"], "comments are not de-duplicated")
	assert.Contains(t, second, "sources")
	assert.Equal(t, "y", c.must("PUT", fmt.Sprintf("/api/events/comments/%v", first["id"]), `{"value":"y"}`).one()["value"])
	assert.Equal(t, 404, c.do("PUT", fmt.Sprintf("/api/indicators/comments/%v", first["id"]), `{"value":"y"}`).Status, "a comment of another collection")
	assert.Equal(t, []any{"x"}, values(c.get("/api/events/55/comments?with=sources&limit=1&sort=-id").list(), "value"))
	c.must("DELETE", fmt.Sprintf("/api/events/55/comments/%v", second["id"]), "")
	assert.Equal(t, []string{"y"}, c.s.Events()[0].Comments)
	assert.Equal(t, 400, c.do("POST", "/api/events/55/comments", `{"value":" "}`).Status)
	assert.Equal(t, 500, c.get("/api/events/55/comments?with=nonsense").Status)
}

func TestListOfCommentsIsPagedAndSorted(t *testing.T) {
	tick := time.Date(2026, 1, 10, 9, 0, 0, 0, time.UTC)
	c := start(t, threatqtest.Options{Now: func() time.Time { tick = tick.Add(time.Second); return tick }, TokenLifetime: time.Hour})
	task := c.s.AddObject("tasks", "t")
	for _, text := range []string{"a", "b", "c"} {
		c.s.AddComment("tasks", task, text)
	}
	page := c.get(fmt.Sprintf("/api/tasks/%d/comments?with=sources&limit=2&sort=-created_at", task))
	assert.Equal(t, 3, page.Total)
	assert.Equal(t, []any{"c", "b"}, values(page.list(), "value"))
	assert.Equal(t, []any{"a"}, values(c.get(fmt.Sprintf("/api/tasks/%d/comments?limit=2&offset=2&sort=-created_at", task)).list(), "value"))
	c.must("PUT", fmt.Sprintf("/api/tasks/comments/%v", page.list()[0]["id"]), `{"value":"d"}`)
	comments := c.s.Comments("tasks", task)
	assert.Equal(t, "d", comments[2].Value)
	assert.Greater(t, comments[2].Updated, comments[2].Created)
	assert.Nil(t, c.s.Comments("tasks", 999))
}

func TestWhatOlderServersLack(t *testing.T) {
	c := start(t, threatqtest.Options{CommentListStatus: 405, CommentPutStatus: 404, CommentDeleteStatus: 405, TaskPutStatus: 404})
	event, task := c.s.AddEvent("Incident", "T"), c.s.AddObject("tasks", "t")
	comment := c.s.AddComment("events", event, "x")
	list := fmt.Sprintf("/api/events/%d/comments", event)
	assert.Equal(t, 405, c.get(list).Status)
	assert.Equal(t, 404, c.do("PUT", fmt.Sprintf("/api/events/comments/%d", comment), `{"value":"y"}`).Status)
	assert.Equal(t, 405, c.do("DELETE", fmt.Sprintf("%s/%d", list, comment), "").Status)
	assert.Equal(t, 404, c.do("PUT", fmt.Sprintf("/api/tasks/%d", task), `{"status_id":4}`).Status)
	assert.Equal(t, []string{"x"}, c.s.Events()[0].Comments)
	assert.Equal(t, "To Do", c.s.Tasks()[0].Status)
	c.must("POST", list, `{"value":"y"}`)
	c.must("GET", fmt.Sprintf("/api/tasks/%d", task), "")

	o := start(t, threatqtest.Options{TaskCommentsStatus: 404})
	task = o.s.AddObject("tasks", "t")
	for _, method := range []string{"GET", "POST"} {
		assert.Equal(t, 404, o.do(method, fmt.Sprintf("/api/tasks/%d/comments", task), `{"value":"x"}`).Status, method)
	}
	assert.Empty(t, o.s.Comments("tasks", task))
}

func TestAdversaryHasDescriptions(t *testing.T) {
	c := start(t, threatqtest.Options{})
	id := c.must("POST", "/api/adversaries/consume", `[{"name":"APT","description":[{"value":"a"},{"value":"b"}]},{"name":"Other","description":"text"}]`).list()
	require.Len(t, id, 1, "a description that is no list is refused")
	row := c.get(fmt.Sprintf("/api/adversaries/%v?with=descriptions", id[0]["id"])).one()
	assert.Len(t, row["descriptions"], 2)
	assert.Equal(t, "APT", c.s.Adversaries()[0].Name)
}

func TestUsersArePagedOnRequest(t *testing.T) {
	c := start(t, threatqtest.Options{})
	c.s.AddUser("ada@example.com", "Ada Analyst")
	assert.Len(t, c.get("/api/users?with=source").list(), 3)
	page := c.get("/api/users?with=source&limit=1&offset=2")
	assert.Equal(t, 3, page.Total)
	assert.Equal(t, []any{"ada@example.com"}, values(page.list(), "email"))
}

func TestTags(t *testing.T) {
	c := start(t, threatqtest.Options{})
	c.s.AddEvent("Incident", "T")
	first := c.must("POST", "/api/events/55/tags", `[{"name":"phish"},{"name":"Phish"}]`).list()
	assert.Equal(t, first[0]["id"], first[1]["id"])
	assert.Len(t, c.get("/api/events/55/tags").list(), 1)
	c.must("DELETE", fmt.Sprintf("/api/events/55/tags/%v", first[0]["id"]), "")
	assert.Empty(t, c.s.Events()[0].Tags)
	assert.Equal(t, 400, c.do("POST", "/api/events/55/tags", `{}`).Status)
}

func TestEvents(t *testing.T) {
	c := start(t, threatqtest.Options{})
	body := `{"title":"Resilient #2095: x","type":"Incident","type_id":13,"happened_at":"2020-01-31 09:15:00","description":"<p>d</p>","sources":[{"name":"Resilient"}],"attributes":[{"name":"A","value":"1"}]}`
	c.must("POST", "/api/events", body)
	c.must("POST", "/api/events", body)
	require.Len(t, c.s.Events(), 2, "creating an event twice makes two")
	c.must("PUT", "/api/events/55", `{"title":"Resilient #2095: y","type":"Malware","sources":[{"name":"Other"}]}`)
	got, _ := c.s.Object("events", 55)
	assert.Equal(t, "Resilient #2095: y", got.Name)
	assert.Equal(t, "Malware", got.Type)
	assert.Equal(t, "2020-01-31 09:15:00", got.HappenedAt, "what is not sent stays")
	assert.Equal(t, "<p>d</p>", got.Description)
	assert.Equal(t, []string{"Resilient", "Other"}, got.Sources)
	assert.Equal(t, []any{55.0}, values(c.get("/api/events?title=Resilient%20%232095%3A%20Y").list(), "id"), "found by the new title")

	consume := `[{"title":"Resilient #2095: x","type":{"name":"Incident"},"happened_at":"2020-01-31 09:15:00","comments":[{"value":"c"}],"indicators":[{"id":1}]}]`
	assert.Equal(t, 56.0, c.must("POST", "/api/events/consume", consume).list()[0]["id"], "consume finds what create would double")
	assert.Len(t, c.s.Events(), 2)
	for _, bad := range []string{
		`{"type":"Incident","happened_at":"2020-01-31 09:15:00"}`, `{"title":"T","happened_at":"2020-01-31 09:15:00"}`, `{"title":"T","type":"Incident"}`,
		`{"title":"T","type":"Incident","happened_at":"2020-01-31T09:15:00Z"}`, `{"title":"T","type":"None","happened_at":"2020-01-31 09:15:00"}`,
	} {
		assert.Equal(t, 400, c.do("POST", "/api/events", bad).Status, bad)
	}
	assert.Equal(t, 400, c.do("PUT", "/api/events/55", `{"title":""}`).Status)
}

func TestNamesOfObjectsAreTaken(t *testing.T) {
	c := start(t, threatqtest.Options{})
	for collection, field := range map[string]string{"malware": "value", "adversaries": "name", "incident": "value"} {
		body := fmt.Sprintf(`{%q:"Emotet","sources":[{"name":"Resilient"}]}`, field)
		c.must("POST", "/api/"+collection, body)
		a := c.do("POST", "/api/"+collection, body)
		assert.Equal(t, 400, a.Status)
		assert.Contains(t, a.Raw, "already been taken")
		assert.Equal(t, 1, c.get("/api/"+collection+"?"+field+"=emotet").Total)
	}
	assert.Equal(t, 400, c.do("POST", "/api/attachments", `{"name":"x"}`).Status, "a file comes by upload")
}

func TestTasks(t *testing.T) {
	c := start(t, threatqtest.Options{})
	ada := c.s.AddUser("ada@example.com", "Ada Analyst")
	row := c.must("POST", "/api/tasks", fmt.Sprintf(`{"name":"Resilient #1 / task 2: x","priority":"Medium","status_id":1,"assignee_source_id":%d,"due_at":"2020-02-07 17:00:00"}`, ada)).one()
	assert.Equal(t, float64(ada), row["assignee_source_id"])
	assert.Nil(t, row["completed_at"])
	row = c.must("PUT", "/api/tasks/41", `{"status_id":4,"due_at":null}`).one()
	assert.NotNil(t, row["completed_at"])
	assert.Nil(t, row["due_at"])
	task := c.s.Tasks()[0]
	assert.NotEmpty(t, task.CompletedAt)
	task.CompletedAt = ""
	assert.Equal(t, threatqtest.Task{ID: 41, Name: "Resilient #1 / task 2: x", Status: "Done", Priority: "Medium", Assignee: "ada@example.com", Sources: []string{threatqtest.DefaultEmail}}, task)
	assert.Nil(t, c.must("PUT", "/api/tasks/41", `{"status_id":2}`).one()["completed_at"])
	for _, bad := range []string{`{"name":"x","priority":"Urgent"}`, `{"name":"x","status_id":9}`, `{"name":"x","due_at":"tomorrow"}`, `{"name":"x","assignee_source_id":7000}`, `{}`} {
		assert.Equal(t, 400, c.do("POST", "/api/tasks", bad).Status, bad)
	}
}

func TestIndicatorChanges(t *testing.T) {
	c := start(t, threatqtest.Options{})
	id := c.s.AddIndicator("FQDN", "a.example.com", "Review")
	c.s.AddIndicator("FQDN", "b.example.com", "Review")
	path := fmt.Sprintf("/api/indicators/%d", id)
	for _, body := range []string{`{"status_id":5}`, `{"status":"Whitelisted"}`, `{"status":{"name":"Whitelisted"}}`, `{"status":{"id":"5"}}`} {
		c.s.SetStatus(id, "Review")
		assert.Equal(t, 5.0, c.must("PUT", path, body).one()["status_id"], body)
	}
	assert.Equal(t, 400, c.do("PUT", path, `{"value":"B.example.com"}`).Status, "that value is another indicator")
	assert.Equal(t, 400, c.do("PUT", path, `{"type":"MD5"}`).Status)
	assert.Equal(t, 400, c.do("PUT", path, `{"status_id":99}`).Status)
	c.must("PUT", path, `{"value":"c.example.com","description":"d"}`)
	assert.Equal(t, 1, c.get("/api/indicators?value=c.example.com").Total)
	assert.Equal(t, 0, c.get("/api/indicators?value=a.example.com").Total)
}

func TestConsume(t *testing.T) {
	c := start(t, threatqtest.Options{})
	event := c.s.AddEvent("Incident", "T")
	rows := c.must("POST", "/api/indicators/consume", fmt.Sprintf(`[
		{"value":"a.example.com","type":{"name":"FQDN"},"status":{"name":"Active"},"events":[{"id":%d}],"tags":["x"],"attributes":[{"name":"A","value":"1"}]},
		{"value":"not an address","type":"IP Address"},
		{"value":"b.example.com","type":"FQDN"}]`, event)).list()
	assert.Equal(t, []any{"a.example.com", "b.example.com"}, values(rows, "value"), "items that are not valid are left out")
	assert.Equal(t, 3.0, rows[1]["status_id"], "an item without a status becomes Indirect")
	assert.Len(t, c.s.Links("events", event, "indicators"), 1)
	assert.Equal(t, []string{"x"}, c.s.Indicators()[0].Tags)
}

// Two histories that lead to the same things have the same snapshot; a difference in any part shows.
func TestSnapshot(t *testing.T) {
	tick := time.Date(2026, 1, 10, 9, 0, 0, 0, time.UTC)
	now := func() time.Time { tick = tick.Add(time.Second); return tick }
	a, b := start(t, threatqtest.Options{Now: now}), start(t, threatqtest.Options{Now: now, Numbering: threatqtest.NumberingB})
	build := func(c *caller, values ...string) {
		c.s.Seed(threatqtest.Object{Collection: "events", Name: "T", HappenedAt: "2020-01-31 09:15:00"})
		for _, v := range values {
			id := c.s.AddIndicator("FQDN", v, "Active", "Feed")
			c.s.Link("events", 55, "indicators", id)
			c.s.AddAttribute("events", 55, "Value", v, "Resilient")
		}
	}
	build(a, "a.example.com", "b.example.com")
	build(b, "b.example.com", "a.example.com")
	require.Equal(t, a.s.Snapshot(), b.s.Snapshot())
	assert.Equal(t, `indicator "a.example.com" type=FQDN status=Active
  link: event "T"
  source: "Feed"
indicator "b.example.com" type=FQDN status=Active
  link: event "T"
  source: "Feed"
event "T" type=Incident
  attribute: "Value" = "a.example.com" by ["Resilient"]
  attribute: "Value" = "b.example.com" by ["Resilient"]
  happened_at: "2020-01-31 09:15:00"
  link: indicator "a.example.com"
  link: indicator "b.example.com"
  source: "svc-soar@example.com"
`, a.s.Snapshot())
	last := a.s.Snapshot()
	for _, change := range []func(){
		func() { a.s.AddComment("events", 55, "c") },
		func() { a.s.SetStatus(501, "Expired") },
		func() { a.s.Rename("events", 55, "U") },
		func() { a.must("POST", "/api/events/55/tags", `{"name":"t"}`) },
		func() { a.must("POST", "/api/event/types", `{"name":"New"}`) },
		func() { a.must("DELETE", "/api/events/55/attributes/901", "") },
		func() { a.s.Delete("indicators", 502) },
	} {
		change()
		assert.NotEqual(t, last, a.s.Snapshot())
		last = a.s.Snapshot()
	}
}
