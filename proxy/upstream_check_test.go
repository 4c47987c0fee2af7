package proxy

import (
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"
)

// checked starts a route to an upstream in a bubble that answers checks as answer says.
func checked(t *testing.T, b Balance, answer func(nc net.Conn)) *upstream {
	b.CheckPath = "/health?deep"
	cfg, err := Config{To: []string{"http://a"}, Balance: b, Dial: func(string, string, time.Duration) (net.Conn, error) {
		near, far := net.Pipe()
		go func() {
			defer far.Close()
			in := make([]byte, 4<<10)
			n, _ := far.Read(in)
			if want := "GET /health?deep HTTP/1.1\r\nHost: a\r\nUser-Agent: h2tp\r\nConnection: close\r\n\r\n"; n > 0 && string(in[:n]) != want {
				t.Errorf("asked with %q", in[:n])
			}
			answer(far)
		}()
		return near, nil
	}}.withDefaults()
	if err != nil {
		t.Fatal(err)
	}
	r, err := newRouteTo(&cfg, nil)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(r.close)
	return r.dests()[0].(*upstream)
}

func TestChecksLeaveAnUpstreamOutAndBringItBack(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var status atomic.Int32
		var asked atomic.Int32
		status.Store(200)
		u := checked(t, Balance{CheckPeriod: time.Second}, func(nc net.Conn) {
			asked.Add(1)
			fmt.Fprintf(nc, "HTTP/1.1 103 Early Hints\r\n\r\nHTTP/1.1 %d X\r\n", status.Load())
			io.WriteString(nc, "Content-Length: 2\r\n\r\nok")
		})
		time.Sleep(10 * time.Second)
		synctest.Wait()
		if n := asked.Load(); u.member.Why() != "" || n < 9 || n > 12 {
			t.Fatalf("%q after %d checks in 10 s", u.member.Why(), n)
		}
		for _, bad := range []int32{503, 404} {
			status.Store(bad)
			time.Sleep(1700 * time.Millisecond) // two checks at most: three are needed
			if why := u.member.Why(); why != "" {
				t.Fatalf("after two that failed: %q", why)
			}
			time.Sleep(1700 * time.Millisecond)
			if why := u.member.Why(); why != "check" {
				t.Fatalf("after three that failed: %q", why)
			}
			status.Store(302)
			time.Sleep(2300 * time.Millisecond)
			if why := u.member.Why(); why != "" {
				t.Fatalf("after two that passed: %q", why)
			}
		}
		u.route.close()
	})
}

func TestACheckFailsOnSilenceAndOnWhatIsNoHTTP(t *testing.T) {
	for name, answer := range map[string]func(net.Conn){
		"silence":      func(nc net.Conn) { io.Copy(io.Discard, nc) },
		"no HTTP":      func(nc net.Conn) { io.WriteString(nc, "hello\r\n\r\n") },
		"cut short":    func(nc net.Conn) { io.WriteString(nc, "HTTP/1.1 200") },
		"endless head": func(nc net.Conn) { io.Copy(nc, endless{}) },
		"other status": func(nc net.Conn) { io.WriteString(nc, "HTTP/1.1 200 OK\r\n\r\n") },
	} {
		synctest.Test(t, func(t *testing.T) {
			u := checked(t, Balance{CheckPeriod: time.Hour, CheckStatus: 204}, answer)
			from := time.Now()
			if err := u.check(); err == nil || time.Since(from) > time.Second {
				t.Errorf("%s: %v after %v", name, err, time.Since(from))
			}
			u.route.close()
		})
	}
}

// endless is a head without end.
type endless struct{}

func (endless) Read(p []byte) (int, error) { return copy(p, "HTTP/1.1 204 X\r\n"), nil }

