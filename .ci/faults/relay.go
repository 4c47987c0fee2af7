package main

import (
	"io"
	"net"
	"sync"
	"time"
)

// relay passes connections on until it is cut: from then on it swallows what comes, on
// these and on new ones, and closes nothing. Joined again, it passes new ones on; those
// of which it swallowed anything stay silent.
type relay struct {
	addr, to string
	ln       net.Listener

	mu    sync.Mutex // guards all below
	isCut bool
	conns map[*relayed]struct{}
}

// relayed is a connection and its other half.
type relayed struct {
	mu     sync.Mutex // guards isLost
	isLost bool
	in     net.Conn
	out    net.Conn // nil where it was made while the relay was cut
}

func startRelay(to string) (*relay, error) {
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return nil, err
	}
	r := &relay{addr: ln.Addr().String(), to: to, ln: ln, conns: make(map[*relayed]struct{})}
	go r.acceptLoop()
	return r, nil
}

func (r *relay) acceptLoop() {
	for {
		in, err := r.ln.Accept()
		if err != nil {
			return
		}
		go r.serve(&relayed{in: in})
	}
}

func (r *relay) cut(isCut bool) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.isCut = isCut
	for c := range r.conns {
		c.mu.Lock()
		c.isLost = true
		c.mu.Unlock()
	}
}

func (r *relay) close() {
	r.ln.Close()
	r.mu.Lock()
	defer r.mu.Unlock()
	for c := range r.conns {
		c.end()
	}
}

func (c *relayed) end() {
	c.in.Close()
	if c.out != nil {
		c.out.Close()
	}
}

func (r *relay) serve(c *relayed) {
	r.mu.Lock()
	c.isLost = r.isCut
	r.mu.Unlock()
	if !c.isLost {
		out, err := net.DialTimeout("tcp", r.to, time.Second)
		if err != nil {
			c.in.Close()
			return
		}
		c.out = out
	}
	r.mu.Lock()
	c.isLost = c.isLost || r.isCut
	r.conns[c] = struct{}{}
	r.mu.Unlock()
	defer func() {
		r.mu.Lock()
		delete(r.conns, c)
		r.mu.Unlock()
	}()
	defer c.end()
	if c.out == nil {
		io.Copy(io.Discard, c.in)
		return
	}
	var wg sync.WaitGroup
	wg.Go(func() { c.copy(c.out, c.in) })
	wg.Go(func() { c.copy(c.in, c.out) })
	wg.Wait()
}

// copy passes bytes on, and the end unless something was swallowed.
func (c *relayed) copy(to, from net.Conn) {
	buf := make([]byte, 32<<10)
	for {
		n, err := from.Read(buf)
		c.mu.Lock()
		isLost := c.isLost
		c.mu.Unlock()
		if n > 0 && !isLost {
			if _, werr := to.Write(buf[:n]); werr != nil {
				err = werr
			}
		}
		if err == io.EOF && !isLost {
			to.(*net.TCPConn).CloseWrite()
			return
		}
		if err != nil {
			if !isLost {
				to.Close()
			}
			return
		}
	}
}
