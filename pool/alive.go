package pool

import (
	"io"
	"slices"
	"sync/atomic"
	"time"
)

// A peer lives while bytes come from it. One that is silent for PingPeriod is sent a PING,
// ahead of what waits for the socket, and then has PingTimeout. On a thin link the PING is
// long on its way, behind what the socket was given before it: as long as it is, and what
// is before it moves, that time begins anew. Nothing else extends it: a kernel goes on to
// acknowledge for a process that is stopped, until the receive buffer is full, and so what
// moves proves no more than that a PING may not be there yet.

// looks is how often in a PingTimeout it is looked whether the PING is on its way yet. The
// time begins at the last look that found it so: an answer may have a fifth less.
const looks = 5

// watching is what keepLoop knows.
type watching struct {
	gone  int64         // what had gone when it last looked
	moved time.Duration // when it saw that more had
	isOut bool          // a PING was sent, and no byte has come since
	last  time.Duration // lastRead when it was sent
	since time.Duration // from when its answer is waited for
	end   int64         // what will have gone when the PING has
}

// watch sees to it that what comes and goes is noted.
func (c *conn) watch() {
	if _, _, ok := goneOf(c.socket); !ok {
		c.drip, c.gatherer = new(drip), nil
	}
	if c.records != nil { // it sees parts of a record
		c.records.onRead, c.records.drip = c.noteRead, c.drip
	} else {
		c.br.onRead = c.noteRead
	}
}

// noteRead notes that so many bytes were read; it is called by readLoop.
func (c *conn) noteRead(n int) {
	now := int64(time.Since(c.start))
	c.lastRead.Store(now)
	if c.reading != nil {
		c.reading.came.Store(now)
		c.dataIn.Add(int64(n))
	}
}

// keepLoop pings a silent peer and closes the connection of one that stays
// silent, or that takes nothing from its socket.
func (c *conn) keepLoop() {
	if c.cfg.PingPeriod < 0 {
		return
	}
	timer := time.NewTimer(c.cfg.PingPeriod)
	defer timer.Stop()
	var w watching
	for {
		select {
		case <-c.donec:
			return
		case <-timer.C:
		}
		next := c.look(&w)
		if next <= 0 {
			c.close(ErrPingTimeout)
			return
		}
		timer.Reset(next)
	}
}

// look returns when to look again; not at all when the peer is dead.
func (c *conn) look(w *watching) (next time.Duration) {
	c.mu.Lock()
	defer c.mu.Unlock()
	now, last := time.Since(c.start), time.Duration(c.lastRead.Load())
	timeout := c.cfg.PingTimeout
	w.isOut = w.isOut && last == w.last
	isSilent := now-last >= c.cfg.PingPeriod
	if !isSilent && !c.isWriting {
		return c.cfg.PingPeriod - (now - last)
	}
	gone, end := c.goneLocked()
	isMoving := gone != w.gone
	if w.gone = gone; isMoving {
		w.moved = now
	}
	switch {
	case !isSilent:
		next = c.cfg.PingPeriod - (now - last)
	case !w.isOut:
		w.isOut, w.last, w.since = true, last, now
		w.end = c.pingLocked(end)
		next = timeout / looks
	default:
		if isMoving && gone < w.end {
			w.since = now
		}
		next = min(timeout/looks, w.since+timeout-now)
	}
	if c.isWriting {
		next = min(next, timeout-min(now-w.moved, time.Since(c.writeSince)))
	}
	return next
}

// pingLocked sends a PING and returns what will have gone when it has, as end is for what
// the socket was given.
func (c *conn) pingLocked(end int64) int64 {
	c.pingSent = time.Since(c.start)
	c.freeOutLocked()
	at := 0
	if c.writeSince.IsZero() { // the preface and SETTINGS go first
		at = len(c.out)
	}
	ping := appendPing(nil, false, [8]byte{'h', '2', 't', 'p'})
	c.out = slices.Insert(c.out, at, ping...)
	c.kickLocked()
	return end + int64(at+len(ping))
}

// goneLocked returns how much has gone to the peer, a count that only grows: on Linux what
// its kernel has acknowledged, elsewhere what the socket took. And what that will be, at
// most and but for what TLS adds, when all that the socket was given so far has gone.
func (c *conn) goneLocked() (gone, end int64) {
	gone, held, ok := goneOf(c.socket)
	if !ok && c.drip != nil {
		gone = c.drip.n.Load()
	}
	return gone, gone + held + int64(c.writing)
}

// ReceivedAt returns when DATA came last, parts of a frame too, or else when the stream was
// opened.
func (s *Stream) ReceivedAt() time.Time { return s.c.start.Add(time.Duration(s.came.Load())) }

// Progress tells how what the stream's connection carries goes its way.
type Progress struct {
	// Gone counts the bytes that have gone to the peer: on Linux those that its kernel has
	// acknowledged, elsewhere those that the socket took. While a Write on the stream waits
	// for credit it stands still.
	Gone int64
	// End is about what Gone comes to once all that was written before has gone.
	End int64
	// Came counts, about, the bytes of DATA that came from the peer, on all streams, parts of
	// frames too.
	Came int64
}

// MaxAhead is more than a peer of this package sends of other streams before what it writes
// at once on one with a Receiver: what is being written, and what its kernel holds.
const MaxAhead = 1 << 20

// Progress returns how it stands.
func (s *Stream) Progress() Progress {
	c := s.c
	c.mu.Lock()
	defer c.mu.Unlock()
	gone, end := c.goneLocked()
	if s.writers == 0 || min(s.sendWindow, c.sendWindow) > 0 {
		s.gone = gone
	}
	return Progress{Gone: s.gone, End: end + int64(len(c.out)), Came: c.dataIn.Load()}
}

// drip counts what a socket took whose kernel does not tell what has gone. It is given
// little at a time, lest one write takes longer than a peer may be silent.
type drip struct{ n atomic.Int64 }

// maxDrip goes within a PingTimeout of 5 s at 3.3 KB/s.
const maxDrip = 16 << 10

func (d *drip) write(w io.Writer, p []byte) (done int, err error) {
	for done < len(p) && err == nil {
		var n int
		n, err = w.Write(p[done:min(len(p), done+maxDrip)])
		done += n
		d.n.Add(int64(n))
	}
	return done, err
}
