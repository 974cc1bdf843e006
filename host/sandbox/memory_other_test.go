//go:build !linux

package sandbox

// plain images are all there are here.
func plain(*memoryImage) {}
