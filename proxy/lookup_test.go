package proxy

import (
	"bytes"
	"context"
	"crypto/tls"
	"crypto/x509"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"golang.org/x/net/dns/dnsmessage"

	"github.com/h2tp/h2tp/proxy/internal/balance"
)

// nameServer answers for names of its own, over UDP on loopback.
type nameServer struct {
	t  testing.TB
	pc net.PacketConn
	wg sync.WaitGroup

	mu    sync.Mutex
	names map[string][]dnsmessage.ResourceBody
	code  dnsmessage.RCode // to all that is asked
	asked int
}

func startNameServer(t testing.TB) *nameServer {
	pc, err := net.ListenPacket("udp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	s := &nameServer{t: t, pc: pc, names: make(map[string][]dnsmessage.ResourceBody)}
	s.wg.Go(s.serve)
	t.Cleanup(s.close)
	return s
}

func (s *nameServer) close() {
	s.pc.Close()
	s.wg.Wait()
}

// resolver is one that asks s.
func (s *nameServer) resolver() *net.Resolver {
	return &net.Resolver{PreferGo: true, Dial: func(ctx context.Context, _, _ string) (net.Conn, error) {
		return new(net.Dialer).DialContext(ctx, "udp", s.pc.LocalAddr().String())
	}}
}

// set makes all that is to be said of a name: addresses, or what an SRV record has.
func (s *nameServer) set(name string, records ...string) {
	var list []dnsmessage.ResourceBody
	for _, r := range records {
		var srv dnsmessage.SRVResource
		var target string
		if n, _ := fmt.Sscan(r, &srv.Priority, &srv.Weight, &srv.Port, &target); n == 4 {
			srv.Target = dnsmessage.MustNewName(target)
			list = append(list, &srv)
		} else if ip := netip.MustParseAddr(r); ip.Is4() {
			list = append(list, &dnsmessage.AResource{A: ip.As4()})
		} else {
			list = append(list, &dnsmessage.AAAAResource{AAAA: ip.As16()})
		}
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.names[name+"."] = list
}

// fail makes the answer to everything; 0 is that of the names.
func (s *nameServer) fail(code dnsmessage.RCode) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.code = code
}

// awaitAsked waits until s has been asked n times more.
func (s *nameServer) awaitAsked(n int) {
	s.t.Helper()
	count := func() int {
		s.mu.Lock()
		defer s.mu.Unlock()
		return s.asked
	}
	was := count()
	awaitTrue(s.t, func() bool { return count() >= was+n }, "a lookup")
}

func (s *nameServer) serve() {
	b := make([]byte, 1<<10)
	for {
		n, from, err := s.pc.ReadFrom(b)
		if err != nil {
			return
		}
		var m dnsmessage.Message
		if err := m.Unpack(b[:n]); err != nil || len(m.Questions) != 1 {
			s.t.Errorf("a bad question: %v", err)
			return
		}
		s.answer(&m)
		out, err := m.Pack()
		if err != nil {
			s.t.Error(err)
			return
		}
		s.pc.WriteTo(out, from)
	}
}

func (s *nameServer) answer(m *dnsmessage.Message) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.asked++
	q := m.Questions[0]
	list, isKnown := s.names[q.Name.String()]
	m.Response, m.Authoritative, m.Additionals = true, true, nil
	if m.RCode = s.code; s.code == 0 && !isKnown {
		m.RCode = dnsmessage.RCodeNameError
	}
	if m.RCode != 0 {
		return
	}
	types := map[dnsmessage.Type]func(dnsmessage.ResourceBody) bool{
		dnsmessage.TypeA:    func(b dnsmessage.ResourceBody) bool { _, ok := b.(*dnsmessage.AResource); return ok },
		dnsmessage.TypeAAAA: func(b dnsmessage.ResourceBody) bool { _, ok := b.(*dnsmessage.AAAAResource); return ok },
		dnsmessage.TypeSRV:  func(b dnsmessage.ResourceBody) bool { _, ok := b.(*dnsmessage.SRVResource); return ok },
	}
	for _, body := range list {
		if isType := types[q.Type]; isType != nil && isType(body) {
			m.Answers = append(m.Answers, dnsmessage.Resource{Header: dnsmessage.ResourceHeader{Name: q.Name, Type: q.Type, Class: q.Class, TTL: 1}, Body: body})
		}
	}
}

