package proxy

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"net"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/valyala/fasthttp"
)

// crowd counts who is served at once.
type crowd struct {
	now, most atomic.Int64
	mu        sync.Mutex
	order     []string
}

// serve takes a while, longer for a target that says so.
func (c *crowd) serve(target string) {
	c.mu.Lock()
	c.order = append(c.order, target)
	c.mu.Unlock()
	n := c.now.Add(1)
	for most := c.most.Load(); n > most && !c.most.CompareAndSwap(most, n); most = c.most.Load() {
	}
	d := 100 * time.Millisecond
	if strings.Contains(target, "long") {
		d = 3 * time.Second
	}
	time.Sleep(d)
	c.now.Add(-1)
}

func (c *crowd) handle(ctx *fasthttp.RequestCtx) { c.serve(string(ctx.RequestURI())) }

// script serves one connection to an upstream.
func (c *crowd) script(nc net.Conn) {
	defer nc.Close()
	r := bufio.NewReader(nc)
	for {
		head := readHead(r)
		if head == "" {
			return
		}
		_, rest, _ := strings.Cut(head, " ")
		target, _, _ := strings.Cut(rest, " ")
		c.serve(target)
		io.WriteString(nc, "HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n")
	}
}

// bubbleDial makes upstreams of scripts for their connections, named a, b ..., and dials them.
func bubbleDial(t *testing.T, scripts ...func(net.Conn)) func(string, string, time.Duration) (net.Conn, error) {
	nets := make(map[string]*memNet)
	for i, script := range scripts {
		m := newMemNet()
		nets[string(rune('a'+i))] = m
		var wg sync.WaitGroup
		wg.Go(func() {
			for {
				nc, err := m.Accept()
				if err != nil {
					return
				}
				wg.Go(func() { script(nc) })
			}
		})
		t.Cleanup(func() {
			m.Close()
			wg.Wait()
		})
	}
	return func(_, addr string, d time.Duration) (net.Conn, error) { return nets[addr[:1]].dial("", "", d) }
}

// bubbleUpstreams makes a front before such upstreams.
func bubbleUpstreams(t *testing.T, limits Limits, to []string, scripts ...func(net.Conn)) *Front {
	t.Helper()
	f, err := NewFront(Config{To: to, Limits: limits, Dial: bubbleDial(t, scripts...)})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { f.Close() })
	synctest.Wait()
	return f
}

// eachDestination runs f with a front whose destination, of each kind, is c.
func eachDestination(t *testing.T, limits Limits, f func(t *testing.T, front *Front, c *crowd)) {
	t.Run("upstream", func(t *testing.T) {
		bubble(t, func(t *testing.T) {
			c := new(crowd)
			f(t, bubbleUpstreams(t, limits, []string{"http://a"}, c.script), c)
		})
	})
	t.Run("peer", func(t *testing.T) {
		bubble(t, func(t *testing.T) {
			c := new(crowd)
			front, _ := bubblePair(t, Config{Limits: limits}, Config{Handler: c.handle})
			f(t, front, c)
		})
	})
	t.Run("handler", func(t *testing.T) {
		bubble(t, func(t *testing.T) {
			c := new(crowd)
			front, err := NewFront(Config{Limits: limits, Handler: c.handle})
			if err != nil {
				t.Fatal(err)
			}
			defer front.Close()
			f(t, front, c)
		})
	})
}

// rush asks n times at once, one after the other by a millisecond, and returns how each ended, and when.
func rush(f *Front, n int, target string) (errs []error, took []time.Duration) {
	errs, took = make([]error, n), make([]time.Duration, n)
	var wg sync.WaitGroup
	for i := range n {
		wg.Go(func() {
			began := time.Now()
			_, errs[i] = ask(f, "GET", fmt.Sprint("http://x/", target, i), "")
			took[i] = time.Since(began)
		})
		time.Sleep(time.Millisecond)
	}
	wg.Wait()
	return errs, took
}

func TestMoreThanADestinationMayHaveWaitsInTurn(t *testing.T) {
	eachDestination(t, Limits{MaxDestExchanges: 3}, func(t *testing.T, f *Front, c *crowd) {
		errs, _ := rush(f, 20, "")
		for i, err := range errs {
			if want := fmt.Sprint("/", i); err != nil || !strings.HasSuffix(c.order[i], want) {
				t.Errorf("exchange %d: got %v, and %s in its place", i, err, c.order[i])
			}
		}
		if most := c.most.Load(); most != 3 {
			t.Errorf("%d at once; want 3", most)
		}
		if st := f.Stats().Destinations[0]; st.Waiting != 0 || st.InFlight != 0 || st.Limit != 3 || st.Refused+st.Late != 0 {
			t.Errorf("got %+v", st)
		}
	})
}

