package threatqtest

import (
	"time"

	"fn-threatq/host/internal/testcert"
)

// Numbering chooses the ids of indicator types, which differ between installations.
type Numbering int

const (
	// NumberingA is the alphabetical numbering recorded in 2020: FQDN 11, IP Address 15, URL 30.
	NumberingA Numbering = iota
	// NumberingB has the ids that another client's table holds: FQDN 8, IP Address 11, URL 21.
	NumberingB
)

// ErrorShape chooses how a refused value is reported.
type ErrorShape int

const (
	// ErrorMap is 400 with {"data":{"errors":{"field":["text"]}}}.
	ErrorMap ErrorShape = iota
	// ErrorList is 400 with {"errors":["text",["text"]]}.
	ErrorList
	// ErrorInOK is the list of ErrorList under status 200.
	ErrorInOK
)

// Options are the lasting manners of a Server. The zero value is a well-behaved server of 2020.
type Options struct {
	Addr      string              // listen address; "127.0.0.1:0" when empty
	Authority *testcert.Authority // issuer of the certificate; an own one for 127.0.0.1 and localhost when nil

	Email    string // account of the password grant; "svc-soar@example.com" when empty
	Password string // "correct horse" when empty
	ClientID string // "abcdef0123456789" when empty

	TokenLifetime   time.Duration // one hour when 0; counted with Now
	ExpiresInAsText bool          // "expires_in":"3600"
	OmitExpiresIn   bool          // no expires_in at all

	Now     func() time.Time // clock; time.Now when nil
	Latency time.Duration    // wait before every answer

	Numbering             Numbering
	MissingIndicatorTypes []string // names that an old instance lacks
	WithoutIncidentType   bool     // the event type Incident does not exist
	RefuseEventTypes      bool     // POST /api/event/types answers 403

	WeakRole bool // indicator types and statuses are {}; users answer 403
	ReadOnly bool // every write answers 403

	ErrorShape ErrorShape
	Normalize  bool // indicator values are normalised even when the request does not ask for it

	ListOfOne      bool // one object is answered as a list of one
	ObjectOfOne    bool // a list of one is answered as an object
	NumericStrings bool // ids are text: "id":"55"
	OmitTotal      bool // lists come without total

	OldAttributeRows         bool // attribute rows have no name of their own, only attribute.name
	NoAttributePut           bool // PUT on an attribute row answers 405
	IgnoreAttributesOnCreate bool // attributes sent with a new event or object are dropped
	UnderscoreWith           bool // with names that hold an underscore are accepted, as newer versions do
	QueryOmitsParts          bool // /query leaves out attributes and sources unless fields names them

	// What an older server may lack answers with this status, 404 or 405; 0: it is there.
	CommentListStatus   int // GET …/comments
	CommentPutStatus    int // PUT /{collection}/comments/{id}
	CommentDeleteStatus int // DELETE …/comments/{id}
	TaskCommentsStatus  int // all of /tasks/{id}/comments
	TaskPutStatus       int // PUT /tasks/{id}
	ChunkUploadStatus   int // POST /attachments/upload

	MaxUpload       int  // largest body of an upload in bytes, 413 beyond it; 0: no limit
	CutLargeUploads bool // the connection is cut instead of the 413
	RefuseFileTypes bool // an attachment type that does not exist is refused, not made

	ImportSourceObject bool // import_source is {"name":N,"tlp_id":T}, and a plain name is refused
	RefuseAtPreview    bool // what cannot be parsed is refused by the preview, not when the session is opened
	EmptyCommit        bool // the commit of an import answers without a body

	QueryLag     time.Duration // age from which /query sees an object
	DefaultLimit int           // page size without limit; 50 when 0
	KeepRequests int           // requests remembered by Requests; 10,000 when 0, none when negative
}

// Account and client id of a Server whose Options name no others.
const (
	DefaultEmail    = "svc-soar@example.com"
	DefaultPassword = "correct horse"
	DefaultClientID = "abcdef0123456789"
)

func (o Options) withDefaults() Options {
	setDefault(&o.Addr, "127.0.0.1:0")
	setDefault(&o.Email, DefaultEmail)
	setDefault(&o.Password, DefaultPassword)
	setDefault(&o.ClientID, DefaultClientID)
	setDefault(&o.TokenLifetime, time.Hour)
	setDefault(&o.DefaultLimit, 50)
	setDefault(&o.KeepRequests, 10_000)
	if o.Now == nil {
		o.Now = time.Now
	}
	return o
}

func setDefault[T comparable](field *T, value T) {
	var zero T
	if *field == zero {
		*field = value
	}
}
