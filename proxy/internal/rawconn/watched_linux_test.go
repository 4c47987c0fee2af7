//go:build !h2tp_portable && !h2tp_noloop

package rawconn

import (
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"runtime"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"golang.org/x/net/nettest"
)

const patience = 30 * time.Second

// newLoop makes a loop that has to be without sockets at the end.
func newLoop(t testing.TB) *Loop {
	t.Helper()
	l, err := NewLoop()
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		l.mu.Lock()
		for _, s := range l.sockets {
			if s.w != nil {
				t.Errorf("%v is left", s.w.RemoteAddr())
			}
		}
		l.mu.Unlock()
		l.Close()
		l.Close()
	})
	return l
}

// watchedPair gives two ends of one connection, the first of them a loop's.
func watchedPair(t testing.TB, l *Loop, network string) (*Watched, net.Conn) {
	t.Helper()
	c, peer := pair(t, network)
	w, ok := l.Adopt(c)
	if !ok {
		t.Fatal("not adopted")
	}
	t.Cleanup(func() { w.Close() })
	return w, peer
}

func TestWatchedIsANetConn(t *testing.T) {
	for _, network := range []string{"tcp", "unix"} {
		t.Run("net="+network, func(t *testing.T) {
			l := newLoop(t)
			nettest.TestConn(t, func() (net.Conn, net.Conn, func(), error) {
				a, peer := pair(t, network)
				peer.SetDeadline(time.Time{})
				w, ok := l.Adopt(a)
				if !ok {
					return nil, nil, nil, errors.New("not adopted")
				}
				v, ok := l.Adopt(peer)
				if !ok {
					return nil, nil, nil, errors.New("peer not adopted")
				}
				return w, v, func() { w.Close(); v.Close() }, nil
			})
		})
	}
}

// collector takes what a watched socket gets.
type collector struct {
	w     *Watched
	buf   [100]byte
	lent  int
	mu    sync.Mutex
	got   strings.Builder
	turns atomic.Int32 // running
	err   error
	endc  chan struct{}
}

func collect(w *Watched) *collector {
	c := &collector{w: w, endc: make(chan struct{})}
	w.Watch(c.ready)
	return c
}

func (c *collector) Acquire() []byte { c.lent++; return c.buf[:] }
func (c *collector) Release()        { c.lent-- }

func (c *collector) ready() {
	if c.turns.Add(1) > 1 {
		panic("two at once")
	}
	defer c.turns.Add(-1)
	for {
		n, isMore, err := c.w.TryReadInto(c)
		c.mu.Lock()
		c.got.Write(c.buf[:n])
		c.mu.Unlock()
		if err != nil {
			c.err = err
			c.w.Leave()
			close(c.endc)
			return
		}
		if !isMore {
			return
		}
	}
}

func (c *collector) text() string {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.got.String()
}

func awaitTrue(t testing.TB, f func() bool, what string) {
	t.Helper()
	for end := time.Now().Add(patience); !f(); time.Sleep(100 * time.Microsecond) {
		if time.Now().After(end) {
			t.Fatalf("%s: did not happen", what)
		}
	}
}

func (c *collector) awaitEnd(t testing.TB) {
	t.Helper()
	select {
	case <-c.endc:
	case <-time.After(patience):
		t.Fatalf("no end after %q", c.text())
	}
}

// Bytes are told as they come, and what had come before too; the end is found though it comes with the last of them.
func TestWhatComesIsTold(t *testing.T) {
	l := newLoop(t)
	for _, network := range []string{"tcp", "unix"} {
		for i := range 200 {
			w, peer := watchedPair(t, l, network)
			mustWrite(t, peer, "before ")
			if i%2 == 0 {
				runtime.Gosched()
			}
			c := collect(w)
			var want strings.Builder
			want.WriteString("before ")
			for k := range i % 5 {
				part := strings.Repeat(fmt.Sprint(k), k*60)
				mustWrite(t, peer, part)
				want.WriteString(part)
				if i%3 == 0 {
					awaitTrue(t, func() bool { return c.text() == want.String() }, "what was sent")
				}
			}
			mustWrite(t, peer, "last")
			peer.Close() // an edge of its own, or the same
			c.awaitEnd(t)
			if got := c.text(); got != want.String()+"last" || c.err != io.EOF {
				t.Fatalf("got %q, %v; want %q", got, c.err, want.String())
			}
			w.Close()
		}
	}
}

