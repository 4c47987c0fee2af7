package proxy

import (
	"time"

	"github.com/h2tp/h2tp/pool"
)

// pings looks for a peer that is silent on a batched stream, by a record of its own, since an
// intermediary answers HTTP/2's. As in package pool, any byte shows that it lives, and
// while the ping is on its way, and what is before it moves, its time begins anew. So it does
// while the answer may be on its way, behind what comes on other streams of the connection.
type pings struct {
	n     int           // were appended
	sent  int           // of them, were written to the stream
	end   int64         // what will have gone when the last one written has
	seen  pool.Progress // at the last look
	there int64         // of Came, when the ping was on its way last
	isOut bool          // a ping waits for a sign of life
	last  time.Time     // when bytes came last, as it was appended
	since time.Time     // from when one is waited for
}

// looks is how often in a PingTimeout it is looked whether a ping is on its way yet.
const looks = 5

// watchLocked pings a peer that is silent, and returns when to look again; not at all when it
// stayed silent. It may be called more often.
func (s *sender) watchLocked() (next time.Duration) {
	p, last, now := &s.pings, s.stream.ReceivedAt(), time.Now()
	silent := now.Sub(last)
	p.isOut = p.isOut && p.last.Equal(last)
	if silent < s.hop.PingPeriod {
		return s.hop.PingPeriod - silent
	}
	at := s.stream.Progress()
	switch {
	case !p.isOut:
		p.isOut, p.last, p.since, p.there = true, last, now, at.Came
		if !s.isEnded && s.err == nil {
			s.pingLocked()
		}
	case p.sent < p.n || at.Gone < p.end:
		p.there = at.Came
		if at.Gone != p.seen.Gone {
			p.since = now
		}
	case at.Came != p.seen.Came && at.Came-p.there < pool.MaxAhead:
		p.since = now
	}
	p.seen = at
	return min(s.hop.PingTimeout/looks, s.hop.PingTimeout-now.Sub(p.since))
}

// pingLocked asks the peer for a sign of life.
func (s *sender) pingLocked() {
	s.pings.n++
	before := s.sizeLocked()
	s.wenc.AppendPing(&s.open, [8]byte{})
	s.appendedLocked(before)
}

// sentPingsLocked notes that the first n pings were written.
func (s *sender) sentPingsLocked(n int) {
	s.pings.sent = n
	s.pings.end = s.stream.Progress().End
}
