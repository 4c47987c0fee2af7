package pool

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"net"
	"sync"
	"time"
)

// Client keeps HTTP/2 connections to one peer and opens streams on them. Its
// methods may be called concurrently.
type Client struct {
	cfg    ClientConfig
	ctx    context.Context // ends at Close
	cancel context.CancelFunc
	wg     sync.WaitGroup
	wakec  chan struct{} // wakes dialLoop, capacity 1

	mu         sync.Mutex // guards all below
	conns      []*conn
	waiters    int           // calls of Open that wait for a connection
	changedc   chan struct{} // closed and replaced when conns or their room change
	dialErr    error         // why the last dial failed; nil after one that worked
	isLost     bool          // the loss of the connection was logged
	isDraining bool
	bytesIn    int64 // of connections that are gone
	bytesOut   int64
	dials      int64
}

// NewClient makes a Client and begins to dial at once.
func NewClient(cfg ClientConfig) (*Client, error) {
	cfg, err := cfg.withDefaults()
	if err != nil {
		return nil, err
	}
	c := &Client{cfg: cfg, wakec: make(chan struct{}, 1), changedc: make(chan struct{})}
	c.ctx, c.cancel = context.WithCancel(context.Background())
	c.wg.Go(c.dialLoop)
	return c, nil
}

// Open opens a stream and waits for the response's header section. While there
// is no connection it waits for one until ctx ends, however many calls wait;
// the error then tells why the last dial failed. A status other than 200 is a
// [*StatusError]. ErrGoAway means that the peer did not process the stream.
func (c *Client) Open(ctx context.Context, h Header, r Receiver) (*Stream, error) {
	if h.Method == "" {
		h.Method = "POST"
	}
	if h.Authority == "" {
		h.Authority = c.cfg.Addr
	}
	if h.Scheme = "https"; c.cfg.Cleartext {
		h.Scheme = "http"
	}
	s, err := c.open(ctx, &h, r)
	if err != nil {
		return nil, err
	}
	if err := s.awaitHeader(ctx); err != nil {
		return nil, err
	}
	if s.header.Status != 200 {
		err := &StatusError{Status: s.header.Status, Header: s.header}
		s.reset(0x8, err)
		return nil, err
	}
	return s, nil
}

func (c *Client) open(ctx context.Context, h *Header, r Receiver) (*Stream, error) {
	c.mu.Lock()
	c.waiters++
	defer func() {
		c.waiters--
		c.mu.Unlock()
	}()
	for {
		if c.isDraining || c.ctx.Err() != nil {
			return nil, ErrClosed
		}
		if best := c.pickLocked(); best != nil {
			c.mu.Unlock()
			s, err := best.open(h, r)
			c.mu.Lock()
			if err == nil {
				return s, nil
			}
			continue
		}
		changedc := c.changedc
		c.mu.Unlock()
		wake(c.wakec)
		select {
		case <-changedc:
		case <-ctx.Done():
		case <-c.ctx.Done():
		}
		c.mu.Lock()
		if ctx.Err() != nil {
			if c.dialErr != nil {
				return nil, fmt.Errorf("%w (%w)", c.dialErr, context.Cause(ctx))
			}
			return nil, fmt.Errorf("no connection to %s: %w", c.cfg.Addr, context.Cause(ctx))
		}
	}
}

// pickLocked returns the connection with room that has the fewest streams.
func (c *Client) pickLocked() *conn {
	var best *conn
	least := 0
	for _, cn := range c.conns {
		if ok, n := cn.hasRoom(); ok && (best == nil || n < least) {
			best, least = cn, n
		}
	}
	return best
}

// steadyAfter is how long a connection must have lived for its loss to be
// followed by a dial at once; one that dies young counts as a failed dial.
const steadyAfter = 2 * time.Second

// extraConns bounds the connections above Conns that are opened when the peer's
// limit of streams is reached on all others.
const extraConns = 8

// dialLoop keeps the configured number of connections, one dial at a time.
func (c *Client) dialLoop() {
	var backoff time.Duration
	var up time.Time // when the last dial worked
	for c.ctx.Err() == nil {
		if !c.isShort() {
			select {
			case <-c.wakec:
			case <-c.ctx.Done():
			}
			continue
		}
		if !up.IsZero() && time.Since(up) >= steadyAfter {
			backoff = 0
		}
		if backoff > 0 && !c.sleep(backoff) {
			return
		}
		err := c.dial()
		if err == nil {
			up = time.Now()
		}
		c.mu.Lock()
		if c.ctx.Err() == nil {
			if err != nil && c.dialErr == nil && !c.isLost {
				c.cfg.Logger.Warn("no connection", "peer", c.cfg.Addr, "err", err)
			}
			if err == nil {
				c.isLost = false
				c.cfg.Logger.Info("connected", "peer", c.cfg.Addr)
			}
			c.dialErr = err
			c.broadcastLocked()
		}
		c.mu.Unlock()
		backoff = min(max(2*backoff, c.cfg.BackoffMin), c.cfg.BackoffIdle)
	}
}