// mapped dials the addresses of a test's servers for those that DNS says.
func mapped(to map[string]string) func(_, addr string, timeout time.Duration) (net.Conn, error) {
	return func(_, addr string, timeout time.Duration) (net.Conn, error) {
		real, ok := to[addr]
		if !ok {
			return nil, fmt.Errorf("no way to %s", addr)
		}
		return net.DialTimeout("tcp", real, timeout)
	}
}

// addressesOf are the destinations of an end, without what they have in common.
func addressesOf(st Stats) (list []string) {
	for _, d := range st.Destinations {
		_, addr, _ := strings.Cut(d.URL, ";addr=")
		list = append(list, fmt.Sprintf("%s %d/%d", addr, d.Weight, d.Tier))
	}
	return list
}

func awaitAddresses(t *testing.T, end interface{ Stats() Stats }, want ...string) {
	t.Helper()
	awaitTrue(t, func() bool { return slices.Equal(addressesOf(end.Stats()), want) }, fmt.Sprint("addresses ", want))
}

// namesake answers with its name.
func namesake(name string) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) { io.WriteString(w, name+" for "+r.Host) }
}

func TestEachAddressOfANameIsADestination(t *testing.T) {
	dns := startNameServer(t)
	dns.set("api.test", "10.0.0.2", "10.0.0.1", "fd00::1")
	dial := mapped(map[string]string{"10.0.0.1:80": startUpstream(t, namesake("one")), "10.0.0.2:80": startUpstream(t, namesake("two")), "[fd00::1]:80": startUpstream(t, namesake("six"))})
	f, addr := startFront(t, Config{To: []string{"http://api.test;resolve=100ms;weight=3;tier=1"}, Resolver: dns.resolver(), Dial: dial})
	if got, want := addressesOf(f.Stats()), []string{"10.0.0.1:80 3/1", "10.0.0.2:80 3/1", "[fd00::1]:80 3/1"}; !slices.Equal(got, want) {
		t.Fatalf("got %q; want %q", got, want)
	}
	c := dialClient(t, addr)
	seen := make(map[string]bool)
	for range 9 {
		seen[c.get("/").body] = true
	}
	if want := map[string]bool{"one for x": true, "two for x": true, "six for x": true}; fmt.Sprint(seen) != fmt.Sprint(want) {
		t.Errorf("got %v; want %v", seen, want)
	}
	two := f.route.dests()[1]
	dns.set("api.test", "10.0.0.2", "10.0.0.3")
	awaitAddresses(t, f, "10.0.0.2:80 3/1", "10.0.0.3:80 3/1")
	if f.route.dests()[0] != two {
		t.Error("the address that stayed is another destination")
	}
	// A request without a Host has that of the URL.
	dns.set("api.test", "10.0.0.2")
	awaitAddresses(t, f, "10.0.0.2:80 3/1")
	old := dialClient(t, addr)
	old.send("GET / HTTP/1.0\r\n\r\n")
	if a := old.read("GET"); a.body != "two for api.test" {
		t.Errorf("got %q; want the host of the URL", a.body)
	}
}

