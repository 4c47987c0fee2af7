package proxy

import (
	"bufio"
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"maps"
	"math"
	"math/rand/v2"
	"net"
	"net/http"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/h2tp/h2tp/proxy/internal/balance"
	"github.com/h2tp/h2tp/proxy/internal/wire"
)

// counting starts n upstreams that count what they get.
func counting(t *testing.T, n int) (addrs []string, counts []*atomic.Int64) {
	for range n {
		c := new(atomic.Int64)
		counts = append(counts, c)
		addrs = append(addrs, startUpstream(t, func(w http.ResponseWriter, r *http.Request) {
			c.Add(1)
			io.Copy(io.Discard, r.Body)
		}))
	}
	return addrs, counts
}

func TestDestinationsHaveTheirWeights(t *testing.T) {
	addrs, counts := counting(t, 3)
	var to []string
	for i, a := range addrs {
		to = append(to, fmt.Sprintf("http://%s;weight=%d", a, i+1))
	}
	_, addr := startFront(t, Config{To: to})
	var wg sync.WaitGroup
	for range 8 {
		wg.Go(func() {
			c := dialClient(t, addr)
			for range 150 {
				c.get("/").want(t, 200, "")
			}
		})
	}
	wg.Wait()
	for i, c := range counts {
		want := float64(1200*(i+1)) / 6
		// Which of 8 at once ends first is chance; by how much is the simulation's to say.
		if got := float64(c.Load()); math.Abs(got-want) > 0.2*want {
			t.Errorf("weight %d had %v; want about %v", i+1, got, want)
		}
	}
}

type dialFunc = func(network, addr string, timeout time.Duration) (net.Conn, error)

// onlyDials dials those that live, by their first letter, and is refused by all others.
func onlyDials(lives map[string]dialFunc) dialFunc {
	return func(network, addr string, timeout time.Duration) (net.Conn, error) {
		if dial := lives[addr[:1]]; dial != nil {
			return dial(network, addr, timeout)
		}
		return nil, syscall.ECONNREFUSED
	}
}

// However many destinations refuse, one that does not is found, and nothing fails for those that are let back in.
func TestTheOneThatLivesIsFound(t *testing.T) {
	bubble(t, func(t *testing.T) {
		var to []string
		for i := range 12 {
			to = append(to, fmt.Sprintf("http://%c", 'a'+i))
		}
		c := new(crowd)
		f, err := NewFront(Config{To: to, Dial: onlyDials(map[string]dialFunc{"a": bubbleDial(t, c.script)})})
		if err != nil {
			t.Fatal(err)
		}
		defer f.Close()
		var wg sync.WaitGroup
		for range 10 {
			wg.Go(func() {
				for i := range 100 { // for ten seconds
					method := "GET"
					if i%2 == 0 {
						method = "POST"
					}
					if _, err := ask(f, method, "http://x/", ""); err != nil {
						t.Errorf("%s after %v: %v", method, f.route.now(), err)
					}
				}
			})
		}
		wg.Wait()
	})
}

// Who has waited for one back does not wait for the next, too.
func TestNoBackIsWaitedForOnce(t *testing.T) {
	bubble(t, func(t *testing.T) {
		f, err := NewFront(Config{To: []string{"h2tpc://a:1", "h2tpc://b:1", "h2tpc://c:1"}, Dial: onlyDials(nil)})
		if err != nil {
			t.Fatal(err)
		}
		defer f.Close()
		began := time.Now()
		if _, err := ask(f, "GET", "http://x/", ""); !errors.Is(err, ErrUpstream) {
			t.Errorf("got %v; want ErrUpstream", err)
		}
		wantIn(t, began, time.Second, "given up") // QueueTimeout
	})
}

