package pool

import (
	"context"
	"slices"
	"sync"
	"time"

	"golang.org/x/net/http2"
)

// Ready keeps streams open in advance, each under an id that the server chose, so
// that the server has one at hand when it wants to begin: it acquires any of them by
// [ReadySet.Accept], tells the client the id by whatever means, and [Ready.Take]
// returns the other end. Its methods may be called concurrently.
//
// How many it keeps, and how often it makes some, follows what is taken and what
// succeeds. It makes those that are missing every Interval, or as soon as fewer than
// 20 % of Capacity are left, no more often than each MinInterval. Each time it looks at
// what came of the interval:
//
//   - Capacity doubles when over 80 % of the streams tried were opened and what was
//     taken has left fewer than 20 %. It halves when under 20 % were opened, and after
//     a MaxInterval in which nothing was taken; those above it go by their age.
//   - Interval halves when fewer than 20 % are left. It doubles when there are more
//     than 80 %, and when under 20 % of those tried were opened.
//
// Once nothing is missing and both are at rest there is neither timer nor traffic
// until the first stream is MaxAge old.
type Ready struct {
	// Immutable.
	c      *Client
	cfg    ReadyConfig
	ctx    context.Context // ends at Close and at the Client's
	cancel context.CancelFunc
	wakec  chan struct{}  // wakes fillLoop, capacity 1
	donec  chan struct{}  // closed when fillLoop has ended
	opens  sync.WaitGroup // the goroutines in open

	mu         sync.Mutex // guards all below
	streams    map[uint32]*readyStream
	lists      [forgotten][]*readyStream // by state, oldest first; not those taken
	opening    int
	capacity   int
	interval   time.Duration
	last       time.Time // when interval and capacity were last looked at
	isFailing  bool      // under 20 % of those tried were opened when some last were
	isWorking  bool      // over 80 %
	opened     int       // streams since then
	failed     int       // since then: not opened, or ended by an error before they were taken
	taken      int       // since then
	errors     int64
	err        error // the last one
	isDraining bool
}

// Ready begins to keep streams ready; it ends with the Client or by Close, which is
// to come before the Client's Shutdown: that waits for these streams as for all. A
// server that refuses one for what no wait changes, with status 400, 404, 405 or 421, is
// not asked again; after any other failure it is, as Interval says.
func (c *Client) Ready(cfg ReadyConfig) (*Ready, error) {
	cfg, err := cfg.withDefaults()
	if err != nil {
		return nil, err
	}
	if cfg.Open == nil {
		cfg.Open = func(ctx context.Context) (*Stream, error) { return c.Open(ctx, cfg.Header, nil) }
	}
	r := &Ready{
		c: c, cfg: cfg, wakec: make(chan struct{}, 1), donec: make(chan struct{}),
		streams: make(map[uint32]*readyStream), capacity: cfg.MinCapacity, interval: cfg.MinInterval,
	}
	r.ctx, r.cancel = context.WithCancel(c.ctx)
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.isDraining {
		r.cancel()
		return nil, ErrClosed
	}
	c.wg.Go(r.fillLoop)
	return r, nil
}

// Take returns the ready stream with that id, to the first who asks; it is the
// caller's from then on. When the id was learnt before the stream was seen, which
// nothing orders, it waits for it until ctx ends, and then has the stream reset when it
// comes. [ErrTaken] means that the id was taken, or is being waited for;
// [ErrNotReady] that no stream has it nor can come to have it. A stream that was
// over before it was taken gives its error, unless the peer had ended its side: then
// what it sent can be read.
func (r *Ready) Take(ctx context.Context, id uint32) (*Stream, error) {
	r.mu.Lock()
	e := r.streams[id]
	switch {
	case e == nil && r.opening == 0:
		r.mu.Unlock()
		return nil, &readyError{id, ErrNotReady}
	case e == nil:
		e = &readyStream{id: id, c: make(chan struct{})}
		r.enterLocked(e, wanted)
		r.mu.Unlock()
		return r.await(ctx, e)
	case e.state == offered || e.state == asked:
		r.moveLocked(e, taken)
		r.taken++
	case e.state == ended:
		r.moveLocked(e, forgotten)
	default:
		r.mu.Unlock()
		return nil, &readyError{id, ErrTaken}
	}
	r.mu.Unlock()
	wake(r.wakec)
	return r.give(e)
}

// give returns a stream that was taken, unless it is over and there is nothing to read.
func (r *Ready) give(e *readyStream) (*Stream, error) {
	err := e.err
	if err == nil {
		err = e.s.cutErr()
	}
	if err != nil {
		r.lose(e.s)
		return nil, &readyError{e.id, err}
	}
	r.c.cfg.Trace.taken(e.s, e.id)
	return e.s, nil
}

// await waits for a stream that was named before it was seen.
func (r *Ready) await(ctx context.Context, e *readyStream) (*Stream, error) {
	select {
	case <-e.c:
	case <-ctx.Done():
	}
	r.mu.Lock()
	isLate := e.state == wanted
	if isLate {
		r.moveLocked(e, dropped)
	}
	s := e.s
	r.mu.Unlock()
	switch {
	case isLate:
		return nil, &readyError{e.id, context.Cause(ctx)}
	case s == nil:
		return nil, &readyError{e.id, ErrNotReady}
	}
	return r.give(e)
}

// Drop is for an id whose stream nobody will take: it is reset, now or when it
// comes. One that was taken, or is being waited for, is left alone. It does not block.
func (r *Ready) Drop(id uint32) {
	r.mu.Lock()
	e := r.streams[id]
	var s *Stream
	switch {
	case e == nil && r.opening > 0:
		r.enterLocked(&readyStream{id: id}, dropped)
	case e != nil && (e.state == offered || e.state == asked):
		s = e.s
		r.moveLocked(e, forgotten)
	}
	r.mu.Unlock()
	if s != nil {
		s.Reset(http2.ErrCodeCancel)
		r.lose(s)
		wake(r.wakec)
	}
}

// Flush replaces all ready streams: the server is asked to end them by
// ReadyConfig.Release; without it they are reset, and one that the server acquires
// at that moment fails at both ends.
func (r *Ready) Flush() {
	r.mu.Lock()
	all := slices.Clone(r.lists[offered])
	to := asked
	if r.cfg.Release == nil {
		to = ended
	}
	for _, e := range all {
		if to == ended {
			e.err = ErrClosed
		}
		r.moveLocked(e, to)
	}
	r.mu.Unlock()
	r.release(all)
	wake(r.wakec)
}

// release asks the server to end streams, or does itself.
func (r *Ready) release(list []*readyStream) {
	for _, e := range list {
		if r.cfg.Release != nil {
			r.cfg.Release(e.id)
		} else {
			e.s.Close()
		}
	}
}

// Drain makes no more streams; those that are there, or being opened, can be taken.
func (r *Ready) Drain() {
	r.mu.Lock()
	r.isDraining = true
	r.mu.Unlock()
}

// Close makes no more streams, ends those that were not taken, at both ends, and
// waits for the goroutines. Those that were taken are their takers', and end with
// the Client at the latest.
func (r *Ready) Close() error {
	r.cancel()
	<-r.donec
	return nil
}
