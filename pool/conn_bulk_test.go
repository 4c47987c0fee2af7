package pool

import (
	"maps"
	"net"
	"slices"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"golang.org/x/net/http2"
)

// slowConn is a connection whose socket takes what the test reads from it.
type slowConn struct {
	*conn
	wg sync.WaitGroup
	fr *http2.Framer
	nc net.Conn
}

func newSlowConn() *slowConn {
	a, b := net.Pipe()
	c := &slowConn{nc: b, fr: http2.NewFramer(nil, b)}
	c.conn = newConn(a, true, &Common{Cleartext: true, PingPeriod: -1, MaxHeaderBytes: 1 << 14, Windows: NewWindows(0), Mix: NewMix()})
	c.out, c.sendWindow, c.peerWindow = nil, 1<<30, 1<<30
	c.fr.SetMaxReadFrameSize(maxReadFrame)
	c.wg.Go(c.writeLoop)
	return c
}

// write opens a stream and writes to it in the background.
func (c *slowConn) write(t *testing.T, r Receiver, n int) *Stream {
	s, err := c.open(&Header{Path: "/"}, r)
	if err != nil {
		t.Fatal(err)
	}
	c.wg.Go(func() { s.Write(make([]byte, n)) })
	return s
}

// readData reads up to the next DATA frame; 0 bytes at the end.
func (c *slowConn) readData() (id uint32, n int) {
	for {
		f, err := c.fr.ReadFrame()
		if err != nil {
			return 0, 0
		}
		if f, ok := f.(*http2.DataFrame); ok {
			return f.StreamID, len(f.Data())
		}
	}
}

func (c *slowConn) end() {
	c.nc.Close()
	c.mu.Lock()
	streams := slices.Collect(maps.Values(c.streams))
	c.mu.Unlock()
	for _, s := range streams {
		c.endStream(s, ErrClosed)
	}
	c.close(ErrClosed)
	c.wg.Wait()
}

func TestBulkStreamsTakeTurns(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := newSlowConn()
		defer c.end()
		const each = 1 << 20
		sent := map[uint32]int{}
		for range 4 {
			sent[c.write(t, nil, each).ID()] = 0
		}
		for total := 0; total < 4*each; {
			id, n := c.readData()
			if n == 0 {
				t.Fatalf("nothing comes after %v", sent)
			}
			sent[id] += n
			total += n
			time.Sleep(time.Millisecond)
			counts := slices.Collect(maps.Values(sent))
			if ahead := slices.Max(counts) - slices.Min(counts); ahead > maxBulk/4 {
				t.Fatalf("after %d bytes one stream is %d ahead of another", total, ahead)
			}
		}
	})
}

// What a batched stream sends waits for no more than the write that is under way,
// which a slow socket makes short.
func TestBatchGoesBeforeBulk(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := newSlowConn()
		defer c.end()
		for range 4 {
			c.write(t, nil, 1<<20)
		}
		for total := 0; total < 1<<20; {
			_, n := c.readData()
			total += n
			time.Sleep(time.Millisecond)
		}
		synctest.Wait()
		batched := c.write(t, newSink(), 100).ID()
		synctest.Wait()
		for late := 0; ; {
			id, n := c.readData()
			if id == batched {
				break
			}
			if late += n; late > minBulk+minTurn {
				t.Fatalf("a batch waits for %d bytes; want at most %d", late, minBulk+minTurn)
			}
		}
	})
}

// A stream that is reset while it waits for its turn sends nothing after that.
func TestResetStreamLosesItsTurn(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := newSlowConn()
		defer c.end()
		c.write(t, nil, 1<<20)
		synctest.Wait() // it writes; the next one waits
		s := c.write(t, nil, 1<<20)
		synctest.Wait()
		s.Reset(http2.ErrCodeCancel)
		synctest.Wait()
		for total := 0; total < 1<<20; {
			id, n := c.readData()
			if id == s.ID() {
				t.Fatalf("%d bytes of the stream that was reset", n)
			}
			total += n
		}
	})
}

type boundLog []bool

func (l *boundLog) BoundQueue(isOn bool) int {
	*l = append(*l, isOn)
	return 0
}

// A bounded socket takes its last write whole, beyond what it may hold.
func TestBoundSocketIsWrittenLittleAtATime(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := newSlowConn()
		defer c.end()
		c.mu.Lock()
		c.isWriting, c.bulkLimit = true, maxBulk
		c.mu.Unlock()
		c.write(t, nil, 1<<20)
		synctest.Wait()
		c.mu.Lock()
		defer c.mu.Unlock()
		for _, tc := range []struct{ held, want int }{
			{0, maxBulk},
			{minBulk, minBulk},
			{4 * minBulk, minBulk},
			{8 * minBulk, 2 * minBulk},
			{16 * maxBulk, maxBulk},
		} {
			c.out, c.heldBytes = nil, tc.held
			c.takeBulkLocked(nil)
			if got := len(c.out); got < tc.want || got > tc.want+tc.want/16 {
				t.Errorf("held %d: %d bytes at once; want %d", tc.held, got, tc.want)
			}
		}
	})
}

// The socket's queue is bounded while bulk goes beside batches, and only then.
func TestQueueIsBoundWhileBulkGoesBesideBatches(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := newSlowConn()
		defer c.end()
		var calls boundLog
		c.bounder = &calls
		bulk := func() {
			c.write(t, nil, 1<<20)
			for total := 0; total < 1<<20; {
				_, n := c.readData()
				total += n
				time.Sleep(time.Millisecond)
			}
			synctest.Wait()
		}
		batch := func(c *slowConn) {
			c.write(t, newSink(), 100)
			c.readData()
			synctest.Wait()
		}
		time.Sleep(time.Minute)
		bulk()
		if len(calls) > 0 {
			t.Errorf("bulk alone: %v; want no bound", calls)
		}
		batch(c)
		bulk()
		if len(calls) < 2 || slices.Contains(calls, false) {
			t.Errorf("bulk beside batches: %v; want a bound", calls)
		}
		calls = nil
		time.Sleep(sharedTime)
		batch(c)
		batch(c)
		if !slices.Equal(calls, boundLog{false}) {
			t.Errorf("batches alone: %v; want one end of the bound", calls)
		}
		calls = nil
		other := newSlowConn()
		defer other.end()
		other.cfg.Mix = c.cfg.Mix
		time.Sleep(sharedTime)
		batch(other)
		bulk()
		if len(calls) < 2 || slices.Contains(calls, false) {
			t.Errorf("bulk beside batches of another connection: %v; want a bound", calls)
		}
	})
}