// Of two backs each has lost the upstream of another route: each route goes by the back that has it.
func TestBacksThatLostUpstreamsOfDifferentRoutes(t *testing.T) {
	up := startUpstream(t, echoHandler)
	gone := listenTCP(t)
	gone.Close()
	var to []string
	for i := range 2 {
		routes := []Route{{Name: "a", Path: "/a", To: []string{"http://" + up}}, {Name: "b", Path: "/b", To: []string{"http://" + up}}}
		routes[i].To = []string{"http://" + gone.Addr().String()}
		ln := listenTCP(t)
		startBack(t, ln, Config{Routes: routes})
		to = append(to, "h2tpc://"+ln.Addr().String())
	}
	f, addr := startFront(t, Config{To: to})
	awaitTrue(t, func() bool { return f.route.dests()[0].isUp(0) && f.route.dests()[1].isUp(0) }, "both hops")
	c := dialClient(t, addr)
	for range 100 {
		c.get("/a").want(t, 200, "GET /a")
		c.get("/b").want(t, 200, "GET /b")
		c.post("/a", "x").want(t, 200, "POST /a")
		c.post("/b", "x").want(t, 200, "POST /b")
	}
}

func TestTheSecondTierHasNothingWhileTheFirstIsHealthy(t *testing.T) {
	addrs, counts := counting(t, 2)
	far := "http://" + addrs[1] + ";tier=1"
	_, addr := startFront(t, Config{To: []string{far, "http://" + addrs[0]}})
	c := dialClient(t, addr)
	for range 20 {
		c.get("/").want(t, 200, "")
	}
	if a, b := counts[0].Load(), counts[1].Load(); a != 20 || b != 0 {
		t.Errorf("the tiers had %d and %d; want 20 and 0", a, b)
	}
	_, addr = startFront(t, Config{To: []string{far, "http://" + refusing(t)}})
	c = dialClient(t, addr)
	for range 20 {
		c.get("/").want(t, 200, "with the first tier down")
	}
}

// refusing is an address where nobody listens.
func refusing(t *testing.T) string {
	ln := listenTCP(t)
	ln.Close()
	return ln.Addr().String()
}

func TestARepeatGoesElsewhereWhileOthersAreLeft(t *testing.T) {
	var lost [3]atomic.Int64
	var to []string
	for i := range lost {
		to = append(to, "http://"+startScript(t, func(_ net.Conn, r *bufio.Reader) {
			readHead(r)
			lost[i].Add(1)
		}))
	}
	f, addr := startFront(t, Config{To: to, Balance: Balance{EjectAfter: -1, EjectPercent: -1}})
	c := dialClient(t, addr)
	for i := range 30 {
		c.get("/").want(t, 502, "")
		n := 0
		for k := range lost {
			had := lost[k].Swap(0)
			if n += int(had); had > 1 {
				t.Fatalf("request %d went to destination %d %d times", i, k, had)
			}
		}
		if n != 2 {
			t.Fatalf("request %d was tried %d times; want 2", i, n)
		}
	}
	if n := f.Stats().Repeats; n != 30 {
		t.Errorf("%d repeats; want 30", n)
	}
}

func TestRepeatsHaveABudget(t *testing.T) {
	var n atomic.Int64
	up := startScript(t, func(_ net.Conn, r *bufio.Reader) { readHead(r); n.Add(1) })
	f, addr := startFront(t, Config{To: []string{"http://" + up}, Balance: Balance{RetryPercent: 1, RetryMin: 1}})
	c := dialClient(t, addr)
	for range 200 {
		c.get("/").want(t, 502, "")
	}
	if got := f.Stats().Repeats; got < 10 || got > 10+200/100+60 { // a test takes less than a minute
		t.Errorf("%d repeats of 200; want some 12", got)
	}
	if got := n.Load(); got != 200+f.Stats().Repeats {
		t.Errorf("the upstream was asked %d times", got)
	}
}

