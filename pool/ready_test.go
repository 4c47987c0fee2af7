package pool

import (
	"context"
	"errors"
	"fmt"
	"io"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"golang.org/x/net/http2"
)

// readyPair is a client and a server over pipes, in a bubble.
type readyPair struct {
	t   *testing.T
	set *ReadySet
	srv *Server
	cl  *Client
}

// startReady serves streams by accept; nil is set.Offer.
func startReady(t *testing.T, cfg ReadySetConfig, accept func(*Stream)) *readyPair {
	t.Helper()
	set, err := NewReadySet(cfg)
	if err != nil {
		t.Fatal(err)
	}
	if accept == nil {
		accept = func(s *Stream) { set.Offer(s) }
	}
	ln := newPipeListener()
	srv := startServer(t, ln, accept)
	cl, err := NewClient(ClientConfig{Common: Common{Cleartext: true}, Addr: "pipe", Dial: ln.dial})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		cl.Close()
		set.Close()
	})
	return &readyPair{t: t, set: set, srv: srv, cl: cl}
}

func (p *readyPair) ready(cfg ReadyConfig) *Ready {
	p.t.Helper()
	r, err := p.cl.Ready(cfg)
	if err != nil {
		p.t.Fatal(err)
	}
	p.t.Cleanup(func() { r.Close() })
	synctest.Wait()
	return r
}

// want compares what a Ready says of itself.
func (p *readyPair) want(r *Ready, ready, capacity int, interval time.Duration) {
	p.t.Helper()
	synctest.Wait()
	if r.Ready() != ready || r.Capacity() != capacity || r.Interval() != interval {
		p.t.Errorf("%d ready of %d, interval %v; want %d of %d, %v", r.Ready(), r.Capacity(), r.Interval(), ready, capacity, interval)
	}
}

// meet acquires a stream and takes its other end.
func (p *readyPair) meet(r *Ready) (near, far *Stream) {
	p.t.Helper()
	far, id := p.set.Acquire()
	if far == nil {
		p.t.Fatal("none is ready")
	}
	near, err := r.Take(p.t.Context(), id)
	if err != nil {
		p.t.Fatal(err)
	}
	return near, far
}

const ms = time.Millisecond

func TestReadyStreamIsTakenByItsID(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := startReady(t, ReadySetConfig{}, nil)
		r := p.ready(ReadyConfig{})
		seen := make(map[*Stream]bool)
		for i := range 20 {
			far, id, err := p.set.Accept(t.Context())
			if err != nil || id == 0 {
				t.Fatal(id, err)
			}
			near, err := r.Take(t.Context(), id)
			if err != nil {
				t.Fatal(err)
			}
			if seen[near] {
				t.Fatal("a stream was given twice")
			}
			seen[near] = true
			if _, err := r.Take(t.Context(), id); !errors.Is(err, ErrTaken) {
				t.Errorf("taken again: %v; want ErrTaken", err)
			}
			want := fmt.Sprint("message ", i)
			io.WriteString(far, want)
			far.CloseWrite()
			io.WriteString(near, "to "+want)
			near.CloseWrite()
			if got, err := io.ReadAll(near); string(got) != want || err != nil {
				t.Errorf("got %q, %v", got, err)
			}
			if got, err := io.ReadAll(far); string(got) != "to "+want || err != nil {
				t.Errorf("got %q, %v", got, err)
			}
		}
		synctest.Wait()
		if r.Active() != 0 || p.set.Active() != 0 {
			t.Errorf("%d and %d active after the end; want 0", r.Active(), p.set.Active())
		}
	})
}

// Full, the interval doubles from its least to its most, and then nothing runs.
func TestFullPoolComesToRest(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := startReady(t, ReadySetConfig{MaxAge: -1}, nil)
		r := p.ready(ReadyConfig{})
		for interval := 10 * ms; interval < time.Second; interval *= 2 {
			time.Sleep(interval - 1)
			p.want(r, 4, 4, interval)
			time.Sleep(time.Nanosecond)
			p.want(r, 4, 4, min(2*interval, time.Second))
		}
		r.mu.Lock()
		due := time.Until(r.dueLocked())
		r.mu.Unlock()
		if due != never {
			t.Errorf("at rest something is due in %v", due)
		}
	})
}