func TestSRVRecordsAreDestinations(t *testing.T) {
	dns := startNameServer(t)
	dns.set("a.test", "10.0.0.1")
	dns.set("b.test", "10.0.0.2", "10.0.0.3")
	dns.set("_http._tcp.api.test", "10 5 8001 a.test.", "20 0 8003 b.test.", "10 10 8002 b.test.", "30 1 8004 nowhere.test.")
	dial := mapped(map[string]string{"10.0.0.1:8001": startUpstream(t, namesake("one")), "10.0.0.2:8002": startUpstream(t, namesake("two")), "10.0.0.3:8002": startUpstream(t, namesake("three"))})
	f, addr := startFront(t, Config{To: []string{"http://_http._tcp.api.test;srv=100ms"}, Resolver: dns.resolver(), Dial: dial, Limits: Limits{}})
	want := []string{"10.0.0.1:8001 5/0", "10.0.0.2:8002 5/0", "10.0.0.3:8002 5/0", "10.0.0.2:8003 1/1", "10.0.0.3:8003 1/1"}
	awaitTrue(t, func() bool { return len(f.Stats().Destinations) == len(want) }, "all records")
	got := addressesOf(f.Stats())
	for i := range want { // a half is no weight: all are in proportion
		want[i] = strings.NewReplacer("1:8001 5/", "1:8001 1000/", ":8002 5/", ":8002 1000/", ":8003 1/", ":8003 100/").Replace(want[i])
	}
	if !slices.Equal(got, want) {
		t.Errorf("got %q; want %q", got, want)
	}
	c := dialClient(t, addr)
	counts := make(map[string]int)
	for range 30 {
		counts[c.get("/").body]++
	}
	if counts["one for x"] == 0 || counts["two for x"] == 0 || counts["three for x"] == 0 {
		t.Errorf("got %v", counts)
	}
	dns.set("_http._tcp.api.test", "1 7 8001 a.test.")
	awaitAddresses(t, f, "10.0.0.1:8001 7/0")
	dns.set("_http._tcp.api.test", "0 0 0 .")
	awaitTrue(t, func() bool { return f.Stats().Lookups[0].None > 0 }, "an answer without a service")
	awaitAddresses(t, f, "10.0.0.1:8001 7/0")
}

// logged counts the lines that have a text.
type logged struct {
	mu sync.Mutex
	b  bytes.Buffer
}

func (l *logged) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.Write(p)
}

func (l *logged) count(text string) int {
	l.mu.Lock()
	defer l.mu.Unlock()
	return strings.Count(l.b.String(), text)
}

func TestWhatWasFoundStaysWhileLookupsFail(t *testing.T) {
	dns := startNameServer(t)
	dns.set("api.test", "10.0.0.1")
	var log logged
	f, addr := startFront(t, Config{
		To: []string{"http://api.test;resolve=100ms"}, Resolver: dns.resolver(), Logger: slog.New(slog.NewTextHandler(&log, nil)),
		Dial: mapped(map[string]string{"10.0.0.1:80": startUpstream(t, namesake("one"))}),
	})
	was := f.route.set.Load()
	c := dialClient(t, addr)
	lookup := func() LookupStats { return f.Stats().Lookups[0] }
	for i, how := range []struct {
		name, why string
		do        func()
		isFailed  bool
	}{
		{"a server's failure", "server misbehaving", func() { dns.fail(dnsmessage.RCodeServerFailure) }, true},
		{"NXDOMAIN", "no such host", func() { dns.fail(dnsmessage.RCodeNameError) }, false},
		{"no address", "no such host", func() { dns.fail(0); dns.set("api.test") }, false},
		{"no server", "refused", func() { dns.close() }, true},
	} {
		how.do()
		before := lookup()
		awaitTrue(t, func() bool {
			now := lookup()
			n := now.None - before.None
			if how.isFailed {
				n = now.Failed - before.Failed
			}
			return n >= 2 && strings.Contains(now.Why, how.why)
		}, how.name)
		if now := lookup(); now.Addresses != 1 {
			t.Errorf("%s: %+v", how.name, now)
		}
		if n := log.count("lookup failed"); n != i+1 {
			t.Errorf("%s: %d lines; want %d", how.name, n, i+1)
		}
		c.get("/").want(t, 200, how.name)
		if how.name == "no server" {
			break
		}
		dns.fail(0)
		dns.set("api.test", "10.0.0.1")
		awaitTrue(t, func() bool { return lookup().Why == "" }, "a lookup that works again")
	}
	if f.route.set.Load() != was {
		t.Error("the set is another")
	}
}