func TestPutAndDeleteAreRepeatedWhenAsked(t *testing.T) {
	countc := make(chan string, 10)
	up := startScript(t, func(_ net.Conn, r *bufio.Reader) { countc <- strings.Fields(readHead(r) + " -")[0] })
	_, addr := startFront(t, Config{To: []string{"http://" + up}, Balance: Balance{RepeatIdempotent: true}})
	c := dialClient(t, addr)
	for method, want := range map[string]int{"PUT": 2, "DELETE": 2, "POST": 1, "PATCH": 1} {
		c.send(method + " / HTTP/1.1\r\nHost: x\r\nContent-Length: 1\r\n\r\nb")
		c.read(method).want(t, 502, method)
		if len(countc) != want {
			t.Errorf("%s reached the upstream %d times; want %d", method, len(countc), want)
		}
		for len(countc) > 0 {
			<-countc
		}
	}
}

func TestAKeyKeepsToItsUpstream(t *testing.T) {
	addrs, counts := counting(t, 4)
	var to []string
	for _, a := range addrs {
		to = append(to, "http://"+a)
	}
	for by, request := range map[string]string{
		"field:X-User": "GET / HTTP/1.1\r\nHost: x\r\nx-user: %d\r\n\r\n",
		"cookie:sid":   "GET / HTTP/1.1\r\nHost: x\r\nCookie: a=b; sid=%d; c=d\r\n\r\n",
		"target":       "GET /%d HTTP/1.1\r\nHost: x\r\n\r\n",
	} {
		_, addr := startFront(t, Config{To: to, Balance: Balance{Policy: "hash", HashBy: by}})
		c := dialClient(t, addr)
		used := 0
		for user := range 8 {
			for range 5 {
				c.send(fmt.Sprintf(request, user))
				c.read("GET").want(t, 200, by)
			}
			n := 0
			for i := range counts {
				if got := counts[i].Swap(0); got > 0 {
					n++
					used |= 1 << i
				}
			}
			if n != 1 {
				t.Errorf("%s: user %d went to %d upstreams", by, user, n)
			}
		}
		if used&(used-1) == 0 {
			t.Errorf("%s: all users went to one upstream", by)
		}
	}
}

func TestAnUpstreamThatFailsIsLeftOut(t *testing.T) {
	addrs, counts := counting(t, 2)
	var bad atomic.Int64
	sick := startUpstream(t, func(w http.ResponseWriter, _ *http.Request) {
		bad.Add(1)
		w.WriteHeader(503)
	})
	f, addr := startFront(t, Config{
		To:      []string{"http://" + addrs[0], "http://" + addrs[1], "http://" + sick + ";weight=1;tier=0"},
		Balance: Balance{EjectTime: time.Hour, EjectAfter: 3},
	})
	c := dialClient(t, addr)
	for range 100 {
		c.get("/")
	}
	if n := bad.Load(); n != 3 || counts[0].Load()+counts[1].Load() != 97 {
		t.Errorf("the one that fails had %d of 100; want 3", n)
	}
	if d := f.Stats().Destinations[2]; d.IsUp || d.Why != "ejected" || d.Ejections != 1 || d.Weight != 1 {
		t.Errorf("the statistics have it as %+v", d)
	}
}

func TestConfigSaysWhatIsWrongWithABalance(t *testing.T) {
	for _, b := range []Balance{
		{Policy: "best"}, {Policy: "hash"}, {HashBy: "field:X"}, {Policy: "hash", HashBy: "field:"}, {Policy: "hash", HashBy: "moon:X"},
		{EjectPercent: 101}, {MaxEjected: 101}, {EjectTime: -1},
	} {
		if f, err := NewFront(Config{To: []string{"http://a", "http://b"}, Balance: b}); err == nil {
			f.Close()
			t.Errorf("%+v is taken", b)
		}
	}
	for _, to := range []string{"http://a;weight=0", "http://a;x=1", "ftp://a;weight=1"} {
		if CheckTo(to) == nil {
			t.Errorf("%q is taken", to)
		}
	}
}

