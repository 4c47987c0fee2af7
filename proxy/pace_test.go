package proxy

import (
	"fmt"
	"io"
	"net"
	"net/netip"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/valyala/fasthttp"

	"github.com/h2tp/h2tp/pool"
)

// bubbleFront serves clients of a handler in a bubble, and connects one.
func bubbleFront(t testing.TB, limits Limits, h fasthttp.RequestHandler) *lineClient {
	t.Helper()
	f, err := NewFront(Config{Limits: limits, Handler: h})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { f.Close() })
	return serveBubble(t, f)
}

// startDrip has n bytes sent each second, the first after half of one, until they are all sent or nobody takes them.
// What it returns closes the connection and waits.
func startDrip(nc net.Conn, p string, n int) (stop func()) {
	var wg sync.WaitGroup
	wg.Go(func() { drip(nc, p, n) })
	return func() {
		nc.Close()
		wg.Wait()
	}
}

func drip(nc net.Conn, p string, n int) {
	time.Sleep(time.Second / 2)
	for {
		k := min(n, len(p))
		if _, err := io.WriteString(nc, p[:k]); err != nil || k == len(p) {
			return
		}
		p = p[k:]
		time.Sleep(time.Second)
	}
}

// wantAfter checks that something took d, to within a turn of the sweep.
func wantAfter(t testing.TB, began time.Time, d time.Duration, what string) {
	t.Helper()
	if took := time.Since(began); took < d || took > d+sweepPeriod {
		t.Errorf("%s: after %v; want %v", what, took, d)
	}
}

func TestHeadHasReadTimeoutFromItsFirstByte(t *testing.T) {
	bubble(t, func(t *testing.T) {
		c := bubbleFront(t, Limits{}, okHandler)
		time.Sleep(70 * time.Second) // idle: nothing was asked yet
		began := time.Now()
		defer startDrip(c.nc, "GET / HTTP/1.1\r\nHost: x\r\nX: "+strings.Repeat("slow", 100), 1)()
		c.read("GET").want(t, 408, "a head that takes for ever")
		wantAfter(t, began, 30*time.Second+time.Second/2, "408")
	})
}

func TestConnectionWithoutARequestHasIdleTimeout(t *testing.T) {
	bubble(t, func(t *testing.T) {
		c := bubbleFront(t, Limits{ReadTimeout: time.Second}, okHandler)
		began := time.Now()
		c.wantEnd("nothing sent")
		wantAfter(t, began, 75*time.Second, "the end")
	})
}

func TestSlowUploadIsAnswered408(t *testing.T) {
	const head = "POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 100000\r\n\r\n"
	body := strings.Repeat("b", 100_000)
	for _, tc := range []struct {
		name    string
		rate    int
		atOnce  int // of the body
		each    int // bytes a second of the rest
		timeout time.Duration
		want    int // the status, and when
		after   time.Duration
	}{
		{"239 bytes a second", 0, 0, 239, 0, 408, rateWindow},
		{"240 bytes a second", 0, 0, 240, 0, 200, 416*time.Second + time.Second/2},
		{"half of it at once, and the rest slowly", 0, 50_000, 1, 0, 408, 2 * rateWindow},
		{"one byte a second without a bound", -1, 99_900, 1, 0, 200, 99*time.Second + time.Second/2},
		{"nothing", -1, 10, 0, 5 * time.Second, 408, 5 * time.Second},
		{"nothing, with a timeout beyond the window", 1, 10, 0, 15 * time.Second, 408, 15 * time.Second},
	} {
		t.Run(tc.name, func(t *testing.T) {
			bubble(t, func(t *testing.T) {
				c := bubbleFront(t, Limits{MinRate: tc.rate, ReadTimeout: tc.timeout, Timeout: -1}, okHandler)
				began := time.Now()
				c.send(head)
				if tc.atOnce > 0 {
					c.send(body[:tc.atOnce])
				}
				if tc.each > 0 {
					defer startDrip(c.nc, body[tc.atOnce:], tc.each)()
				}
				c.read("POST").want(t, tc.want, tc.name)
				wantAfter(t, began, tc.after, "the answer")
			})
		})
	}
}

// A client that waits for 100 is not slow.
func TestPaceBeginsWithContinue(t *testing.T) {
	bubble(t, func(t *testing.T) {
		f, err := NewFront(Config{To: []string{"http://up:1"}, Dial: func(string, string, time.Duration) (net.Conn, error) {
			near, far := net.Pipe()
			go func() {
				far.Read(make([]byte, 4096))
				time.Sleep(25 * time.Second)
				io.WriteString(far, "HTTP/1.1 100 Continue\r\n\r\n")
				io.Copy(io.Discard, far)
			}()
			return near, nil
		}})
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { f.Close() })
		c := serveBubble(t, f)
		began := time.Now()
		c.send("POST / HTTP/1.1\r\nHost: x\r\nExpect: 100-continue\r\nContent-Length: 100000\r\n\r\n")
		c.read("POST").want(t, 100, "a body that is waited for")
		wantAfter(t, began, 25*time.Second, "100")
		c.read("POST").want(t, 408, "a body that does not come")
		wantAfter(t, began, 30*time.Second+rateWindow, "408")
	})
}

