//go:build !linux

package host

func reloading() []string { return []string{"RELOADING=1"} }
