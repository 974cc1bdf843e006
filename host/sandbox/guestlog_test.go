package sandbox

import (
	"bytes"
	"errors"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

func TestLinesOfBothStreamsAreJoinedAndPrintable(t *testing.T) {
	l := &guestLog{limit: 1000}
	for _, w := range []struct {
		fd   int
		text string
	}{
		{stdout, "one "}, {stderr, "warning\n"}, {stdout, "line\n\nnext\r\n"},
		{stdout, "\x1b[31mred\x00 \u202egnp.exe \xff\tend\n"}, {stderr, "unfinished"},
	} {
		l.write(w.fd, []byte(w.text))
	}
	assert.Equal(t, []string{"warning", "one line", "next", "�[31mred� �gnp.exe � end", "unfinished"}, l.lines())
	assert.Equal(t, "warning\nunfinished", l.errorTail())
	assert.Zero(t, l.dropped)
}

func TestTheEndOfStderrIsKeptWhenTheLogIsFull(t *testing.T) {
	l := &guestLog{limit: 10}
	for range 10_000 {
		l.write(stderr, []byte("flood\n"))
	}
	l.write(stderr, []byte("panic: at last"))
	assert.Equal(t, []string{"flood", "floo"}, l.lines())
	assert.Equal(t, 10_000*6+14-10, l.dropped)
	tail := l.errorTail()
	assert.True(t, strings.HasSuffix(tail, "flood\npanic: at last"), tail)
	assert.LessOrEqual(t, len(tail), tailBytes)
	assert.LessOrEqual(t, cap(l.tail), 4*tailBytes)
	assert.Equal(t, "panic: at last", tellingLine(tail))
}

func TestAHugeWriteCostsLittle(t *testing.T) {
	l := &guestLog{limit: 10}
	l.write(stderr, bytes.Repeat([]byte("x"), 32<<20))
	assert.Equal(t, 32<<20-10, l.dropped)
	assert.Less(t, cap(l.tail), 4*tailBytes)
	assert.Less(t, cap(l.partial[stderr]), 100)
}

func TestWritesEndWithTheFuel(t *testing.T) {
	fuel := int64(1000)
	env := &surroundings{log: &guestLog{limit: 10}, spend: func(units int64) bool { fuel -= units; return fuel >= 0 }}
	s := stream{env, stdout}
	for range 1000 / costOfWrite {
		_, err := s.Write(nil)
		require.NoError(t, err)
	}
	_, err := s.Write(nil)
	require.ErrorIs(t, err, errAllUsed)
	_, err = randomSource{env}.Read(make([]byte, 100))
	require.ErrorIs(t, err, errAllUsed)
}

func TestTheTellingLineIsShort(t *testing.T) {
	assert.Equal(t, "last", tellingLine("first\n\nlast\n"))
	assert.Equal(t, "fatal error: out of memory", tellingLine("runtime: x\nfatal error: out of memory\n\ngoroutine 1"))
	line := tellingLine(strings.Repeat("ü", 1000))
	assert.LessOrEqual(t, len(line), 204)
	assert.True(t, strings.HasSuffix(line, "ü…"))
	e := &Error{Kind: KindTrap, Message: "trapped", Err: errors.New("cause")}
	assert.Equal(t, "module: trapped", e.Error())
}
