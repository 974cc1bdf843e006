package resilient

import (
	"net/http"
	"strings"

	"fn-threatq/abi"
)

// searches are the POSTs of SOAR that only read, below the organization, with *
// for an id (contract: incidents, artifacts, comments).
var searches = []string{
	"/incidents/query_paged", "/incidents/*/artifacts/query_paged", "/artifacts/*/hits/query_paged", "/incidents/*/comments/query",
}

// Reads says that a call changes nothing in SOAR: a GET that is safe to repeat,
// or one of the searches that are POSTs. All other calls write.
func Reads(c abi.Call) bool {
	switch {
	case c.Upload != nil:
		return false
	case c.Method == http.MethodGet:
		return c.Idempotent
	case c.Method == http.MethodPost:
		for _, search := range searches {
			if samePath(search, c.Path) {
				return true
			}
		}
	}
	return false
}

func samePath(pattern, path string) bool {
	want, got := strings.Split(pattern, "/"), strings.Split(path, "/")
	if len(want) != len(got) {
		return false
	}
	for i := range want {
		if want[i] != got[i] && (want[i] != "*" || strings.Trim(got[i], "0123456789") != "") {
			return false
		}
	}
	return true
}