// Who watches is told that the socket is closed, wherever that is done.
func TestCloseIsTold(t *testing.T) {
	l := newLoop(t)
	for range 100 {
		w, _ := watchedPair(t, l, "tcp")
		c := collect(w)
		go w.Close()
		c.awaitEnd(t)
		if !errors.Is(c.err, net.ErrClosed) {
			t.Errorf("got %v; want net.ErrClosed", c.err)
		}
		if w.Unwatch() || w.Peek() != Gone || !w.HasEnded() || w.Queued() != 0 {
			t.Error("a closed socket is watched, or alive")
		}
		if err := w.Close(); !errors.Is(err, net.ErrClosed) {
			t.Errorf("a second Close: %v", err)
		}
	}
}

// One who reads as of old, and the loop, take turns: nothing is lost between them, and none reads beside the other.
func TestWatchingAndReadingTakeTurns(t *testing.T) {
	l := newLoop(t)
	w, peer := watchedPair(t, l, "tcp")
	const n = 20_000
	go func() {
		for i := range n {
			fmt.Fprintf(peer, "%6d", i)
		}
	}()
	var buf [6]byte
	have, next := 0, 0
	var turns atomic.Int32
	donec := make(chan struct{})
	take := func(b []byte) {
		for len(b) > 0 {
			k := copy(buf[have:], b)
			if have, b = have+k, b[k:]; have == 6 {
				if got := fmt.Sprintf("%6d", next); got != string(buf[:]) {
					t.Errorf("got %q; want %q", buf, got)
				}
				have = 0
				if next++; next == n {
					close(donec)
				}
			}
		}
	}
	var lent lender
	lent.buf = make([]byte, 50)
	var watch func()
	read := func() { // some bytes, then it is the loop's again
		var p [70]byte
		if turns.Add(1) > 1 {
			t.Error("two at once")
		}
		for range 3 {
			w.SetReadDeadline(time.Now().Add(time.Millisecond))
			k, err := w.Read(p[:])
			if err != nil && !errors.Is(err, os.ErrDeadlineExceeded) {
				return // the test is over, or fails for want of what is lost
			}
			take(p[:k])
		}
		turns.Add(-1)
		watch()
	}
	rounds := 0
	ready := func() {
		if turns.Add(1) > 1 {
			t.Error("two at once")
		}
		k, isMore, err := w.TryReadInto(&lent)
		if err != nil {
			w.Leave()
			return
		}
		take(lent.buf[:k])
		rounds++
		turns.Add(-1)
		if isMore || rounds%7 == 0 {
			w.Leave()
			go read()
		}
	}
	watch = func() { w.Watch(ready) }
	watch()
	select {
	case <-donec:
	case <-time.After(patience):
		t.Fatalf("%d of %d came", next, n)
	}
}

// Unwatch hands the reading over, or does not: one has it.
func TestUnwatchOrReady(t *testing.T) {
	l := newLoop(t)
	for range 500 {
		w, peer := watchedPair(t, l, "tcp")
		var owners atomic.Int32
		w.Watch(func() {
			var lent lender
			lent.buf = make([]byte, 10)
			if n, _, _ := w.TryReadInto(&lent); n > 0 {
				owners.Add(1)
				w.Leave()
			}
		})
		go peer.Write([]byte("x"))
		var p [1]byte
		if w.Unwatch() {
			owners.Add(1)
			if _, err := w.Read(p[:]); err != nil {
				t.Error(err)
			}
		}
		awaitTrue(t, func() bool { return owners.Load() > 0 }, "an owner")
		if n := owners.Load(); n != 1 {
			t.Fatalf("%d have it", n)
		}
		w.Close()
	}
}

