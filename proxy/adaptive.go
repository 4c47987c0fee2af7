package proxy

import (
	"math"
	"sync"
	"sync/atomic"
	"time"
)

const (
	adaptiveLeast  = 4  // exchanges, below which no limit goes
	adaptiveFirst  = 50 // the limit at the start
	adaptiveWindow = 100 * time.Millisecond
	adaptiveCounts = 16   // a window has so many answers at least
	adaptiveSlack  = 1.25 // times the time among few, which is no sign of too many
	// Each period a window with half the limit finds the time among few anew: an
	// upstream that has become slower for all is not taken for one that has too many.
	adaptivePeriod = 30 * time.Second
)

// adaptive finds how many exchanges a destination bears: so many that it answers about
// as soon as it does among few. Each window the limit shrinks as its times have grown, by
// half at most, and grows by its root.
type adaptive struct {
	limit atomic.Int64 // in force
	peak  atomic.Int64 // most in flight in this window

	mu      sync.Mutex // guards all below
	most    float64    // no limit is larger
	found   float64    // the limit, but for a window with half of it
	base    time.Duration
	began   time.Duration // of the window, on the route's clock
	sum     time.Duration // of the times in it
	n       int
	probeAt time.Duration
	isProbe bool // this window has half the limit
}

// bound sets what no limit is larger than; 0 is any number.
func (a *adaptive) bound(most int) {
	a.mu.Lock()
	defer a.mu.Unlock()
	if most == 0 {
		most = math.MaxInt32
	}
	a.most = float64(most)
	if a.found == 0 {
		a.found = adaptiveFirst
	}
	a.setLocked(a.found)
}

func (a *adaptive) setLocked(limit float64) {
	a.found = min(max(limit, adaptiveLeast), a.most)
	now := a.found
	if a.isProbe {
		now = min(max(now/2, adaptiveLeast), a.most)
	}
	a.limit.Store(int64(now))
}

// noteRunning notes that so many are in flight.
func (a *adaptive) noteRunning(n int) {
	if int64(n) > a.peak.Load() {
		a.peak.Store(int64(n)) // one lost to another is no loss
	}
}

// sample takes in that an answer took so long.
func (a *adaptive) sample(now, took time.Duration) {
	a.mu.Lock()
	defer a.mu.Unlock()
	if a.isProbe && now-took < a.began {
		return // it began among more
	}
	a.sum += took
	a.n++
	if now-a.began < adaptiveWindow || a.n < adaptiveCounts {
		return
	}
	mean := max(a.sum/time.Duration(a.n), 1)
	a.began, a.sum, a.n = now, 0, 0
	peak := float64(a.peak.Swap(0))
	if a.isProbe || a.base == 0 || mean < a.base {
		a.base = mean
	}
	next := a.found
	if !a.isProbe {
		next = a.found*min(1, max(0.5, adaptiveSlack*float64(a.base)/float64(mean))) + math.Sqrt(a.found)
	}
	if next > a.found && 2*peak < a.found {
		next = a.found // what is not used says nothing
	}
	switch {
	case a.probeAt == 0 || a.isProbe:
		a.isProbe, a.probeAt = false, now+adaptivePeriod
	case now >= a.probeAt:
		a.isProbe = true
	}
	a.setLocked(next)
}
