package wire

import (
	"bytes"
	"strings"
	"testing"
)

func TestClassesByByte(t *testing.T) {
	const symbols = "!#$%&'*+-.^_`|~"
	for c := range 256 {
		p := []byte{'a', byte(c), 'b'}
		isAlnum := c >= '0' && c <= '9' || c >= 'a' && c <= 'z' || c >= 'A' && c <= 'Z'
		if got, want := IsToken(p), isAlnum || c < 0x80 && strings.IndexByte(symbols, byte(c)) >= 0; got != want {
			t.Errorf("token %q: got %v; want %v", p, got, want)
		}
		if got, want := IsTarget(p), c > 0x20 && c != 0x7f; got != want {
			t.Errorf("target %q: got %v; want %v", p, got, want)
		}
		if got, want := IsValue(p), c != 0 && c != '\r' && c != '\n'; got != want {
			t.Errorf("value %q: got %v; want %v", p, got, want)
		}
	}
	if IsToken(nil) || IsTarget(nil) || !IsValue(nil) {
		t.Error("nothing is a token or a target, or is no value")
	}
}

// TestIsValueAnywhere puts each byte at each place of a value that is looked at by words and by bytes.
func TestIsValueAnywhere(t *testing.T) {
	for size := 1; size < 20; size++ {
		for at := range size {
			for c := range 256 {
				p := bytes.Repeat([]byte{0xff}, size)
				p[at] = byte(c)
				isEdge := (at == 0 || at == size-1) && (c == ' ' || c == '\t')
				if got, want := IsValue(p), c != 0 && c != '\r' && c != '\n' && !isEdge; got != want {
					t.Fatalf("%q: got %v; want %v", p, got, want)
				}
			}
		}
	}
}

func TestVarints(t *testing.T) {
	for _, v := range []uint32{0, 1, 127, 128, 16383, 16384, 1<<21 - 1, 1 << 21, 1<<28 - 1, 1 << 28, 1<<32 - 1} {
		p := appendVarint(nil, v)
		if got, n := parseVarint(append(p, 0x55)); got != v || n != len(p) || n != varintSize(v) {
			t.Errorf("%d: got %d of %d bytes; want %d bytes", v, got, n, len(p))
		}
		for k := range p {
			if _, n := parseVarint(p[:k]); n != 0 {
				t.Errorf("%x of %x was taken", p[:k], p)
			}
		}
	}
	for _, v := range []int32{0, -1, 1, -2, 2, 1<<31 - 1, -1 << 31} {
		if got := unzigzag(zigzag(v)); got != v {
			t.Errorf("got %d; want %d", got, v)
		}
	}
	for i, v := range []int32{0, -1, 1, -2} {
		if got := zigzag(v); got != uint32(i) {
			t.Errorf("%d: got %d; want %d", v, got, i)
		}
	}
}
