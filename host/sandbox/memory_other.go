//go:build !linux

package sandbox

// reserve takes the whole region from the Go heap.
func reserve(limit uint64) ([]byte, error) { return make([]byte, limit), nil }

func commit(_ []byte, _, _ uint64) error { return nil }

func release([]byte) {}

// memoryImage is the memory from which turns start.
type memoryImage struct{ content []byte }

func newMemoryImage(content []byte) *memoryImage {
	return &memoryImage{content: append([]byte(nil), content...)}
}

func (m *memoryImage) close() {}

// install makes a memory of the image's size show the image.
func (m *memoryImage) install(l *linearMemory) error {
	copy(l.region, m.content)
	return nil
}

// reset makes it show the image again.
func (m *memoryImage) reset(l *linearMemory) error { return m.install(l) }
