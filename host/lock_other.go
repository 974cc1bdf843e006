//go:build !unix

package host

import (
	"errors"
	"os"
)

func lockFile(*os.File) error { return errors.ErrUnsupported }
