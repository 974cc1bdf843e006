package benchmark

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"maps"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strconv"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"fn-threatq/abi"
	"fn-threatq/abi/guest"
	"fn-threatq/abi/manifest"
	"fn-threatq/host/catalog"
	"fn-threatq/host/effect"
	"fn-threatq/host/flow"
	"fn-threatq/host/ledger"
	"fn-threatq/host/resilient/resilienttest"
	"fn-threatq/host/rest"
	"fn-threatq/host/sandbox"
	"fn-threatq/host/threatq/threatqtest"
	addindicator "fn-threatq/plugins/add-indicator"
	findrelatedindicators "fn-threatq/plugins/find-related-indicators"
	historicalsync "fn-threatq/plugins/historical-sync"
	importattachment "fn-threatq/plugins/import-attachment"
	markfalsepositive "fn-threatq/plugins/mark-false-positive"
	marktruepositive "fn-threatq/plugins/mark-true-positive"
	settaskstatus "fn-threatq/plugins/set-task-status"
	synccomment "fn-threatq/plugins/sync-comment"
	syncincident "fn-threatq/plugins/sync-incident"
	syncindicator "fn-threatq/plugins/sync-indicator"
	synctask "fn-threatq/plugins/sync-task"
)

// nativeRules are the rules of the modules, compiled into this program.
func nativeRules() map[string]guest.Rule {
	rules := map[string]guest.Rule{}
	for _, of := range []map[string]guest.Rule{
		addindicator.Rules(),
		findrelatedindicators.Rules(),
		historicalsync.Rules(),
		importattachment.Rules(),
		markfalsepositive.Rules(),
		marktruepositive.Rules(),
		settaskstatus.Rules(),
		synccomment.Rules(),
		syncincident.Rules(),
		syncindicator.Rules(),
		synctask.Rules(),
	} {
		maps.Copy(rules, of)
	}
	return rules
}

// native plays the turns of a module without the sandbox.
type native struct {
	flow.Module
	rules map[string]guest.Rule
}

func (n native) Turn(_ context.Context, input []byte, _ time.Time, _ uint64) ([]byte, []string, error) {
	return guest.Handle(n.rules, input), nil, nil
}

func loadCatalog(b *testing.B) *catalog.Catalog {
	box, err := sandbox.New(b.Context(), sandbox.Options{CacheDir: shared.cache})
	require.NoError(b, err)
	b.Cleanup(func() { require.NoError(b, box.Close(context.Background())) })
	installed, err := catalog.Load(box, os.DirFS(shared.modules))
	require.NoError(b, err)
	for _, m := range installed.Modules() {
		_, err := m.Loaded(b.Context())
		require.NoError(b, err)
	}
	return installed
}

// BenchmarkTurn plays the warm-up inputs of each module.
func BenchmarkTurn(b *testing.B) {
	for _, m := range loadCatalog(b).Modules() {
		b.Run(m.Manifest().Name, func(b *testing.B) {
			text, err := os.ReadFile(filepath.Join("..", "..", "plugins", m.Manifest().Name, "warmup.json"))
			require.NoError(b, err)
			var inputs []json.RawMessage
			require.NoError(b, json.Unmarshal(text, &inputs))
			rules := nativeRules()
			var p pair
			var bytesIn int
			for b.Loop() {
				for _, input := range inputs {
					begin := time.Now()
					fromSandbox, _, err := m.Turn(b.Context(), input, time.UnixMilli(0), 1)
					between := time.Now()
					fromNative := guest.Handle(rules, input)
					end := time.Now()
					p.sandboxed, p.native = append(p.sandboxed, between.Sub(begin)), append(p.native, end.Sub(between))
					bytesIn += len(input)
					require.NoError(b, err)
					require.Equal(b, string(fromNative), string(fromSandbox))
				}
			}
			b.ReportMetric(float64(bytesIn)/float64(len(p.native)), "input-B")
			p.report(b, "turn")
		})
	}
}