func TestCapacityRisesWithWhatIsTakenAndFallsWithRest(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := startReady(t, ReadySetConfig{MaxAge: -1}, nil)
		r := p.ready(ReadyConfig{MaxCapacity: 20})
		for _, step := range []struct{ take, ready, capacity int }{
			{4, 8, 8},    // none left: double
			{7, 16, 16},  // 1 of 8 is under 20 %
			{16, 20, 20}, // not above MaxCapacity
			{16, 20, 20}, // 4 of 20 are not under 20 %
		} {
			for range step.take {
				near, far := p.meet(r)
				near.Close()
				far.Close()
			}
			time.Sleep(10*ms - 1)
			synctest.Wait()
			if r.Ready() == step.ready {
				t.Errorf("%d are ready before the interval is over", step.ready)
			}
			time.Sleep(time.Nanosecond)
			p.want(r, step.ready, step.capacity, 10*ms)
		}
		// The interval doubles up to a second; after each second without a Take the
		// capacity halves, and what is above it is left to its age.
		time.Sleep((10 + 20 + 40 + 80 + 160 + 320 + 640) * ms)
		was := 20
		for _, capacity := range []int{10, 5, 4} {
			time.Sleep(time.Second - 1)
			p.want(r, 20, was, time.Second)
			time.Sleep(time.Nanosecond)
			p.want(r, 20, capacity, time.Second)
			was = capacity
		}
	})
}

// What is taken from a pool at rest is replaced at once; and then each interval, which
// becomes shorter as often as the pool is found nearly empty.
func TestTakenStreamsAreReplacedByDemand(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := startReady(t, ReadySetConfig{MaxAge: -1}, nil)
		r := p.ready(ReadyConfig{MaxCapacity: 4})
		time.Sleep(10 * time.Second)
		p.want(r, 4, 4, time.Second)
		p.meet(r)
		p.want(r, 4, 4, time.Second)
		p.meet(r)
		p.want(r, 3, 4, time.Second)
		time.Sleep(time.Second)
		p.want(r, 4, 4, time.Second)
		for interval := 500 * ms; ; interval = max(interval/2, 10*ms) {
			time.Sleep(10 * ms)
			for range 4 {
				p.meet(r)
			}
			p.want(r, 4, 4, interval)
			if interval == 10*ms {
				break
			}
		}
	})
}

func TestFailingCreationsBackOff(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var isRefusing atomic.Bool
		var tried atomic.Int32
		var p *readyPair
		p = startReady(t, ReadySetConfig{MaxAge: -1}, func(s *Stream) {
			tried.Add(1)
			if isRefusing.Load() {
				s.Refuse(503, "")
				return
			}
			p.set.Offer(s)
		})
		r := p.ready(ReadyConfig{})
		for range 4 {
			p.meet(r)
		}
		time.Sleep(10 * ms)
		p.want(r, 8, 8, 10*ms)
		isRefusing.Store(true)
		tried.Store(0)
		for range 8 {
			p.meet(r)
		}
		for i, step := range []struct {
			wait     time.Duration
			capacity int // and so many are tried, as none is left
			interval time.Duration
		}{
			{10 * ms, 16, 10 * ms}, // all that was known went well
			{10 * ms, 8, 20 * ms},
			{20 * ms, 4, 40 * ms},
			{40 * ms, 4, 80 * ms},
			{80 * ms, 4, 160 * ms},
			{160 * ms, 4, 320 * ms},
			{320 * ms, 4, 640 * ms},
			{640 * ms, 4, time.Second},
			{time.Second, 4, time.Second},
		} {
			time.Sleep(step.wait - 1)
			synctest.Wait()
			if n := tried.Swap(0); n != 0 {
				t.Errorf("step %d: %d were tried early", i, n)
			}
			time.Sleep(time.Nanosecond)
			p.want(r, 0, step.capacity, step.interval)
			if n := tried.Swap(0); n != int32(step.capacity) {
				t.Errorf("step %d: %d were tried; want %d", i, n, step.capacity)
			}
		}
		if n := r.Errors(); n != 16+8+7*4 || r.Err() == nil {
			t.Errorf("%d errors, last %v; want 52", n, r.Err())
		}
		r.ResetErrors()
		if r.Errors() != 0 || r.Err() != nil {
			t.Error("errors were not reset")
		}
		isRefusing.Store(false)
		time.Sleep(time.Second)
		p.want(r, 4, 4, time.Second)
	})
}

