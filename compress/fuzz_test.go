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
