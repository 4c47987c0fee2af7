package pool

import (
	"context"
	"crypto/rand"
	"encoding/binary"
	"errors"
	"fmt"
	"slices"
	"sync"
	"time"

	"golang.org/x/net/http2"
)

const (
	// readyIDField is the field of a ready stream's answer where none is configured.
	readyIDField = "ready-id"
	// readyAge is when a ready stream is replaced: intermediaries cut streams that
	// are silent for a minute.
	readyAge = 45 * time.Second
)

// ReadySetConfig configures a [ReadySet].
type ReadySetConfig struct {
	// IDField is the field of the answer that holds the id; the same as in the
	// client's [ReadyConfig]. If empty, "ready-id" is used.
	IDField string
	// Max bounds the streams that are ready at once; further ones are refused with
	// status 503. If zero, 64 is used.
	Max int
	// MaxAge is when a stream that nobody acquired is ended, so that the client
	// replaces it. If zero, 45 s is used. If negative, it is not: the client asks,
	// and Release does it.
	MaxAge time.Duration
	// Refusal holds further fields of a refusal.
	Refusal []Field
}

// ReadySet is the server's end of ready streams: those that one client, or several,
// keep open by [Client.Ready] so that this end may have one when it wants to begin.
// Its methods may be called concurrently; it has no goroutine.
type ReadySet struct {
	cfg    ReadySetConfig // immutable
	readyc chan struct{}  // wakes an Accept, capacity 1
	donec  chan struct{}  // closed by Close

	mu       sync.Mutex // guards all below
	streams  map[uint32]*heldStream
	ready    []*heldStream // those nobody acquired, oldest first
	opening  int           // those being answered
	timer    *time.Timer   // runs expire; nil until there is a first stream
	isClosed bool
}

// heldStream is a ready stream at the server, until it is over.
type heldStream struct {
	id    uint32
	s     *Stream
	since time.Time
}

// NewReadySet makes an empty set.
func NewReadySet(cfg ReadySetConfig) (*ReadySet, error) {
	if cfg.IDField == "" {
		cfg.IDField = readyIDField
	}
	setDefault(&cfg.Max, 64)
	setDefault(&cfg.MaxAge, readyAge)
	if cfg.Max < 0 {
		return nil, errors.New("pool: Max is negative")
	}
	return &ReadySet{cfg: cfg, readyc: make(chan struct{}, 1), donec: make(chan struct{}), streams: make(map[uint32]*heldStream)}, nil
}

// Offer answers a stream that a client keeps ready, with the fields given and the id
// that it returns, and adds it to the set; [ServerConfig.Accept] may call it. Ids are
// random, never 0, and no two streams of the set have the same. A stream too many,
// or after Close, is refused with status 503 and [ErrExhausted]. It does not block.
func (r *ReadySet) Offer(s *Stream, fields ...Field) (uint32, error) {
	h := &heldStream{s: s, since: time.Now()}
	r.mu.Lock()
	isFull := r.isClosed || len(r.ready)+r.opening >= r.cfg.Max
	if !isFull {
		for h.id == 0 || r.streams[h.id] != nil {
			var b [4]byte
			rand.Read(b[:])
			h.id = binary.BigEndian.Uint32(b[:])
		}
		r.streams[h.id] = h
		r.opening++
	}
	r.mu.Unlock()
	if isFull {
		s.Refuse(503, "too many ready streams\n", r.cfg.Refusal...)
		return 0, ErrExhausted
	}
	// First the answer: once it is in ready, another goroutine may write to it.
	err := s.Respond(200, append(slices.Clone(fields), Field{Name: r.cfg.IDField, Value: fmt.Sprintf("%08x", h.id)})...)
	if _, isOurs := errors.AsType[*HeaderError](err); isOurs { // it got no answer, and nobody would take it
		s.Reset(http2.ErrCodeInternal)
	}
	r.mu.Lock()
	r.opening--
	isClosed := r.isClosed
	if !isClosed {
		r.ready = append(r.ready, h)
		r.armLocked()
	}
	r.mu.Unlock()
	s.onOver(func() { r.over(h) })
	if isClosed {
		s.Close()
		return 0, ErrClosed
	}
	wake(r.readyc)
	return h.id, err
}

