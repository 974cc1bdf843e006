package catalog

// File is the module file.
func (m *Module) File() ([]byte, error) { return m.read() }