func TestANameThatIsNotFoundAtTheStartIsFoundLater(t *testing.T) {
	dns := startNameServer(t)
	dns.set("other.test", "10.0.0.1")
	f, addr := startFront(t, Config{
		To: []string{"http://api.test;resolve=100ms"}, Resolver: dns.resolver(),
		Dial: mapped(map[string]string{"10.0.0.1:80": startUpstream(t, namesake("one"))}),
	})
	c := dialClient(t, addr)
	c.get("/").want(t, 502, "without an address")
	if l := f.Stats().Lookups[0]; l.Addresses != 0 || !strings.Contains(l.Why, "no such host") {
		t.Errorf("it says %+v", l)
	}
	dns.set("api.test", "10.0.0.1")
	awaitAddresses(t, f, "10.0.0.1:80 1/0")
	c.get("/").want(t, 200, "with one")
	if err := f.SetTo([]string{"http://nowhere.test;resolve=100ms"}); err == nil || !strings.Contains(err.Error(), "nowhere.test") {
		t.Errorf("a set without an address: %v", err)
	}
	awaitAddresses(t, f, "10.0.0.1:80 1/0")
	if err := f.SetTo([]string{"http://other.test;resolve=100ms;weight=2", "http://127.0.0.1:1;tier=3"}); err != nil {
		t.Error(err)
	}
	awaitAddresses(t, f, "10.0.0.1:80 2/0", " 1/3")
	dns.awaitAsked(4) // by the one lookup that is left
	f.route.mu.Lock()
	n := len(f.route.lookups)
	f.route.mu.Unlock()
	if n != 1 {
		t.Errorf("%d lookups; want 1", n)
	}
}

// The certificate of an address that DNS told must have the name of the URL.
func TestALookedUpDestinationShowsTheURLsName(t *testing.T) {
	srv := httptest.NewTLSServer(namesake("one"))
	t.Cleanup(srv.Close)
	authorities := x509.NewCertPool()
	authorities.AddCert(srv.Certificate()) // it names example.com
	dns := startNameServer(t)
	dns.set("example.com", "10.0.0.1")
	dns.set("other.test", "10.0.0.1")
	dns.set("_https._tcp.example.com", "0 0 443 other.test.")
	cfg := Config{
		Resolver: dns.resolver(), UpstreamTLS: func() *tls.Config { return &tls.Config{RootCAs: authorities} },
		Dial: mapped(map[string]string{"10.0.0.1:443": srv.Listener.Addr().String()}),
	}
	for to, want := range map[string]int{
		"https://example.com;resolve=100ms": 200, "https://other.test;resolve=100ms": 502, "https://_https._tcp.example.com;srv=100ms": 200,
	} {
		cfg.To = []string{to}
		_, addr := startFront(t, cfg)
		dialClient(t, addr).get("/").want(t, want, to)
	}
}

// askAllTheTime has three clients that want 200 for GETs, and for POSTs batched and streamed, until stop, which waits for them.
func askAllTheTime(t *testing.T, addr string) (stop func()) {
	stopc := make(chan struct{})
	var wg sync.WaitGroup
	for i := range 3 {
		wg.Go(func() {
			c := dialClient(t, addr)
			c.nc.SetDeadline(time.Now().Add(12 * patience))
			for k := 0; ; k++ {
				select {
				case <-stopc:
					return
				default:
				}
				if k%2 == 0 {
					c.get("/").want(t, 200, "a GET")
				} else {
					c.post("/", string(bodyOf(i, []int{10, 90_000}[k/2%2]))).want(t, 200, "a POST")
				}
			}
		})
	}
	return func() {
		close(stopc)
		wg.Wait()
	}
}

func TestNoExchangeIsLostWhileAddressesChange(t *testing.T) {
	for _, kind := range []string{"upstreams", "backs"} {
		t.Run(kind, func(t *testing.T) {
			before := ownGoroutines()
			dns := startNameServer(t)
			scheme := "http://"
			addrs := make(map[string]string)
			for i := range 4 {
				up := startUpstream(t, echoHandler)
				if kind == "backs" {
					scheme = "h2tpc://"
					ln := listenTCP(t)
					startBack(t, ln, Config{To: []string{"http://" + up}})
					up = ln.Addr().String()
				}
				addrs[fmt.Sprintf("10.0.0.%d:80", i)] = up
			}
			dns.set("api.test", "10.0.0.0")
			f, addr := startFront(t, Config{To: []string{scheme + "api.test;resolve=100ms"}, Resolver: dns.resolver(), Dial: mapped(addrs)})
			stop := askAllTheTime(t, addr)
			for _, n := range []int{1, 2, 3, 0, 2} {
				dns.set("api.test", fmt.Sprintf("10.0.0.%d", n), fmt.Sprintf("10.0.0.%d", (n+1)%4))
				want := []string{fmt.Sprintf("10.0.0.%d:80 1/0", n), fmt.Sprintf("10.0.0.%d:80 1/0", (n+1)%4)}
				slices.Sort(want)
				awaitAddresses(t, f, want...)
			}
			stop()
			f.Close()
			dns.close()
			if after := ownGoroutines(); kind == "upstreams" && len(after) > len(before) {
				t.Errorf("%d goroutines are left:\n%s", len(after)-len(before), strings.Join(after, "\n\n"))
			}
		})
	}
}

