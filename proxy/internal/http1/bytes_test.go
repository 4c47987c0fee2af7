package http1

import (
	"bytes"
	"testing"
)

func TestIndexBelowFindsEveryByteAtEveryPlace(t *testing.T) {
	for size := range 20 {
		for at := range size {
			for c := range 256 {
				for _, around := range []byte{' ', '~', 0x80, 0xff} {
					p := bytes.Repeat([]byte{around}, size)
					p[at] = byte(c)
					want := len(p)
					if c < 0x20 || c == 0x7f {
						want = at
					}
					if got := indexBelow(p, 0, 0x20); got != want {
						t.Fatalf("byte %#x at %d of %d among %#x: got %d; want %d", c, at, size, around, got, want)
					}
				}
			}
		}
	}
}

func TestEqualFoldKnowsLettersOnly(t *testing.T) {
	for a := range 256 {
		for b := range 256 {
			if !isToken[a] || !isToken[b] {
				continue
			}
			want := bytes.Equal(bytes.ToLower([]byte{byte(a)}), bytes.ToLower([]byte{byte(b)}))
			if got := equalFold([]byte{byte(a)}, []byte{byte(b)}); got != want {
				t.Errorf("%q and %q: got %v; want %v", byte(a), byte(b), got, want)
			}
		}
	}
}