// slowReader reads n bytes each second, the first after half of one, until there are no more, and says how long that took.
func slowReader(c *lineClient, n int) (total int, took time.Duration) {
	began := time.Now()
	time.Sleep(time.Second / 2)
	for {
		k, err := io.ReadFull(c.nc, make([]byte, n))
		total += k
		if err != nil {
			return total, time.Since(began)
		}
		time.Sleep(time.Second)
	}
}

func TestSlowReaderIsCutOff(t *testing.T) {
	const size = 30_000
	for _, tc := range []struct {
		rate, each int
		isWhole    bool
	}{
		{0, 200, false},
		{0, 250, true},
		{-1, 100, true},
		{1000, 900, false},
	} {
		bubble(t, func(t *testing.T) {
			c := bubbleFront(t, Limits{MinRate: tc.rate}, func(ctx *fasthttp.RequestCtx) { ctx.SetBody(make([]byte, size)) })
			c.send("GET / HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n")
			total, took := slowReader(c, tc.each)
			if isWhole := total > size; isWhole != tc.isWhole {
				t.Errorf("%d bytes a second: got %d bytes in %v; want all: %v", tc.each, total, took, tc.isWhole)
			}
			if !tc.isWhole && took > rateWindow+time.Second {
				t.Errorf("%d bytes a second: took %v; want %v", tc.each, took, rateWindow)
			}
		})
	}
}

// Only the time that a client is waited for counts.
func TestSlowEventsDoNotMakeASlowReader(t *testing.T) {
	bubble(t, func(t *testing.T) {
		f, err := NewFront(Config{To: []string{"http://up:1"}, Limits: Limits{Timeout: -1}, Dial: func(string, string, time.Duration) (net.Conn, error) {
			near, far := net.Pipe()
			go func() {
				defer far.Close()
				far.Read(make([]byte, 4096))
				io.WriteString(far, "HTTP/1.1 200 OK\r\n\r\n")
				for range 20 {
					time.Sleep(20 * time.Second)
					if _, err := io.WriteString(far, "."); err != nil {
						return
					}
				}
			}()
			return near, nil
		}})
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { f.Close() })
		c := serveBubble(t, f)
		if a := c.get("/"); a.body != strings.Repeat(".", 20) {
			t.Errorf("got %q", a.body)
		}
	})
}

func TestConnectionsOfOneAddressAreBounded(t *testing.T) {
	up := startUpstream(t, echoHandler)
	f, addr := startFront(t, Config{To: []string{"http://" + up}, Limits: Limits{MaxConnsPerAddr: 2}})
	from := func(ip string) *lineClient {
		d := net.Dialer{LocalAddr: &net.TCPAddr{IP: net.ParseIP(ip)}}
		nc, err := d.Dial("tcp", addr)
		if err != nil {
			t.Fatal(err)
		}
		return newLineClient(t, nc)
	}
	a, b := from("127.0.0.1"), from("127.0.0.1")
	a.get("/").want(t, 200, "the first of an address")
	b.get("/").want(t, 200, "the second")
	from("127.0.0.1").wantEnd("the third")
	if n := f.Stats().Refused; n != 1 {
		t.Errorf("%d refused; want 1", n)
	}
	from("127.0.0.2").get("/").want(t, 200, "one of another address")
	a.nc.Close()
	awaitTrue(t, func() bool {
		f.mu.Lock()
		defer f.mu.Unlock()
		return f.addrs[pool.NetworkOf(netip.MustParseAddr("127.0.0.1"))] == 1
	}, "the end of the first")
	from("127.0.0.1").get("/").want(t, 200, "one in its place")
}

// A back bounds those of fronts, and counts what it closes.
func TestFrontsOfOneAddressAreBounded(t *testing.T) {
	ln := listenTCP(t)
	b := startBack(t, ln, Config{Handler: okHandler, Limits: Limits{MaxConnsPerAddr: 1}})
	f, _ := startFront(t, Config{To: []string{"h2tpc://" + ln.Addr().String()}, Hop: Hop{Conns: 1}})
	mustAsk(t, f, "GET", "http://x/", "", "ok")
	nc, err := net.Dial("tcp", ln.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	newLineClient(t, nc).wantEnd("the second of an address")
	if n := b.Stats().Refused; n != 1 {
		t.Errorf("%d refused; want 1", n)
	}
	mustAsk(t, f, "GET", "http://x/", "", "ok")
}

func TestOneAddressOfIPv6IsAWholeNetwork(t *testing.T) {
	for host, want := range map[string]string{
		"192.0.2.7":                "192.0.2.7/32",
		"::ffff:192.0.2.7":         "192.0.2.7/32",
		"2001:db8:1:2:3:4:5:6":     "2001:db8:1:2::/64",
		"2001:db8:1:2:ffff::1":     "2001:db8:1:2::/64",
		"fe80::1%eth0":             "fe80::/64",
		"not an address, but this": "invalid Prefix",
	} {
		if got := fmt.Sprint(pool.NetworkOf(addrOf(&net.UnixAddr{Name: net.JoinHostPort(host, "1")}))); got != want {
			t.Errorf("%s: got %s; want %s", host, got, want)
		}
	}
}
