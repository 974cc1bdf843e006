package host

import (
	"context"
	"errors"
)

// Check tries what can be tried without the network and without changing anything
// but the cache of compiled modules: the certificate files that the configuration
// names, and each module, which is compiled, verified and given a first turn. It
// returns how many modules there are.
func Check(ctx context.Context, o Options) (modules int, err error) {
	a, err := New(ctx, o)
	if err != nil {
		return 0, err
	}
	err = a.catalog.Try(ctx)
	return len(a.catalog.Modules()), errors.Join(err, a.Close(ctx))
}
