package pool

import (
	"bytes"
	"crypto/rand"
	"io"
	"testing"
	"testing/iotest"
)

// Small reads and payloads of all sizes, in turns, miss and repeat no byte, however
// the connection cuts them.
func TestInputGivesEachByteOnce(t *testing.T) {
	sent := make([]byte, 1<<20)
	rand.Read(sent)
	for name, r := range map[string]io.Reader{
		"whole": bytes.NewReader(sent), "halves": iotest.HalfReader(bytes.NewReader(sent)),
		"bytes": iotest.OneByteReader(bytes.NewReader(sent)), "end with data": iotest.DataErrReader(bytes.NewReader(sent)),
	} {
		in := newInput(r)
		var got []byte
		for _, size := range []int{100, 16 << 10, 40 << 10, 64 << 10, 64 << 10, 10, 64 << 10, 70, 120 << 10} {
			head := make([]byte, 9)
			if _, err := io.ReadFull(in, head); err != nil {
				t.Fatalf("%s: %v", name, err)
			}
			p := make([]byte, size, size+headerAhead)
			if size%100 == 0 { // no room behind it
				p = p[:size:size]
			}
			if err := in.readPayload(p); err != nil {
				t.Fatalf("%s: %v", name, err)
			}
			got = append(append(got, head...), p...)
		}
		rest, err := io.ReadAll(in)
		if got = append(got, rest...); err != nil || !bytes.Equal(got, sent) {
			t.Errorf("%s: got %d bytes, %v; want the %d that were sent", name, len(got), err, len(sent))
		}
		if err := in.readPayload(make([]byte, 1)); err != io.ErrUnexpectedEOF {
			t.Errorf("%s: a payload cut short: got %v", name, err)
		}
	}
}
