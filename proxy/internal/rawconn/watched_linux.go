//go:build !h2tp_portable && !h2tp_noloop

package rawconn

import (
	"io"
	"net"
	"os"
	"sync"
	"sync/atomic"
	"syscall"
	"time"
)

// Watched is a socket of a [Loop]. It is a net.Conn like any other, and besides can be watched: what comes is then told on
// the loop's goroutine. All methods are safe for concurrent use, but one goroutine at a time may read.
type Watched struct {
	// Immutable.
	loop          *Loop
	fd            uintptr
	local, remote net.Addr
	slot          int32

	in, out  side
	isClosed atomic.Bool
	isEnding atomic.Bool // the other end has ended its side, or the socket is broken: reads come to an end

	mu      sync.Mutex // guards all below
	ready   func()     // of Watch; nil without
	turn    uint64     // which turnLoop calls it, or is about to; 0 none
	turns   uint64     // ever
	isAgain bool       // and is to call it again
}

// side is one direction.
type side struct {
	mu  sync.Mutex    // held during a system call: the descriptor is not closed under it
	one sync.Mutex    // held by the one who may wait
	c   chan struct{} // wakes it, capacity 1

	dmu   sync.Mutex // guards all below
	until time.Time  // zero: none
	timer *time.Timer
}

func newWatched(l *Loop, fd int, nc net.Conn) *Watched {
	w := &Watched{loop: l, fd: uintptr(fd), local: nc.LocalAddr(), remote: nc.RemoteAddr()}
	w.in.c, w.out.c = make(chan struct{}, 1), make(chan struct{}, 1)
	return w
}

// LocalAddr implements net.Conn.
func (w *Watched) LocalAddr() net.Addr { return w.local }

// RemoteAddr implements net.Conn.
func (w *Watched) RemoteAddr() net.Addr { return w.remote }

// Watch has ready called whenever there may be something to read, the end or an error too, on the loop's goroutine,
// until Leave or Unwatch: it must not wait. The first call is the caller's own, before Watch returns, for what has come already; and
// none runs beside another. Nobody may be reading meanwhile, but ready by TryReadInto.
func (w *Watched) Watch(ready func()) {
	w.mu.Lock()
	w.ready = ready
	turn := w.beginLocked()
	w.mu.Unlock()
	w.turnLoop(turn)
}

// beginLocked makes a turn the one that calls ready.
func (w *Watched) beginLocked() uint64 {
	w.turns++
	w.turn = w.turns
	return w.turn
}

// Leave ends the watching; ready calls it, and whoever it hands the socket to may read, and watch again.
func (w *Watched) Leave() {
	w.mu.Lock()
	w.ready, w.turn, w.isAgain = nil, 0, false
	w.mu.Unlock()
}

// Unwatch ends the watching unless ready runs, or nobody watches: false. After true the caller may read.
func (w *Watched) Unwatch() bool {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.ready == nil || w.turn != 0 {
		return false
	}
	w.ready = nil
	return true
}

// turnLoop calls ready until nothing has happened meanwhile, or ready has left.
func (w *Watched) turnLoop(turn uint64) {
	w.mu.Lock()
	for w.turn == turn {
		ready := w.ready
		w.isAgain = false
		w.mu.Unlock()
		ready()
		w.mu.Lock()
		if w.turn == turn && !w.isAgain {
			w.turn = 0
		}
	}
	w.mu.Unlock()
}

// happened is called by the loop.
func (w *Watched) happened(what uint32) {
	if what&epollEnd != 0 {
		w.isEnding.Store(true)
	}
	if what&(syscall.EPOLLOUT|epollEnd) != 0 {
		w.out.wake()
	}
	if what&(syscall.EPOLLIN|epollEnd) == 0 {
		return
	}
	w.mu.Lock()
	switch {
	case w.ready == nil:
		w.mu.Unlock()
		w.in.wake()
	case w.turn != 0:
		w.isAgain = true
		w.mu.Unlock()
	default:
		turn := w.beginLocked()
		w.mu.Unlock()
		w.turnLoop(turn)
	}
}