func TestChoosingAmongAHundredAllocatesNothing(t *testing.T) {
	cfg, err := Config{To: []string{"-"}}.withDefaults()
	if err != nil {
		t.Fatal(err)
	}
	r := newRoute(&cfg)
	var entries []balance.Entry
	for i := range 100 {
		entries = append(entries, balance.Entry{Member: r.group.NewMember(fmt.Sprint(i), &handlerOut{}, true)})
	}
	r.group.Replace(0, entries, false)
	ex := &exchange{route: r, req: wire.Request{Method: []byte("GET")}}
	if n := testing.AllocsPerRun(100, func() {
		ex.attempts = 0
		r.pick(ex)
		ex.noteHead(200)
		ex.letGo()
	}); n != 0 {
		t.Errorf("%v allocations", n)
	}
}

var chaosFor = flag.Duration("chaos", 2*time.Second, "how long TestNoPostRunsTwice kills backs and upstreams")

// victim is an upstream or a back that is killed and started again at its address.
type victim struct {
	addr  string
	start func(net.Listener) io.Closer
	now   io.Closer
}

func (v *victim) revive(t *testing.T) {
	ln, err := net.Listen("tcp", v.addr)
	for i := 0; err != nil && i < 1000; i++ { // the port may be in use by a connection that leaves
		time.Sleep(time.Millisecond)
		ln, err = net.Listen("tcp", v.addr)
	}
	if err != nil {
		t.Error(err)
		return
	}
	v.addr = ln.Addr().String()
	v.now = v.start(ln)
}

// TestNoPostRunsTwice kills backs and upstreams, one at a time, under load: no
// POST comes to an upstream twice, every GET is answered, and all work again after it.
func TestNoPostRunsTwice(t *testing.T) {
	seed := rand.Uint64()
	t.Logf("seed %d", seed)
	random := rand.New(rand.NewPCG(seed, 0))
	var mu sync.Mutex
	ran := make(map[string]int)
	handler := http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.Method == "POST" {
			mu.Lock()
			ran[r.URL.Path]++
			mu.Unlock()
		}
		io.Copy(io.Discard, r.Body)
		time.Sleep(rand.N(3 * time.Millisecond)) // as an upstream works
		io.WriteString(w, r.URL.Path)
	})
	var victims []*victim
	var upstreams, backs []string
	for range 3 {
		v := &victim{addr: "127.0.0.1:0", start: func(ln net.Listener) io.Closer {
			srv := &http.Server{Handler: handler}
			go srv.Serve(ln)
			return srv
		}}
		v.revive(t)
		victims = append(victims, v)
		upstreams = append(upstreams, "http://"+v.addr)
	}
	for range 3 {
		v := &victim{addr: "127.0.0.1:0", start: func(ln net.Listener) io.Closer {
			b, err := NewBack(Config{To: upstreams, Cleartext: true})
			if err != nil {
				t.Error(err)
				return ln
			}
			go b.Serve(ln)
			return b
		}}
		v.revive(t)
		victims = append(victims, v)
		backs = append(backs, "h2tpc://"+v.addr)
	}
	defer func() {
		for _, v := range victims {
			v.now.Close()
		}
	}()
	_, addr := startFront(t, Config{To: backs})
	ctx, cancel := context.WithTimeout(t.Context(), *chaosFor)
	defer cancel()
	var gets, posts, lost atomic.Int64
	client := &http.Client{Transport: &http.Transport{MaxIdleConnsPerHost: 32}}
	defer client.CloseIdleConnections()
	ask := func(method, path string, size int) int {
		req, _ := http.NewRequest(method, "http://"+addr+path, nil)
		if method == "POST" {
			req.Body, req.ContentLength = io.NopCloser(strings.NewReader(strings.Repeat("x", size))), int64(size)
		}
		resp, err := client.Do(req)
		if err != nil {
			t.Errorf("%s %s: %v", method, path, err)
			return 0
		}
		defer resp.Body.Close()
		body, err := io.ReadAll(resp.Body)
		if err != nil && method == "POST" {
			return 0 // its back was killed behind the head
		}
		if resp.StatusCode == 200 && (err != nil || string(body) != path) {
			t.Errorf("%s %s is answered with %q, %v", method, path, body, err)
		}
		return resp.StatusCode
	}
	var done [16]atomic.Int64
	var wg sync.WaitGroup
	for i := range done {
		wg.Go(func() {
			for j := 0; ctx.Err() == nil; j++ {
				done[i].Store(int64(j))
				path := fmt.Sprintf("/%d/%d", i, j)
				if i%2 == 0 {
					gets.Add(1)
					if status := ask("GET", path, 0); status != 200 {
						t.Errorf("GET %s: %d", path, status)
					}
					continue
				}
				posts.Add(1)
				size := 10
				if j%16 == 0 {
					size = 100 << 10 // on a stream of its own
				}
				if ask("POST", path, size) != 200 {
					lost.Add(1)
				}
			}
		})
	}
	// A GET that is lost twice fails: what one kill has met is over before the next.
	settle := func() {
		var from [len(done)]int64
		for i := range done {
			from[i] = done[i].Load()
		}
		for i := range done {
			for ctx.Err() == nil && done[i].Load() < from[i]+2 {
				time.Sleep(time.Millisecond)
			}
		}
	}
	kills := 0
	for ctx.Err() == nil {
		settle()
		time.Sleep(time.Duration(random.IntN(100)) * time.Millisecond)
		v := victims[random.IntN(len(victims))]
		if b, isBack := v.now.(*Back); isBack && random.IntN(2) == 0 {
			drain, done := context.WithTimeout(context.Background(), time.Second)
			b.Shutdown(drain)
			done()
		} else {
			v.now.Close()
		}
		time.Sleep(time.Duration(random.IntN(100)) * time.Millisecond)
		v.revive(t)
		kills++
	}
	wg.Wait()
	for path, n := range ran {
		if n > 1 {
			t.Errorf("POST %s ran %d times", path, n)
		}
	}
	t.Logf("%d GETs, %d POSTs of which %d were lost, %d kills", gets.Load(), posts.Load(), lost.Load(), kills)
	if n := posts.Load(); kills > 0 && lost.Load() > int64(8*kills) || n == 0 {
		t.Errorf("%d of %d POSTs were lost in %d kills; want those in flight at most", lost.Load(), n, kills)
	}
}

