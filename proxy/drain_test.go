package proxy

import (
	"bytes"
	"fmt"
	"io"
	"net"
	"net/http"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"
)

// counter is an upstream that counts how often it ran each request's id.
type counter struct {
	mu   sync.Mutex
	seen map[string]int
}

func (c *counter) handle(w http.ResponseWriter, r *http.Request) {
	id, _ := io.ReadAll(r.Body)
	c.mu.Lock()
	c.seen[string(id)]++
	c.mu.Unlock()
	w.Write(id)
}

// postLoad posts distinct ids from 16 goroutines until stopc closes; it returns how
// many were answered with 200, and the other answers.
func postLoad(t *testing.T, addr string, stopc chan struct{}) (ok int64, other []string) {
	tr := &http.Transport{MaxIdleConnsPerHost: 32}
	defer tr.CloseIdleConnections()
	client := &http.Client{Transport: tr, Timeout: 20 * time.Second}
	var n atomic.Int64
	var mu sync.Mutex
	var wg sync.WaitGroup
	for i := range 16 {
		wg.Go(func() {
			for j := 0; ; j++ {
				select {
				case <-stopc:
					return
				default:
				}
				id := fmt.Sprintf("id-%d-%d", i, j)
				resp, err := client.Post("http://"+addr+"/", "text/plain", strings.NewReader(id))
				if err != nil {
					t.Errorf("no answer: %v", err)
					return
				}
				body, err := io.ReadAll(resp.Body)
				resp.Body.Close()
				switch {
				case err != nil:
					t.Errorf("answer cut short: %v", err)
				case resp.StatusCode == 200 && string(body) == id:
					n.Add(1)
				default:
					mu.Lock()
					other = append(other, fmt.Sprintf("%d %s", resp.StatusCode, bytes.TrimSpace(body)))
					mu.Unlock()
				}
			}
		})
	}
	wg.Wait()
	return n.Load(), other
}

func TestDrainingBackLosesNothing(t *testing.T) {
	c := &counter{seen: make(map[string]int)}
	up := startUpstream(t, c.handle)
	var backs []*Back
	var to []string
	for range 2 {
		ln := listenTCP(t)
		backs = append(backs, startBack(t, ln, Config{To: []string{"http://" + up}}))
		to = append(to, "h2tpc://"+ln.Addr().String())
	}
	_, addr := startFront(t, Config{To: to})
	stopc := make(chan struct{})
	go func() {
		defer close(stopc)
		time.Sleep(200 * time.Millisecond)
		if err := backs[0].Shutdown(t.Context()); err != nil {
			t.Errorf("Shutdown: %v", err)
		}
		time.Sleep(200 * time.Millisecond)
	}()
	ok, other := postLoad(t, addr, stopc)
	if ok == 0 || len(other) > 0 {
		t.Errorf("%d answered; not 200: %d %v", ok, len(other), other[:min(len(other), 5)])
	}
	for id, n := range c.seen {
		if n != 1 {
			t.Errorf("%s ran %d times", id, n)
		}
	}
}

func TestKilledBackNeverRunsAPostTwice(t *testing.T) {
	c := &counter{seen: make(map[string]int)}
	up := startUpstream(t, c.handle)
	ln := listenTCP(t)
	hop := ln.Addr().String()
	back := startBack(t, ln, Config{To: []string{"http://" + up}})
	_, addr := startFront(t, Config{To: []string{"h2tpc://" + hop}})
	stopc := make(chan struct{})
	go func() {
		defer close(stopc)
		for range 4 {
			time.Sleep(150 * time.Millisecond)
			back.Close()
			time.Sleep(50 * time.Millisecond)
			ln, err := net.Listen("tcp", hop)
			if err != nil {
				t.Error(err)
				return
			}
			back = startBack(t, ln, Config{To: []string{"http://" + up}})
		}
		time.Sleep(700 * time.Millisecond)
	}()
	ok, other := postLoad(t, addr, stopc)
	t.Logf("%d answered 200, %d otherwise", ok, len(other))
	if ok == 0 {
		t.Error("nothing was answered")
	}
	for id, n := range c.seen {
		if n != 1 {
			t.Errorf("%s ran %d times", id, n)
		}
	}
	resp, err := http.Post("http://"+addr+"/", "text/plain", strings.NewReader("last"))
	if err != nil || resp.StatusCode != 200 {
		t.Errorf("after the last restart: %v, %v", resp, err)
	} else {
		resp.Body.Close()
	}
}

