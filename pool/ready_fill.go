package pool

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"time"
)

// ReadyConfig configures a [Ready].
type ReadyConfig struct {
	// Header opens each stream. If its Path is empty, "/ready" is used.
	Header Header
	// Open opens a stream in place of the Client's, for a choice of its own.
	Open func(ctx context.Context) (*Stream, error)
	// IDField is the field of the answer that holds the id, 8 hex digits. If empty,
	// "ready-id" is used.
	IDField string
	// MinCapacity and MaxCapacity bound how many streams are kept ready. If zero, 4
	// and 64 are used, or the other one where it leaves no room.
	MinCapacity, MaxCapacity int
	// MinInterval and MaxInterval bound the time between creations. If zero, 10 ms
	// and 1 s are used.
	MinInterval, MaxInterval time.Duration
	// OpenTimeout bounds the opening of one stream. If zero, 5 s is used.
	OpenTimeout time.Duration
	// Release asks the server, by means of the caller's own, to end a ready stream
	// that is MaxAge old, as only the server knows that it has not acquired it. It is
	// called without locks held and must not block. If nil, MaxAge has no effect, and
	// replacing what is old is left to the server: [ReadySetConfig] has a MaxAge too.
	Release func(id uint32)
	// Lost is told of each stream that was opened and that Take will not return, once
	// or twice, so that what its owner holds for it can be let go. It is called without
	// locks held. If nil, nobody is told.
	Lost func(s *Stream)
	// MaxAge is when a stream that was not taken is replaced: an intermediary may cut
	// one that is silent for a minute. If zero, 45 s is used. If negative, it is not.
	MaxAge time.Duration
}

func (c ReadyConfig) withDefaults() (ReadyConfig, error) {
	if c.Header.Path == "" {
		c.Header.Path = "/ready"
	}
	if c.IDField == "" {
		c.IDField = readyIDField
	}
	if c.MinCapacity == 0 {
		c.MinCapacity = 4
		if c.MaxCapacity > 0 {
			c.MinCapacity = min(4, c.MaxCapacity)
		}
	}
	if c.MaxCapacity == 0 {
		c.MaxCapacity = max(64, c.MinCapacity)
	}
	setDefault(&c.MinInterval, 10*time.Millisecond)
	setDefault(&c.MaxInterval, max(time.Second, c.MinInterval))
	setDefault(&c.OpenTimeout, 5*time.Second)
	setDefault(&c.MaxAge, readyAge)
	switch {
	case c.MinCapacity < 1 || c.MaxCapacity < c.MinCapacity:
		return c, fmt.Errorf("pool: MinCapacity is %d and MaxCapacity %d", c.MinCapacity, c.MaxCapacity)
	case c.MinInterval < 0 || c.MaxInterval < c.MinInterval:
		return c, fmt.Errorf("pool: MinInterval is %v and MaxInterval %v", c.MinInterval, c.MaxInterval)
	case c.OpenTimeout < 0:
		return c, errors.New("pool: OpenTimeout is negative")
	}
	return c, nil
}

// Ready returns how many streams can be taken at once.
func (r *Ready) Ready() int {
	r.mu.Lock()
	defer r.mu.Unlock()
	return len(r.lists[offered])
}

// Active returns how many streams were taken and are not over.
func (r *Ready) Active() int {
	r.mu.Lock()
	defer r.mu.Unlock()
	n := len(r.streams)
	for _, list := range r.lists {
		n -= len(list)
	}
	return n
}

// Capacity returns how many streams it aims to keep ready.
func (r *Ready) Capacity() int {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.capacity
}

// Interval returns the time between creations.
func (r *Ready) Interval() time.Duration {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.interval
}

// Errors returns how many streams could not be opened, or were ended by an error
// before they were taken, since the beginning or ResetErrors.
func (r *Ready) Errors() int64 {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.errors
}

// Err returns the last of those errors, nil when there is none.
func (r *Ready) Err() error {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.err
}

// ResetErrors makes Errors count from 0 and forgets the last one.
func (r *Ready) ResetErrors() {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.errors, r.err = 0, nil
}

// fillLoop makes streams until Close.
func (r *Ready) fillLoop() {
	defer close(r.donec)
	timer := time.NewTimer(0)
	defer timer.Stop()
	for {
		select {
		case <-r.wakec:
		case <-timer.C:
		case <-r.ctx.Done():
			r.end()
			return
		}
		timer.Reset(r.turn(time.Now()))
	}
}

