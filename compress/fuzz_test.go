package compress

import (
	"bytes"
	"encoding/binary"
	"testing"
)

// FuzzDecompress takes its input as a codec (1 byte) and blocks: flags (1 byte, bit 0 starts the context
// anew), plain (3 bytes), length (2 bytes), and the bytes, or as many as there are.
func FuzzDecompress(f *testing.F) {
	r := newRand(13)
	for _, id := range codecs {
		e, err := NewMemory(-1).NewEncoder(id, EncoderOptions{Window: 64 << 10})
		if err != nil {
			f.Fatal(err)
		}
		in := []byte{byte(id)}
		for i, src := range [][]byte{[]byte("x"), fillJSON(r, 900), fillJSON(r, 2000), fillZero(r, 40_000), fillWords(r, 500), fillFew(r, flateWindow-900)} {
			if id <= Snappy && len(src) > 10_000 {
				break // long inputs are slow to minimize
			}
			b, err := e.Encode(nil, src)
			if err != nil {
				f.Fatal(err)
			}
			in = append(in, byte(i&4), byte(len(src)>>16), byte(len(src)>>8), byte(len(src)))
			in = append(binary.BigEndian.AppendUint16(in, uint16(len(b))), b...)
			f.Add(bytes.Clone(in))
		}
	}
	f.Fuzz(func(t *testing.T, in []byte) {
		if len(in) == 0 {
			return
		}
		m := NewMemory(-1)
		d, err := m.NewDecoder(ID(in[0]%4), DecoderOptions{Window: 64 << 10})
		if err != nil {
			t.Fatal(err)
		}
		defer d.Close()
		in = in[1:]
		for len(in) >= 6 {
			if in[0]&1 != 0 {
				d.Reset()
			}
			plain := int(in[1])<<16 | int(in[2])<<8 | int(in[3])
			n := min(int(in[4])<<8|int(in[5]), len(in)-6)
			src := in[6 : 6+n]
			in = in[6+n:]
			var got []byte
			taken := allocated(func() { got, err = d.Decode([]byte("dst"), src, plain) })
			if !bytes.HasPrefix(got, []byte("dst")) {
				t.Fatal("what was there before is gone")
			}
			if err == nil && len(got) != 3+plain || err != nil && len(got) != 3 {
				t.Fatalf("got %d bytes, %v; want %d", len(got)-3, err, plain)
			}
			// The context and room for plain; each zstd block, of 4 bytes at least, may make two buffers
			// of at most the window grow by a little, which leaves the old ones behind.
			limit := uint64(2*m.Used()) + 4<<16 + uint64(n/4)*2<<16
			if err == nil || plain/zstdBlock <= n { // the most for which any codec takes room
				limit += uint64(plain) * 3 / 2
			}
			if taken > limit {
				t.Fatalf("%d bytes that announce %d took %d bytes of memory; want at most %d", n, plain, taken, limit)
			}
		}
	})
}

// FuzzPack packs its input in two blocks, and then as one, and unpacks it.
func FuzzPack(f *testing.F) {
	r := newRand(25)
	for range 5 {
		f.Add(fillTokens(r, 600), uint16(300), false)
	}
	f.Add([]byte("\xc1\xc1 123e4567-e89b-12d3-a456-426614174000 \xc1 123e4567-e89b-12d3-a456-426614174000"), uint16(40), true)
	f.Fuzz(func(t *testing.T, src []byte, at uint16, isLight bool) {
		var p packer
		var u unpacker
		p.isLight, u.isLight = isLight, isLight
		cut := min(int(at), len(src))
		for _, block := range [][]byte{src[:cut], src[cut:], src} {
			marks := bytes.Count(block, markBytes)
			text, vals := p.pack(nil, nil, block, marks > 0)
			if len(text)+len(vals) > len(block)+marks+len(block)/maxGrowth+2*maxGrowth || len(text) > len(block)+marks || len(block) > maxUnpacked*len(text) {
				t.Fatalf("%d bytes became %d and %d", len(block), len(text), len(vals))
			}
			back := make([]byte, len(block))
			if err := u.unpack(back, text, vals); err != nil || !bytes.Equal(back, block) {
				t.Fatalf("%q became %q, %q and then %q, %v", block, text, vals, back, err)
			}
		}
	})
}

// FuzzUnpack takes its input as lengths of the text and of the values, and both; then again, for the same
// context. What is unpacked fills the room exactly, and nothing is written beyond it.
func FuzzUnpack(f *testing.F) {
	r := newRand(26)
	for range 5 {
		var p packer
		var in []byte
		size := uint16(0)
		for range 3 {
			src := fillTokens(r, 150)
			text, vals := p.pack(nil, nil, src, true)
			in = append(append(append(in, byte(len(text)), byte(len(vals))), text...), vals...)
			size = uint16(len(src))
		}
		f.Add(in, size)
	}
	f.Fuzz(func(t *testing.T, in []byte, size uint16) {
		var u unpacker
		room := make([]byte, int(size)+64)
		for range 16 {
			if len(in) < 2 {
				return
			}
			n, m := int(in[0]), int(in[1])
			if in = in[2:]; n+m > len(in) {
				return
			}
			text, vals := in[:n:n], in[n:n+m:n+m]
			in = in[n+m:]
			if err := u.unpack(room[:size], text, vals); err == nil && int(size) > maxUnpacked*n {
				t.Fatalf("%d bytes became %d; want at most %d times as many", n, size, maxUnpacked)
			}
			for _, c := range room[size:] {
				if c != 0 {
					t.Fatal("wrote beyond the room")
				}
			}
		}
	})
}
