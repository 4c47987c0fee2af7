package pool

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"time"

	"golang.org/x/net/http2"
)

// readyState is what has become of an id.
type readyState int

const (
	// wanted: Take waits for its stream. Left when that comes (taken), when Take gives
	// up (dropped), or when none is being opened any more (forgotten).
	wanted readyState = iota
	// offered: its stream is ready. Left by Take (taken), at MaxAge or by Flush (asked),
	// and when the stream is over (ended).
	offered
	// asked: the server was asked to end the stream, and does unless it has acquired it
	// meanwhile; so it may be taken still, but does not count as ready.
	asked
	// ended: the stream was over before it was taken; nothing orders that and its
	// naming. Forgotten after OpenTimeout.
	ended
	// dropped: nobody will take the stream, which has not come: it is reset when it does.
	// Forgotten after OpenTimeout, since it has come or failed by then.
	dropped
	// taken: it is its taker's until it is over (forgotten).
	taken
	// forgotten: not known any more.
	forgotten
)

// readyStream is an id and what is known of it.
type readyStream struct {
	id    uint32
	state readyState
	since time.Time // when it came to state
	s     *Stream
	err   error         // ended: why, when there is nothing to read from it
	c     chan struct{} // wanted: closed once s is set, or can be no more
}

// maxDropped bounds the ids remembered of streams that nobody will take.
const maxDropped = 1024

// enterLocked adds an id.
func (r *Ready) enterLocked(e *readyStream, to readyState) {
	e.state = forgotten
	r.streams[e.id] = e
	r.moveLocked(e, to)
}

// moveLocked brings an id to another state.
func (r *Ready) moveLocked(e *readyStream, to readyState) {
	if e.state < taken {
		list := r.lists[e.state]
		i := slices.Index(list, e)
		r.lists[e.state] = slices.Delete(list, i, i+1)
	}
	e.state, e.since = to, time.Now()
	switch {
	case to < taken:
		r.lists[to] = append(r.lists[to], e)
	case to == forgotten:
		delete(r.streams, e.id)
	}
}

// over notes that a stream has ended.
func (r *Ready) over(e *readyStream) {
	err := e.s.cutErr()
	r.mu.Lock()
	isLost := e.state != taken && err != nil
	switch e.state {
	case offered:
		if err != nil {
			r.failedLocked(err)
			r.opened = max(0, r.opened-1)
		}
		e.err = err
		r.moveLocked(e, ended)
	case asked:
		e.err = err
		r.moveLocked(e, ended)
	case taken:
		r.moveLocked(e, forgotten)
	}
	r.mu.Unlock()
	if isLost {
		r.lose(e.s)
	}
	wake(r.wakec)
}

// open opens one stream.
func (r *Ready) open() {
	ctx, cancel := context.WithTimeout(r.ctx, r.cfg.OpenTimeout)
	defer cancel()
	s, err := r.cfg.Open(ctx)
	if err != nil {
		if isForGood(err) && r.refused() {
			r.c.cfg.Logger.Info("no ready streams", "peer", r.c.cfg.Addr, "err", err)
		}
		r.add(nil, err)
		return
	}
	text := s.Header().Value(r.cfg.IDField)
	id, err := strconv.ParseUint(text, 16, 32)
	if err != nil || id == 0 || len(text) != 8 {
		s.Reset(http2.ErrCodeProtocol)
		r.lose(s)
		r.add(nil, fmt.Errorf("pool: a ready stream's id is %q", text))
		return
	}
	e := &readyStream{id: uint32(id), s: s}
	if e = r.add(e, nil); e == nil {
		s.Reset(http2.ErrCodeCancel)
		r.lose(s)
		return
	}
	s.onOver(func() { r.over(e) })
}

// add offers a stream that was opened, or gives it to who waits for it; it
// returns nil when nobody wants it.
func (r *Ready) add(e *readyStream, err error) *readyStream {
	defer wake(r.wakec)
	r.mu.Lock()
	defer r.mu.Unlock()
	r.opening--
	var was *readyStream
	if e != nil {
		was = r.streams[e.id]
	}
	switch {
	case err != nil:
		r.failedLocked(err)
	case r.ctx.Err() != nil && (was == nil || was.state != wanted):
		e = nil
	case was == nil:
		r.opened++
		r.enterLocked(e, offered)
	case was.state == wanted:
		r.opened++
		r.taken++
		was.s, e = e.s, was
		r.moveLocked(e, taken)
		close(e.c)
	case was.state == dropped:
		e = nil
		r.opened++
		r.moveLocked(was, forgotten)
	default:
		e = nil
		r.failedLocked(fmt.Errorf("pool: two ready streams have the id %08x", was.id))
	}
	if r.opening == 0 {
		r.failWantedLocked()
	}
	return e
}

// failWantedLocked ends the waits for ids whose streams can come no more.
func (r *Ready) failWantedLocked() {
	for _, e := range slices.Clone(r.lists[wanted]) {
		r.moveLocked(e, forgotten)
		close(e.c)
	}
}

// isForGood reports whether the next stream would fail as this did. Who may come, 403, may
// be told while both ends run; and 408 and 429 say themselves that they pass.
func isForGood(err error) bool {
	if _, isOurs := errors.AsType[*HeaderError](err); isOurs {
		return true
	}
	se, ok := errors.AsType[*StatusError](err)
	return ok && slices.Contains([]int{400, 404, 405, 421}, se.Status)
}

// refused ends the making of streams that the server will not have; it reports
// whether it went on until then.
func (r *Ready) refused() bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	isFirst := !r.isDraining
	r.isDraining = true
	return isFirst
}

// failedLocked counts an error.
func (r *Ready) failedLocked(err error) {
	if r.ctx.Err() == nil {
		r.failed++
		r.errors++
		r.err = err
	}
}

// readyError is why an id could not be taken.
type readyError struct {
	id  uint32
	err error
}

func (e *readyError) Error() string { return fmt.Sprintf("ready stream %08x: %v", e.id, e.err) }
func (e *readyError) Unwrap() error { return e.err }
