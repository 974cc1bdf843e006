package resilient

import (
	"context"
	"encoding/json"
	"errors"
	"net/http"
	"strconv"

	"fn-threatq/abi"
	"fn-threatq/host/rest"
)

// ImportStatus says how far an import of customizations has come.
type ImportStatus string

// The statuses of an import (contract: customize).
const (
	ImportInvalid  ImportStatus = "INVALID"      // the document cannot be imported here
	ImportPending  ImportStatus = "PENDING"      // checked; nothing was changed yet
	ImportAccepted ImportStatus = "ACCEPTED"     // done
	ImportRejected ImportStatus = "REJECTED"     // given up by whoever sent it
	ImportFailed   ImportStatus = "IMPORT_ERROR" // it was accepted and could not be done
)

// Import is a document of customizations that was handed to SOAR.
type Import struct {
	ID       int64           `json:"id"`
	Status   ImportStatus    `json:"status"`
	Messages []ImportMessage `json:"messages"`

	// all is what SOAR sent; a PUT must hand it back whole.
	all map[string]json.RawMessage
}

// ImportMessage is what SOAR says about an import.
type ImportMessage struct {
	Type string `json:"type"` // INFO, WARN or ERROR
	Text string `json:"text"`
}

// UnmarshalJSON keeps all keys of the object, and each message in one line.
func (i *Import) UnmarshalJSON(text []byte) error {
	type plain Import // without this method
	if err := json.Unmarshal(text, (*plain)(i)); err != nil {
		return err
	}
	for n := range i.Messages {
		i.Messages[n].Text = oneLine(i.Messages[n].Text)
	}
	return json.Unmarshal(text, &i.all)
}

// StartImport hands a document to SOAR, which checks it and changes nothing yet: the
// import is PENDING or INVALID.
func (c *Client) StartImport(ctx context.Context, document []byte) (Import, error) {
	r := rest.Request{Method: http.MethodPost, Path: "/configurations/imports", Body: document, Slow: true}
	answer, err := c.Do(ctx, r)
	if err != nil {
		return Import{}, err
	}
	var started Import
	if err := json.Unmarshal(answer.Body, &started); err != nil || started.Status == "" {
		return Import{}, unexpected(r.Method, r.Path)
	}
	return started, nil
}

// FinishImport accepts or rejects a pending import. Where the answer does not tell a
// status, it is the one that was asked for.
func (c *Client) FinishImport(ctx context.Context, i Import, status ImportStatus) (Import, error) {
	i.all["status"], _ = json.Marshal(status)
	body, err := json.Marshal(i.all)
	if err != nil {
		return Import{}, err
	}
	r := rest.Request{Method: http.MethodPut, Path: "/configurations/imports/" + strconv.FormatInt(i.ID, 10), Body: body, Slow: true}
	answer, err := c.Do(ctx, r)
	if err != nil {
		return Import{}, err
	}
	finished := Import{Status: status}
	if len(answer.Body) > 0 && json.Unmarshal(answer.Body, &finished) != nil {
		return Import{}, unexpected(r.Method, r.Path)
	}
	return finished, succeeded(r, answer)
}

// admitTries is how often the list of a destination is written when somebody else
// changes it at the same time.
const admitTries = 5

// ErrAccountUnknown means that SOAR has not told the number of the account, which the
// list of a message destination needs.
var ErrAccountUnknown = errors.New("SOAR does not tell the number of this account; an administrator must add it to the message destination in the user interface")

// Admit adds an account to those who may subscribe to a message destination; one that
// is there already changes nothing.
func (c *Client) Admit(ctx context.Context, destination int64, a Account) error {
	if a.ID == 0 {
		return ErrAccountUnknown
	}
	path := "/message_destinations/" + strconv.FormatInt(destination, 10)
	for try := 1; ; try++ {
		var d Destination
		if err := c.get(ctx, path, nil, &d); err != nil || d.Admits(a) {
			return err
		}
		if d.all == nil {
			return unexpected(http.MethodGet, path)
		}
		key, list := "users", d.Users
		if a.Type == APIKey {
			key, list = "api_keys", d.APIKeys
		}
		d.all[key], _ = json.Marshal(append(list, a.ID))
		body, err := json.Marshal(d.all)
		if err != nil {
			return err
		}
		r := rest.Request{Method: http.MethodPut, Path: path, Body: body}
		answer, err := c.Do(ctx, r)
		var failed *rest.Error
		if errors.As(err, &failed) && failed.Status == http.StatusConflict && try < admitTries {
			continue
		}
		if err != nil {
			return err
		}
		return succeeded(r, answer)
	}
}

// DeleteRule removes a rule; one that is gone already is no error.
func (c *Client) DeleteRule(ctx context.Context, id int64) error {
	return c.delete(ctx, "/actions/"+strconv.FormatInt(id, 10))
}

// DeleteFunction removes a function; one that is gone already is no error. SOAR answers
// 400 while a workflow or a playbook calls it (contract: removing customizations).
func (c *Client) DeleteFunction(ctx context.Context, id int64) error {
	return c.delete(ctx, "/functions/"+strconv.FormatInt(id, 10))
}

func (c *Client) delete(ctx context.Context, path string) error {
	r := rest.Request{Method: http.MethodDelete, Path: path}
	answer, err := c.Do(ctx, r)
	var failed *rest.Error
	if errors.As(err, &failed) && failed.Status == http.StatusNotFound {
		return nil
	}
	if err != nil {
		return err
	}
	return succeeded(r, answer)
}

// succeeded reads the StatusDTO that some calls answer with: a 200 may say no.
func succeeded(r rest.Request, answer *rest.Response) error {
	var status struct {
		Success *bool  `json:"success"`
		Message string `json:"message"`
	}
	if json.Unmarshal(answer.Body, &status) == nil && status.Success != nil && !*status.Success {
		return &rest.Error{Service: service, Method: r.Method, Path: r.Path, Code: abi.CodeHTTP, Status: answer.Status, Text: oneLine(status.Message)}
	}
	return nil
}
