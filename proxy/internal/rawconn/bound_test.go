//go:build unix && !h2tp_portable

package rawconn

import (
	"testing"
	"time"
)

// link is a path with a queue: what is on the way beyond what its round trip carries
// waits in it, before or behind what others have put there.
type link struct {
	perMilli int // bytes
	trip     time.Duration
	others   int // bytes of others in the queue
	window   int // what congestion control would have on the way
}

func (l link) after(b *bound, turns int) (rtt time.Duration) {
	for range turns {
		held := l.window
		if b.size > 0 {
			held = min(held, b.size)
		}
		waits := max(0, held-l.perMilli*int(l.trip)/int(time.Millisecond)) + l.others
		rtt = l.trip + time.Duration(waits)*time.Millisecond/time.Duration(l.perMilli)
		b.next(rtt, l.trip, held)
	}
	return rtt
}

func TestQueueBecomesShort(t *testing.T) {
	for _, c := range []struct {
		name    string
		link    link
		isBound bool
		most    time.Duration // of the round trip
	}{
		{"200 Mbit/s in a room", link{25_000, 100 * time.Microsecond, 0, 400_000}, true, 2 * time.Millisecond},
		{"200 Mbit/s in a town", link{25_000, 4 * time.Millisecond, 0, 600_000}, true, 9 * time.Millisecond},
		{"20 Mbit/s in a room", link{2_500, 100 * time.Microsecond, 0, 100_000}, true, 14 * time.Millisecond},
		{"no queue", link{25_000, 4 * time.Millisecond, 0, 80_000}, false, 4 * time.Millisecond},
		{"over an ocean", link{125_000, 80 * time.Millisecond, 0, 12_000_000}, false, time.Second},
	} {
		var b bound
		rtt := c.link.after(&b, 100)
		if rtt > c.most {
			t.Errorf("%s: round trip got %v; want at most %v", c.name, rtt, c.most)
		}
		if got := b.size > 0; got != c.isBound {
			t.Errorf("%s: bound to %d; want a bound: %v", c.name, b.size, c.isBound)
		}
	}
}

// A socket that was bound before its queue had grown has none to halve.
func TestBoundOfAShortQueueStays(t *testing.T) {
	var b bound
	for turn := range 10 * stuckTurns {
		rtt := 700 * time.Microsecond
		if turn == 0 {
			rtt = 530 * time.Microsecond
		}
		if b.next(rtt, 10*time.Microsecond, 17_000) != leastQueue {
			t.Fatalf("turn %d: bound to %d; want %d", turn, b.size, leastQueue)
		}
	}
}

// Where others keep the queue long, less of one's own would only be less.
func TestBoundThatDoesNotHelpIsLifted(t *testing.T) {
	var b bound
	l := link{25_000, time.Millisecond, 500_000, 400_000}
	l.after(&b, 10)
	if b.size == 0 {
		t.Fatal("not bound at first")
	}
	l.after(&b, 100)
	if b.size != 0 {
		t.Errorf("bound to %d; want no bound", b.size)
	}
	l.others = 0
	l.after(&b, pauseTurns)
	if b.size == 0 {
		t.Error("not bound again when the others have gone")
	}
}
