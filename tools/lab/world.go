package main

import (
	"context"
	"encoding/json"
	"fmt"
	"net"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"sync"

	"fn-threatq/host/broker/brokertest"
	"fn-threatq/host/resilient/resilienttest"
	"fn-threatq/host/threatq/threatqtest"
)

// source is the custom_source of the lab's app.config.
const source = "Acme SOC"

// passwordVariable is the environment variable that app.config refers to.
const passwordVariable = "LAB_THREATQ_PASSWORD"

// world is all that runs in this process.
type world struct {
	dir     string
	config  string // path of app.config
	soar    *resilienttest.Server
	threatq *threatqtest.Server
	broker  *brokertest.Server
	made    []int64 // the incidents of this world, also those that were deleted

	cancel  context.CancelFunc
	reading sync.WaitGroup

	mu      sync.Mutex
	actions []*action
	waiting map[string]*action // by correlation-id
	strays  []string           // replies that belong to no action
	// onProgress is told each interim text as it comes; nil: nobody is.
	onProgress func(a *action, text string)
}

// action is a message that SOAR published, and what came back.
type action struct {
	id          string // message-id, which the host's log calls the action by
	correlation string
	about       string // the object and what was done to it
	automatic   bool   // a rule that fired by itself, not a menu item or a function

	// answered is closed with the first final reply.
	answered chan struct{}
	replies  []reply // final ones; guarded by world.mu
}

// reply is what the host answers (contract: replies).
type reply struct {
	Type     int    `json:"message_type"`
	Message  string `json:"message"`
	Complete bool   `json:"complete"`
	Results  *struct {
		Success bool            `json:"success"`
		Content json.RawMessage `json:"content"`
	} `json:"results"`
}

// newWorld starts the simulators and the broker and writes app.config into dir.
func newWorld(dir string, installed resilienttest.Installed) (_ *world, err error) {
	w := &world{dir: dir, waiting: map[string]*action{}}
	defer func() {
		if err != nil {
			w.close()
		}
	}()
	if w.soar, err = resilienttest.Start(resilienttest.Options{Empty: true, Installed: installed, OnMessage: w.fired}); err != nil {
		return nil, fmt.Errorf("SOAR simulator: %w", err)
	}
	if w.threatq, err = threatqtest.Listen(threatqtest.Options{}); err != nil {
		return nil, fmt.Errorf("ThreatQ simulator: %w", err)
	}
	w.feedThreatQ()
	authority := brokertest.NewAuthority()
	w.broker, err = brokertest.Start(brokertest.Options{
		TLS: authority.ServerConfig(),
		Users: map[string]brokertest.User{resilienttest.DefaultAPIKeyID: {
			Passcode: resilienttest.DefaultAPIKeySecret, Write: []string{w.queue("acks")},
			MayRead: func(queue string) bool { return w.soar.MayRead(resilienttest.DefaultAPIKeyID, queue) },
		}},
	})
	if err != nil {
		return nil, fmt.Errorf("message broker: %w", err)
	}
	certificates := map[string][]byte{
		"resilient.pem": w.soar.Authority().CAPEM(), "threatq.pem": w.threatq.Authority().CAPEM(), "broker.pem": authority.CAPEM(),
	}
	for name, data := range certificates {
		if err := os.WriteFile(filepath.Join(dir, name), data, 0o600); err != nil {
			return nil, err
		}
	}
	w.config = filepath.Join(dir, "app.config")
	if err := os.WriteFile(w.config, []byte(w.appConfig()), 0o600); err != nil {
		return nil, err
	}
	ctx, cancel := context.WithCancel(context.Background())
	w.cancel = cancel
	w.reading.Go(func() { w.readReplies(ctx) })
	return w, nil
}

// close ends everything; what it wrote stays.
func (w *world) close() {
	w.stopReading()
	if w.broker != nil {
		w.broker.Stop()
	}
	if w.threatq != nil {
		w.threatq.Close()
	}
	if w.soar != nil {
		w.soar.Close()
	}
}

func (w *world) stopReading() {
	if w.cancel != nil {
		w.cancel()
		w.reading.Wait()
	}
}

func (w *world) queue(kind string) string {
	return fmt.Sprintf("%s.%d.%s", kind, w.soar.OrgID(), resilienttest.Destination)
}

// appConfig is the file as users of resilient-circuits have it.
func (w *world) appConfig() string {
	soar, broker := hostPort(w.soar.Addr()), hostPort(w.broker.Addr())
	return strings.Join([]string{
		"[resilient]",
		"host=" + soar[0],
		"port=" + soar[1],
		"org=" + resilienttest.DefaultOrg,
		"api_key_id=" + resilienttest.DefaultAPIKeyID,
		"api_key_secret=" + resilienttest.DefaultAPIKeySecret,
		"cafile=" + filepath.Join(w.dir, "resilient.pem"),
		"stomp_host=" + broker[0],
		"stomp_port=" + broker[1],
		"stomp_cafile=" + filepath.Join(w.dir, "broker.pem"),
		"loglevel=INFO",
		"",
		"[integrations]",
		"timeout=30",
		"",
		"[fn_threatq]",
		"host=" + strings.TrimPrefix(w.threatq.URL(), "https://"),
		"username=" + threatqtest.DefaultEmail,
		"password=$" + passwordVariable,
		"cid=" + threatqtest.DefaultClientID,
		"cafile=" + filepath.Join(w.dir, "threatq.pem"),
		"custom_source=" + source,
		"# incident field=attribute of the event",
		"custom_attributes=internal_confidence=Confidence, reporter=Reported By",
		"# incident field=object linked to the event",
		"custom_objects=internal_campaign=Campaign",
		"",
	}, "\n")
}