// A server that ends what it accepted makes the client back off all the same.
func TestStreamsThatDieUntakenAreFailures(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var tried atomic.Int32
		var p *readyPair
		p = startReady(t, ReadySetConfig{MaxAge: -1}, func(s *Stream) {
			tried.Add(1)
			p.set.Offer(s)
			s.Reset(http2.ErrCodeCancel)
		})
		r := p.ready(ReadyConfig{})
		time.Sleep(time.Minute)
		if n := tried.Load(); n > 300 || n < 200 {
			t.Errorf("%d streams in a minute; want 4 each second", n)
		}
		r.mu.Lock()
		known := len(r.streams)
		r.mu.Unlock()
		if known > r.cfg.MaxCapacity {
			t.Errorf("%d streams that are over are remembered", known)
		}
	})
}

func TestNamedBeforeSeen(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		heldc := make(chan *Stream, 10)
		p := startReady(t, ReadySetConfig{}, func(s *Stream) { heldc <- s })
		answer := func(id string) *Stream {
			s := <-heldc
			s.Respond(200, Field{Name: "ready-id", Value: id})
			synctest.Wait()
			return s
		}
		r := p.ready(ReadyConfig{MinCapacity: 4, MaxCapacity: 4, OpenTimeout: 5 * time.Second})
		type result struct {
			s   *Stream
			err error
		}
		take := func(id uint32, timeout time.Duration) chan result {
			c := make(chan result, 1)
			go func() {
				ctx, cancel := context.WithTimeout(t.Context(), timeout)
				defer cancel()
				s, err := r.Take(ctx, id)
				c <- result{s, err}
			}()
			synctest.Wait()
			return c
		}
		// It comes in time; who names it again has no part in it.
		first := take(7, time.Second)
		if again := <-take(7, time.Second); !errors.Is(again.err, ErrTaken) {
			t.Errorf("named twice: %v; want ErrTaken", again.err)
		}
		time.Sleep(500 * ms)
		answer("00000007")
		if got := <-first; got.err != nil || got.s == nil {
			t.Errorf("got %v; want the stream", got.err)
		}
		// It comes too late, or is not wanted any more: it is reset.
		began := time.Now()
		if got := <-take(8, time.Second); !errors.Is(got.err, context.DeadlineExceeded) || time.Since(began) != time.Second {
			t.Errorf("got %v after %v; want the deadline's after 1s", got.err, time.Since(began))
		}
		r.Drop(9)
		for _, id := range []string{"00000008", "00000009"} {
			s := answer(id)
			if _, err := s.Read(make([]byte, 1)); err == nil || err == io.EOF {
				t.Errorf("%s: %v; want a reset", id, err)
			}
		}
		if r.Ready() != 0 || r.Active() != 1 {
			t.Errorf("%d ready, %d active; want 0 and 1", r.Ready(), r.Active())
		}
		// It cannot come: none is being opened.
		r.Drain()
		last := take(10, time.Hour)
		for len(heldc) > 0 {
			answer("xyz")
		}
		if got := <-last; !errors.Is(got.err, ErrNotReady) {
			t.Errorf("got %v; want ErrNotReady", got.err)
		}
		if _, err := r.Take(t.Context(), 11); !errors.Is(err, ErrNotReady) {
			t.Errorf("got %v; want ErrNotReady", err)
		}
	})
}

// What is named is given also while no more are made.
func TestDrainLetsTakesGoOn(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := startReady(t, ReadySetConfig{MaxAge: -1}, nil)
		r := p.ready(ReadyConfig{})
		r.Drain()
		for range 4 {
			p.meet(r)
		}
		time.Sleep(time.Minute)
		if r.Ready() != 0 || r.Active() != 4 {
			t.Errorf("%d ready, %d active; want 0 and 4", r.Ready(), r.Active())
		}
	})
}