// over forgets a stream that has ended.
func (r *ReadySet) over(h *heldStream) {
	r.mu.Lock()
	delete(r.streams, h.id)
	isReady := r.takeLocked(h)
	r.mu.Unlock()
	if isReady {
		h.s.Close()
	}
}

// takeLocked takes a stream out of those that are ready; false when it is none.
func (r *ReadySet) takeLocked(h *heldStream) bool {
	i := slices.Index(r.ready, h)
	if i < 0 {
		return false
	}
	r.ready = slices.Delete(r.ready, i, i+1)
	return true
}

// Acquire takes the stream that has been ready for longest, for exclusive use, and
// returns it with its id, which the client is to be told; nil when none is ready.
func (r *ReadySet) Acquire() (*Stream, uint32) {
	for {
		h := r.first()
		switch {
		case h == nil:
			return nil, 0
		case h.s.Err() == nil:
			h.s.c.cfg.Trace.taken(h.s, h.id)
			return h.s, h.id
		}
		h.s.Close()
	}
}

// first takes the oldest stream out of those that are ready.
func (r *ReadySet) first() *heldStream {
	r.mu.Lock()
	defer r.mu.Unlock()
	if len(r.ready) == 0 {
		return nil
	}
	h := r.ready[0]
	r.takeLocked(h)
	if len(r.ready) > 0 {
		wake(r.readyc) // another Accept may wait
	}
	return h
}

// Accept acquires a stream, waiting for one until ctx ends or Close.
func (r *ReadySet) Accept(ctx context.Context) (*Stream, uint32, error) {
	for {
		if s, id := r.Acquire(); s != nil {
			return s, id, nil
		}
		select {
		case <-r.readyc:
		case <-ctx.Done():
			return nil, 0, context.Cause(ctx)
		case <-r.donec:
			return nil, 0, ErrClosed
		}
	}
}

// Release ends the ready stream with that id, unless it was acquired or there is
// none: what a client that wants it replaced asks for.
func (r *ReadySet) Release(id uint32) {
	r.mu.Lock()
	h := r.streams[id]
	isReady := h != nil && r.takeLocked(h)
	r.mu.Unlock()
	if isReady {
		h.s.Close()
	}
}

// Ready returns how many streams can be acquired at once.
func (r *ReadySet) Ready() int {
	r.mu.Lock()
	defer r.mu.Unlock()
	return len(r.ready)
}

// Active returns how many streams were acquired and are not over.
func (r *ReadySet) Active() int {
	r.mu.Lock()
	defer r.mu.Unlock()
	return len(r.streams) - len(r.ready) - r.opening
}

// Flush ends all ready streams; the clients replace them.
func (r *ReadySet) Flush() {
	r.mu.Lock()
	ready := r.ready
	r.ready = nil
	r.mu.Unlock()
	for _, h := range ready {
		h.s.Close()
	}
}

// Close ends all ready streams, at both ends, and refuses further ones; an Accept
// that waits fails with [ErrClosed]. Those acquired are left to who has them. A
// second call does nothing.
func (r *ReadySet) Close() error {
	r.mu.Lock()
	isFirst := !r.isClosed
	r.isClosed = true
	if r.timer != nil {
		r.timer.Stop()
	}
	r.mu.Unlock()
	if isFirst {
		close(r.donec)
		r.Flush()
	}
	return nil
}

// armLocked sets the timer for the stream that is the first to be too old.
func (r *ReadySet) armLocked() {
	switch {
	case r.cfg.MaxAge < 0 || r.isClosed || len(r.ready) == 0:
	case r.timer == nil:
		r.timer = time.AfterFunc(r.cfg.MaxAge, r.expire)
	case len(r.ready) == 1:
		r.timer.Reset(r.cfg.MaxAge - time.Since(r.ready[0].since))
	}
}

// expire ends the streams that are too old.
func (r *ReadySet) expire() {
	now := time.Now()
	var old []*heldStream
	r.mu.Lock()
	for len(r.ready) > 0 && now.Sub(r.ready[0].since) >= r.cfg.MaxAge {
		old = append(old, r.ready[0])
		r.takeLocked(r.ready[0])
	}
	if len(r.ready) > 0 && !r.isClosed {
		r.timer.Reset(r.cfg.MaxAge - now.Sub(r.ready[0].since))
	}
	r.mu.Unlock()
	for _, h := range old {
		h.s.Close()
	}
}
