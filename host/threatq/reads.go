package threatq

import (
	"net/http"
	"strings"

	"fn-threatq/abi"
)

// Reads says that a call changes nothing in ThreatQ: a GET, but for the commit of
// an import (contract: parsing a file for indicators), and a search of the Threat
// Library, which is a POST of the filters to /api/COLLECTION/query (contract:
// query). A GET that is not safe to repeat is no read, whatever its path. All
// other calls write, whether their modules call them idempotent or not.
func Reads(c abi.Call) bool {
	segments := strings.Split(strings.TrimPrefix(c.Path, "/api/"), "/")
	switch {
	case c.Upload != nil:
		return false
	case c.Method == http.MethodGet:
		return c.Idempotent && segments[len(segments)-1] != "commit"
	case c.Method == http.MethodPost:
		return len(segments) == 2 && segments[1] == "query"
	}
	return false
}
