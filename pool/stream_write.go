package pool

import (
	"io"
	"os"
	"time"
)

// Write sends p within the windows of the stream and the connection, waiting
// for credit. When no other goroutine writes to the connection, it does so
// itself before it returns; p is not kept. What streams with a Receiver send goes
// first; the others take turns behind it.
func (s *Stream) Write(p []byte) (int, error) {
	s.c.mu.Lock()
	isBulk := s.receiver == nil
	s.c.mu.Unlock()
	if isBulk {
		return s.writeBulk(p)
	}
	return s.writeBatched(p)
}

// writeBatched appends p to out as far as it has room.
func (s *Stream) writeBatched(p []byte) (int, error) {
	c := s.c
	done := 0
	c.mu.Lock()
	defer c.mu.Unlock()
	var st stall
	defer st.end()
	for {
		if err := s.writeErrLocked(); err != nil {
			s.wakeSenderLocked() // if there is another
			return done, err
		}
		c.hasBatch = true
		room := min(int64(len(p)-done), s.sendWindow, c.sendWindow, int64(outSoftLimit-len(c.out)))
		for room > 0 {
			n := min(room, int64(c.peerFrame))
			c.out = appendData(c.out, s.id, p[done:done+int(n)], false)
			s.sendWindow -= n
			c.sendWindow -= n
			done += int(n)
			room -= n
			c.repaySentLocked(n, done == len(p))
		}
		isSelf := s.writeOutLocked()
		if done == len(p) {
			return done, nil
		}
		if isSelf {
			continue
		}
		if s.sendWindow > 0 && !s.isBlocked {
			s.isBlocked = true
			c.blocked = append(c.blocked, s)
		}
		if !s.awaitTurnLocked(st.waitLocked(s, len(p)-done)) {
			return done, os.ErrDeadlineExceeded
		}
	}
}

// writeBulk queues p, and waits until whoever writes to the socket has taken it.
func (s *Stream) writeBulk(p []byte) (int, error) {
	s.turn.Lock()
	defer s.turn.Unlock()
	c := s.c
	c.mu.Lock()
	defer c.mu.Unlock()
	s.isUsed = true
	s.unsent = p
	defer func() { s.unsent = nil }()
	var st stall
	defer st.end()
	for {
		if err := s.writeErrLocked(); err != nil {
			return len(p) - len(s.unsent), err
		}
		c.queueLocked(s)
		isSelf := s.writeOutLocked()
		if len(s.unsent) == 0 {
			return len(p), nil
		}
		if isSelf {
			continue
		}
		if !s.awaitTurnLocked(st.waitLocked(s, len(s.unsent))) {
			return len(p) - len(s.unsent), os.ErrDeadlineExceeded
		}
	}
}

// writeOutLocked sees to it that what waits is written, and reports whether it
// wrote itself; it leaves that to writeLoop when a deadline bounds it.
func (s *Stream) writeOutLocked() bool {
	c := s.c
	switch {
	case !c.hasOutLocked() || c.err != nil:
		return false
	case c.isWriting || s.dl != nil && !s.dl.write.at.IsZero():
		c.kickLocked()
		return false
	}
	c.writeOutLocked(s)
	return true
}

// stall bounds the time of a Write of which nothing is taken.
type stall struct {
	timer *time.Timer // nil when there is no bound
	left  int         // to be taken, when it began
}

// waitLocked begins anew when some was taken since the call before.
func (t *stall) waitLocked(s *Stream, left int) <-chan time.Time {
	switch {
	case s.stall <= 0:
		return nil
	case t.timer == nil:
		t.timer, t.left = time.NewTimer(s.stall), left
	case left < t.left:
		t.timer.Reset(s.stall)
		t.left = left
	}
	return t.timer.C
}

func (t *stall) end() {
	if t.timer != nil {
		t.timer.Stop()
	}
}

// awaitTurnLocked waits, without the lock, until there may be room or credit, or
// the deadline has passed; false when stalledc came first.
func (s *Stream) awaitTurnLocked(stalledc <-chan time.Time) bool {
	if s.sendc == nil {
		s.sendc = make(chan struct{}, 1)
	}
	s.writers++
	s.c.mu.Unlock()
	isInTime := true
	select {
	case <-s.sendc:
	case <-stalledc:
		isInTime = false
	}
	s.c.mu.Lock()
	s.writers--
	return isInTime
}

func (s *Stream) writeErrLocked() error {
	switch {
	case s.err == io.EOF || s.isSendEnd:
		return ErrClosed
	case s.err != nil:
		return s.err
	case s.c.err != nil:
		return s.c.err
	case s.isWriteOver():
		return os.ErrDeadlineExceeded
	}
	return nil
}
