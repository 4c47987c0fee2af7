package balance

import (
	"sync/atomic"
	"time"
)

// Retries is a budget for repeats: a share of the exchanges, and so many a
// second besides. What is not used is kept for 10 s.
type Retries struct {
	share float64
	each  float64 // a second
	left  atomic.Int64
	hits  atomic.Int64 // repeats that there was no budget for

	// Of tick.
	at    time.Duration
	seen  int64
	part  float64
	slots [retrySlots]float64 // what each second brought
	slot  int
}

const retrySlots = 10

// NewRetries makes a budget; share below 0 is no bound.
func NewRetries(share float64, each int) *Retries {
	r := &Retries{share: share, each: float64(max(each, 0))}
	for i := range r.slots {
		r.slots[i] = r.each
	}
	r.left.Store(int64(retrySlots * r.each))
	return r
}

// Take takes one repeat out, if there is one.
func (r *Retries) Take() bool {
	if r.share < 0 {
		return true
	}
	for {
		n := r.left.Load()
		if n <= 0 {
			r.hits.Add(1)
			return false
		}
		if r.left.CompareAndSwap(n, n-1) {
			return true
		}
	}
}

// Refused is how many repeats the budget had no room for.
func (r *Retries) Refused() int64 { return r.hits.Load() }

// Tick fills the budget; exchanges is their number ever. One goroutine calls it,
// some ten times a second.
func (r *Retries) Tick(now time.Duration, exchanges int64) {
	got := r.share*float64(exchanges-r.seen) + r.each*(now-r.at).Seconds()
	for s := r.at / time.Second; s < now/time.Second && s < r.at/time.Second+retrySlots; s++ {
		r.slot = (r.slot + 1) % retrySlots
		r.slots[r.slot] = 0
	}
	r.slots[r.slot] += got
	r.at, r.seen = now, exchanges
	most := 0.0
	for _, n := range r.slots {
		most += n
	}
	most = max(most, retrySlots*r.each)
	r.part += got
	whole := int64(r.part)
	r.part -= float64(whole)
	for {
		n := r.left.Load()
		if r.left.CompareAndSwap(n, min(n+whole, int64(most))) {
			return
		}
	}
}