// A descriptor that is used again is another socket's.
func TestEventsOfClosedSocketsReachNobodyElse(t *testing.T) {
	l := newLoop(t)
	var wg sync.WaitGroup
	for g := range 8 {
		wg.Go(func() {
			for i := range 200 {
				w, peer := watchedPair(t, l, "tcp")
				c := collect(w)
				own := fmt.Sprintf("%d of %d.", i, g)
				mustWrite(t, peer, own)
				if i%2 == 0 {
					awaitTrue(t, func() bool { return c.text() == own }, "its own")
				}
				w.Close()
				peer.Close()
				c.awaitEnd(t)
				if got := c.text(); got != own && got != "" {
					t.Errorf("got %q; want %q", got, own)
				}
			}
		})
	}
	wg.Wait()
}

// Many sockets at once are seen to by several goroutines where there are processors.
func TestManySocketsAtOnce(t *testing.T) {
	l := newLoop(t)
	const n = 300
	var peers []net.Conn
	var cs []*collector
	for range n {
		w, peer := watchedPair(t, l, "unix")
		cs, peers = append(cs, collect(w)), append(peers, peer)
	}
	for round := range 20 {
		for i, p := range peers {
			fmt.Fprintf(p, "%d.", round)
			if i%50 == 0 {
				runtime.Gosched()
			}
		}
	}
	var want strings.Builder
	for round := range 20 {
		want.WriteString(fmt.Sprintf("%d.", round))
	}
	for _, c := range cs {
		awaitTrue(t, func() bool { return c.text() == want.String() }, "what was sent")
	}
}

func TestTryWriteOfAWatchedSocketNeverWaits(t *testing.T) {
	l := newLoop(t)
	w, peer := watchedPair(t, l, "tcp")
	chunk := make([]byte, 1<<20)
	total := 0
	for {
		n, err := w.TryWrite(chunk)
		if err != nil {
			t.Fatal(err)
		}
		if total += n; n < len(chunk) {
			break
		}
	}
	if w.Queued() == 0 && runtime.GOOS == "linux" {
		t.Error("nothing is queued on a socket that is full")
	}
	donec := make(chan error, 1)
	go func() { // waits for room
		_, err := w.Write(chunk)
		donec <- err
	}()
	if n, err := io.CopyN(io.Discard, peer, int64(total+len(chunk))); err != nil {
		t.Fatalf("%d came, %v", n, err)
	}
	if err := <-donec; err != nil {
		t.Error(err)
	}
	if err := w.CloseWrite(); err != nil {
		t.Error(err)
	}
	if n, err := peer.Read(chunk); n != 0 || err != io.EOF {
		t.Errorf("got %d, %v; want the end", n, err)
	}
	if w.Peek() != Quiet || w.HasEnded() {
		t.Error("the other end is open and quiet")
	}
	mustWrite(t, peer, "x")
	awaitTrue(t, func() bool { return w.Peek() == Pending }, "a byte")
	peer.Close()
	awaitTrue(t, w.HasEnded, "the end")
}

func TestWatchedReadsAllocateNothing(t *testing.T) {
	l := newLoop(t)
	w, peer := watchedPair(t, l, "tcp")
	var lent lender
	lent.buf = make([]byte, 100)
	readc := make(chan struct{}, 1)
	w.Watch(func() {
		if n, _, _ := w.TryReadInto(&lent); n > 0 {
			lent.Release()
			w.TryWrite(lent.buf[:n])
			readc <- struct{}{}
		}
	})
	p := make([]byte, 10)
	if n := testing.AllocsPerRun(500, func() {
		peer.Write(p)
		<-readc
		peer.Read(p)
	}); n > 0 {
		t.Errorf("%v allocations", n)
	}
	w.Leave()
}