// Close implements net.Conn. One who watches is told.
func (w *Watched) Close() error {
	if w.isClosed.Swap(true) {
		return w.opError("close", net.ErrClosed)
	}
	w.in.mu.Lock() // nobody is in a call with the descriptor
	w.out.mu.Lock()
	err := syscall.Close(int(w.fd))
	w.out.mu.Unlock()
	w.in.mu.Unlock()
	w.loop.remove(w)
	w.in.stop()
	w.out.stop()
	w.mu.Lock()
	switch {
	case w.ready == nil:
	case w.turn != 0:
		w.isAgain = true
	default:
		go w.turnLoop(w.beginLocked()) // the caller may hold what ready asks for; whoever ready hands the socket to is awaited
	}
	w.mu.Unlock()
	return os.NewSyscallError("close", err)
}

// TryReadInto reads what is there, into a buffer of b, and never waits. Without bytes and without an error there is nothing
// now. isMore says that there may be more, the end included, of which Watch does not tell again.
func (w *Watched) TryReadInto(b Buffers) (n int, isMore bool, err error) {
	p := b.Acquire()
	isLast := w.isEnding.Load()
	n, errno := w.recv(p)
	if n == 0 {
		b.Release()
	}
	switch {
	case errno == syscall.EAGAIN:
		return 0, false, nil
	case errno != 0:
		return 0, false, w.sysError("read", errno)
	case n == 0:
		return 0, false, io.EOF
	}
	return n, isLast || n == len(p), nil
}

// errnoClosed stands for a socket that is closed here.
const errnoClosed = syscall.EBADF

func (w *Watched) recv(p []byte) (n int, errno syscall.Errno) {
	w.in.mu.Lock()
	defer w.in.mu.Unlock()
	for {
		if w.isClosed.Load() {
			return 0, errnoClosed
		}
		if n, errno = recv(w.fd, p[:min(len(p), maxIO)]); errno != syscall.EINTR {
			return n, errno
		}
	}
}

// Read implements net.Conn.
func (w *Watched) Read(p []byte) (int, error) {
	if len(p) == 0 {
		return 0, nil
	}
	return w.read(p, nil)
}

// ReadInto implements Socket.
func (w *Watched) ReadInto(b Buffers) (int, error) { return w.read(nil, b) }

// read reads into p, or into a buffer of b.
func (w *Watched) read(p []byte, b Buffers) (int, error) {
	w.in.one.Lock()
	defer w.in.one.Unlock()
	for {
		if w.in.isOver() {
			return 0, w.opError("read", os.ErrDeadlineExceeded)
		}
		if b != nil {
			p = b.Acquire()
		}
		n, errno := w.recv(p)
		if n > 0 {
			return n, nil
		}
		if b != nil {
			b.Release()
		}
		switch errno {
		case 0:
			return 0, io.EOF
		case syscall.EAGAIN:
			<-w.in.c
		default:
			return 0, w.sysError("read", errno)
		}
	}
}

// Write implements net.Conn. Concurrent Writes take turns and are not mixed.
func (w *Watched) Write(p []byte) (written int, err error) {
	w.out.one.Lock()
	defer w.out.one.Unlock()
	for {
		if w.out.isOver() {
			return written, w.opError("write", os.ErrDeadlineExceeded)
		}
		n, errno := w.send(p)
		written, p = written+n, p[n:]
		switch {
		case errno == syscall.EAGAIN:
			<-w.out.c
		case errno != 0:
			return written, w.sysError("write", errno)
		case len(p) == 0:
			return written, nil
		}
	}
}

// TryWrite writes what the kernel takes at once and never waits: n < len(p) with a nil error means
// that the socket is full, or that a Write is under way, whose bytes must not be mixed with these.
func (w *Watched) TryWrite(p []byte) (int, error) {
	if !w.out.one.TryLock() {
		return 0, nil
	}
	defer w.out.one.Unlock()
	n, errno := w.send(p)
	if errno != 0 && errno != syscall.EAGAIN {
		return n, w.sysError("write", errno)
	}
	return n, nil
}

