package wasmbin_test

import "encoding/binary"

// section writes one section of a test module.
func section(id byte, body ...byte) []byte {
	return append(binary.AppendUvarint([]byte{id}, uint64(len(body))), body...)
}

// module joins sections.
func module(sections ...[]byte) []byte {
	m := []byte{0, 'a', 's', 'm', 1, 0, 0, 0}
	for _, s := range sections {
		m = append(m, s...)
	}
	return m
}

// function is a code section with one function without locals; the final end
// is added.
func function(code ...byte) []byte {
	body := append(append([]byte{0}, code...), 0x0b)
	return section(10, append(binary.AppendUvarint([]byte{1}, uint64(len(body))), body...)...)
}
