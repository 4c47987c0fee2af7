package proxy

import (
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"net/http"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/valyala/fasthttp"
)

// changing is an end whose destinations change.
type changing interface {
	SetTo([]string) error
	Stats() Stats
	Close() error
}

// startChanging starts an end whose destination is the first of some, one for each handler, and what clients need to reach it.
func startChanging(t *testing.T, kind string, handlers []http.HandlerFunc, cfg Config) (end changing, addr string, to []string) {
	for _, h := range handlers {
		up := startUpstream(t, h)
		if kind == "backs" {
			ln := listenTCP(t)
			startBack(t, ln, Config{To: []string{"http://" + up}})
			to = append(to, "h2tpc://"+ln.Addr().String())
		} else {
			to = append(to, "http://"+up)
		}
	}
	cfg.To = to[:1]
	if kind != "a back's upstreams" {
		end, addr = startFront(t, cfg)
		return end, addr, to
	}
	ln := listenTCP(t)
	end = startBack(t, ln, cfg)
	_, addr = startFront(t, Config{To: []string{"h2tpc://" + ln.Addr().String()}})
	return end, addr, to
}

var changingKinds = []string{"upstreams", "a back's upstreams", "backs"}

// While destinations come and go every exchange is answered, small and streamed, and each POST has run once.
func TestNoExchangeIsLostWhileDestinationsChange(t *testing.T) {
	for _, kind := range changingKinds {
		t.Run(kind, func(t *testing.T) {
			seed := rand.Uint64()
			t.Logf("seed %d", seed)
			random := rand.New(rand.NewPCG(seed, 0))
			var mu sync.Mutex
			ran := make(map[string]int)
			handler := func(w http.ResponseWriter, r *http.Request) {
				if r.Method == "POST" {
					mu.Lock()
					ran[r.URL.Path]++
					mu.Unlock()
				}
				io.Copy(io.Discard, r.Body)
				size, _ := strconv.Atoi(r.URL.Query().Get("size"))
				w.Write(bodyOf(size, size))
			}
			before := ownGoroutines()
			end, addr, all := startChanging(t, kind, slices.Repeat([]http.HandlerFunc{handler}, 5), Config{})
			const clients, each = 4, 36
			donec := make(chan struct{}, clients*each)
			var wg sync.WaitGroup
			for i := range clients {
				wg.Go(func() {
					c := dialClient(t, addr)
					c.nc.SetDeadline(time.Now().Add(12 * patience))
					for k := range each {
						size := []int{10, 2000, 10, 100_000}[k%4]
						path := fmt.Sprintf("/%d.%d?size=%d", i, k, size)
						var a answer
						if k%3 == 0 {
							a = c.get(path)
						} else {
							a = c.post(path, string(bodyOf(k, []int{10, 10, 90_000}[k/2%3])))
						}
						if a.want(t, 200, path); a.body != string(bodyOf(size, size)) {
							t.Errorf("%s: another body, of %d bytes", path, len(a.body))
						}
						donec <- struct{}{}
					}
				})
			}
			for range clients * each / 5 {
				for range 5 {
					await(t, donec, "an exchange")
				}
				random.Shuffle(len(all), func(i, k int) { all[i], all[k] = all[k], all[i] })
				to := slices.Clone(all[:1+random.IntN(len(all))])
				for i := range to {
					to[i] += ";weight=" + strconv.Itoa(1+random.IntN(9))
				}
				if err := end.SetTo(to); err != nil {
					t.Error(err)
				}
			}
			wg.Wait()
			for path, n := range ran {
				if n != 1 {
					t.Errorf("%s ran %d times", path, n)
				}
			}
			if want := clients * each * 2 / 3; len(ran) != want {
				t.Errorf("%d POSTs ran; want %d", len(ran), want)
			}
			awaitTrue(t, func() bool { return end.Stats().Leaving == 0 }, "the end of those that left")
			if err := end.SetTo(all); err != nil {
				t.Error(err)
			}
			end.SetTo(all[:1])
			end.Close()
			if kind != "upstreams" { // the other ends live on
				return
			}
			if after := ownGoroutines(); len(after) > len(before) {
				t.Errorf("%d goroutines are left:\n%s", len(after)-len(before), strings.Join(after, "\n\n"))
			}
		})
	}
}

