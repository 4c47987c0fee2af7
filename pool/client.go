package pool

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"
	"time"

	"golang.org/x/net/http2"
)

// Client keeps HTTP/2 connections to one peer and opens streams on them. Its
// methods may be called concurrently.
type Client struct {
	cfg    ClientConfig
	ctx    context.Context // ends at Close
	cancel context.CancelFunc
	wg     sync.WaitGroup
	wakec  chan struct{} // wakes dialLoop, capacity 1
	roomc  chan struct{} // wakes one call of Open that waits, capacity 1

	mu         sync.Mutex // guards all below
	conns      []*conn
	waiters    int           // calls of Open that wait for a connection
	changedc   chan struct{} // closed and replaced when conns change
	dialErr    error         // why the last dial failed; nil after one that worked
	isLost     bool          // the loss of the connection was logged
	isYoung    bool          // a dial failed, or a connection was lost soon after its
	backoff    time.Duration // the last one; 0 once a connection was not lost soon
	isDraining bool
	bytesIn    int64 // of connections that are gone
	bytesOut   int64
	wire       WireStats
	dials      int64
	errors     int64
}

// NewClient makes a Client and begins to dial at once.
func NewClient(cfg ClientConfig) (*Client, error) {
	cfg, err := cfg.withDefaults()
	if err != nil {
		return nil, err
	}
	c := &Client{cfg: cfg, wakec: make(chan struct{}, 1), roomc: make(chan struct{}, 1), changedc: make(chan struct{})}
	c.ctx, c.cancel = context.WithCancel(context.Background())
	c.wg.Go(c.dialLoop)
	return c, nil
}

// openTries bounds the streams that one Open opens.
const openTries = 4

// Open opens a stream and waits for the response's header section. While there
// is no connection with room it waits for one until ctx ends, however many calls
// wait; the error then tells why the last dial failed. A status other than 200 is
// a [*StatusError]. A header section that the peer would not take is a [*HeaderError],
// and nothing is sent. An error that is [ErrNotStarted] means that the peer did not
// process the stream; without a Receiver, Open itself tries again, a few times, where the
// peer only drains.
func (c *Client) Open(ctx context.Context, h Header, r Receiver) (*Stream, error) {
	return c.OpenBeside(ctx, nil, h, r)
}

// OpenBeside is Open on the connection of another stream, as long as that has room:
// what is behind one connection may not be behind the next.
func (c *Client) OpenBeside(ctx context.Context, beside *Stream, h Header, r Receiver) (*Stream, error) {
	if h.Method == "" {
		h.Method = "POST"
	}
	if h.Authority == "" {
		h.Authority = c.cfg.Addr
	}
	if h.Scheme = "https"; c.cfg.Cleartext {
		h.Scheme = "http"
	}
	if err := h.checkRequest(); err != nil {
		return nil, err
	}
	for try := 1; ; try++ {
		s, err := c.open(ctx, beside, &h, r)
		if err != nil {
			return nil, err
		}
		err = s.awaitHeader(ctx)
		switch {
		case err == nil && s.header.Status != 200:
			err = &StatusError{Status: s.header.Status, Header: s.header}
			s.reset(http2.ErrCodeCancel, err)
			return nil, err
		case err == nil:
			return s, nil
		case r != nil || err != ErrGoAway || try == openTries: // by an error, what is asked for may be its cause
			return nil, err
		}
	}
}

// open opens a stream on a connection, for which it may have to wait.
func (c *Client) open(ctx context.Context, beside *Stream, h *Header, r Receiver) (*Stream, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	for {
		if c.isDraining || c.ctx.Err() != nil {
			return nil, ErrClosed
		}
		if best := c.pickLocked(beside); best != nil {
			c.mu.Unlock()
			s, err := best.open(h, r)
			if err == nil {
				c.cfg.Trace.opened(s)
			}
			c.mu.Lock()
			if _, isOurs := errors.AsType[*HeaderError](err); err == nil || isOurs {
				c.passLocked()
				return s, err
			}
			continue
		}
		if err := c.waitLocked(ctx); err != nil {
			return nil, err
		}
	}
}

// waitLocked waits, without the lock, until a connection may have room.
func (c *Client) waitLocked(ctx context.Context) error {
	c.waiters++
	changedc := c.changedc
	c.mu.Unlock()
	wake(c.wakec)
	select {
	case <-changedc:
	case <-c.roomc:
	case <-ctx.Done():
	case <-c.ctx.Done():
	}
	c.mu.Lock()
	c.waiters--
	if ctx.Err() == nil {
		return nil
	}
	c.passLocked()
	if c.dialErr != nil {
		return fmt.Errorf("%w (%w)", c.dialErr, context.Cause(ctx))
	}
	return fmt.Errorf("no connection to %s: %w", c.cfg.Addr, context.Cause(ctx))
}

// passLocked lets another call that waits look for room, of which there may be
// more than one stream's.
func (c *Client) passLocked() {
	if c.waiters > 0 {
		wake(c.roomc)
	}
}

// Err returns why the last dial failed, nil when it did not.
func (c *Client) Err() error {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.dialErr
}

// ResetErrors sets [Stats.Errors] to zero and returns what it was.
func (c *Client) ResetErrors() int64 {
	c.mu.Lock()
	defer c.mu.Unlock()
	n := c.errors
	c.errors = 0
	return n
}

// Flush replaces all connections: those without a stream are closed, the others
// when their last stream has ended, and new streams are opened on new ones, as
// after a change of certificates or of what Resolve tells. It does not wait.
func (c *Client) Flush() {
	c.mu.Lock()
	conns := slices.Clone(c.conns)
	for _, cn := range conns {
		cn.isLost = true // as far as the back-off is concerned, it is not
	}
	c.mu.Unlock()
	for _, cn := range conns {
		cn.drain()
	}
}

// Leave is Flush for a peer that drains: it is told nothing, and what belongs to the streams that
// are open may still be opened beside them, by [Client.OpenBeside].
func (c *Client) Leave() {
	c.mu.Lock()
	conns := slices.Clone(c.conns)
	c.mu.Unlock()
	for _, cn := range conns {
		cn.leave()
	}
}

// Shutdown opens no more streams, waits until those that are open have ended or
// ctx ends, and closes.
func (c *Client) Shutdown(ctx context.Context) error {
	c.mu.Lock()
	c.isDraining = true
	conns := slices.Clone(c.conns)
	c.broadcastLocked()
	c.mu.Unlock()
	for _, cn := range conns {
		cn.drain()
	}
	for _, cn := range conns {
		select {
		case <-cn.donec:
		case <-ctx.Done():
			c.Close()
			return context.Cause(ctx)
		}
	}
	return c.Close()
}

// Close ends every stream and connection and waits for the goroutines.
func (c *Client) Close() error {
	c.mu.Lock()
	c.isDraining = true
	c.cancel()
	conns := slices.Clone(c.conns)
	c.mu.Unlock()
	for _, cn := range conns {
		cn.close(ErrClosed)
	}
	c.wg.Wait()
	return nil
}
