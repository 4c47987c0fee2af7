package proxy

import (
	"errors"
	"fmt"
	"io"
	"net/http"
	"runtime"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"
	"weak"
)

func TestTheMostSpecificRouteIsChosen(t *testing.T) {
	var list []*route
	for _, place := range []string{" ", " /", "a.com ", "a.com /api", "a.com /api/v1/", "*.a.com ", "*.b.a.com /x", "*.com ", "10.0.0.1 ", "[::1] ", " /api", " /only/here", "UPPER.org /Case"} {
		host, path, _ := cut(place)
		if path == "/" {
			continue // is the same as none
		}
		list = append(list, &route{routing: routing{name: place, spec: Route{Host: host, Path: path}}})
	}
	table := newRoutingTable(list)
	for _, tt := range []struct{ authority, target, want string }{
		{"a.com", "/", "a.com "},
		{"A.Com:8080", "/", "a.com "},
		{"a.com.", "/x", "a.com "},
		{"a.com", "/api", "a.com /api"},
		{"a.com", "/api/", "a.com /api"},
		{"a.com", "/api?/v1", "a.com /api"},
		{"a.com", "/apis", "a.com "},
		{"a.com", "/api/v1", "a.com /api/v1/"},
		{"a.com", "/api/v1?x=/y", "a.com /api/v1/"},
		{"a.com", "/api/v1x", "a.com /api"},
		{"a.com", "/api/%76%31", "a.com /api"}, // nothing is decoded
		{"a.com", "//api", "a.com "},
		{"b.a.com", "/", "*.a.com "},
		{"c.b.a.com", "/", "*.a.com "},
		{"c.b.a.com", "/x/y", "*.b.a.com /x"},
		{"c.b.a.com:1", "/y", "*.a.com "},
		{"xa.com", "/", "*.com "},
		{".com", "/", " "},
		{"com", "/", " "},
		{"10.0.0.1:80", "/", "10.0.0.1 "},
		{"[::1]:80", "/", "[::1] "},
		{"[::1]", "/api", "[::1] "},
		{"other", "/api/x", " /api"},
		{"other", "/only/here", " /only/here"},
		{"other", "/only/", " "},
		{"", "/", " "},
		{"a.com", "*", "a.com "},
		{"a.com", "http://a.com/api/v1/x", "a.com /api/v1/"},
		{"a.com", "http://a.com?/api/v1/x", "a.com "},
		{"a.com", "https://a.com", "a.com "},
		{"upper.ORG", "/Case/x", "UPPER.org /Case"},
		{"upper.org", "/case", " "},
		{string(make([]byte, 5000)), "/api", " /api"},
	} {
		got := "none"
		if r := table.find([]byte(tt.authority), []byte(tt.target)); r != nil {
			got = r.name
		}
		if got != tt.want {
			t.Errorf("%s %s goes to %q; want %q", tt.authority, tt.target, got, tt.want)
		}
	}
}

func cut(place string) (host, path string, ok bool) {
	for i := range place {
		if place[i] == ' ' {
			return place[:i], place[i+1:], true
		}
	}
	return place, "", false
}

func manyRoutes(n int) *routingTable {
	var list []*route
	for i := range n {
		spec := Route{Host: fmt.Sprintf("host%d.example.com", i/5), Path: fmt.Sprintf("/service/%d", i%5)}
		if i%7 == 0 {
			spec.Host = fmt.Sprintf("*.zone%d.example.com", i)
		}
		list = append(list, &route{routing: routing{spec: spec}})
	}
	list = append(list, &route{})
	return newRoutingTable(list)
}

func TestChoosingARouteAllocatesNothing(t *testing.T) {
	table := manyRoutes(50)
	for _, authority := range []string{"Host3.example.com:8080", "a.b.zone7.example.com", "nobody"} {
		a, target := []byte(authority), []byte("/service/3/items?id=7")
		if n := testing.AllocsPerRun(100, func() { table.find(a, target) }); n != 0 {
			t.Errorf("%s: %v allocations", authority, n)
		}
	}
}