// isShort reports whether a connection is missing.
func (c *Client) isShort() bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	live := 0
	for _, cn := range c.conns {
		if ok, _ := cn.hasRoom(); ok {
			live++
		}
	}
	return live < c.cfg.Conns && len(c.conns) < c.cfg.Conns+extraConns && !c.isDraining
}

// sleep waits out a back-off; one that began while nobody waited for a
// connection is cut to BackoffMax when somebody does.
func (c *Client) sleep(backoff time.Duration) bool {
	jitter := func(d time.Duration) time.Duration { return d*3/4 + rand.N(d/2+1) }
	began := time.Now()
	long, short := jitter(backoff), jitter(min(backoff, c.cfg.BackoffMax))
	for {
		c.mu.Lock()
		d := long
		if c.waiters > 0 {
			d = min(short, long)
		}
		c.mu.Unlock()
		d -= time.Since(began)
		if d <= 0 {
			return true
		}
		timer := time.NewTimer(d)
		select {
		case <-timer.C:
		case <-c.wakec:
		case <-c.ctx.Done():
		}
		timer.Stop()
		if c.ctx.Err() != nil {
			return false
		}
	}
}

// dial makes one connection and starts it; it is usable when dial returns nil.
func (c *Client) dial() error {
	ctx, cancel := context.WithTimeout(c.ctx, c.cfg.DialTimeout)
	defer cancel()
	c.mu.Lock()
	c.dials++
	c.mu.Unlock()
	nc, err := c.cfg.Dial(ctx)
	if err != nil {
		if _, isNamed := errors.AsType[*net.OpError](err); isNamed {
			return err
		}
		return fmt.Errorf("dial %s: %w", c.cfg.Addr, err)
	}
	tc, state, err := handshake(ctx, nc, true, &c.cfg.Common)
	if err != nil {
		nc.Close()
		return fmt.Errorf("dial %s: %w", c.cfg.Addr, err)
	}
	cn := newConn(tc, true, &c.cfg.Common)
	cn.tlsState = state
	cn.onChange = c.connChanged
	c.wg.Go(func() { c.runConn(cn) })
	select {
	case <-cn.readyc:
	case <-cn.donec:
	case <-ctx.Done():
		cn.close(fmt.Errorf("no SETTINGS: %w", ctx.Err()))
	}
	cn.mu.Lock()
	err = cn.err
	cn.mu.Unlock()
	if err != nil {
		return fmt.Errorf("dial %s: %w", c.cfg.Addr, err)
	}
	c.mu.Lock()
	c.conns = append(c.conns, cn)
	isClosed := c.isDraining
	c.mu.Unlock()
	if isClosed {
		cn.close(ErrClosed)
	}
	return nil
}

// runConn serves cn and removes it when it is over.
func (c *Client) runConn(cn *conn) {
	err := cn.run()
	c.mu.Lock()
	defer c.mu.Unlock()
	c.bytesIn += cn.bytesIn.Load()
	c.bytesOut += cn.bytesOut.Load()
	for i, x := range c.conns {
		if x == cn {
			c.conns = append(c.conns[:i], c.conns[i+1:]...)
			if c.ctx.Err() == nil && !c.isDraining && !errors.Is(err, ErrGoAway) && !errors.Is(err, ErrClosed) {
				c.isLost = true
				c.cfg.Logger.Warn("connection lost", "peer", c.cfg.Addr, "err", err)
			}
			break
		}
	}
	c.broadcastLocked()
}

// connChanged is called without a connection's lock held.
func (c *Client) connChanged() {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.waiters > 0 {
		c.broadcastLocked()
	} else {
		wake(c.wakec)
	}
}

func (c *Client) broadcastLocked() {
	close(c.changedc)
	c.changedc = make(chan struct{})
	wake(c.wakec)
}

// Err returns why the last dial failed, nil when it did not.
func (c *Client) Err() error {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.dialErr
}

// Shutdown opens no more streams, waits until those that are open have ended or
// ctx ends, and closes.
func (c *Client) Shutdown(ctx context.Context) error {
	c.mu.Lock()
	c.isDraining = true
	conns := append([]*conn(nil), c.conns...)
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
	conns := append([]*conn(nil), c.conns...)
	c.mu.Unlock()
	for _, cn := range conns {
		cn.close(ErrClosed)
	}
	c.wg.Wait()
	return nil
}

// Stats are counts of a [Client] or [Server] since it was made.
type Stats struct {
	// Conns and Streams are open now.
	Conns, Streams int
	// Dials were begun, those that failed included.
	Dials int64
	// BytesIn and BytesOut are HTTP/2 frames read and written, without TLS.
	BytesIn, BytesOut int64
}

func (st *Stats) add(cn *conn) {
	cn.mu.Lock()
	st.Streams += len(cn.streams)
	cn.mu.Unlock()
	st.Conns++
	st.BytesIn += cn.bytesIn.Load()
	st.BytesOut += cn.bytesOut.Load()
}

// Stats returns the counts.
func (c *Client) Stats() Stats {
	c.mu.Lock()
	conns := append([]*conn(nil), c.conns...)
	st := Stats{Dials: c.dials, BytesIn: c.bytesIn, BytesOut: c.bytesOut}
	c.mu.Unlock()
	for _, cn := range conns {
		st.add(cn)
	}
	return st
}
