package compress

import (
	"errors"
	"runtime"
	"testing"
	"time"
)

func TestMemoryRefusesWhatDoesNotFit(t *testing.T) {
	m := NewMemory(2 << 20)
	e, err := m.NewEncoder(Zstd, EncoderOptions{})
	if err != nil {
		t.Fatal(err)
	}
	used := m.Used()
	if used == 0 {
		t.Fatal("nothing is reserved for a zstd encoder")
	}
	if _, err := m.NewEncoder(Zstd, EncoderOptions{}); !errors.Is(err, ErrMemory) {
		t.Fatalf("second encoder: got %v; want ErrMemory", err)
	}
	if _, err := m.NewDecoder(Zstd, DecoderOptions{Window: 4 << 20}); !errors.Is(err, ErrMemory) {
		t.Fatalf("large decoder: got %v; want ErrMemory", err)
	}
	if m.Used() != used {
		t.Fatalf("after refusals: got %d used; want %d", m.Used(), used)
	}
	if m.Refused() != 2 {
		t.Errorf("%d refusals are counted; want 2", m.Refused())
	}
	s, err := m.NewEncoder(Snappy, EncoderOptions{})
	if err != nil {
		t.Fatalf("snappy when zstd does not fit: %v", err)
	}
	s.Close()
	e.Close()
	e.Close()
	if m.Used() != 0 {
		t.Fatalf("all closed, some twice: got %d used; want 0", m.Used())
	}
	d, err := m.NewDecoder(Zstd, DecoderOptions{})
	if err != nil {
		t.Fatalf("after closing: %v", err)
	}
	d.Close()
	d.Close()
	if m.Used() != 0 {
		t.Fatalf("decoder closed twice: got %d used; want 0", m.Used())
	}
}

func TestMemoryLimit(t *testing.T) {
	for _, c := range []struct{ given, want int64 }{{0, 256 << 20}, {5, 5}, {-1, -1}} {
		if got := NewMemory(c.given).Limit(); got != c.want {
			t.Errorf("NewMemory(%d): got %d; want %d", c.given, got, c.want)
		}
	}
}

func TestOptionsAreChecked(t *testing.T) {
	m := NewMemory(0)
	for _, window := range []int{-1, 1, minWindow - 1, maxWindow + 1} {
		if _, err := m.NewEncoder(Zstd, EncoderOptions{Window: window}); err == nil {
			t.Errorf("encoder with window %d: got no error", window)
		}
		if _, err := m.NewDecoder(Zstd, DecoderOptions{Window: window}); err == nil {
			t.Errorf("decoder with window %d: got no error", window)
		}
	}
	if _, err := m.NewEncoder(Zstd, EncoderOptions{Level: Best + 1}); err == nil {
		t.Error("encoder with an unknown level: got no error")
	}
	if _, err := m.NewEncoder(4, EncoderOptions{}); err == nil {
		t.Error("encoder with an unknown codec: got no error")
	}
	if _, err := m.NewDecoder(4, DecoderOptions{}); err == nil {
		t.Error("decoder with an unknown codec: got no error")
	}
	if m.Used() != 0 {
		t.Errorf("got %d used; want 0", m.Used())
	}
}

// TestCostIsNoLessThanReal feeds contexts what makes them grow and compares the heap with the accounts.
func TestCostIsNoLessThanReal(t *testing.T) {
	if raceEnabled {
		t.Skip("the race detector takes memory of its own")
	}
	type config struct {
		id     ID
		level  Level
		window int
	}
	configs := []config{
		{Snappy, Fastest, 0}, {Flate, Fastest, 0}, {Flate, Default, 0}, {Flate, Better, 0}, {Flate, Best, 0},
		{Zstd, Fastest, 1 << 10}, {Zstd, Fastest, 16 << 10}, {Zstd, Fastest, 128 << 10}, {Zstd, Fastest, 0}, {Zstd, Fastest, maxWindow},
		{Zstd, Default, 0}, {Zstd, Better, 0}, {Zstd, Best, 0},
	}
	r := newRand(5)
	var inputs [][]byte
	for _, fill := range fills {
		inputs = append(inputs, fill.make(r, 300<<10))
	}
	inputs = append(inputs, messages(1, 2<<10)...)
	inputs = append(inputs, fillValues(r, slots))
	buf := make([]byte, 0, 1<<20)

	for _, c := range configs {
		n := int64(3)
		if c.level == Best {
			n = 1
		}
		m := NewMemory(-1)
		before := heap()
		var es []*Encoder
		for range n {
			e, err := m.NewEncoder(c.id, EncoderOptions{Level: c.level, Window: c.window})
			if err != nil {
				t.Fatal(err)
			}
			for _, input := range inputs {
				if _, _, err := e.EncodePacked(buf, input); err != nil {
					t.Fatal(err)
				}
			}
			es = append(es, e)
		}
		compareHeap(t, "encoder", c, heap()-before, m.Used())

		var blocks [][]byte
		var packed []bool
		es[0].Reset()
		for _, input := range inputs {
			b, isPacked, err := es[0].EncodePacked(nil, input)
			if err != nil {
				t.Fatal(err)
			}
			blocks, packed = append(blocks, b), append(packed, isPacked)
		}
		used := m.Used()
		before = heap()
		var ds []*Decoder
		for range n {
			d, err := m.NewDecoder(c.id, DecoderOptions{Window: c.window})
			if err != nil {
				t.Fatal(err)
			}
			for i, b := range blocks {
				decode := d.Decode
				if packed[i] {
					decode = d.DecodePacked
				}
				if _, err := decode(buf, b, len(inputs[i])); err != nil {
					t.Fatal(err)
				}
			}
			ds = append(ds, d)
		}
		compareHeap(t, "decoder", c, heap()-before, m.Used()-used)

		before = heap()
		for i := range es {
			es[i].Close()
			ds[i].Close()
		}
		if freed := before - heap(); m.Used() != 0 || freed < used/2 {
			t.Errorf("%+v: closing freed %d KiB of heap and left %d accounted", c, freed>>10, m.Used())
		}
		runtime.KeepAlive(es)
		runtime.KeepAlive(ds)
		runtime.KeepAlive(blocks)
	}
	runtime.KeepAlive(inputs)
	runtime.KeepAlive(buf)
}

func compareHeap(t *testing.T, what string, config any, real, accounted int64) {
	t.Helper()
	t.Logf("%s %+v: %d KiB real, %d accounted", what, config, real>>10, accounted>>10)
	if real > accounted+16<<10 { // what the runtime does meanwhile
		t.Errorf("%s %+v: holds %d bytes; accounted are %d", what, config, real, accounted)
	}
}

func heap() int64 {
	var s runtime.MemStats
	runtime.GC()
	runtime.GC() // empties what sync.Pools kept
	runtime.ReadMemStats(&s)
	return int64(s.HeapAlloc)
}

func TestContextsStartNoGoroutine(t *testing.T) {
	before := runtime.NumGoroutine()
	src := messages(1, 300<<10)[0]
	for _, id := range contexts {
		p := newPair(t, id, Fastest, 0)
		p.pass(src)
		p.e.Reset()
		p.d.Reset()
		p.pass(src)
	}
	// Goroutines of tests before this one may still be on their way out, but none is on its way in.
	for range 100 {
		if runtime.NumGoroutine() <= before {
			return
		}
		time.Sleep(time.Millisecond)
	}
	t.Fatalf("got %d goroutines; want %d", runtime.NumGoroutine(), before)
}