func TestStreamThatDiedGivesItsError(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := startReady(t, ReadySetConfig{MaxAge: -1}, nil)
		r := p.ready(ReadyConfig{})
		far, id := p.set.Acquire()
		far.Reset(http2.ErrCodeInternal)
		synctest.Wait()
		_, err := r.Take(t.Context(), id)
		if re, ok := errors.AsType[*ResetError](err); !ok || re.Code != http2.ErrCodeInternal {
			t.Errorf("got %v; want the reset", err)
		}
		// But what the server had sent whole can be read, though it closed the stream.
		far, id = p.set.Acquire()
		io.WriteString(far, "whole")
		far.Close()
		synctest.Wait()
		near, err := r.Take(t.Context(), id)
		if err != nil {
			t.Fatal(err)
		}
		if got, err := io.ReadAll(near); string(got) != "whole" || err != nil {
			t.Errorf("got %q, %v", got, err)
		}
		// It is remembered for a while, not for ever.
		_, id = p.set.Acquire()
		p.srv.mu.Lock()
		for c := range p.srv.conns {
			go c.close(ErrClosed)
		}
		p.srv.mu.Unlock()
		time.Sleep(6 * time.Second)
		if _, err := r.Take(t.Context(), id); !errors.Is(err, ErrNotReady) {
			t.Errorf("got %v; want ErrNotReady", err)
		}
		p.want(r, 4, 4, r.Interval()) // anew, on another connection
		p.meet(r)
	})
}

func TestOldReadyStreamsAreReplaced(t *testing.T) {
	for _, isAsked := range []bool{false, true} {
		synctest.Test(t, func(t *testing.T) {
			scfg := ReadySetConfig{}
			if isAsked {
				scfg.MaxAge = -1
			}
			p := startReady(t, scfg, nil)
			var cfg ReadyConfig
			if isAsked {
				cfg.Release = p.set.Release
			}
			r := p.ready(cfg)
			ids := func() map[uint32]bool {
				p.set.mu.Lock()
				defer p.set.mu.Unlock()
				m := make(map[uint32]bool)
				for id := range p.set.streams {
					m[id] = true
				}
				return m
			}
			far, id := p.set.Acquire() // told later: it is not the client's to end
			before := ids()
			time.Sleep(45*time.Second - 1)
			synctest.Wait()
			for id := range before {
				if !ids()[id] {
					t.Error("a stream was replaced early")
				}
			}
			time.Sleep(time.Second + ms) // those whose end is seen after the first are made an interval later
			p.want(r, 4, 4, r.Interval())
			for old := range before {
				if ids()[old] != (old == id) {
					t.Errorf("asked %v: a stream lives on, or one that is in use does not", isAsked)
				}
			}
			near, err := r.Take(t.Context(), id)
			if err != nil {
				t.Fatal(err)
			}
			io.WriteString(far, "x")
			if _, err := near.Read(make([]byte, 1)); err != nil {
				t.Error(err)
			}
			if n := r.Errors(); n != 0 {
				t.Errorf("%d errors: %v", n, r.Err())
			}
		})
	}
}

func TestFlushReplacesReadyStreams(t *testing.T) {
	for _, isAsked := range []bool{false, true} {
		synctest.Test(t, func(t *testing.T) {
			p := startReady(t, ReadySetConfig{MaxAge: -1}, nil)
			cfg := ReadyConfig{MaxCapacity: 4}
			if isAsked {
				cfg.Release = p.set.Release
			}
			r := p.ready(cfg)
			near, far := p.meet(r)
			time.Sleep(2 * time.Second)
			_, id := p.set.Acquire()
			r.Flush()
			p.want(r, 4, 4, 500*ms)
			if _, err := r.Take(t.Context(), id); (err == nil) != isAsked {
				t.Errorf("asked %v: the stream just acquired: %v", isAsked, err)
			}
			if n := p.set.Ready(); n != 4 {
				t.Errorf("%d ready at the server; want 4", n)
			}
			io.WriteString(far, "x")
			if _, err := near.Read(make([]byte, 1)); err != nil {
				t.Errorf("a stream in use: %v", err)
			}
			p.set.Flush()
			time.Sleep(500 * ms)
			p.want(r, 4, 4, r.Interval())
			if p.set.Ready() != 4 || r.Errors() != 0 {
				t.Errorf("%d ready at the server, %d errors: %v", p.set.Ready(), r.Errors(), r.Err())
			}
		})
	}
}

