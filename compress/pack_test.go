package compress

import (
	"bytes"
	"encoding/base64"
	"encoding/hex"
	"errors"
	"fmt"
	"math/rand/v2"
	"strings"
	"testing"
)

func TestPackedForm(t *testing.T) {
	const uuid = "123e4567-e89b-12d3-a456-426614174000"
	uuidBytes, _ := hex.DecodeString(strings.ReplaceAll(uuid, "-", ""))
	for _, c := range []struct{ name, src, text, vals string }{
		{"nothing", "text of words, 0 and 1", "", ""},
		{"numbers", "so many: 20, 1024 and 999999999", "so many: \xc1\x05, \xc1\x05 and \xc1\x05", "\x14\x80\x08\xff\x93\xeb\xdc\x03"},
		{"numbers that begin with zeros", "so many: 00, 0123 and 000000009", "so many: \xc1\x72, \xc1\x74 and \xc1\x79", "\x00\x7b\x09"},
		{"no numbers", "so many: 1, 1000000000", "", ""},
		{"numbers as they were", "one two: 20, one two: 20, one two: 30", "one two: \xc1\x05, one two: 20, one two: \xc1\x05", "\x14\x1e"},
		{"uuid", `"` + uuid + `"`, "\"\xc1\x01\"", string(uuidBytes)},
		{"uuid after a prefix", "user-" + uuid, "user-\xc1\x01", string(uuidBytes)},
		{"uuid in front of more", uuid + "0", "\xc1\x010", string(uuidBytes)},
		{"uuid in upper case is pieces", "123E4567-0000", "\xc1\x30-\xc1\x74", "\x12\x3e\x45\x67\x00"},
		{"hex", "=0123abcd;", "=\xc1\x10;", "\x01\x23\xab\xcd"},
		{"hex of an odd length", "=0123abcde;", "=\xc1\x10e;", "\x01\x23\xab\xcd"},
		{"hex in upper case", "=0123ABCD;", "=\xc1\x30;", "\x01\x23\xab\xcd"},
		{"hex of 66 digits", strings.Repeat("a1", 33), "\xc1\x2ca1", strings.Repeat("\xa1", 32)},
		{"digits and words are no hex", "20260102 deadbeef feedface", "", ""},
		{"hex in one word of two", "trace_0123abcd-deadbeef", "trace_\xc1\x10-deadbeef", "\x01\x23\xab\xcd"},
		{"base64url", "?t=Zm9vYmFyMDEyM7g-&", "?t=\xc1\x50&", "foobar0123\xb8\x3e"},
		{"base64url, 17", "?t=aB3dE6gH9jK2mN5pQ&", "?t=\xc1\x51&", ""},
		{"names are no base64url", "internationalizedResourceIdentifier2", "", ""},
		{"time", `"2026-07-21T13:43:12Z"`, "\"\xc1\x02Z\"", "\x6c\x58\x65\xf0"},
		{"time of more", "at 2026-07-21T13:43:12.123+02:00", "at \xc1\x02.\xc1\x05+\xc1\x72:\xc1\x72", "\x6c\x58\x65\xf0\x7b\x02\x00"},
		{"no time", "2026-1-21T13:43:12Z 1969-07-21T1", "2026-1-21T\xc1\x05:\xc1\x05:\xc1\x05Z \xc1\x05-\xc1\x72-\xc1\x05T1", "\x0d\x2b\x0c\xb1\x0f\x07\x15"},
		{"UUIDs of version 4", strings.Repeat("00010203-0405-4607-8809-0a0b0c0d0e0f 10111213-1415-4617-b819-1a1b1c1d1e1f ", 2) + "20212223-2425-4627-aa29-2a2b2c2d2e2f",
			"\xc1\x06 \xc1\x06 \xc1\x03\x01 \xc1\x03\x00 \xc1\x06", "\x20\x00\x01\x02\x03\x04\x05\x62\x07\x09\x0a\x0b\x0c\x0d\x0e\x0f\x10\x11\x12\x13\x14\x15\x6e\x17\x19\x1a\x1b\x1c\x1d\x1e\x1f\x20\x21\x22\x23\x24\x25\x6a\x27\x29\x2a\x2b\x2c\x2d\x2e\x2f"},
		{"again", uuid + "," + uuid, "\xc1\x01,\xc1\x03\x00", string(uuidBytes)},
		{"marks beside a value", "\xc1" + uuid + "\xc1\xc1" + strings.Repeat(" ", 300), "\xc1\x00\xc1\x01\xc1\x00\xc1\x00" + strings.Repeat(" ", 300), string(uuidBytes)},
	} {
		t.Run(c.name, func(t *testing.T) {
			var p packer
			text, vals := p.pack(nil, nil, []byte(c.src), strings.Contains(c.src, "\xc1"))
			if c.text == "" && (p.count != 0 || string(text) != c.src) {
				t.Errorf("got %q, %q; want nothing packed", text, vals)
			}
			if c.text != "" && (string(text) != c.text || c.vals != "" && string(vals) != c.vals) {
				t.Errorf("got %q, %q; want %q, %q", text, vals, c.text, c.vals)
			}
			back := make([]byte, len(c.src))
			if err := new(unpacker).unpack(back, text, vals); err != nil || string(back) != c.src {
				t.Errorf("came back as %q, %v", back, err)
			}
		})
	}
}

