//go:build unix && !h2tp_portable

package rawconn

import (
	"errors"
	"io"
	"net"
	"os"
	"sync"
	"syscall"
)

// maxIO bounds one system call: a raw call cannot be preempted, and copying 256 KiB takes some
// 30 us, which is as long as a stop of the world should ever have to wait for it.
const maxIO = 256 << 10

// Conn is a TCP or unix socket with raw I/O. It is a net.Conn, with this difference: only one
// goroutine at a time may read (Read or ReadInto). Write, TryWrite, Peek and Close are safe from
// any goroutine. No method allocates unless it fails.
type Conn struct {
	net.Conn // immutable; closes, deadlines, addresses

	raw     syscall.RawConn    // immutable
	readFn  func(uintptr) bool // immutable: the callbacks, made once so that no call makes one
	writeFn func(uintptr) bool
	vecFn   func(uintptr) bool
	peekFn  func(uintptr)
	endFn   func(uintptr)
	queueFn func(uintptr)

	// owned by the one who reads
	rbuf []byte
	bufs Buffers
	rn   int
	rerr syscall.Errno

	wmu  sync.Mutex
	wbuf []byte // what is left to write; guarded by wmu, as are the next four
	werr syscall.Errno
	try  bool // give up instead of waiting
	wvec net.Buffers
	vec  vector

	bound bound // owned by who calls BoundQueue

	pmu   sync.Mutex
	state State // guarded by pmu, as are the next two
	ended bool
	queue int
	probe [1]byte
}

// Wrap gives nc raw I/O when it is a *net.TCPConn, whose delay it turns off, or a *net.UnixConn.
// Every other conn is returned as it is; assert to *Conn to tell. The result owns nc:
// nothing else may read from it or write to it.
func Wrap(nc net.Conn) net.Conn {
	var (
		raw syscall.RawConn
		err error
	)
	switch t := nc.(type) {
	case *net.TCPConn:
		if raw, err = t.SyscallConn(); err == nil {
			err = t.SetNoDelay(true)
		}
	case *net.UnixConn:
		if t.LocalAddr().Network() != "unix" {
			return nc // datagrams: an empty one is not the end
		}
		raw, err = t.SyscallConn()
	default:
		return nc
	}
	if err != nil {
		return nc // closed already: let nc itself say so at first use
	}
	c := &Conn{Conn: nc, raw: raw}
	c.readFn, c.writeFn, c.vecFn = c.readReady, c.writeReady, c.vecReady
	c.peekFn, c.endFn, c.queueFn = c.peekNow, c.endNow, c.queueNow
	return c
}

// Read implements net.Conn. One goroutine at a time.
func (c *Conn) Read(p []byte) (int, error) {
	if len(p) == 0 {
		return 0, nil
	}
	c.rbuf = p
	return c.read()
}

// ReadInto is Read for conns that are mostly idle: it takes its buffer from b when there is
// something to read and holds none while it waits. When n > 0 the caller has the buffer, else none.
// b's methods run under the descriptor's read lock, often in vain: they must be quick, and must
// not touch the conn. One goroutine at a time.
func (c *Conn) ReadInto(b Buffers) (n int, err error) {
	c.bufs = b
	return c.read()
}

func (c *Conn) read() (int, error) {
	err := c.raw.Read(c.readFn)
	n, errno := c.rn, c.rerr
	c.rbuf, c.bufs, c.rn, c.rerr = nil, nil, 0, 0
	if err = c.opError("read", err, errno); err != nil {
		return 0, err
	}
	if n == 0 {
		return 0, io.EOF
	}
	return n, nil
}

// readReady always reads before it asks to wait. Skipping the read that would find nothing loses an
// EOF that shares an event with data.
func (c *Conn) readReady(fd uintptr) bool {
	p := c.rbuf
	if c.bufs != nil {
		if p = c.bufs.Acquire(); len(p) == 0 {
			panic("h2tp: bug: rawconn: Acquire gave an empty buffer")
		}
	}
	for {
		c.rn, c.rerr = recv(fd, p[:min(len(p), maxIO)])
		if c.rerr != syscall.EINTR {
			break
		}
	}
	if c.rn == 0 && c.bufs != nil {
		c.bufs.Release()
	}
	return c.rerr != syscall.EAGAIN
}

