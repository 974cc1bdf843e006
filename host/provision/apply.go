package provision

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"strings"
	"time"

	"fn-threatq/abi"
	"fn-threatq/host/resilient"
	"fn-threatq/host/rest"
)

// rejectTime bounds the wait for SOAR to take an import back that was given up.
const rejectTime = 10 * time.Second

// Apply does what the plan says: it imports the document, accepts the import and admits
// the account. accept is asked when SOAR warns of something in the document; its error
// means no. Errors: that of accept, *RefusedError, *ForbiddenError, that of
// the client. After each of them, and after none, a new plan tells what is left to do.
func (p *Plan) Apply(ctx context.Context, client *resilient.Client, s *Server, accept func(warnings []string) error) error {
	if err := p.Conflicts(); err != nil {
		return err
	}
	if p.imports() {
		if err := p.install(ctx, client, s.Account, accept); err != nil {
			return err
		}
	}
	return admit(ctx, client, s.Account)
}

func (p *Plan) install(ctx context.Context, client *resilient.Client, a resilient.Account, accept func([]string) error) error {
	started, err := client.StartImport(ctx, p.document.Encode())
	if err != nil {
		return refusal(mayNot(a, "import customizations", err))
	}
	switch started.Status {
	case resilient.ImportAccepted:
		return nil
	case resilient.ImportPending:
	default:
		return notImported(started)
	}
	if warnings := texts(started, "WARN", "ERROR"); len(warnings) > 0 {
		err = accept(warnings)
	}
	if err == nil {
		err = ctx.Err()
	}
	if err != nil {
		// A pending import does nothing, but it stays in sight of the administrators.
		late, cancel := context.WithTimeout(context.WithoutCancel(ctx), rejectTime)
		defer cancel()
		_, _ = client.FinishImport(late, started, resilient.ImportRejected)
		return err
	}
	finished, err := client.FinishImport(ctx, started, resilient.ImportAccepted)
	if err != nil {
		return refusal(mayNot(a, "accept an import of customizations", err))
	}
	if finished.Status != resilient.ImportAccepted {
		return notImported(finished)
	}
	return nil
}

// admit puts the account onto the list of the message destination, without which the
// broker refuses the subscription (contract: customize).
func admit(ctx context.Context, client *resilient.Client, a resilient.Account) error {
	destinations, err := client.Destinations(ctx)
	if err != nil {
		return err
	}
	there := (&Server{Destinations: destinations}).destination()
	if there == nil {
		return &RefusedError{fmt.Sprintf("SOAR has accepted the import, but has no message destination %s: run customize again in a minute, then look at the log of SOAR", Destination)}
	}
	err = client.Admit(ctx, there.ID, a)
	if errors.Is(err, resilient.ErrAccountUnknown) {
		return &RefusedError{err.Error()}
	}
	return mayNot(a, "change the message destination "+Destination, err)
}

// Verify compares what the organization has now with what the plan wanted; its error is
// *RefusedError, or that of reading.
func Verify(ctx context.Context, client *resilient.Client, d *Document) error {
	s, err := Read(ctx, client, d)
	if err != nil {
		return err
	}
	var missing []string
	for _, i := range NewPlan(d, s, Options{}).Items {
		if i.State.written() {
			missing = append(missing, fmt.Sprintf("%s %s (%s)", i.Kind, i.Name, i.State))
		}
	}
	if missing == nil {
		return nil
	}
	text := missing[0]
	if more := len(missing) - 1; more > 0 {
		text = fmt.Sprintf("%s and %d more", text, more)
	}
	return &RefusedError{fmt.Sprintf("SOAR says that it has done the import, but not all is as it should be: %s; run customize again in a minute, then look at the log of SOAR", text)}
}

// refusal makes a *RefusedError of an answer that says what is wrong with the document.
func refusal(err error) error {
	var failed *rest.Error
	if errors.As(err, &failed) && failed.Code == abi.CodeHTTP && (failed.Status == http.StatusBadRequest || failed.Status < 300) {
		return &RefusedError{"SOAR refuses the import: " + failed.Reason()}
	}
	return err
}

func notImported(i resilient.Import) error {
	text := strings.Join(texts(i, "ERROR", "WARN"), "; ")
	if text == "" {
		text = "it does not say why; its log does"
	}
	switch i.Status {
	case resilient.ImportInvalid:
		return &RefusedError{"SOAR refuses the import as invalid, and nothing was changed: " + text}
	case resilient.ImportFailed:
		return &RefusedError{"SOAR has accepted the import and then failed: " + text + "; run customize again to see what is missing"}
	}
	return &RefusedError{fmt.Sprintf("the import ended as %q: %s", i.Status, text)}
}

// texts are what SOAR says in messages of the given types, in their order.
func texts(i resilient.Import, types ...string) (out []string) {
	for _, wanted := range types {
		for _, m := range i.Messages {
			if m.Type == wanted {
				out = append(out, m.Text)
			}
		}
	}
	return out
}
