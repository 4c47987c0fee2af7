//go:build !h2tp_portable && !h2tp_noloop

package rawconn

import (
	"net"
	"os"
	"runtime"
	"sync"
	"syscall"
	"unsafe"
)

const (
	// loopEvents is how many events one look takes: enough that it costs nothing beside them, few enough that others
	// on the processor have their turn.
	loopEvents = 128
	// loopShare is how many of them are worth another processor.
	loopShare = 16

	// epollIn and its like are edges: each is told once. Bytes that come after a read that was short of its buffer make
	// another, and the other end's is told besides.
	epollEvents = syscall.EPOLLIN | syscall.EPOLLOUT | syscall.EPOLLRDHUP | 1<<31 // EPOLLET
	epollEnd    = syscall.EPOLLRDHUP | syscall.EPOLLHUP | syscall.EPOLLERR
)

// Loop watches many sockets at once, on one goroutine, and on as many more as there are processors when much happens
// at once. A socket that is watched costs no goroutine while nothing comes; when something does its
// bytes are dealt with at once, without waking one.
type Loop struct {
	// Immutable.
	epoll *os.File
	raw   syscall.RawConn
	wg    sync.WaitGroup

	// Owned by runLoop.
	events [loopEvents]syscall.EpollEvent
	n      int
	due    []due

	workc chan *[]due

	mu       sync.Mutex // guards all below
	sockets  []slot
	free     []int32
	workers  int
	isClosed bool
}

// slot is where a socket is found by the number that its events bear; its turn tells it from those before.
type slot struct {
	w    *Watched
	turn int32
}

// due is what happened to a socket.
type due struct {
	w    *Watched
	what uint32
}

// NewLoop makes a loop, or an error where the system has none, or no descriptor for it.
func NewLoop() (*Loop, error) {
	fd, err := syscall.EpollCreate1(syscall.EPOLL_CLOEXEC)
	if err != nil {
		return nil, os.NewSyscallError("epoll_create1", err)
	}
	// The runtime's poller waits for this one: so waiting costs no thread.
	if err := syscall.SetNonblock(fd, true); err != nil {
		syscall.Close(fd)
		return nil, os.NewSyscallError("fcntl", err)
	}
	l := &Loop{epoll: os.NewFile(uintptr(fd), "epoll"), workc: make(chan *[]due, 64)}
	if l.raw, err = l.epoll.SyscallConn(); err != nil {
		l.epoll.Close()
		return nil, err
	}
	l.wg.Go(l.runLoop)
	return l, nil
}

// Close ends the loop. Its sockets have to be closed before.
func (l *Loop) Close() {
	l.mu.Lock()
	isClosed := l.isClosed
	l.isClosed = true
	l.mu.Unlock()
	if !isClosed {
		l.epoll.Close()
		l.wg.Wait()
	}
}

// Adopt takes a TCP or unix socket over from package net, as it is or as Wrap made it; nc is not to be used any more. false
// says that it is none, or that no descriptor is left, and that nc is as it was.
func (l *Loop) Adopt(nc net.Conn) (*Watched, bool) {
	inner := nc
	if c, ok := nc.(*Conn); ok {
		inner = c.Conn
	}
	sc, ok := inner.(syscall.Conn)
	if !ok {
		return nil, false
	}
	raw, err := sc.SyscallConn()
	if err != nil {
		return nil, false
	}
	fd, errno := 0, syscall.Errno(syscall.EBADF)
	raw.Control(func(old uintptr) {
		var n uintptr
		n, _, errno = syscall.RawSyscall(syscall.SYS_FCNTL, old, syscall.F_DUPFD_CLOEXEC, 0)
		fd = int(n)
	})
	if errno != 0 {
		return nil, false
	}
	w := newWatched(l, fd, nc)
	if !l.add(w) {
		syscall.Close(fd)
		return nil, false
	}
	nc.Close() // the runtime's poller lets go of it
	return w, true
}

func (l *Loop) add(w *Watched) bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.isClosed {
		return false
	}
	if n := len(l.free); n > 0 {
		w.slot = l.free[n-1]
		l.free = l.free[:n-1]
	} else {
		w.slot = int32(len(l.sockets))
		l.sockets = append(l.sockets, slot{})
	}
	s := &l.sockets[w.slot]
	s.w = w
	e := syscall.EpollEvent{Events: epollEvents, Fd: w.slot, Pad: s.turn}
	var err error
	l.raw.Control(func(epoll uintptr) { err = syscall.EpollCtl(int(epoll), syscall.EPOLL_CTL_ADD, int(w.fd), &e) })
	if err != nil {
		l.removeLocked(w)
		return false
	}
	return true
}

// remove forgets a socket whose descriptor is closed.
func (l *Loop) remove(w *Watched) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.removeLocked(w)
}

func (l *Loop) removeLocked(w *Watched) {
	s := &l.sockets[w.slot]
	s.w = nil
	s.turn++
	l.free = append(l.free, w.slot)
}

// runLoop waits for events and tells the sockets.
func (l *Loop) runLoop() {
	defer close(l.workc)
	look := l.look
	for {
		if err := l.raw.Read(look); err != nil {
			return
		}
		l.resolve()
		mine := l.due
		for len(mine) > loopShare && l.give(mine[len(mine)-loopShare:]) {
			mine = mine[:len(mine)-loopShare]
		}
		for i := range mine {
			mine[i].w.happened(mine[i].what)
		}
		clear(l.due)
		runtime.Gosched() // those who were woken
	}
}

// look takes the events that are there; false when there are none.
func (l *Loop) look(epoll uintptr) bool {
	l.n = epollNow(epoll, l.events[:])
	return l.n > 0
}

// epollNow takes the events that are there, without the scheduler's notice: it cannot block.
func epollNow(epoll uintptr, events []syscall.EpollEvent) int {
	n, _, errno := syscall.RawSyscall6(syscall.SYS_EPOLL_PWAIT, epoll, uintptr(unsafe.Pointer(unsafe.SliceData(events))), uintptr(len(events)), 0, 0, 0)
	if errno != 0 {
		return 0
	}
	return int(n)
}

// resolve finds the sockets of the events; those that were closed since have none.
func (l *Loop) resolve() {
	l.due = l.due[:0]
	l.mu.Lock()
	defer l.mu.Unlock()
	for _, e := range l.events[:l.n] {
		if s := &l.sockets[e.Fd]; s.w != nil && s.turn == e.Pad {
			l.due = append(l.due, due{s.w, e.Events})
		}
	}
}

// give has another processor see to a part of what is due, if there is one.
func (l *Loop) give(part []due) bool {
	if len(l.workc) == cap(l.workc) {
		return false
	}
	l.mu.Lock()
	if procs := runtime.GOMAXPROCS(0); l.workers < procs-1 {
		l.workers++
		l.wg.Go(l.workLoop)
	} else if procs == 1 {
		l.mu.Unlock()
		return false
	}
	l.mu.Unlock()
	p := parts.Get().(*[]due)
	*p = append((*p)[:0], part...)
	l.workc <- p // there is room: runLoop alone sends
	return true
}

var parts = sync.Pool{New: func() any { return new([]due) }}

func (l *Loop) workLoop() {
	for part := range l.workc {
		for _, d := range *part {
			d.w.happened(d.what)
		}
		clear(*part)
		parts.Put(part)
	}
}