func TestQueueThatIsFullRefusesAtOnce(t *testing.T) {
	eachDestination(t, Limits{MaxDestExchanges: 3, MaxQueue: 2}, func(t *testing.T, f *Front, c *crowd) {
		errs, took := rush(f, 7, "")
		for i, err := range errs {
			if isOver := i >= 5; errors.Is(err, ErrOverloaded) != isOver || isOver && took[i] > 0 {
				t.Errorf("exchange %d: got %v after %v", i, err, took[i])
			}
		}
		if st := f.Stats().Destinations[0]; st.Refused != 2 || st.Late != 0 {
			t.Errorf("got %+v", st)
		}
	})
}

func TestNoneWaitsWithoutAQueue(t *testing.T) {
	eachDestination(t, Limits{MaxDestExchanges: 1, MaxQueue: -1}, func(t *testing.T, f *Front, c *crowd) {
		errs, _ := rush(f, 2, "")
		if errs[0] != nil || !errors.Is(errs[1], ErrOverloaded) {
			t.Errorf("got %v", errs)
		}
	})
}

func TestWaitForRoomHasAnEnd(t *testing.T) {
	limits := Limits{MaxDestExchanges: 1, QueueTimeout: 500 * time.Millisecond}
	eachDestination(t, limits, func(t *testing.T, f *Front, c *crowd) {
		errs, took := rush(f, 2, "long")
		if late := took[1] - 500*time.Millisecond; !errors.Is(errs[1], ErrOverloaded) || late < 0 || late > sweepPeriod {
			t.Errorf("got %v after %v; want ErrOverloaded after 500ms", errs[1], took[1])
		}
		if st := f.Stats().Destinations[0]; st.Refused != 0 || st.Late != 1 {
			t.Errorf("got %+v", st)
		}
	})
}

func TestWaitForRoomWithoutTimeLeftIsATimeout(t *testing.T) {
	limits := Limits{MaxDestExchanges: 1, Timeout: 4 * time.Second, QueueTimeout: time.Minute}
	eachDestination(t, limits, func(t *testing.T, f *Front, c *crowd) {
		errs, took := rush(f, 3, "long")
		if errs[0] != nil || !errors.Is(errs[2], ErrTimeout) || took[2] > 4*time.Second+sweepPeriod {
			t.Errorf("got %v after %v; want ErrTimeout of the third after 4s", errs, took)
		}
	})
}

func TestWhoLeavesTheQueueMakesRoomInIt(t *testing.T) {
	limits := Limits{MaxDestExchanges: 1, MaxQueue: 1, QueueTimeout: time.Minute}
	eachDestination(t, limits, func(t *testing.T, f *Front, c *crowd) {
		var wg sync.WaitGroup
		wg.Go(func() { ask(f, "GET", "http://x/long", "") })
		synctest.Wait()
		var req fasthttp.Request
		var resp fasthttp.Response
		req.SetRequestURI("http://x/left")
		if err := f.DoTimeout(&req, &resp, time.Second); !errors.Is(err, ErrTimeout) {
			t.Errorf("got %v; want ErrTimeout", err)
		}
		if st := f.Stats().Destinations[0]; st.Waiting != 0 {
			t.Errorf("%d wait; want none", st.Waiting)
		}
		if _, err := ask(f, "GET", "http://x/", ""); err != nil {
			t.Error(err)
		}
		wg.Wait()
		if strings.Contains(strings.Join(c.order, " "), "left") {
			t.Errorf("served %q", c.order)
		}
	})
}

func TestDestinationWithRoomIsPreferredToAQueue(t *testing.T) {
	for _, to := range [][]string{{"http://a;max=1", "http://b"}, {"http://a;max=1", "http://b;tier=1"}} {
		bubble(t, func(t *testing.T) {
			a, b := new(crowd), new(crowd)
			f := bubbleUpstreams(t, Limits{}, to, a.script, b.script)
			for _, err := range first(rush(f, 20, "")) {
				if err != nil {
					t.Error(err)
				}
			}
			if a.most.Load() != 1 || len(a.order)+len(b.order) != 20 || len(a.order) == 0 {
				t.Errorf("%v: %d at once of %d at a, %d at b", to, a.most.Load(), len(a.order), len(b.order))
			}
			for i, d := range f.Stats().Destinations {
				if total(d.Queued) != 0 {
					t.Errorf("%d waited for destination %d", total(d.Queued), i)
				}
			}
		})
	}
}