// Write implements net.Conn. Concurrent Writes take turns and are not mixed.
func (c *Conn) Write(p []byte) (int, error) {
	c.wmu.Lock()
	defer c.wmu.Unlock()
	return c.writeLocked(p, false)
}

// TryWrite writes what the kernel takes at once and never waits: n < len(p) with a nil error means
// that the socket is full, or that a Write is under way, whose bytes must not be mixed with these.
func (c *Conn) TryWrite(p []byte) (n int, err error) {
	if !c.wmu.TryLock() {
		return 0, nil
	}
	defer c.wmu.Unlock()
	return c.writeLocked(p, true)
}

func (c *Conn) writeLocked(p []byte, try bool) (int, error) {
	c.wbuf, c.try = p, try
	err := c.raw.Write(c.writeFn)
	n, errno := len(p)-len(c.wbuf), c.werr
	c.wbuf, c.werr = nil, 0
	return n, c.opError("write", err, errno)
}

func (c *Conn) writeReady(fd uintptr) bool {
	for len(c.wbuf) > 0 {
		n, errno := send(fd, c.wbuf[:min(len(c.wbuf), maxIO)])
		switch errno {
		case 0:
			c.wbuf = c.wbuf[n:]
		case syscall.EINTR:
		case syscall.EAGAIN:
			return c.try
		default:
			c.werr = errno
			return true
		}
	}
	return true
}

// Peek looks at what a Read would find, without waiting and without reading, also while a
// goroutine waits in Read: a look before an idle conn is used again. A pending socket error
// is taken by the look; a Read after it finds the end.
func (c *Conn) Peek() State {
	c.pmu.Lock()
	defer c.pmu.Unlock()
	if c.raw.Control(c.peekFn) != nil {
		return Gone
	}
	return c.state
}

func (c *Conn) peekNow(fd uintptr) { c.state = peekState(fd, c.probe[:]) }

func peekState(fd uintptr, probe []byte) State {
	for {
		n, errno := peek(fd, probe)
		switch {
		case errno == syscall.EINTR:
			continue
		case errno == syscall.EAGAIN:
			return Quiet
		case errno == 0 && n > 0:
			return Pending
		}
		return Gone
	}
}

// HasEnded tells, without waiting, whether the other end has ended its side or the conn is broken or closed, also
// while what came before is unread; off Linux, unread bytes hide the end.
func (c *Conn) HasEnded() bool {
	c.pmu.Lock()
	defer c.pmu.Unlock()
	return c.raw.Control(c.endFn) != nil || c.ended
}

func (c *Conn) endNow(fd uintptr) { c.ended = hasEnded(fd) }

// Queued is how many bytes of those written the other end has not acknowledged; 0 off Linux, and when closed.
func (c *Conn) Queued() int {
	c.pmu.Lock()
	defer c.pmu.Unlock()
	if c.raw.Control(c.queueFn) != nil {
		return 0
	}
	return c.queue
}

func (c *Conn) queueNow(fd uintptr) { c.queue = queued(fd) }

// CloseWrite ends the stream towards the other end, which reads EOF; reading goes on.
func (c *Conn) CloseWrite() error {
	return c.Conn.(interface{ CloseWrite() error }).CloseWrite()
}

// SyscallConn implements syscall.Conn.
func (c *Conn) SyscallConn() (syscall.RawConn, error) { return c.raw, nil }

// NetConn gives the conn inside, for what only package net can do (splice).
func (c *Conn) NetConn() net.Conn { return c.Conn }

// opError names what went wrong as a net.Conn would: the RawConn's error (closed, deadline), or the system's.
func (c *Conn) opError(op string, err error, errno syscall.Errno) error {
	switch {
	case err != nil:
		if oe, ok := errors.AsType[*net.OpError](err); ok {
			oe.Op = op
		}
	case errno != 0:
		err = &net.OpError{Op: op, Net: c.LocalAddr().Network(), Source: c.LocalAddr(), Addr: c.RemoteAddr(),
			Err: os.NewSyscallError(op, errno)}
	}
	return err
}

var _ Socket = (*Conn)(nil)
