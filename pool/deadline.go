package pool

import "time"

// deadlines are those of one stream; most streams have none. Guarded by conn.mu.
type deadlines struct{ read, write deadline }

// deadline is a point in time, and a timer that wakes who waits then.
type deadline struct {
	at    time.Time // zero: none
	timer *time.Timer
}

func (d *deadline) isOver() bool { return !d.at.IsZero() && !time.Now().Before(d.at) }

func (d *deadline) set(t time.Time, wake func()) {
	d.at = t
	switch {
	case t.IsZero():
		d.stop()
	case d.timer == nil:
		d.timer = time.AfterFunc(time.Until(t), wake)
	default:
		d.timer.Reset(time.Until(t))
	}
}

func (d *deadline) stop() {
	if d.timer != nil {
		d.timer.Stop()
	}
}

// isReadOver reports whether the read deadline has passed.
func (s *Stream) isReadOver() bool { return s.dl != nil && s.dl.read.isOver() }

func (s *Stream) isWriteOver() bool { return s.dl != nil && s.dl.write.isOver() }

// SetDeadline sets both deadlines of this stream, and of no other.
func (s *Stream) SetDeadline(t time.Time) error {
	s.setDeadlines(t, true, true)
	return nil
}

// SetReadDeadline bounds Read; the zero time means no bound.
func (s *Stream) SetReadDeadline(t time.Time) error {
	s.setDeadlines(t, true, false)
	return nil
}

// SetWriteDeadline bounds Write; the zero time means no bound. A Write under a
// deadline leaves the socket to the connection's writing goroutine.
func (s *Stream) SetWriteDeadline(t time.Time) error {
	s.setDeadlines(t, false, true)
	return nil
}

func (s *Stream) setDeadlines(t time.Time, isRead, isWrite bool) {
	s.c.mu.Lock()
	defer s.c.mu.Unlock()
	if s.err != nil { // nothing waits any more, and nothing is to be left
		return
	}
	if s.dl == nil {
		if t.IsZero() {
			return
		}
		s.dl = new(deadlines)
	}
	if isRead {
		s.dl.read.set(t, s.wakeAtDeadline)
	}
	if isWrite {
		s.dl.write.set(t, s.wakeAtDeadline)
	}
}

func (s *Stream) wakeAtDeadline() {
	s.c.mu.Lock()
	defer s.c.mu.Unlock()
	s.wakeReaderLocked()
	s.wakeSenderLocked()
}

// forgetDeadlinesLocked leaves no timer behind; the read deadline goes on to hold
// for what is in the buffer.
func (s *Stream) forgetDeadlinesLocked() {
	if s.dl != nil {
		s.dl.read.stop()
		s.dl.write.stop()
	}
}