func BenchmarkChoosingARoute(b *testing.B) {
	for _, n := range []int{0, 1, 50, 5000} {
		table := manyRoutes(n)
		a, target := []byte("host3.example.com:8080"), []byte("/service/3/items?id=7")
		b.Run(fmt.Sprintf("routes=%d", n), func(b *testing.B) {
			b.ReportAllocs()
			for b.Loop() {
				table.find(a, target)
			}
		})
	}
}

// named starts an upstream that answers with a name.
func named(t *testing.T, name string) string {
	t.Helper()
	return "http://" + startUpstream(t, func(w http.ResponseWriter, r *http.Request) { io.WriteString(w, name+" "+r.URL.Path) })
}

// Of all kinds of ends: a front, and a back behind it, choose by host and path.
func TestRoutesLeadElsewhere(t *testing.T) {
	a, b, c := named(t, "a"), named(t, "b"), named(t, "c")
	routes := []Route{{Name: "a", Host: "a.test", To: []string{a}}, {Name: "b", Host: "*.test", Path: "/b", To: []string{b}}}
	p := startPair(t, strings.TrimPrefix(c, "http://"), Config{}, Config{Routes: routes})
	f, front := startFront(t, Config{Routes: routes})
	for _, tt := range []struct{ addr, host, path, want string }{
		{front, "a.test", "/b", "a /b"}, {front, "x.test:1", "/b/c", "b /b/c"}, {front, "x.test", "/", "Not Found\n"}, {front, "y", "/b", "Not Found\n"},
		{p.addr, "a.test", "/b", "a /b"}, {p.addr, "x.test", "/b/c", "b /b/c"}, {p.addr, "x.test", "/", "c /"},
	} {
		client := dialClient(t, tt.addr)
		for _, request := range []string{"GET %s HTTP/1.1\r\nHost: %s\r\n\r\n", "POST %s HTTP/1.1\r\nHost: %s\r\nTransfer-Encoding: chunked\r\n\r\n"} {
			client.send(fmt.Sprintf(request, tt.path, tt.host))
			if strings.HasPrefix(request, "POST") { // streamed, since its end is not here yet
				client.send("3\r\nabc\r\n")
				client.send("0\r\n\r\n")
			}
			if got := client.read("GET"); got.body != tt.want || (got.status == 404) != (tt.want == "Not Found\n") {
				t.Errorf("%s%s: got %d %q; want %q", tt.host, tt.path, got.status, got.body, tt.want)
			}
		}
	}
	awaitNone(t, f.route)
	st := f.Stats()
	if len(st.Routes) != 2 || st.Routes[0].Exchanges != 2 || st.Routes[1].Exchanges != 2 || st.Exchanges != 4 || count(st.Refusals, "404") != 4 {
		t.Errorf("got %+v", st)
	}
}

func count(list []Count, what string) (n int64) {
	for _, c := range list {
		if c.What == what {
			n += c.N
		}
	}
	return n
}

func TestRoutesThatAreWrong(t *testing.T) {
	to := []string{"http://127.0.0.1:1"}
	f, _ := startFront(t, Config{Routes: []Route{{Name: "a", To: to}}})
	before := f.route.current()
	for want, list := range map[string][]Route{
		"are empty":              nil,
		"it has no name":         {{To: to}},
		"another has the name a": {{Name: "a", To: to}, {Name: "a", Host: "b", To: to}},
		`route "b": a has the same host and path`: {{Name: "a", Host: "A.", Path: "/x", To: to}, {Name: "b", Host: "a", Path: "/x/", To: to}},
		"To is empty":           {{Name: "a"}},
		"one that begins":       {{Name: "a", Path: "x", To: to}},
		"*.SUFFIX":              {{Name: "a", Host: "a.*.b", To: to}},
		"destination":           {{Name: "b", Path: "/b", To: to}, {Name: "a", To: []string{"foo://x"}}},
		"twice; weight=N":       {{Name: "a", To: []string{"http://x:1", "http://x:1;weight=2"}}},
		"needs TLS":             {{Name: "b", Path: "/b", To: to}, {Name: "a", To: []string{"h2tp://x"}}},
		"Policy":                {{Name: "a", To: to, Balance: &Balance{Policy: "x"}}},
		"BatchLimit":            {{Name: "a", To: to, Limits: &Limits{BatchLimit: 1}}},
		"more than 100 percent": {{Name: "a", To: to, Balance: &Balance{MaxEjected: 101}}},
	} {
		if err := f.SetRoutes(list); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("got %v; want %s", err, want)
		}
	}
	if now := f.route.current(); !slices.Equal(now, before) {
		t.Error("the routes are others")
	}
	f.Close()
	if err := f.SetRoutes([]Route{{Name: "b", To: to}}); err != ErrClosed {
		t.Errorf("after Close: got %v", err)
	}
}