// held answers half a body, or nothing, and the rest when it is let.
func held(g *gate, name string) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		switch {
		case r.Header.Get("Upgrade") != "":
			nc, rw, _ := http.NewResponseController(w).Hijack()
			defer nc.Close()
			io.WriteString(nc, "HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: echo\r\n\r\n")
			io.Copy(nc, rw)
			return
		case r.URL.Path == "/half":
			io.WriteString(w, name)
			http.NewResponseController(w).Flush()
			g.pass()
		case r.URL.Path == "/slow":
			g.pass()
		}
		io.WriteString(w, name)
	}
}

// What a destination has when it is left out ends where it began: a response that is waited for, a body half sent, a
// tunnel. The next exchange goes elsewhere at once.
func TestADestinationLeftOutFinishesWhatItHas(t *testing.T) {
	for _, kind := range changingKinds {
		t.Run(kind, func(t *testing.T) {
			g := newGate(t)
			defer g.open()
			end, addr, to := startChanging(t, kind, []http.HandlerFunc{held(g, "old"), held(g, "new")}, Config{})
			slow, half, tunnel, other := dialClient(t, addr), dialClient(t, addr), dialClient(t, addr), dialClient(t, addr)
			slow.send("POST /slow HTTP/1.1\r\nHost: x\r\nContent-Length: 1\r\n\r\nx")
			g.await()
			half.send("GET /half HTTP/1.1\r\nHost: x\r\n\r\n")
			g.await()
			tunnel.send("GET / HTTP/1.1\r\nHost: x\r\nConnection: Upgrade\r\nUpgrade: echo\r\n\r\n")
			if head := readHead(tunnel.r); !strings.Contains(head, "101") {
				t.Fatalf("got %q", head)
			}
			if err := end.SetTo(to[1:]); err != nil {
				t.Fatal(err)
			}
			for range 5 {
				if a := other.get("/"); a.body != "new" {
					t.Fatalf("got %q; want new", a.body)
				}
			}
			st := end.Stats()
			if st.Leaving != 1 || len(st.Destinations) != 1 || st.Destinations[0].URL != to[1] {
				t.Errorf("%d are leaving; the set is %v", st.Leaving, st.Destinations)
			}
			g.open()
			if a := slow.read("POST"); a.body != "old" {
				t.Errorf("the slow one got %q", a.body)
			}
			if a := half.read("GET"); a.body != "oldold" {
				t.Errorf("the half one got %q", a.body)
			}
			if n := end.Stats().Leaving; n != 1 {
				t.Errorf("%d are leaving with a tunnel; want 1", n)
			}
			if f, ok := end.(*Front); ok && kind == "upstreams" && !f.route.set.Load().leaving[0].destination.(*upstream).isBusy() {
				t.Error("a tunnel is nothing to wait for")
			}
			tunnel.send("hello")
			if _, err := io.ReadFull(tunnel.r, make([]byte, 5)); err != nil {
				t.Error(err)
			}
			tunnel.nc.Close()
			awaitTrue(t, func() bool { return end.Stats().Leaving == 0 }, "the end of the one that left")
		})
	}
}

func TestADestinationLeftOutIsClosedAfterLeaveTimeout(t *testing.T) {
	for _, kind := range changingKinds {
		t.Run(kind, func(t *testing.T) {
			g := newGate(t)
			defer g.open()
			end, addr, to := startChanging(t, kind, []http.HandlerFunc{held(g, "old"), held(g, "new")}, Config{Balance: Balance{LeaveTimeout: 20 * time.Millisecond}})
			c := dialClient(t, addr)
			c.send("POST /slow HTTP/1.1\r\nHost: x\r\nContent-Length: 1\r\n\r\nx")
			g.await()
			end.SetTo(to[1:])
			c.read("POST").want(t, 502, "after LeaveTimeout")
			awaitTrue(t, func() bool { return end.Stats().Leaving == 0 }, "the end of the one that left")
		})
	}
}