func TestCloseEndsReadyStreamsAtBothEnds(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := startReady(t, ReadySetConfig{MaxAge: -1}, nil)
		r := p.ready(ReadyConfig{})
		near, far := p.meet(r)
		held, _ := p.set.Acquire()
		waiting := make(chan error, 1)
		go func() {
			for {
				if _, _, err := p.set.Accept(t.Context()); err != nil {
					waiting <- err
					return
				}
			}
		}()
		synctest.Wait()
		r.Close()
		r.Close()
		if _, err := held.Read(make([]byte, 1)); err == nil {
			t.Error("the server still reads")
		}
		io.WriteString(far, "x")
		if _, err := near.Read(make([]byte, 1)); err != nil {
			t.Errorf("a stream that was taken: %v", err)
		}
		synctest.Wait()
		if p.set.Ready() != 0 || r.Ready() != 0 {
			t.Errorf("%d and %d ready after Close", p.set.Ready(), r.Ready())
		}
		p.set.Close()
		if err := <-waiting; err != ErrClosed {
			t.Errorf("Accept: %v; want ErrClosed", err)
		}
		p.cl.Close()
		if _, err := near.Read(make([]byte, 1)); err == nil || err == io.EOF {
			t.Errorf("after the client's Close: %v", err)
		}
		if _, err := p.cl.Ready(ReadyConfig{}); err != ErrClosed {
			t.Errorf("Ready of a closed client: %v; want ErrClosed", err)
		}
	})
}

// A server that refuses for what no wait changes is left alone.
func TestServerThatRefusesForGoodIsNotAskedAgain(t *testing.T) {
	for _, status := range []int{400, 404, 405, 421} {
		synctest.Test(t, func(t *testing.T) {
			var tried atomic.Int32
			p := startReady(t, ReadySetConfig{}, func(s *Stream) { tried.Add(1); s.Refuse(status, "") })
			r := p.ready(ReadyConfig{})
			time.Sleep(time.Hour)
			if n := tried.Load(); n != 4 {
				t.Errorf("%d: %d tried; want 4", status, n)
			}
			if se, ok := errors.AsType[*StatusError](r.Err()); !ok || se.Status != status {
				t.Errorf("got %v; want status %d", r.Err(), status)
			}
		})
	}
	synctest.Test(t, func(t *testing.T) {
		p := startReady(t, ReadySetConfig{}, nil)
		r := p.ready(ReadyConfig{Header: Header{Path: "no path"}})
		time.Sleep(time.Hour)
		if n := r.Errors(); n != 4 || !isHeaderError(r.Err()) {
			t.Errorf("%d errors, %v; want 4, a HeaderError", n, r.Err())
		}
	})
}

// What may pass is tried again, ever more seldom, and there are streams once it has.
func TestServerThatRefusesForNowIsAskedAgain(t *testing.T) {
	for _, status := range []int{401, 403, 408, 425, 429, 500, 503} {
		synctest.Test(t, func(t *testing.T) {
			var tried atomic.Int32
			var isOpen atomic.Bool
			var p *readyPair
			p = startReady(t, ReadySetConfig{}, func(s *Stream) {
				if isOpen.Load() {
					p.set.Offer(s)
					return
				}
				tried.Add(1)
				s.Refuse(status, "")
			})
			r := p.ready(ReadyConfig{})
			time.Sleep(time.Minute)
			if n := tried.Load(); n < 4*50 || n > 4*70 {
				t.Errorf("%d: %d tried in a minute; want about 4 a second", status, n)
			}
			isOpen.Store(true)
			time.Sleep(time.Second)
			synctest.Wait()
			if r.Ready() != 4 {
				t.Errorf("%d: %d ready; want 4", status, r.Ready())
			}
		})
	}
}

func TestServerBoundsItsReadyStreams(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := startReady(t, ReadySetConfig{Max: 3}, nil)
		r := p.ready(ReadyConfig{})
		time.Sleep(time.Minute)
		if p.set.Ready() != 3 || r.Ready() != 3 {
			t.Errorf("%d and %d ready; want 3", p.set.Ready(), r.Ready())
		}
		if se, ok := errors.AsType[*StatusError](r.Err()); !ok || se.Status != 503 {
			t.Errorf("got %v; want status 503", r.Err())
		}
		// The oldest first; and who waits gets the next.
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		for range 3 {
			p.meet(r)
		}
		for range 2 {
			if _, _, err := p.set.Accept(ctx); err != nil {
				t.Error(err)
			}
		}
		r.Close()
		synctest.Wait() // one may be on its way
		for p.set.Ready() > 0 {
			p.set.Acquire()
		}
		if _, _, err := p.set.Accept(ctx); err != context.DeadlineExceeded {
			t.Errorf("got %v; want the deadline", err)
		}
	})
}

