package compress

import (
	"fmt"
	"testing"
)

// The blocks are OpenRTB-like JSON, distinct, and more than fit any window before they come again.
func BenchmarkEncode(b *testing.B) {
	each(b, func(b *testing.B, id ID, level Level, size int, blocks [][]byte) {
		e, err := NewMemory(-1).NewEncoder(id, EncoderOptions{Level: level})
		if err != nil {
			b.Fatal(err)
		}
		var dst []byte
		var plain, coded, i int
		for b.Loop() {
			src := blocks[i%len(blocks)]
			i++
			if dst, err = e.Encode(dst[:0], src); err != nil {
				b.Fatal(err)
			}
			plain, coded = plain+len(src), coded+len(dst)
		}
		b.ReportMetric(float64(plain)/float64(coded), "ratio")
	})
}

func BenchmarkDecode(b *testing.B) {
	each(b, func(b *testing.B, id ID, level Level, size int, blocks [][]byte) {
		m := NewMemory(-1)
		e, err := m.NewEncoder(id, EncoderOptions{Level: level})
		if err != nil {
			b.Fatal(err)
		}
		d, err := m.NewDecoder(id, DecoderOptions{})
		if err != nil {
			b.Fatal(err)
		}
		coded := make([][]byte, len(blocks))
		for i := range blocks {
			if coded[i], err = e.Encode(nil, blocks[i]); err != nil {
				b.Fatal(err)
			}
		}
		var dst []byte
		i := 0
		for b.Loop() {
			if i == len(blocks) {
				i = 0
				d.Reset()
			}
			if dst, err = d.Decode(dst[:0], coded[i], len(blocks[i])); err != nil {
				b.Fatal(err)
			}
			i++
		}
	})
}

func BenchmarkNew(b *testing.B) {
	for _, id := range contexts {
		b.Run(fmt.Sprintf("codec=%v", id), func(b *testing.B) {
			b.ReportAllocs()
			m := NewMemory(0)
			src := messages(1, 2<<10)[0]
			for b.Loop() {
				e, _ := m.NewEncoder(id, EncoderOptions{})
				d, _ := m.NewDecoder(id, DecoderOptions{})
				coded, _ := e.Encode(nil, src)
				if _, err := d.Decode(nil, coded, len(src)); err != nil {
					b.Fatal(err)
				}
				e.Close()
				d.Close()
			}
		})
	}
}

func each(b *testing.B, f func(b *testing.B, id ID, level Level, size int, blocks [][]byte)) {
	for _, size := range []int{2 << 10, 18 << 10} {
		blocks := messages(18<<20/size, size)
		total := 0
		for _, block := range blocks {
			total += len(block)
		}
		for _, c := range []struct {
			id    ID
			level Level
		}{{None, Fastest}, {Snappy, Fastest}, {Flate, Fastest}, {Zstd, Fastest}, {Zstd, Default}, {Zstd, Better}} {
			name := fmt.Sprintf("codec=%v/size=%dK", c.id, size>>10)
			if c.level != Fastest {
				name = fmt.Sprintf("codec=%v/level=%v/size=%dK", c.id, c.level, size>>10)
			}
			b.Run(name, func(b *testing.B) {
				b.ReportAllocs()
				b.SetBytes(int64(total / len(blocks)))
				f(b, c.id, c.level, size, blocks)
			})
		}
	}
}
