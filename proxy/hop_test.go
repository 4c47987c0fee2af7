package proxy

import (
	"testing"

	"github.com/h2tp/h2tp/compress"
)

// A level for which there is no memory is not used; the codec still is, while there is
// memory for its least one.
func TestLevelGivesWayBeforeTheCodec(t *testing.T) {
	h := Hop{CompressLevel: compress.Best, Memory: compress.NewMemory(40 << 20)}
	costs := make([]int64, 5)
	for i := range costs {
		before := h.Memory.Used()
		if _, err := h.newEncoder(compress.Zstd, h.CompressLevel, 256<<10); err != nil && i < 3 {
			t.Fatalf("encoder %d: %v", i, err)
		}
		costs[i] = (h.Memory.Used() - before) >> 20
	}
	if costs[0] < 30 || costs[1] != 1 || costs[2] != 1 || costs[4] != 0 {
		t.Errorf("encoders took %v MiB; want one of level best, then of fastest, then none", costs)
	}
	if _, err := NewFront(Config{To: []string{"h2tpc://back:1"}, Hop: Hop{CompressLevel: compress.Best + 1}}); err == nil {
		t.Error("an unknown level: got no error")
	}
}
