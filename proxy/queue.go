package proxy

import (
	"sync/atomic"
	"time"

	"github.com/h2tp/h2tp/proxy/internal/balance"
	"github.com/h2tp/h2tp/proxy/internal/wire"
)

// queue is a list of exchanges that wait, first come first served; one that leaves
// it costs no search. It is not safe for concurrent use.
type queue struct {
	first, last *exchange
	n           int
}

func (q *queue) push(ex *exchange) {
	ex.isQueued, ex.before, ex.behind = true, q.last, nil
	if q.last == nil {
		q.first = ex
	} else {
		q.last.behind = ex
	}
	q.last = ex
	q.n++
}

// pop removes and returns the first, nil when there is none.
func (q *queue) pop() *exchange {
	ex := q.first
	if ex != nil {
		q.remove(ex)
	}
	return ex
}

// remove takes ex out and reports whether it was there. An exchange is in one queue
// at most, so whose it is needs no look: only its destination asks.
func (q *queue) remove(ex *exchange) bool {
	if !ex.isQueued {
		return false
	}
	if ex.before == nil {
		q.first = ex.behind
	} else {
		ex.before.behind = ex.behind
	}
	if ex.behind == nil {
		q.last = ex.before
	} else {
		ex.behind.before = ex.before
	}
	ex.isQueued, ex.before, ex.behind = false, nil, nil
	if ex.waiter != nil {
		ex.waiter.isOver = true
	}
	q.n--
	return true
}

// takeAll removes and returns those that match, in order.
func (q *queue) takeAll(match func(*exchange) bool) (out []*exchange) {
	for ex := q.first; ex != nil; {
		next := ex.behind
		if match(ex) {
			q.remove(ex)
			out = append(out, ex)
		}
		ex = next
	}
	return out
}

// lobby is where exchanges wait for one destination: for room within the bound on
// what it has in flight, or for a connection.
type lobby struct {
	// Immutable.
	usual   int           // in flight, where Config.To does not say; 0 is no bound
	length  int           // of the queue; one more is refused
	timeout time.Duration // of a wait
	member  *balance.Member
	adapt   *adaptive // nil without Adaptive

	max           atomic.Int64 // in flight; 0 is no bound
	refused, late atomic.Int64

	// Guarded by the destination's lock.
	queue
	isFull bool // the member was told
}

func (l *lobby) init(cfg *Limits) {
	l.usual, l.length, l.timeout = max(0, cfg.MaxDestExchanges), max(0, cfg.MaxQueue), cfg.QueueTimeout
	if cfg.Adaptive {
		l.adapt = new(adaptive)
	}
	l.bound(0)
}

// bound sets what the destination may have in flight; 0 is the usual.
func (l *lobby) bound(most int) {
	if most == 0 {
		most = l.usual
	}
	l.max.Store(int64(most))
	if l.adapt != nil {
		l.adapt.bound(most)
	}
}

// most is how many exchanges the destination may have in flight, 0 any number.
func (l *lobby) most() int {
	if l.adapt != nil {
		return int(l.adapt.limit.Load())
	}
	return int(l.max.Load())
}

// within is how many exchanges the destination may have when it bears most, those that
// wait too.
func (l *lobby) within(most int) int64 {
	if most == 0 {
		return 0
	}
	return int64(most) + int64(l.length)
}

// hasRoom reports whether there is room for one exchange more than n.
func (l *lobby) hasRoom(n int) bool {
	if l.adapt != nil {
		l.adapt.noteRunning(n + 1)
	}
	most := l.most()
	return most == 0 || n < most
}

// enqueue lets ex wait, and reports whether there was a place.
func (l *lobby) enqueue(ex *exchange, now time.Duration) bool {
	if l.n >= l.length {
		l.refused.Add(1)
		return false
	}
	ex.queued = now
	l.push(ex)
	return true
}

// takeLate takes those out that have waited too long, or have no time left.
func (l *lobby) takeLate(now time.Duration) []*exchange {
	if l.n == 0 {
		return nil
	}
	late := l.takeAll(func(ex *exchange) bool { return now-ex.queued >= l.timeout || now >= ex.deadline })
	for _, ex := range late {
		ex.waited += now - ex.queued
	}
	return late
}

// lateness says why an exchange ends that waited too long for room.
func (l *lobby) lateness(ex *exchange, now time.Duration) failure {
	if now >= ex.deadline {
		return failure{code: wire.CodeTimeout, isNotStarted: true, err: ErrTimeout}
	}
	l.late.Add(1)
	return failure{code: wire.CodeOverload, isNotStarted: true, isLate: true, err: ErrOverloaded}
}

// tell tells the balance of a change: where there is no room, others are preferred.
func (l *lobby) tell(isFull bool) {
	if isFull != l.isFull {
		l.isFull = isFull
		if l.member != nil {
			l.member.Full(isFull)
		}
	}
}

// waiter is a goroutine that waits with its exchange in a lobby.
type waiter struct {
	c      chan struct{} // closed at the end of the wait
	f      *failure      // why the wait was in vain, else nil
	ps     *peerStream   // of a peer: whose session to join
	isOver bool          // its exchange was taken out; guarded by the destination's lock
}

// begin ends the wait well.
func (w *waiter) begin() { close(w.c) }

func (w *waiter) fail(f failure) {
	w.f = &f
	close(w.c)
}