// BenchmarkRule takes actions that find nothing to change from their message to
// their acknowledgement, without any network.
func BenchmarkRule(b *testing.B) {
	installed := loadCatalog(b)
	soar := resilienttest.New(resilienttest.Options{})
	b.Cleanup(soar.Close)
	tq := threatqtest.New(threatqtest.Options{KeepRequests: -1})
	b.Cleanup(tq.Close)
	clients := map[string]*local{
		abi.Resilient: {service: abi.Resilient, handler: soar, base: fmt.Sprintf("/rest/orgs/%d", soar.OrgID()), authorize: func(r *http.Request) {
			r.SetBasicAuth(resilienttest.DefaultAPIKeyID, resilienttest.DefaultAPIKeySecret)
		}},
		abi.ThreatQ: {service: abi.ThreatQ, handler: tq, authorize: func(r *http.Request) {
			r.Header.Set("Authorization", "Bearer "+tq.NewToken())
		}},
	}
	artifact := soar.AddArtifact(resilienttest.DefaultIncident, "IP Address", "198.51.100.77")
	cases := []struct {
		rule    string
		message resilienttest.Message
	}{
		{"ThreatQ: Sync Incident", soar.ActionMessage("ThreatQ: Sync Incident", resilienttest.ActionOptions{Operation: "modified"})},
		{"ThreatQ: Sync Indicator", soar.ActionMessage("ThreatQ: Sync Indicator", resilienttest.ActionOptions{ArtifactID: artifact})},
	}
	for _, latency := range []time.Duration{0, 20 * time.Millisecond} {
		for _, c := range cases {
			module := installed.Find(abi.KindRule, manifest.RoutingName(c.rule))
			require.NotNil(b, module)
			sandboxed := newWay(c.rule, module, clients)
			inHost := newWay(c.rule, native{module, nativeRules()}, clients)
			b.Run(fmt.Sprintf("%s/%s", module.Manifest().Name, latency), func(b *testing.B) {
				for _, learning := range []bool{false, false, true} {
					for _, client := range clients {
						client.latency, client.learn = 0, learning
					}
					sandboxed.play(b, c.message)
				}
				for _, client := range clients {
					client.latency = latency
				}
				var p pair
				for b.Loop() {
					p.sandboxed = append(p.sandboxed, sandboxed.play(b, c.message))
					p.native = append(p.native, inHost.play(b, c.message))
				}
				p.report(b, "action")
			})
		}
	}
}

// way is a flow with one module.
type way struct {
	flow *flow.Flow
	sent int
}

func newWay(rule string, m flow.Module, clients map[string]*local) *way {
	services := map[string]effect.Client{}
	for name, client := range clients {
		services[name] = client
	}
	return &way{flow: flow.New(flow.Options{
		Modules: only{m}, Directory: titles(rule), Performer: effect.New(effect.Options{Clients: services}), Ledger: ledger.NewMemory(),
		Site: abi.Site{OrgID: resilienttest.DefaultOrgID, OrgName: resilienttest.DefaultOrg, ResilientURL: "https://soar.example.com",
			ThreatQURL: "https://threatq.example.com", Account: abi.Account{Type: "apikey", ID: 7, Name: "fn-threatq"}},
	})}
}

// play takes one action all the way.
func (w *way) play(b *testing.B, m resilienttest.Message) time.Duration {
	w.sent++
	d := &delivery{acknowledged: make(chan struct{}), message: flow.Message{
		ID: "ID:benchmark:" + strconv.Itoa(w.sent), ReplyTo: "acks", CorrelationID: "c", Payload: "ActionDataDTO",
		Timestamp: time.Now(), Headers: m.Headers, Body: m.Body,
	}}
	begin := time.Now()
	w.flow.Handle(d)
	<-d.acknowledged
	took := time.Since(begin)
	require.Contains(b, string(d.reply), `"message_type":0`)
	return took
}

type only struct{ flow.Module }

func (o only) Find(string, string) flow.Module { return o.Module }
func (o only) Names(string) []string           { return nil }

// titles is a directory with one rule.
type titles string

func (t titles) RuleName(context.Context, int64) (string, error) { return string(t), nil }
func (t titles) FieldLabels(context.Context, int64) (map[string]string, error) {
	return map[string]string{}, nil
}
func (t titles) FieldOption(context.Context, string, int64) (string, error) { return "", nil }

type delivery struct {
	message      flow.Message
	reply        []byte
	acknowledged chan struct{}
}

func (d *delivery) Message() flow.Message               { return d.message }
func (d *delivery) Reply(context.Context, []byte) error { return nil }
func (d *delivery) Ack(context.Context) error           { close(d.acknowledged); return nil }

func (d *delivery) Finish(_ context.Context, reply []byte) error {
	d.reply = reply
	close(d.acknowledged)
	return nil
}

// local answers calls from a simulator in this process. Once it learns, each
// call is answered as the first time, so that the simulator's own time does not
// hide the difference that is looked for.
type local struct {
	service, base string
	handler       http.Handler
	authorize     func(*http.Request)
	latency       time.Duration
	learn         bool

	known sync.Map
}

func (l *local) Do(_ context.Context, r rest.Request) (*rest.Response, error) {
	target := l.base + r.Path + "?" + r.Query.Encode()
	key := r.Method + target + string(r.Body)
	if l.latency > 0 {
		time.Sleep(l.latency)
	}
	if l.learn {
		if known, ok := l.known.Load(key); ok {
			return known.(*rest.Response), nil
		}
	}
	request := httptest.NewRequest(r.Method, target, bytes.NewReader(r.Body))
	request.Header.Set("Content-Type", "application/json")
	l.authorize(request)
	answer := httptest.NewRecorder()
	l.handler.ServeHTTP(answer, request)
	if answer.Code >= http.StatusMultipleChoices {
		return nil, &rest.Error{Service: l.service, Method: r.Method, Path: r.Path, Code: abi.CodeHTTP, Status: answer.Code, Text: answer.Body.String()}
	}
	response := &rest.Response{Status: answer.Code, ContentType: answer.Header().Get("Content-Type"), Body: answer.Body.Bytes()}
	if l.learn {
		l.known.Store(key, response)
	}
	return response, nil
}