func TestAFrontAvoidsABackWhoseUpstreamsAreGone(t *testing.T) {
	addrs, counts := counting(t, 2)
	var to []string
	var backs []*Back
	for _, a := range addrs {
		ln := listenTCP(t)
		to = append(to, "h2tpc://"+ln.Addr().String())
		backs = append(backs, startBack(t, ln, Config{To: []string{"http://" + a}}))
	}
	sick := backs[0].route.group
	why := func(f *Front) string { return f.route.group.Members()[0].Why() }
	f, addr := startFront(t, Config{To: to})
	awaitTrue(t, func() bool { return why(f) == "" && f.route.group.Members()[1].Why() == "" }, "both backs")
	sick.Check(backs[0].route.now(), sick.Members()[0], false)
	awaitTrue(t, func() bool { return why(f) == "upstreams" }, "the first back to say that its upstream is gone")
	c := dialClient(t, addr)
	for range 20 {
		c.get("/").want(t, 200, "")
	}
	if a, b := counts[0].Load(), counts[1].Load(); a != 0 || b != 20 {
		t.Errorf("the upstreams had %d and %d; want 0 and 20", a, b)
	}
	late, _ := startFront(t, Config{To: to})
	awaitTrue(t, func() bool { return why(late) == "upstreams" }, "a front that comes later to be told")
	sick.Check(backs[0].route.now(), sick.Members()[0], true)
	awaitTrue(t, func() bool { return why(f) == "" && why(late) == "" }, "the first back to say that it is back")
}