func first[A, B any](a A, _ B) A { return a }

// One that found a queue full looks elsewhere, but not where there is no room either.
func TestAllQueuesFullIsOneRefusal(t *testing.T) {
	bubble(t, func(t *testing.T) {
		a, b := new(crowd), new(crowd)
		f := bubbleUpstreams(t, Limits{MaxDestExchanges: 1, MaxQueue: 1}, []string{"http://a", "http://b"}, a.script, b.script)
		errs, _ := rush(f, 5, "")
		if !errors.Is(errs[4], ErrOverloaded) || errors.Join(errs[:4]...) != nil {
			t.Errorf("got %v", errs)
		}
		if st := f.Stats(); st.Repeats != 0 {
			t.Errorf("%d repeats; want none", st.Repeats)
		}
	})
}

// A streamed exchange has its room until its body is over, and waits for it as others do.
func TestStreamsCountUntilTheirEnd(t *testing.T) {
	g := newGate(t)
	up := startScript(t, func(nc net.Conn, r *bufio.Reader) {
		for head := readHead(r); head != ""; head = readHead(r) {
			if strings.Contains(head, "/stream") {
				io.WriteString(nc, "HTTP/1.1 200 OK\r\nContent-Length: 100000\r\n\r\nbegins")
				g.pass()
				io.WriteString(nc, strings.Repeat("x", 100000-6))
				continue
			}
			io.WriteString(nc, "HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n")
		}
	})
	limits := Limits{MaxDestExchanges: 1, QueueTimeout: patience}
	_, alone := startFront(t, Config{To: []string{"http://" + up}, Limits: limits})
	for name, addr := range map[string]string{"upstream": alone, "peer": startPair(t, up, Config{Limits: limits}, Config{}).addr} {
		g.openc, g.once = make(chan struct{}), sync.Once{}
		streamed := make(chan answer, 1)
		go func() { streamed <- dialClient(t, addr).get("/stream") }()
		g.await()
		batched, bulk := dialClient(t, addr), dialClient(t, addr)
		batched.send("GET / HTTP/1.1\r\nHost: x\r\n\r\n")
		bulk.send("POST / HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n")
		for _, c := range []*lineClient{batched, bulk} {
			c.nc.SetReadDeadline(time.Now().Add(50 * time.Millisecond))
			if _, err := c.r.Peek(1); err == nil {
				t.Errorf("%s: an answer beside a stream that runs", name)
			}
			c.nc.SetReadDeadline(time.Now().Add(patience))
		}
		g.open()
		if a := await(t, streamed, "the stream"); len(a.body) != 100000 {
			t.Errorf("%s: %d bytes", name, len(a.body))
		}
		batched.read("GET").want(t, 200, name)
		bulk.read("POST").want(t, 200, name)
	}
}

// What one HTTP/1.1 connection asks enters a handler one after the other, however it is sent.
func TestPipelinedRequestsEnterTheHandlerInTurn(t *testing.T) {
	bubble(t, func(t *testing.T) {
		for _, isPair := range []bool{false, true} {
			c := new(crowd)
			var f *Front
			if isPair {
				f, _ = bubblePair(t, Config{}, Config{Handler: c.handle})
			} else {
				var err error
				if f, err = NewFront(Config{Handler: c.handle}); err != nil {
					t.Fatal(err)
				}
				t.Cleanup(func() { f.Close() })
			}
			client := serveBubble(t, f)
			var all strings.Builder
			for i := range 5 {
				fmt.Fprintf(&all, "GET /%d HTTP/1.1\r\nHost: x\r\n\r\n", i)
			}
			client.send(all.String())
			for range 5 {
				client.read("GET").want(t, 200, "one of five")
			}
			if got := strings.Join(c.order, " "); c.most.Load() != 1 || got != "/0 /1 /2 /3 /4" {
				t.Errorf("%d at once, in the order %s", c.most.Load(), got)
			}
		}
	})
}