func TestTimesComeBack(t *testing.T) {
	for _, s := range []string{"1970-01-01T00:00:00", "2102-12-31T23:59:59", "2026-02-30T12:00:01", "1999-12-31T23:00:59"} {
		v, ok := parseTime([]byte(s))
		got := make([]byte, timeText)
		if writeTime(got, v); !ok || string(got) != s {
			t.Errorf("got %s, %v; want %s", got, ok, s)
		}
	}
	got := make([]byte, timeText)
	if writeTime(got, 1<<32-1); string(got) != "2103-08-18T06:28:15" {
		t.Errorf("the last one is %s", got)
	}
}

func TestPackedBlocksComeBack(t *testing.T) {
	r := newRand(21)
	for _, id := range codecs {
		p := newPair(t, id, Fastest, 0)
		packed := 0
		for i := range 900 {
			if i == 600 {
				p.e.Reset()
				p.d.Reset()
			}
			if p.passPacked(fillTokens(r, 1+r.IntN(3000))) {
				packed++
			}
		}
		if want := id != None; (packed > 600) != want {
			t.Errorf("%v: %d blocks were packed", id, packed)
		}
	}
}

// What packing makes longest, numbers of two digits between random bytes, stays within what a receiver
// lets a block be.
func TestPackedBlocksAreNeverMuchLonger(t *testing.T) {
	r := newRand(27)
	for _, id := range codecs {
		p := newPair(t, id, Fastest, 0)
		for _, size := range []int{100, 5_000, 200_000} {
			var src []byte
			for len(src) < size {
				src = fmt.Appendf(append(src, fillRandom(r, 1+r.IntN(3))...), "%02d", r.IntN(100))
				if r.IntN(80) == 0 {
					src = append(src, mark)
				}
			}
			p.passPacked(append(src, fillValues(r, 1)...))
		}
	}
}

// Values come again near and far, and after others took their slots.
func TestValuesAreRememberedAtBothEnds(t *testing.T) {
	r := newRand(22)
	p := newPair(t, Zstd, Fastest, 0)
	values := bytes.SplitAfter(fillValues(r, 3*slots), []byte(","))
	values = values[:3*slots]
	for i := range 6 * slots {
		v := values[r.IntN(1+min(i, len(values)-1))]
		p.passPacked(v)
	}
	first := len(p.coded)
	p.passPacked(values[7])
	p.passPacked(values[7])
	if again := len(p.coded); again > 20 || first > 40 {
		t.Errorf("a value takes %d bytes, and %d when it was there before", first, again)
	}
}

// Blocks in which nothing is packed, or which would grow by it, go as they are.
func TestBlocksThatGainNothingAreNotPacked(t *testing.T) {
	r := newRand(23)
	for _, id := range codecs {
		p := newPair(t, id, Fastest, 0)
		for _, src := range [][]byte{[]byte("only words"), bytes.Repeat([]byte{mark}, 5000),
			append(bytes.Repeat([]byte{mark}, 40), fillValues(r, 4)...)} {
			if p.passPacked(src) {
				t.Errorf("%v: %q was packed", id, src[:10])
			}
		}
	}
}

func TestHostilePackedBlocksAreErrors(t *testing.T) {
	long := strings.Repeat("x", 200)
	for _, c := range []struct{ name, text, vals string }{
		{"cut after the mark", "a\xc1", ""},
		{"cut in a near reference", "a\xc1\x03", ""},
		{"cut in a slot", "a\xc1\x04\x00", ""},
		{"nothing remembered", "a\xc1\x03\x00", ""},
		{"no such slot", "a\xc1\x04\xff\xff", ""},
		{"a slot not taken yet", "\xc1\x01\xc1\x04\x00\x01" + long, strings.Repeat("v", 16)},
		{"unknown", "a\xc1\x0f", long},
		{"unknown, of 1 byte", "a\xc1\xff", long},
		{"no value left", "a\xc1\x01", "0123456789abcde"},
		{"values left over", "a\xc1\x10", "01234"},
		{"no number left", "a\xc1\x05", ""},
		{"a number that ends nowhere", "a\xc1\x05", "\xff\xff"},
		{"a number of 10 digits", "a\xc1\x05", "\x80\x94\xeb\xdc\x03"},
		{"a number of 35 bits", "a\xc1\x05", "\xff\xff\xff\xff\x7f"},
		{"a number of more digits than said", "a\xc1\x72", "\x64"},
		{"one digit, with zeros", "a\xc1\x71", "\x01"},
		{"no UUID left", "a\xc1\x06", "0123456789abcde"},
	} {
		t.Run(c.name, func(t *testing.T) {
			for _, size := range []int{1, 9, 30, 100, 1000} {
				if err := new(unpacker).unpack(make([]byte, size), []byte(c.text), []byte(c.vals)); err == nil {
					t.Errorf("with room for %d: got no error", size)
				}
			}
		})
	}
	for _, size := range []int{0, 1, 7, 8, 10, 11} { // of 9
		if err := new(unpacker).unpack(make([]byte, size), []byte("a\xc1\x10"), []byte("0123")); err == nil {
			t.Errorf("%d bytes announced for 9: got no error", size)
		}
	}
}