// All methods at once, over sockets.
func TestReadyUnderStress(t *testing.T) {
	set, _ := NewReadySet(ReadySetConfig{MaxAge: 20 * ms})
	ln := listen(t)
	srv := startServer(t, ln, func(s *Stream) { set.Offer(s) })
	cl := startClient(t, ln)
	r, err := cl.Ready(ReadyConfig{MinInterval: ms, MaxInterval: 5 * ms, MaxAge: 10 * ms, Release: set.Release})
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(t.Context(), time.Second)
	defer cancel()
	var wg sync.WaitGroup
	var met atomic.Int32
	for range 4 {
		wg.Go(func() {
			for ctx.Err() == nil {
				far, id, err := set.Accept(ctx)
				if err != nil {
					continue
				}
				near, err := r.Take(ctx, id)
				if err != nil {
					far.Close()
					continue
				}
				wg.Go(func() {
					fmt.Fprintf(far, "%08x", id)
					far.Close()
				})
				got, err := io.ReadAll(near)
				if err == nil && string(got) != fmt.Sprintf("%08x", id) {
					t.Errorf("stream %08x says %q", id, got)
				}
				if err == nil {
					met.Add(1)
				}
				near.Close()
			}
		})
	}
	for _, f := range []func(){
		r.Flush, set.Flush, r.ResetErrors, func() { r.Drop(7) }, func() { set.Release(7) },
		func() { r.Take(ctx, 9) },
		func() {
			_ = []any{r.Ready(), r.Active(), r.Capacity(), r.Interval(), r.Errors(), r.Err(), set.Ready(), set.Active()}
		},
	} {
		wg.Go(func() {
			for ctx.Err() == nil {
				f()
				time.Sleep(ms)
			}
		})
	}
	wg.Wait()
	if met.Load() < 50 {
		t.Errorf("%d streams met", met.Load())
	}
	for _, end := range []func(){func() { r.Close() }, func() { set.Close() }, func() { r.Drain() }, func() { cl.Close() }, func() { r.Close() }, func() { srv.Close() }} {
		wg.Go(end)
	}
	wg.Wait()
	if n := r.Ready() + r.Active() + set.Ready() + set.Active(); n != 0 {
		t.Errorf("%d streams are left", n)
	}
}

func TestReadyIDsAreEightHexDigits(t *testing.T) {
	for text, isOK := range map[string]bool{"00000001": true, "ffffffff": true, "DEADBEEF": true, "00000000": false, "1": false, "": false, "123456789": false, "-0000001": false, "0000000g": false} {
		synctest.Test(t, func(t *testing.T) {
			p := startReady(t, ReadySetConfig{}, func(s *Stream) { s.Respond(200, Field{Name: "x-id", Value: text}) })
			r := p.ready(ReadyConfig{IDField: "x-id", MinCapacity: 1, MaxCapacity: 1})
			if (r.Ready() == 1) != isOK || (r.Errors() > 0) == isOK {
				t.Errorf("%q: %d ready, %v; want %v", text, r.Ready(), r.Err(), isOK)
			}
		})
	}
}

func TestReadyConfigIsChecked(t *testing.T) {
	for _, cfg := range []ReadyConfig{
		{MinCapacity: -1}, {MinCapacity: 5, MaxCapacity: 4}, {MinInterval: -1}, {MinInterval: 2, MaxInterval: 1}, {OpenTimeout: -1},
	} {
		if _, err := cfg.withDefaults(); err == nil {
			t.Errorf("%+v was taken", cfg)
		}
	}
	for _, cfg := range []ReadyConfig{{}, {MinCapacity: 100}, {MaxCapacity: 1}, {MinInterval: time.Minute}} {
		if _, err := cfg.withDefaults(); err != nil {
			t.Errorf("%+v: %v", cfg, err)
		}
	}
	if _, err := NewReadySet(ReadySetConfig{Max: -1}); err == nil {
		t.Error("a negative Max was taken")
	}
}