// A route has time, policy and methods of its own.
func TestARouteHasLimitsOfItsOwn(t *testing.T) {
	g := newGate(t)
	defer g.open()
	up := "http://" + startUpstream(t, func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Path == "/slow" {
			g.pass()
		}
	})
	_, addr := startFront(t, Config{Routes: []Route{
		{Name: "slow", Path: "/slow", To: []string{up}, Limits: &Limits{Timeout: 50 * time.Millisecond}},
		{Name: "get", Path: "/get", To: []string{up}, Limits: &Limits{GetOnly: true}},
		{Name: "all", To: []string{up}},
	}})
	c := dialClient(t, addr)
	c.get("/slow").want(t, 504, "slow")
	c.post("/get", "x").want(t, 405, "POST to a route for GET")
	c.post("/", "x").want(t, 200, "POST elsewhere")
}

// settled waits until no retired route is left.
func settled(t *testing.T, r *route) {
	t.Helper()
	for end := time.Now().Add(patience); len(r.all()) != len(r.table.Load().list); time.Sleep(time.Millisecond) {
		if time.Now().After(end) {
			t.Fatalf("%d routes are there; want %d", len(r.all()), len(r.table.Load().list))
		}
	}
}

func TestRoutesChangeWhileExchangesRun(t *testing.T) {
	g := newGate(t)
	defer g.open()
	up := "http://" + startUpstream(t, func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Path == "/slow" {
			io.WriteString(w, "half")
			http.NewResponseController(w).Flush()
			g.pass()
			io.WriteString(w, " whole")
		}
	})
	other := named(t, "other")
	stays := Route{Name: "stays", Path: "/stays", To: []string{up}}
	f, addr := startFront(t, Config{Routes: []Route{stays, {Name: "b", Host: "x", To: []string{up}}}})
	first := f.route.current()
	slow := dialClient(t, addr)
	slow.send("GET /slow HTTP/1.1\r\nHost: x\r\n\r\n")
	g.await()
	c := dialClient(t, addr)
	changed := Route{Name: "b", Host: "x", To: []string{other}, Limits: &Limits{Timeout: time.Hour}}
	if err := f.SetRoutes([]Route{changed, stays}); err != nil {
		t.Fatal(err)
	}
	now := f.route.current()
	if now[1] != first[0] || now[0] == first[1] {
		t.Error("what is unchanged is another, or what is changed is the same")
	}
	if got := c.get("/slow").body; got != "other /slow" {
		t.Errorf("got %q after the change", got)
	}
	if n := len(f.route.all()); n != 3 {
		t.Errorf("%d routes; want the two and the one that is to finish", n)
	}
	if st := f.Stats(); st.Exchanges != 2 || st.Routes[0].Exchanges != 2 || st.InFlight != 1 {
		t.Errorf("got %+v", st)
	}
	g.open()
	if got := slow.read("GET"); got.body != "half whole" {
		t.Errorf("got %q of what ran before the change", got.body)
	}
	settled(t, f.route)
	changed.To = []string{other, up}
	if err := f.SetRoutes([]Route{changed, stays}); err != nil {
		t.Fatal(err)
	}
	if again := f.route.current(); !slices.Equal(again, now) || len(again[0].dests()) != 2 {
		t.Error("a route of which only the destinations are others is another")
	}
	changed.To = []string{other}
	bad := stays
	bad.To = []string{"foo://"}
	if err := f.SetRoutes([]Route{changed, bad}); err == nil || len(f.route.current()[0].dests()) != 2 {
		t.Errorf("got %v, or a route has changed beside one that is wrong", err)
	}
	if err := f.SetRoutes([]Route{stays}); err != nil {
		t.Fatal(err)
	}
	c.get("/slow").want(t, 404, "a route that is gone")
	settled(t, f.route)
	if st := f.Stats(); st.Exchanges != 2 || len(st.Routes) != 1 {
		t.Errorf("of routes that are gone: got %d exchanges; want 2", st.Exchanges)
	}
}