func TestDrainingFrontFinishesWhatRuns(t *testing.T) {
	begun, release := make(chan struct{}), make(chan struct{})
	up := startUpstream(t, func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Path == "/slow" {
			close(begun)
			<-release
		}
		io.WriteString(w, "done")
	})
	p := startPair(t, up, Config{}, Config{})
	idle, err := net.Dial("tcp", p.addr)
	if err != nil {
		t.Fatal(err)
	}
	defer idle.Close()
	got := make(chan string, 1)
	go func() { got <- raw(t, p.addr, "GET /slow HTTP/1.1\r\nHost: x\r\n\r\n") }()
	<-begun
	down := make(chan error, 1)
	go func() { down <- p.front.Shutdown(t.Context()) }()
	if _, err := io.ReadAll(idle); err != nil {
		t.Errorf("idle connection: %v; want EOF", err)
	}
	close(release)
	if s := <-got; !strings.HasSuffix(s, "done") || !strings.Contains(s, "Connection: close\r\n") {
		t.Errorf("got %q", s)
	}
	if err := <-down; err != nil {
		t.Errorf("Shutdown: %v", err)
	}
}

// A relay that cannot reach its back has waited QueueTimeout already: the front
// does not have it wait again.
func TestRelayWithoutBackFailsAfterOneWait(t *testing.T) {
	bubble(t, func(t *testing.T) {
		dead := newMemNet()
		dead.Close()
		m := newMemNet()
		startBack(t, m, Config{To: []string{"h2tpc://gone:1"}, Dial: dead.dial})
		f, err := NewFront(Config{To: []string{"h2tpc://relay:1"}, Dial: m.dial})
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { f.Close() })
		time.Sleep(time.Second)
		began := time.Now()
		if _, err := ask(f, "GET", "http://x/", ""); err == nil {
			t.Error("answered")
		}
		if d := time.Since(began); d > time.Second+2*sweepPeriod {
			t.Errorf("failed after %v; want one QueueTimeout, 1s", d)
		}
	})
}

// More large responses than there are ready streams: their bodies' streams are opened while the back drains.
func TestADrainingBackOwesLargeResponsesToo(t *testing.T) {
	for _, conns := range []int{1, 2} {
		bubble(t, func(t *testing.T) {
			m, up := newMemNet(), newMemNet()
			srv := &http.Server{Handler: http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
				time.Sleep(time.Second)
				w.Write(bodyOf(7, 100_000))
			})}
			go srv.Serve(up)
			t.Cleanup(func() { srv.Close() })
			b := startBack(t, m, Config{To: []string{"http://up:1"}, Dial: up.dial})
			f, err := NewFront(Config{To: []string{"h2tpc://back:1"}, Dial: m.dial, Hop: Hop{Conns: conns, MinReady: 1, MaxReady: 1}})
			if err != nil {
				t.Fatal(err)
			}
			t.Cleanup(func() { f.Close() })
			time.Sleep(time.Second)
			var wg sync.WaitGroup
			for range 5 {
				wg.Go(func() {
					if got, err := ask(f, "GET", "http://x/", ""); err != nil || got != string(bodyOf(7, 100_000)) {
						t.Errorf("got %d bytes, %v", len(got), err)
					}
				})
			}
			time.Sleep(500 * time.Millisecond)
			if err := b.Shutdown(t.Context()); err != nil {
				t.Errorf("Shutdown: %v", err)
			}
			wg.Wait()
		})
	}
}
