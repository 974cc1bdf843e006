package host

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"sync"

	"fn-threatq/abi"
	"fn-threatq/host/dialogue"
	"fn-threatq/host/effect"
	"fn-threatq/host/flow"
	"fn-threatq/host/rest"
)

// offlineNames is a directory when SOAR is not asked.
type offlineNames struct{}

var errOffline = errors.New("only SOAR knows it, and it is not asked: name the rule by --rule, or leave --offline out")

func (offlineNames) RuleName(context.Context, int64) (string, error) { return "", errOffline }

func (offlineNames) FieldLabels(context.Context, int64) (map[string]string, error) {
	return nil, errOffline
}

func (offlineNames) FieldOption(context.Context, string, int64) (string, error) {
	return "", errOffline
}

// namedRule is a directory in which each rule has one name.
type namedRule struct {
	flow.Directory
	name string
}

func (n namedRule) RuleName(context.Context, int64) (string, error) { return n.name, nil }

// heard is a listener that keeps everything.
type heard struct {
	mu        sync.Mutex
	dialogues []*dialogue.Dialogue
}

func (h *heard) Wants(string) bool { return true }

func (h *heard) Ended(d *dialogue.Dialogue) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.dialogues = append(h.dialogues, d.Canonical())
}

// onlyReply is the delivery of a message that nobody has sent.
type onlyReply struct {
	m     flow.Message
	final chan struct{}

	mu   sync.Mutex
	body []byte
}

func newOnlyReply(m *Message) *onlyReply {
	message := m.flow
	// Without these nothing would be answered.
	message.ReplyTo, message.CorrelationID = "nobody", "nobody"
	message.ContextToken = ""
	return &onlyReply{m: message, final: make(chan struct{})}
}

func (o *onlyReply) Message() flow.Message { return o.m }

func (o *onlyReply) Reply(_ context.Context, body []byte) error {
	o.mu.Lock()
	defer o.mu.Unlock()
	o.body = body
	return nil
}

func (o *onlyReply) Ack(context.Context) error { return nil }

// Finish has the final reply.
func (o *onlyReply) Finish(ctx context.Context, body []byte) error {
	defer close(o.final)
	return o.Reply(ctx, body)
}

// message is the text of the last reply.
func (o *onlyReply) message() string {
	o.mu.Lock()
	defer o.mu.Unlock()
	var body struct{ Message string }
	// It was written by the flow.
	_ = json.Unmarshal(o.body, &body)
	return body.Message
}

// recording answers reads by what was recorded, each answer once, and the last one
// again.
type recording struct {
	service string

	mu    sync.Mutex
	known map[string][]abi.Result
}

func recordedClients(d *dialogue.Dialogue) map[string]effect.Client {
	clients := map[string]effect.Client{}
	for _, service := range []string{abi.ThreatQ, abi.Resilient} {
		r := &recording{service: service, known: map[string][]abi.Result{}}
		for _, t := range d.Turns {
			for i, c := range t.Calls {
				if c.Service == service && i < len(t.Results) {
					query := url.Values{}
					for name, value := range c.Query {
						query.Set(name, value)
					}
					key := c.Method + " " + c.Path + "?" + query.Encode()
					r.known[key] = append(r.known[key], t.Results[i])
				}
			}
		}
		clients[service] = r
	}
	return clients
}

// Do implements effect.Client.
func (r *recording) Do(_ context.Context, q rest.Request) (*rest.Response, error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	fail := func(code abi.ErrorCode, status int, text string) (*rest.Response, error) {
		return nil, &rest.Error{Service: r.service, Method: q.Method, Path: q.Path, Code: code, Status: status, Text: text}
	}
	key := q.Method + " " + q.Path + "?" + q.Query.Encode()
	answers := r.known[key]
	if len(answers) == 0 {
		return fail(abi.CodeInternal, 0, fmt.Sprintf("it diverges here: the recording has no answer for %s %s", q.Method, q.Path))
	}
	a := answers[0]
	if len(answers) > 1 {
		r.known[key] = answers[1:]
	}
	switch {
	case a.Error != nil:
		return fail(a.Error.Code, a.Status, a.Error.Message)
	case a.Blob != nil:
		return fail(abi.CodeInternal, 0, "it diverges here: the contents of files are not recorded")
	}
	return &rest.Response{Status: max(a.Status, http.StatusOK), ContentType: "application/json", Body: a.Body}, nil
}