func TestARefusingUpstreamIsBackWithItsFirstGoodCheck(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		u := checked(t, Balance{CheckPeriod: 100 * time.Millisecond}, func(nc net.Conn) { io.WriteString(nc, "HTTP/1.1 200 OK\r\n\r\n") })
		for range 3 { // each for a second at least
			u.route.group.Refused(u.route.now(), u.member)
			time.Sleep(120 * time.Millisecond)
			if why := u.member.Why(); why != "" {
				t.Errorf("it is %q", why)
			}
		}
		u.route.close()
	})
}

// What waits at an upstream that is found to be stopped is asked elsewhere, if that harms nothing.
func TestAGetLeavesAnUpstreamThatIsSilent(t *testing.T) {
	bubble(t, func(t *testing.T) {
		silent, well := newMemNet(), newMemNet()
		var posts atomic.Int64
		serve := func(n *memNet, h http.HandlerFunc) {
			srv := &http.Server{Handler: h}
			go srv.Serve(n)
			t.Cleanup(func() { srv.Close() })
		}
		stopc := make(chan struct{})
		serve(silent, func(_ http.ResponseWriter, r *http.Request) {
			if r.Method == "POST" {
				posts.Add(1)
			}
			<-stopc
		})
		defer close(stopc)
		serve(well, func(w http.ResponseWriter, r *http.Request) {
			if r.Method == "POST" {
				posts.Add(1)
			}
			io.WriteString(w, "well")
		})
		f, err := NewFront(Config{
			To:      []string{"http://silent:1;weight=1000", "http://well:1"},
			Balance: Balance{Policy: "round-robin", SlowStart: -1, CheckPath: "/", CheckPeriod: 500 * time.Millisecond, CheckTimeout: 500 * time.Millisecond},
			Dial: func(network, addr string, d time.Duration) (net.Conn, error) {
				if addr == "silent:1" {
					return silent.dial(network, addr, d)
				}
				return well.dial(network, addr, d)
			},
		})
		if err != nil {
			t.Fatal(err)
		}
		defer f.Close()
		began := time.Now()
		var wg sync.WaitGroup
		wg.Go(func() {
			mustAsk(t, f, "GET", "http://x/", "", "well")
			if d := time.Since(began); d > 3*(550+500)*time.Millisecond+sweepPeriod { // three checks
				t.Errorf("a GET was answered after %v", d)
			}
		})
		wg.Go(func() {
			if _, err := ask(f, "POST", "http://x/", "b"); !errors.Is(err, ErrTimeout) {
				t.Errorf("a POST ended with %v; want what the upstream owes, until it is late", err)
			}
			if d := time.Since(began); d < time.Minute {
				t.Errorf("a POST ended after %v", d)
			}
		})
		wg.Wait()
		if n := posts.Load(); n != 1 {
			t.Errorf("the POST ran %d times", n)
		}
	})
}

// What is in the way of an upstream for a while may forget its connections.
func TestNoConnectionOutlivesSilence(t *testing.T) {
	bubble(t, func(t *testing.T) {
		n := newSimNet(1, 0, 0)
		w := &simWorld{t: t, net: n, runs: make(map[int]int)}
		u := &simUpstream{w: w, addr: "up:80"}
		u.start()
		defer u.stop(false)
		f, err := NewFront(Config{
			To: []string{"http://up:80"}, Dial: n.dial,
			Limits:  Limits{ConnectTimeout: 300 * time.Millisecond},
			Balance: Balance{CheckPath: "/check", CheckPeriod: 500 * time.Millisecond, CheckTimeout: 500 * time.Millisecond},
		})
		if err != nil {
			t.Fatal(err)
		}
		defer f.Close()
		post := func(id int) {
			if _, err := ask(f, "POST", "http://x"+simExchange{id: id, script: simAnswer, sent: 9, want: 9}.path(), string(bodyOf(id, 9))); err != nil {
				t.Errorf("POST %d: %v", id, err)
			}
		}
		post(1)
		for _, p := range n.list("up:80") {
			p.lose()
		}
		n.set("up:80", frozen)
		time.Sleep(4 * time.Second) // three checks
		n.set("up:80", reachable)
		time.Sleep(2 * time.Second)
		post(2)
	})
}