// Whoever chose a route just before it was retired is served by it, or by the next.
func TestNothingIsLostWhenRoutesChange(t *testing.T) {
	before := ownGoroutines()
	func() {
		ups := []string{named(t, "a"), named(t, "b")}
		hop := listenTCP(t)
		peer := []string{"h2tpc://" + hop.Addr().String()}
		routes := func(i int) []Route {
			return []Route{{Name: "r", Path: "/r", To: ups[i%2 : i%2+1]}, {Name: fmt.Sprint("s", i%3), To: ups}}
		}
		b := startBack(t, hop, Config{Routes: routes(0)})
		fronts := func(i int) []Route {
			return []Route{{Name: "all", To: peer, Balance: &Balance{RetryMin: 1 + i}}}
		}
		f, addr := startFront(t, Config{Routes: fronts(0)})
		stopc := make(chan struct{})
		var wg sync.WaitGroup
		var n atomic.Int64
		for range 8 {
			wg.Go(func() {
				client := &http.Client{Transport: &http.Transport{}, Timeout: time.Minute}
				defer client.CloseIdleConnections()
				for i := 0; ; i++ {
					select {
					case <-stopc:
						return
					default:
					}
					path := []string{"/r/x", "/other"}[i%2]
					resp, err := client.Post("http://"+addr+path, "", strings.NewReader("x"))
					if err != nil {
						t.Error(err)
						return
					}
					body, err := io.ReadAll(resp.Body)
					resp.Body.Close()
					if resp.StatusCode != 200 || err != nil || !strings.HasSuffix(string(body), path) {
						t.Errorf("got %d %q, %v", resp.StatusCode, body, err)
						return
					}
					n.Add(1)
				}
			})
		}
		for i := range 20 {
			seen := n.Load()
			if err := errors.Join(b.SetRoutes(routes(i)), f.SetRoutes(fronts(i))); err != nil {
				t.Error(err)
			}
			for end := time.Now().Add(patience); n.Load() < seen+20 && time.Now().Before(end) && !t.Failed(); {
				time.Sleep(time.Millisecond)
			}
		}
		close(stopc)
		wg.Wait()
		settled(t, f.route)
		settled(t, b.route)
		if got := b.Stats().Exchanges; got != n.Load() {
			t.Errorf("the back counted %d exchanges; want %d", got, n.Load())
		}
		f.Close()
		b.Close()
	}()
	for end := time.Now().Add(patience); len(ownGoroutines()) > len(before); time.Sleep(time.Millisecond) {
		if time.Now().After(end) {
			t.Fatalf("goroutines are left:\n%s", strings.Join(ownGoroutines(), "\n\n"))
		}
	}
}

// What is left of routes that were replaced is nothing, though clients' connections stay.
func TestRoutesThatAreGoneAreForgotten(t *testing.T) {
	up := []string{named(t, "a")}
	f, addr := startFront(t, Config{Routes: []Route{{Name: "a", To: up}}})
	c := dialClient(t, addr)
	old := func() (list []weak.Pointer[route]) {
		for i := range 20 {
			c.get("/").want(t, 200, "GET")
			list = append(list, weak.Make(f.route.current()[0]))
			if err := f.SetRoutes([]Route{{Name: fmt.Sprint("a", i), To: up}}); err != nil {
				t.Fatal(err)
			}
		}
		return list
	}()
	c.get("/").want(t, 200, "the last GET")
	settled(t, f.route)
	for end := time.Now().Add(patience); ; time.Sleep(time.Millisecond) {
		runtime.GC()
		n := 0
		for _, p := range old {
			if p.Value() != nil {
				n++
			}
		}
		if n == 0 {
			return
		}
		if time.Now().After(end) {
			t.Fatalf("%d of %d routes are still there", n, len(old))
		}
	}
}