func TestAddressesWithoutAWayAreLeftOut(t *testing.T) {
	four, six := netip.MustParseAddr("127.0.0.1"), netip.MustParseAddr("fd00::1")
	if got := within([]netip.Addr{six, four}, netip.Addr.Is4); !slices.Equal(got, []netip.Addr{four}) {
		t.Errorf("got %v; want the one with a way", got)
	}
	if got := within([]netip.Addr{six}, netip.Addr.Is4); len(got) != 1 {
		t.Errorf("got %v; want all where none has", got)
	}
	if !hasRoute(four) {
		t.Error("there is no way to loopback")
	}
}

func TestWeightsOfRecords(t *testing.T) {
	for _, c := range []struct {
		shares []float64
		want   []int
	}{
		{[]float64{1, 2, 1000}, []int{1, 2, 1000}},
		{[]float64{65535, 1, 32768}, []int{1000, 1, 500}},
		{[]float64{0.5, 0.5, 1}, []int{500, 500, 1000}},
		{nil, nil},
	} {
		found := make([]balance.Destination, len(c.shares))
		weigh(found, c.shares)
		for i, d := range found {
			if d.Weight != c.want[i] {
				t.Errorf("%v: the weight of %d is %d; want %d", c.shares, i, d.Weight, c.want[i])
			}
		}
	}
}

func TestWhatCannotBeLookedUpIsRefused(t *testing.T) {
	for _, to := range []string{
		"http://127.0.0.1;resolve=1s", "http://[::1];srv=1s", "unix:///a;resolve=1s", "http://a:80;srv=1s", "http://a;resolve=1ms", "http://a;resolve=25h",
		"http://a;resolve=1s;srv=1s", "http://a;srv=1s;weight=2", "http://a;srv", "http://a;resolve=1s;resolve=1s",
	} {
		if CheckTo(to) == nil {
			t.Errorf("%q is taken", to)
		}
	}
	for _, to := range []string{"http://a:80;resolve=1s;weight=2", "h2tp://_h2tp._tcp.a;srv=24h"} {
		if err := CheckTo(to); err != nil {
			t.Errorf("%q: %v", to, err)
		}
	}
}

// Several routes wait once for their names, and each has its own lookups.
func TestRoutesLookNamesUp(t *testing.T) {
	dns := startNameServer(t)
	dns.set("a.test", "10.0.0.1")
	dns.set("b.test", "10.0.0.2")
	dial := mapped(map[string]string{"10.0.0.1:80": startUpstream(t, namesake("one")), "10.0.0.2:80": startUpstream(t, namesake("two"))})
	f, addr := startFront(t, Config{
		To: []string{"http://a.test;resolve=100ms"}, Resolver: dns.resolver(), Dial: dial,
		Routes: []Route{{Name: "b", Path: "/b", To: []string{newToFile(t, "http://b.test;resolve=100ms").to()}}},
	})
	c := dialClient(t, addr)
	for path, want := range map[string]string{"/": "one for x", "/b": "two for x"} {
		if a := c.get(path); a.body != want {
			t.Errorf("%s: got %d %q; want %q", path, a.status, a.body, want)
		}
	}
	st := f.Stats()
	if len(st.Lookups) != 3 || !isFile(st.Lookups[2].URL) || st.Lookups[1].Route != "b" || st.Lookups[1].Addresses != 1 {
		t.Errorf("lookups: %+v", st.Lookups)
	}
	if err := f.SetRoutes([]Route{{Name: "b", Path: "/b", To: []string{"http://nowhere.test;resolve=100ms"}}}); err == nil {
		t.Error("a route lost its destinations to a name that there is not")
	}
	if a := c.get("/b"); a.body != "two for x" {
		t.Errorf("got %d %q", a.status, a.body)
	}
}
