package bench

import (
	"runtime"
	"sync"
	"testing"
	"time"
)

// callers are goroutines that each make one exchange at a time.
type callers struct {
	n     int
	each  int // exchanges of one caller in a round
	goc   []chan struct{}
	round sync.WaitGroup
	all   sync.WaitGroup
}

// startCallers starts n callers, which stop when the test ends. exchange makes
// one exchange as the caller with that number.
func startCallers(tb testing.TB, n int, exchange func(caller int)) *callers {
	c := &callers{n: n, each: min(max(20_000/n, 10), 1000), goc: make([]chan struct{}, n)}
	for i := range c.goc {
		c.goc[i] = make(chan struct{}, 1)
		c.all.Go(func() { c.callLoop(i, exchange) })
	}
	tb.Cleanup(c.stop)
	return c
}

func (c *callers) callLoop(i int, exchange func(int)) {
	for range c.goc[i] {
		for range c.each {
			exchange(i)
		}
		c.round.Done()
	}
}

// run lets every caller make its exchanges of one round, and returns their number.
func (c *callers) run() int {
	c.round.Add(c.n)
	for _, goc := range c.goc {
		goc <- struct{}{}
	}
	c.round.Wait()
	return c.n * c.each
}

func (c *callers) stop() {
	for _, goc := range c.goc {
		close(goc)
	}
	c.all.Wait()
}

// usage is what a number of exchanges cost.
type usage struct {
	exchanges int
	wall, cpu time.Duration
	mallocs   uint64
	bytes     uint64 // allocated
	wire      int64
}

// now is the usage since the process began, wire counted by wireBytes.
func now(wireBytes func() int64) usage {
	var ms runtime.MemStats
	runtime.ReadMemStats(&ms)
	return usage{wall: time.Since(began), cpu: cpuTime(), mallocs: ms.Mallocs, bytes: ms.TotalAlloc, wire: wireBytes()}
}

var began = time.Now()

func (u usage) since(v usage) usage {
	return usage{
		exchanges: u.exchanges - v.exchanges,
		wall:      u.wall - v.wall, cpu: u.cpu - v.cpu,
		mallocs: u.mallocs - v.mallocs, bytes: u.bytes - v.bytes, wire: u.wire - v.wire,
	}
}

// per is a total per exchange.
func (u usage) per(total float64) float64 { return total / float64(u.exchanges) }

// measure times rounds of c. One iteration of b.Loop is a round, so that even a
// single one has all callers at work; what is reported is per exchange.
func measure(b *testing.B, c *callers, wireBytes func() int64) {
	b.ReportAllocs()
	c.run() // contexts, dictionaries and buffers as they are in the long run
	n := 0
	before := now(wireBytes)
	for b.Loop() {
		n += c.run()
	}
	u := now(wireBytes)
	u.exchanges = n
	u = u.since(before)
	b.ReportMetric(u.per(float64(u.wall.Nanoseconds())), "ns/op")
	b.ReportMetric(u.per(float64(u.cpu.Nanoseconds())/1e3), "cpu-us/op")
	b.ReportMetric(u.per(float64(u.wire)), "wire-B/op")
	b.ReportMetric(u.per(float64(u.mallocs)), "allocs/op")
	b.ReportMetric(u.per(float64(u.bytes)), "B/op")
}