// send writes as much as the kernel takes.
func (w *Watched) send(p []byte) (written int, errno syscall.Errno) {
	w.out.mu.Lock()
	defer w.out.mu.Unlock()
	for {
		if w.isClosed.Load() {
			return written, errnoClosed
		}
		if len(p) == 0 {
			return written, 0
		}
		n, errno := send(w.fd, p[:min(len(p), maxIO)])
		if errno == syscall.EINTR {
			continue
		}
		if errno != 0 {
			return written, errno
		}
		written, p = written+n, p[n:]
	}
}

// Peek implements Socket.
func (w *Watched) Peek() State {
	w.in.mu.Lock()
	defer w.in.mu.Unlock()
	if w.isClosed.Load() {
		return Gone
	}
	var probe [1]byte
	return peekState(w.fd, probe[:])
}

// HasEnded implements Socket.
func (w *Watched) HasEnded() bool {
	w.in.mu.Lock()
	defer w.in.mu.Unlock()
	return w.isClosed.Load() || hasEnded(w.fd)
}

// Queued implements Socket.
func (w *Watched) Queued() int {
	w.out.mu.Lock()
	defer w.out.mu.Unlock()
	if w.isClosed.Load() {
		return 0
	}
	return queued(w.fd)
}

// CloseWrite implements Socket.
func (w *Watched) CloseWrite() error {
	return w.do("shutdown", func(fd uintptr) error { return syscall.Shutdown(int(fd), syscall.SHUT_WR) })
}

// Control calls f with the descriptor, for options of the socket; f must not wait, nor keep it.
func (w *Watched) Control(f func(fd uintptr) error) error { return w.do("control", f) }

// SetLinger is that of net.TCPConn.
func (w *Watched) SetLinger(sec int) error {
	l := syscall.Linger{Onoff: 1, Linger: int32(sec)}
	if sec < 0 {
		l = syscall.Linger{}
	}
	return w.do("setsockopt", func(fd uintptr) error {
		return syscall.SetsockoptLinger(int(fd), syscall.SOL_SOCKET, syscall.SO_LINGER, &l)
	})
}

func (w *Watched) do(name string, f func(uintptr) error) error {
	w.out.mu.Lock()
	defer w.out.mu.Unlock()
	if w.isClosed.Load() {
		return w.opError(name, net.ErrClosed)
	}
	if err := f(w.fd); err != nil {
		return w.opError(name, os.NewSyscallError(name, err))
	}
	return nil
}

// SetDeadline implements net.Conn.
func (w *Watched) SetDeadline(t time.Time) error {
	w.in.set(t)
	return w.SetWriteDeadline(t)
}

// SetReadDeadline implements net.Conn; TryReadInto knows none.
func (w *Watched) SetReadDeadline(t time.Time) error { return w.setDeadline(&w.in, t) }

// SetWriteDeadline implements net.Conn; TryWrite knows none.
func (w *Watched) SetWriteDeadline(t time.Time) error { return w.setDeadline(&w.out, t) }

func (w *Watched) setDeadline(s *side, t time.Time) error {
	if w.isClosed.Load() {
		return w.opError("set", net.ErrClosed)
	}
	s.set(t)
	return nil
}

func (w *Watched) sysError(op string, errno syscall.Errno) error {
	if errno == errnoClosed {
		return w.opError(op, net.ErrClosed)
	}
	return w.opError(op, os.NewSyscallError(op, errno))
}

func (w *Watched) opError(op string, err error) error {
	return &net.OpError{Op: op, Net: w.local.Network(), Source: w.local, Addr: w.remote, Err: err}
}

func (s *side) wake() {
	select {
	case s.c <- struct{}{}:
	default:
	}
}

func (s *side) set(t time.Time) {
	s.dmu.Lock()
	defer s.dmu.Unlock()
	s.until = t
	switch {
	case t.IsZero():
		if s.timer != nil {
			s.timer.Stop()
		}
		return
	case s.timer == nil:
		s.timer = time.AfterFunc(time.Until(t), s.wake)
	default:
		s.timer.Reset(time.Until(t))
	}
	s.wake() // it may be over
}

func (s *side) isOver() bool {
	s.dmu.Lock()
	defer s.dmu.Unlock()
	return !s.until.IsZero() && !time.Now().Before(s.until)
}

// stop wakes who waits, for the last time.
func (s *side) stop() {
	s.set(time.Time{})
	s.wake()
}

var _ Socket = (*Watched)(nil)
