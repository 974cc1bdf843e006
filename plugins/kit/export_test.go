package kit

import (
	"fn-threatq/abi"
	"fn-threatq/abi/guest"
)

// Get gives tests a plain call.
func (k *Kit) Get(path string) guest.Result { return k.do(get(abi.ThreatQ, path, nil)) }