// What waits for a connection has not begun: it goes elsewhere, batched or carried.
func TestWhatWaitsMovesOnWhenItsDestinationIsLeftOut(t *testing.T) {
	g := newGate(t)
	defer g.open()
	end, addr, to := startChanging(t, "upstreams", []http.HandlerFunc{held(g, "old"), held(g, "new")}, Config{Limits: Limits{MaxUpstreamConns: 1}})
	first, small, large := dialClient(t, addr), dialClient(t, addr), dialClient(t, addr)
	first.send("GET /slow HTTP/1.1\r\nHost: x\r\n\r\n")
	g.await()
	small.send("POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 1\r\n\r\nx")
	large.send("POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 100000\r\n\r\n" + string(bodyOf(1, 100_000)))
	awaitTrue(t, func() bool { return end.Stats().Destinations[0].Waiting == 2 }, "two that wait")
	end.SetTo(to[1:])
	for _, c := range []*lineClient{small, large} {
		if a := c.read("POST"); a.body != "new" {
			t.Errorf("got %d %q; want new", a.status, a.body)
		}
	}
	g.open()
	if a := first.read("GET"); a.body != "old" {
		t.Errorf("the first got %q", a.body)
	}
}

// Of a front's backs none is connected yet when the set changes: what waited for the old goes to the new.
func TestWhatWaitsForAPeerMovesOnWhenItIsLeftOut(t *testing.T) {
	up := startUpstream(t, held(nil, "new"))
	ln := listenTCP(t)
	startBack(t, ln, Config{To: []string{"http://" + up}})
	f, addr := startFront(t, Config{To: []string{"h2tpc://" + refusing(t)}, Limits: Limits{QueueTimeout: time.Minute}})
	small, large := dialClient(t, addr), dialClient(t, addr)
	small.send("POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 1\r\n\r\nx")
	large.send("POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 100000\r\n\r\n" + string(bodyOf(1, 100_000)))
	awaitTrue(t, func() bool { return f.Stats().Destinations[0].InFlight == 2 }, "two that wait")
	if err := f.SetTo([]string{"h2tpc://" + ln.Addr().String()}); err != nil {
		t.Fatal(err)
	}
	for _, c := range []*lineClient{small, large} {
		if a := c.read("POST"); a.body != "new" {
			t.Errorf("got %d %q; want new", a.status, a.body)
		}
	}
}

func TestADestinationThatStaysKeepsConnectionsAndCounts(t *testing.T) {
	for _, kind := range []string{"upstreams", "backs"} {
		end, addr, to := startChanging(t, kind, slices.Repeat([]http.HandlerFunc{echoHandler}, 3), Config{})
		r := end.(*Front).route
		c := dialClient(t, addr)
		for range 3 {
			c.get("/").want(t, 200, "")
		}
		was := r.dests()[0]
		if err := end.SetTo([]string{to[1], to[0] + ";weight=7;tier=2"}); err != nil {
			t.Fatal(err)
		}
		st := end.Stats()
		if is := r.dests()[1]; is != was || st.Destinations[1].Conns == 0 || st.Destinations[1].Ended[result2xx].N != 3 {
			t.Errorf("%s: it is another: %+v", kind, st.Destinations[1])
		}
		if st.Leaving != 0 {
			t.Errorf("%s: %d are leaving", kind, st.Leaving)
		}
		in := st.HopIn
		awaitTrue(t, func() bool { return end.Stats().Destinations[0].IsUp }, "the newcomer")
		end.SetTo(to[2:])
		awaitTrue(t, func() bool { return end.Stats().Leaving == 0 }, "the end of those that left")
		if st := end.Stats(); st.HopIn < in {
			t.Errorf("%s: bytes of the hop fell from %d to %d", kind, in, st.HopIn)
		}
	}
}

func TestAWrongSetChangesNothing(t *testing.T) {
	f, addr := startFront(t, Config{To: []string{"http://" + startUpstream(t, echoHandler)}})
	was := f.route.set.Load()
	for _, to := range [][]string{
		nil, {"ftp://a"}, {"http://a", "http://b;weight=0"}, {"http://a", "h2tp://b"}, slices.Repeat([]string{"http://a"}, maxDests+1),
	} {
		if err := f.SetTo(to); err == nil {
			t.Errorf("%.80q is taken", to)
		}
	}
	if f.route.set.Load() != was {
		t.Error("the set is another")
	}
	dialClient(t, addr).get("/").want(t, 200, "")
	f.Close()
	if err := f.SetTo([]string{"http://a"}); !errors.Is(err, ErrClosed) {
		t.Errorf("got %v after Close; want ErrClosed", err)
	}
	b := startBack(t, listenTCP(t), Config{Handler: func(*fasthttp.RequestCtx) {}})
	if b.SetTo([]string{"http://a"}) == nil {
		t.Error("a Handler has other destinations")
	}
}