// With Serial what one session sends enters a handler in turn, though many clients sent it; other sessions are not waited for.
func TestSerialHandlerTakesASessionInTurn(t *testing.T) {
	bubble(t, func(t *testing.T) {
		var c crowd
		f, back := bubblePair(t, Config{}, Config{Handler: c.handle, Serial: true})
		other, err := NewFront(Config{Dial: back.dial, To: []string{"h2tpc://back:1"}})
		if err != nil {
			t.Fatal(err)
		}
		defer other.Close()
		synctest.Wait()
		var clients []*lineClient
		for i := range 20 {
			client := serveBubble(t, f)
			client.send(fmt.Sprintf("GET /%02d HTTP/1.1\r\nHost: x\r\n\r\n", i))
			synctest.Wait() // its record is appended
			clients = append(clients, client)
		}
		synctest.Wait()
		clients[3].nc.Close() // waits in its lane
		clients[0].nc.Close() // runs
		began := time.Now()
		serveBubble(t, other).get("/other").want(t, 200, "another session's")
		if took := time.Since(began); took != 100*time.Millisecond {
			t.Errorf("another session waited %v; want its own 100ms", took)
		}
		for i, client := range clients {
			if i != 0 && i != 3 {
				client.read("GET").want(t, 200, "one of many")
			}
		}
		var want []string
		for i := range 20 {
			if i != 3 {
				want = append(want, fmt.Sprintf("/%02d", i))
			}
		}
		got := slices.DeleteFunc(c.order, func(s string) bool { return s == "/other" })
		if !slices.Equal(got, want) || c.most.Load() != 2 {
			t.Errorf("%d at once, in the order %s; want 2, one of each session, in the order %s", c.most.Load(), got, want)
		}
	})
}

// What waits in lanes when a back closes, or for a handler with a bound longer than it may, is answered, and holds nobody up.
func TestSerialHandlerLeavesNobodyBehind(t *testing.T) {
	for _, isClosed := range []bool{false, true} {
		bubble(t, func(t *testing.T) {
			var c crowd
			ln := newMemNet()
			b := startBack(t, ln, Config{Handler: c.handle, Serial: true, Limits: Limits{MaxDestExchanges: 1}})
			var clients []*lineClient
			for i := range 6 { // three each of two sessions
				if i%3 == 0 {
					f, err := NewFront(Config{Dial: ln.dial, To: []string{"h2tpc://back:1"}, Limits: Limits{Timeout: 20 * time.Second}})
					if err != nil {
						t.Fatal(err)
					}
					defer f.Close()
					synctest.Wait()
					clients = append(clients, serveBubble(t, f), serveBubble(t, f), serveBubble(t, f))
				}
				clients[i].send("POST /long HTTP/1.1\r\nHost: x\r\nContent-Length: 1\r\n\r\nx")
				synctest.Wait()
			}
			if isClosed {
				b.Close()
			}
			counts := make(map[int]int)
			for _, client := range clients {
				counts[client.read("POST").status]++
			}
			// The other session's first waits in the lobby for a second, and so do those behind it, in turn.
			if !isClosed && (counts[200] != 3 || counts[503] != 3) || isClosed && counts[502]+counts[503] != 6 {
				t.Errorf("closed %v: got %v", isClosed, counts)
			}
			if isClosed {
				return
			}
			clients[5].get("/").want(t, 200, "once all is over")
		})
	}
}

// A bound that is raised, or lifted, lets those in who wait.
func TestBoundThatIsRaisedLetsThoseInWhoWait(t *testing.T) {
	for _, next := range []string{";max=9", ""} {
		eachDestination(t, Limits{QueueTimeout: time.Minute}, func(t *testing.T, f *Front, c *crowd) {
			to := f.Stats().Destinations[0].URL
			if strings.HasPrefix(to, "handler") {
				return
			}
			if err := f.SetTo([]string{to + ";max=1"}); err != nil {
				t.Fatal(err)
			}
			var wg sync.WaitGroup
			wg.Go(func() { ask(f, "GET", "http://x/long", "") })
			synctest.Wait()
			for i := range 5 {
				wg.Go(func() {
					began := time.Now()
					_, err := ask(f, "GET", fmt.Sprint("http://x/", i), "")
					if took := time.Since(began); err != nil || took != 600*time.Millisecond {
						t.Errorf("got %v after %v; want an answer 100ms after the bound was raised", err, took)
					}
				})
			}
			time.Sleep(500 * time.Millisecond)
			if err := f.SetTo([]string{to + next}); err != nil {
				t.Fatal(err)
			}
			wg.Wait()
		})
	}
}