func hostPort(addr string) [2]string {
	host, port, err := net.SplitHostPort(addr)
	if err != nil {
		panic("lab: " + err.Error()) // the simulators' own address
	}
	return [2]string{host, port}
}

// environment is what the host process is given: nothing that would override app.config.
func (w *world) environment() []string {
	env := []string{
		passwordVariable + "=" + threatqtest.DefaultPassword,
		"APP_LOCK_FILE=" + filepath.Join(w.dir, "lock"),
		"XDG_STATE_HOME=" + filepath.Join(w.dir, "state"),
	}
	// Where the user's own cache is, so that the modules are compiled only once.
	for _, name := range []string{"HOME", "XDG_CACHE_HOME", "PATH", "TMPDIR", "GOCOVERDIR", "LOCALAPPDATA", "SYSTEMROOT", "TEMP"} {
		if value, set := os.LookupEnv(name); set {
			env = append(env, name+"="+value)
		}
	}
	return env
}

// publish puts the message of a menu item or a function into the queue.
func (w *world) publish(m resilienttest.Message) { w.put(m, false) }

// fired puts the message of an automatic rule into the queue. Such messages come
// from what people do in SOAR and from what the host writes there.
func (w *world) fired(m resilienttest.Message) { w.put(m, true) }

func (w *world) put(m resilienttest.Message, automatic bool) {
	a := &action{correlation: m.Headers["correlation-id"], about: about(m), automatic: automatic, answered: make(chan struct{})}
	w.mu.Lock()
	defer w.mu.Unlock()
	// The reply may come at once: it waits for the lock.
	w.waiting[a.correlation] = a
	a.id = w.broker.Publish(m.Queue, m.Headers, m.Body)
	w.actions = append(w.actions, a)
}

// actionsFrom are the actions from the n-th on, from 0.
func (w *world) actionsFrom(n int) []*action {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.actions[n:len(w.actions):len(w.actions)]
}

// during does what people do. A mistake in what f asks of the simulator, which
// panics, becomes an error.
func (w *world) during(f func()) (err error) {
	defer func() {
		if mistake := recover(); mistake != nil {
			err = fmt.Errorf("%s", strings.TrimPrefix(fmt.Sprint(mistake), "resilienttest: "))
		}
	}()
	f()
	return nil
}

// readReplies takes the replies out of the acks queue until ctx ends.
func (w *world) readReplies(ctx context.Context) {
	for {
		m, err := w.broker.Receive(ctx, w.queue("acks"))
		if err != nil {
			return
		}
		w.take(m.Headers["correlation-id"], m.Body)
	}
}

func (w *world) take(correlation string, body []byte) {
	var r reply
	err := json.Unmarshal(body, &r)
	w.mu.Lock()
	a, tell := w.waiting[correlation], w.onProgress
	interim := err == nil && a != nil && !r.Complete
	switch {
	case err != nil:
		w.strays = append(w.strays, fmt.Sprintf("a reply to %s is not JSON: %v: %s", correlation, err, body))
	case a == nil:
		w.strays = append(w.strays, fmt.Sprintf("a reply to %s, which nobody sent: %s", correlation, body))
	case interim: // told below
	default:
		if a.replies = append(a.replies, r); len(a.replies) == 1 {
			close(a.answered)
		}
	}
	w.mu.Unlock()
	if interim && tell != nil {
		tell(a, r.Message)
	}
}

// tellProgress sets who is told interim texts.
func (w *world) tellProgress(tell func(a *action, text string)) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.onProgress = tell
}

// answers are the final replies of an action.
func (w *world) answers(a *action) []reply {
	w.mu.Lock()
	defer w.mu.Unlock()
	return append([]reply(nil), a.replies...)
}

// incidentURL is the link back to an incident (contract: object mapping).
func (w *world) incidentURL(incident int64) string {
	base, err := url.Parse(w.soar.URL())
	if err != nil {
		panic("lab: " + err.Error()) // the simulator's own address
	}
	return fmt.Sprintf("https://%s/#incidents/%d?orgId=%d", base.Host, incident, w.soar.OrgID())
}

// taskURL is the link back to a task.
func (w *world) taskURL(incident, task int64) string {
	return fmt.Sprintf("%s&taskId=%d&tabName=details", w.incidentURL(incident), task)
}
