package bench

import (
	"flag"
	"fmt"
	"runtime"
	"slices"
	"testing"
)

// recordSize is a request's or response's record after the field dictionary.
const recordSize = 150

// BenchmarkRecords is the pool alone: records batched over one of its streams,
// beside the same over one bare TCP connection.
func BenchmarkRecords(b *testing.B) {
	for _, callers := range []int{1, 10, 100, 1000} {
		b.Run(fmt.Sprintf("via=tcp/callers=%d", callers), func(b *testing.B) {
			l := startTCP(b, callers, recordSize, recordSize, nil, nil)
			benchLink(b, l, callers)
		})
		b.Run(fmt.Sprintf("via=pool/callers=%d", callers), func(b *testing.B) {
			benchLink(b, startPool(b, callers, recordSize, recordSize), callers)
		})
	}
}

func benchLink(b *testing.B, l *link, callers int) {
	c := startCallers(b, callers, l.exchange)
	batches := l.client.batches.Load() + l.server.batches.Load()
	measure(b, c, l.wireBytes)
	batches = l.client.batches.Load() + l.server.batches.Load() - batches
	b.ReportMetric(float64(2*(b.N+1)*callers*c.each)/float64(batches), "records/batch")
}

// oneProcessor limits the process to one processor until b ends.
func oneProcessor(b *testing.B) {
	n := runtime.GOMAXPROCS(1)
	b.Cleanup(func() { runtime.GOMAXPROCS(n) })
}

var (
	ratios = flag.Bool("ratios", false, "TestRatios measures, and prints the ratios")
	rounds = flag.Int("rounds", 9, "rounds of each side that TestRatios interleaves")
)

// TestRatios prints what the pool costs beside a bare connection. The two sides
// take turns, so that what else the machine does falls on both; the figure is the
// median of the rounds' ratios. Nothing is asserted: a shared machine is no judge.
func TestRatios(t *testing.T) {
	if !*ratios {
		t.Skip("measures only with -ratios")
	}
	fmt.Printf("GOMAXPROCS=%d, %d rounds, CPU per exchange\n", runtime.GOMAXPROCS(0), *rounds)
	fmt.Println("callers   tcp us  pool us  ratio  (lowest-highest)  limit  records/batch tcp, pool  overhead B/batch")
	for _, c := range []struct {
		callers int
		limit   float64
	}{{1, 0}, {10, 1.15}, {100, 1.10}, {1000, 1.10}} {
		t.Run(fmt.Sprintf("callers=%d", c.callers), func(t *testing.T) { printRatio(t, c.callers, c.limit) })
	}
}

func printRatio(t *testing.T, n int, limit float64) {
	links := [2]*link{startTCP(t, n, recordSize, recordSize, nil, nil), startPool(t, n, recordSize, recordSize)}
	var cs [2]*callers
	for i, l := range links {
		cs[i] = startCallers(t, n, l.exchange)
		cs[i].run()
	}
	batchesOf := func(l *link) int64 { return l.client.batches.Load() + l.server.batches.Load() }
	payload := func(l *link) int64 { return l.client.written.Load() + l.server.written.Load() }
	var cpu [2][]float64
	var ratio []float64
	var records, batches [2]float64
	var over float64
	for r := range *rounds {
		var took [2]float64
		for k := range 2 {
			i := (k + r) % 2 // the one that begins changes
			l := links[i]
			b0, w0, p0 := batchesOf(l), l.wireBytes(), payload(l)
			before, exchanges := cpuTime(), 0
			for exchanges < min(6000*n, 200_000) {
				exchanges += cs[i].run()
			}
			took[i] = float64((cpuTime() - before).Nanoseconds()) / 1e3 / float64(exchanges)
			cpu[i] = append(cpu[i], took[i])
			records[i] += float64(2 * exchanges)
			batches[i] += float64(batchesOf(l) - b0)
			if i == 1 {
				over += float64(l.wireBytes() - w0 - (payload(l) - p0))
			}
		}
		ratio = append(ratio, took[1]/took[0])
	}
	word := "none"
	if limit > 0 {
		word = fmt.Sprintf("%.2f", limit)
	}
	fmt.Printf("%7d %8.2f %8.2f %6.2f  (%.2f-%.2f)  %10s  %10.1f, %.1f  %22.1f\n", n, median(cpu[0]), median(cpu[1]), median(ratio),
		slices.Min(ratio), slices.Max(ratio), word, records[0]/batches[0], records[1]/batches[1], over/batches[1])
}

func median(v []float64) float64 {
	v = slices.Sorted(slices.Values(v))
	return (v[(len(v)-1)/2] + v[len(v)/2]) / 2
}