// turn does what is due and returns when something may be next.
func (r *Ready) turn(now time.Time) time.Duration {
	r.mu.Lock()
	old := r.agedLocked(now)
	gone := r.tidyLocked(now)
	n := r.fillLocked(now)
	r.opening += n
	next := r.dueLocked()
	if r.cfg.MaxAge > 0 && r.cfg.Release != nil {
		next = sooner(next, r.lists[offered], r.cfg.MaxAge)
	}
	next = sooner(next, r.lists[ended], r.cfg.OpenTimeout)
	next = sooner(next, r.lists[dropped], r.cfg.OpenTimeout)
	r.mu.Unlock()
	for range n {
		r.opens.Go(r.open)
	}
	r.release(old)
	for _, e := range gone {
		r.lose(e.s)
	}
	return next.Sub(now)
}

// sooner returns when the oldest of a list is that old, if that is before next.
func sooner(next time.Time, list []*readyStream, age time.Duration) time.Time {
	if len(list) > 0 {
		if t := list[0].since.Add(age); t.Before(next) {
			return t
		}
	}
	return next
}

// agedLocked moves the streams that are too old to those the server is asked to end.
func (r *Ready) agedLocked(now time.Time) (old []*readyStream) {
	if r.cfg.MaxAge < 0 || r.cfg.Release == nil || r.ctx.Err() != nil {
		return nil
	}
	for _, e := range r.lists[offered] {
		if now.Sub(e.since) >= r.cfg.MaxAge {
			old = append(old, e)
		}
	}
	for _, e := range old {
		r.moveLocked(e, asked)
	}
	return old
}

// tidyLocked forgets what is known of ids for too long, or of too many. It returns
// those whose stream is to be closed: it is over, or the server was asked to end it
// and does not.
func (r *Ready) tidyLocked(now time.Time) (gone []*readyStream) {
	trim := func(st readyState, limit int, age time.Duration) (gone []*readyStream) {
		for list := r.lists[st]; len(list) > 0 && (len(list) > limit || now.Sub(list[0].since) >= age); list = r.lists[st] {
			gone = append(gone, list[0])
			r.moveLocked(list[0], forgotten)
		}
		return gone
	}
	trim(dropped, maxDropped, r.cfg.OpenTimeout)
	return append(trim(ended, r.cfg.MaxCapacity, r.cfg.OpenTimeout), trim(asked, r.cfg.MaxCapacity, 1<<62)...)
}

// never is later than any timer needs.
const never = 24 * time.Hour

// fullLocked is what counts as there: the streams ready and those under way.
func (r *Ready) fullLocked() int { return len(r.lists[offered]) + r.opening }

// isLowLocked reports whether the pool is under 20 % full.
func (r *Ready) isLowLocked() bool { return 5*r.fullLocked() < r.capacity }

// dueLocked returns when fillLocked has something to do next.
func (r *Ready) dueLocked() time.Time {
	isShort := r.fullLocked() < r.capacity
	switch {
	case r.isDraining:
	case isShort && r.isLowLocked() && !r.isFailing:
		return r.last.Add(r.cfg.MinInterval)
	case isShort || r.capacity > r.cfg.MinCapacity || r.interval < r.cfg.MaxInterval:
		return r.last.Add(r.interval)
	}
	return time.Now().Add(never)
}

// fillLocked ends an interval: it adapts capacity and interval to what came of it, and
// returns how many streams to open.
func (r *Ready) fillLocked(now time.Time) int {
	if r.isDraining || r.ctx.Err() != nil || now.Before(r.dueLocked()) {
		return 0
	}
	full, tried := r.fullLocked(), r.opened+r.failed
	isLow, isHigh := r.isLowLocked(), 5*full > 4*r.capacity
	isFailed := tried > 0 && 5*r.opened < tried
	if tried > 0 {
		r.isFailing = isFailed
		r.isWorking = 5*r.opened > 4*tried
	}
	isUnused := r.taken == 0 && r.interval == r.cfg.MaxInterval
	switch {
	case isFailed || isUnused:
		r.capacity = max(r.capacity/2, r.cfg.MinCapacity)
	case isLow && r.isWorking && r.taken > 0:
		r.capacity = min(2*r.capacity, r.cfg.MaxCapacity)
	}
	switch {
	case isFailed || isHigh:
		r.interval = min(2*r.interval, r.cfg.MaxInterval)
	case isLow:
		r.interval = max(r.interval/2, r.cfg.MinInterval)
	}
	r.opened, r.failed, r.taken, r.last = 0, 0, 0, now
	return max(0, r.capacity-full)
}

// end ends what was not taken, and waits for what is being opened.
func (r *Ready) end() {
	r.opens.Wait()
	r.mu.Lock()
	left := slices.Concat(r.lists[offered], r.lists[asked], r.lists[ended])
	for _, e := range left {
		r.moveLocked(e, forgotten)
	}
	r.mu.Unlock()
	for _, e := range left {
		r.lose(e.s)
	}
}

// lose ends a stream that nobody takes.
func (r *Ready) lose(s *Stream) {
	s.Close()
	if r.cfg.Lost != nil {
		r.cfg.Lost(s)
	}
}