// What a back tells its fronts of its upstreams follows the set.
func TestHealthToldToFrontsFollowsTheSet(t *testing.T) {
	good, bad := "http://"+startUpstream(t, echoHandler), "http://"+refusing(t)
	ln := listenTCP(t)
	b := startBack(t, ln, Config{To: []string{bad}, Balance: Balance{CheckPath: "/", CheckPeriod: 10 * time.Millisecond, CheckFall: 1}})
	f, _ := startFront(t, Config{To: []string{"h2tpc://" + ln.Addr().String(), "h2tpc://" + refusing(t)}})
	why := func() string { return f.Stats().Destinations[0].Why }
	awaitTrue(t, func() bool { return why() == "upstreams" }, "a back without upstreams")
	if err := b.SetTo([]string{good}); err != nil {
		t.Fatal(err)
	}
	awaitTrue(t, func() bool { return why() == "" }, "a back with other upstreams")
}

// Those that left are no more than maxLeaving, whatever they have.
func TestThoseThatLeftAreBounded(t *testing.T) {
	g := newGate(t)
	defer g.open()
	end, addr, _ := startChanging(t, "upstreams", []http.HandlerFunc{held(g, "old")}, Config{})
	c := dialClient(t, addr)
	c.send("POST /slow HTTP/1.1\r\nHost: x\r\nContent-Length: 1\r\n\r\nx")
	g.await()
	r := end.(*Front).route
	r.mu.Lock() // as if so many had
	next := *r.set.Load()
	for range maxLeaving {
		next.leaving = append(next.leaving, &leaver{destination: &handlerOut{}, cancel: func() {}, donec: make(chan struct{})})
	}
	var was bool
	next.leaving[0].cancel = func() { was = true }
	r.set.Store(&next)
	r.mu.Unlock()
	end.SetTo([]string{"http://" + refusing(t)})
	if !was {
		t.Error("the first that left was not told to end")
	}
	g.open()
	c.read("POST").want(t, 200, "")
}

// Responses that turn out large when their back was left out still need streams, more than are ready.
func TestABackLeftOutIsOpenedTheStreamsItAsksFor(t *testing.T) {
	for _, conns := range []int{1, 2} {
		g := newGate(t)
		large := func(w http.ResponseWriter, r *http.Request) {
			g.pass()
			w.Write(bodyOf(1, 300_000))
		}
		end, addr, to := startChanging(t, "backs", []http.HandlerFunc{large, echoHandler}, Config{Hop: Hop{Conns: conns, MinReady: 1, MaxReady: 1}})
		var clients []*lineClient
		for range 6 {
			c := dialClient(t, addr)
			c.send("POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 1\r\n\r\nx")
			g.await()
			clients = append(clients, c)
		}
		if err := end.SetTo(to[1:]); err != nil {
			t.Fatal(err)
		}
		g.open()
		for _, c := range clients {
			if a := c.read("POST"); a.status != 200 || a.body != string(bodyOf(1, 300_000)) {
				t.Errorf("with %d connections: got %d and %d bytes", conns, a.status, len(a.body))
			}
		}
		awaitTrue(t, func() bool { return end.Stats().Leaving == 0 }, "the end of the one that left")
	}
}

func TestErrorsOfDestinationsTellNoPassword(t *testing.T) {
	const secret = "S3CRET"
	for _, to := range []string{
		"http://user:" + secret + "@x:1", "http://user:" + secret + "@x:1;weight=0", "http://user:" + secret + "@x;", "unix://" + secret + "@/s", "u:" + secret + "@x",
		"h2tp://" + secret + "@x/%zz", "ftp://user:" + secret + "@x", "http://user:a;" + secret + "@x", "http://user:" + secret + "@x;srv=1s", "file://u:" + secret + "@/x",
	} {
		_, err := NewFront(Config{To: []string{to}})
		if err == nil || strings.Contains(err.Error(), secret) {
			t.Errorf("%s: %v", to, err)
		}
	}
}