func TestNoFrontTakesAllOfABack(t *testing.T) {
	const get, upload = "GET /a HTTP/1.1\r\nHost: x\r\n\r\n", "POST /a HTTP/1.1\r\nHost: x\r\nContent-Length: 70000\r\n\r\n"
	body := strings.Repeat("b", 70_000)
	inFlight := Limits{MaxExchanges: 16}
	queued := Limits{MaxDestExchanges: 6, MaxQueue: 10, QueueTimeout: patience}
	t.Run("batched", func(t *testing.T) { testShares(t, inFlight, 16, false, get) })
	t.Run("and in a queue", func(t *testing.T) { testShares(t, queued, 6, false, get) })
	t.Run("and in a queue of one of two routes", func(t *testing.T) { testShares(t, queued, 6, true, get) })
	t.Run("by two sessions", func(t *testing.T) { testShares(t, inFlight, 16, true, get, strings.Replace(get, "/a", "/b", 1)) })
	t.Run("uploads", func(t *testing.T) { testShares(t, inFlight, 16, false, upload+body) })
	t.Run("streamed responses", func(t *testing.T) { testShares(t, inFlight, 16, false, strings.Replace(get, "/a", "/a/stream", 1)) })
}

// testShares has a back with room for 16, of which so many run, and a front that asks for 20, each of requests in turn.
// Both have one route for /a and another for /b if hasRoutes is set.
func testShares(t *testing.T, limits Limits, run int64, hasRoutes bool, requests ...string) {
	releasec := make(chan struct{})
	var running atomic.Int64
	up := startUpstream(t, func(w http.ResponseWriter, r *http.Request) {
		io.Copy(io.Discard, r.Body)
		if strings.HasSuffix(r.URL.Path, "/stream") {
			w.(http.Flusher).Flush()
		}
		running.Add(1)
		<-releasec
	})
	routes := func(to string) (cfg Config) {
		if cfg.To = []string{to}; hasRoutes {
			cfg.To = nil
			cfg.Routes = []Route{{Name: "a", Path: "/a", To: []string{to}}, {Name: "b", Path: "/b", To: []string{to}}}
		}
		return cfg
	}
	ln := listenTCP(t)
	cfg := routes("http://" + up)
	cfg.Limits = limits
	b := startBack(t, ln, cfg)
	fronts := func(n int64) func() bool {
		return func() bool { return b.fronts.Load() == n && (!hasRoutes || len(b.list()) == int(2*n)) }
	}
	_, greedy := startFront(t, routes("h2tpc://"+ln.Addr().String()))
	awaitTrue(t, fronts(1), "the greedy front's streams")
	_, modest := startFront(t, routes("h2tpc://"+ln.Addr().String()))
	awaitTrue(t, fronts(2), "the modest front's streams")
	ask := func(addr string, n int) (clients []*lineClient) {
		for i := range n {
			c := dialClient(t, addr)
			go io.WriteString(c.nc, requests[i%len(requests)]) // it may be refused before it is whole
			clients = append(clients, c)
		}
		return clients
	}
	refusedc := make(chan int, 20)
	var wg sync.WaitGroup
	for _, c := range ask(greedy, 20) {
		wg.Go(func() {
			resp, err := http.ReadResponse(c.r, nil)
			if err != nil {
				t.Error(err)
			} else if resp.StatusCode != 200 {
				refusedc <- resp.StatusCode
			}
		})
	}
	for range 6 {
		if status := await(t, refusedc, "a refusal"); status != 503 {
			t.Errorf("beyond its share the greedy front has %d; want 503", status)
		}
	}
	for _, c := range ask(modest, 2) {
		wg.Go(func() { c.read("GET").want(t, 200, "the modest front's") })
	}
	awaitTrue(t, func() bool { return running.Load() == run && b.route.inflight.Load() == 16 }, "all that fit")
	close(releasec)
	wg.Wait()
	awaitNone(t, b.route)
	b.mu.Lock()
	defer b.mu.Unlock()
	for name, f := range b.shares {
		for _, s := range append(slices.Collect(maps.Values(f.routes)), &f.all) {
			if n := s.n.Load(); n != 0 {
				t.Errorf("%s: %d are counted when nothing runs", name, n)
			}
		}
	}
}
