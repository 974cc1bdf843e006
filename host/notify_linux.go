package host

import (
	"fmt"

	"golang.org/x/sys/unix"
)

// reloading is what begins a reload. The time lets the manager tell this one from
// an earlier one (sd_notify(3)).
func reloading() []string {
	var now unix.Timespec
	if unix.ClockGettime(unix.CLOCK_MONOTONIC, &now) != nil {
		return []string{"RELOADING=1"}
	}
	return []string{"RELOADING=1", fmt.Sprintf("MONOTONIC_USEC=%d", now.Nano()/1000)}
}