// A packed block says how long it is; what cannot be true is refused before memory is taken.
func TestLengthsOfPackedBlocksAreChecked(t *testing.T) {
	p := newPair(t, Snappy, Fastest, 0)
	src := []byte("id=123e4567-e89b-12d3-a456-426614174000")
	good, isPacked, err := p.e.EncodePacked(nil, src)
	if err != nil || !isPacked || good[0] != 5 || good[1] != 16 {
		t.Fatalf("got % x, %v, %v; want 5 bytes of text and 16 of values", good, isPacked, err)
	}
	rest := string(good[2:])
	for _, c := range []struct {
		name, block string
		plain       int
	}{
		{"no lengths", "", 39}, {"no values' length", "\x05", 39}, {"a length that ends nowhere", "\x80\x80\x80\x80\x80\x00", 39},
		{"a length with a byte too many", "\x85\x00\x10" + rest, 39}, {"no text", "\x00\x10" + rest, 39},
		{"more text than plain", "\x05\x10" + rest, 4}, {"more text than there is", "\x06\x10" + rest, 39}, {"less text", "\x04\x10" + rest, 39},
		{"more values than bytes", "\x05\xff\x01" + rest, 39}, {"fewer values", "\x05\x0f" + rest, 39},
		{"plain beyond what it can be", "\x05\x10" + rest, 8 << 20}, {"less plain", "\x05\x10" + rest, 38}, {"more plain", "\x05\x10" + rest, 40},
	} {
		p.d.Reset()
		dst := []byte("dst")
		got, err := p.d.DecodePacked(dst, []byte(c.block), c.plain)
		if !errors.Is(err, ErrCorrupt) || string(got) != "dst" {
			t.Errorf("%s: got %q, %v; want ErrCorrupt", c.name, got, err)
		}
		if _, again := p.d.DecodePacked(nil, good, len(src)); again != err {
			t.Errorf("%s: a good block after it: got %v; want the same error", c.name, again)
		}
	}
	p.d.Reset()
	if got, err := p.d.DecodePacked(nil, good, len(src)); err != nil || !bytes.Equal(got, src) {
		t.Errorf("the good one: got %q, %v", got, err)
	}
	n := newPair(t, None, Fastest, 0)
	if _, err := n.d.DecodePacked(nil, []byte("\x01\x00a"), 1); !errors.Is(err, ErrCorrupt) {
		t.Errorf("codec none: got %v; want ErrCorrupt", err)
	}
}

// fillTokens is JSON of values of all kinds, some of which come again, between words.
func fillTokens(r *rand.Rand, n int) []byte {
	var b []byte
	seed := newRand(uint64(r.IntN(40)))
	for len(b) < n {
		from := r
		if r.IntN(3) == 0 {
			from = seed
		}
		p := fillRandom(from, 1+from.IntN(50))
		switch r.IntN(8) {
		case 0:
			b = append(b, fillValues(from, 1)...)
		case 1:
			b = fmt.Appendf(b, "%x/", p)
		case 2:
			b = fmt.Appendf(b, "_%X", p)
		case 3:
			b = base64.RawURLEncoding.AppendEncode(b, p)
		case 4:
			b = base64.StdEncoding.AppendEncode(b, p)
		case 5:
			b = fmt.Appendf(b, `"20%02d-%02d-%02dT%02d:%02d:%02dZ"`, r.IntN(100), r.IntN(14), r.IntN(33), r.IntN(25), r.IntN(61), r.IntN(61))
		case 6:
			b = append(b, p[:min(len(p), 2)]...)
		case 7:
			b = append(b, `,"some_long_key":`...)
		}
	}
	return b[:n]
}

func BenchmarkPack(b *testing.B) {
	r := newRand(24)
	for _, c := range []struct {
		name string
		src  []byte
	}{{"bids", fillJSON(r, 1<<20)}, {"values", fillValues(r, 30_000)}, {"words", bytes.Repeat([]byte(`"name":"walnut lamp","price":{"amount":12.50,"currency":"EUR"},`), 16_000)}, {"random", fillRandom(r, 1<<20)}} {
		b.Run("of="+c.name, func(b *testing.B) {
			b.SetBytes(16 << 10)
			b.ReportAllocs()
			var p packer
			var text, vals []byte
			at := 0
			for b.Loop() {
				if at+16<<10 > len(c.src) {
					at = 0
				}
				text, vals = p.pack(text[:0], vals[:0], c.src[at:at+16<<10], true)
				at += 16 << 10
			}
		})
		b.Run("back/of="+c.name, func(b *testing.B) {
			src := c.src[:16<<10]
			b.SetBytes(int64(len(src)))
			b.ReportAllocs()
			var p packer
			text, vals := p.pack(nil, nil, src, true)
			dst := make([]byte, len(src))
			for b.Loop() {
				if err := new(unpacker).unpack(dst, text, vals); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}
