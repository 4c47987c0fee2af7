package main

import (
	"bufio"
	"context"
	"fmt"
	"io"
	"maps"
	"net"
	"net/http"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/coder/websocket"
)

func dialAlways(network, addr string) func(context.Context, string, string) (net.Conn, error) {
	return func(ctx context.Context, _, _ string) (net.Conn, error) {
		return new(net.Dialer).DialContext(ctx, network, addr)
	}
}

// ticker answers with server-sent events, one each 10 ms, and with a WebSocket that echoes, and with what it got.
func ticker(w http.ResponseWriter, r *http.Request) {
	switch {
	case strings.HasSuffix(r.URL.Path, "/ws"):
		c, err := websocket.Accept(w, r, nil)
		if err != nil {
			return
		}
		defer c.CloseNow()
		for {
			kind, b, err := c.Read(r.Context())
			if err != nil || c.Write(r.Context(), kind, b) != nil {
				return
			}
		}
	case strings.HasSuffix(r.URL.Path, "/events"):
		w.Header().Set("Content-Type", "text/event-stream")
		every := time.NewTicker(10 * time.Millisecond)
		defer every.Stop()
		for i := 0; ; i++ {
			if _, err := fmt.Fprintf(w, "data: %d\n\n", i); err != nil {
				return
			}
			w.(http.Flusher).Flush()
			select {
			case <-every.C:
			case <-r.Context().Done():
				return
			}
		}
	default:
		body, err := io.ReadAll(r.Body)
		if err != nil {
			panic(http.ErrAbortHandler)
		}
		w.Write(append(body, r.URL.Path...))
	}
}

// watched is a stream whose events are counted, and have to come in their order.
type watched struct {
	n      atomic.Int64
	cancel context.CancelFunc
	endc   chan error
}

func watchEvents(t *testing.T, url string) *watched {
	t.Helper()
	ctx, cancel := context.WithCancel(t.Context())
	req, err := http.NewRequestWithContext(ctx, "GET", url, nil)
	if err != nil {
		t.Fatal(err)
	}
	resp, err := new(http.Transport).RoundTrip(req)
	if err != nil {
		t.Fatal(err)
	}
	w := &watched{cancel: cancel, endc: make(chan error, 1)}
	go w.readLoop(resp)
	t.Cleanup(cancel)
	return w
}

func (w *watched) readLoop(resp *http.Response) {
	defer resp.Body.Close()
	lines := bufio.NewScanner(resp.Body)
	for i := 0; lines.Scan(); {
		if lines.Text() == "" {
			continue
		}
		if want := fmt.Sprintf("data: %d", i); lines.Text() != want {
			w.endc <- fmt.Errorf("got %q; want %q", lines.Text(), want)
			return
		}
		i++
		w.n.Add(1)
	}
	w.endc <- fmt.Errorf("ended: %v", lines.Err())
}

// goesOn waits for another event.
func (w *watched) goesOn(t *testing.T, what string) {
	t.Helper()
	seen := w.n.Load()
	for end := time.Now().Add(patience); w.n.Load() == seen; time.Sleep(time.Millisecond) {
		select {
		case err := <-w.endc:
			t.Fatalf("%s: %v", what, err)
		default:
		}
		if time.Now().After(end) {
			t.Fatalf("%s: no more events", what)
		}
	}
}

// Reloads that add, remove and change routes and listeners are seen by no exchange, no stream and no WebSocket.
func TestEndToEndReloadsLoseNothing(t *testing.T) {
	up, other := startUpstream(t, ticker), startUpstream(t, ticker)
	sock := filepath.Join(t.TempDir(), "s")
	const begin = "admin: http://127.0.0.1:0\n"
	// What stays is asked for all the time; what changes carries a stream that began before it did.
	backText := func(i int) string {
		text := fmt.Sprintf("%slisten:\n  - h2tpc://127.0.0.1:0\nroutes:\n  - {path: /stays, to: '%s'}\n  - {path: /changes, to: '%s', timeout: %ds}\n", begin, up, up, 60+i)
		if i%2 == 1 {
			text += fmt.Sprintf("  - {path: /more/%d, to: '%s'}\n", i, other)
		}
		return text
	}
	back := newConfigFile(t, backText(0))
	backOut := spawn(t, h2tp(t), "serve", "--config", back.path)
	hop := "h2tpc://" + backOut.await(t, "url=h2tpc://")
	frontText := func(i int) string {
		text := begin + "listen:\n  - http://127.0.0.1:0\n"
		if i%2 == 1 {
			text += "  - unix://" + sock + "\n"
		}
		text += fmt.Sprintf("routes:\n  - {path: /stays, to: '%s'}\n  - {path: /changes, to: '%s', retry-min: %d}\n", hop, hop, 10+i)
		if i%2 == 1 {
			text += fmt.Sprintf("  - {host: '*.more', to: ['%s', '%s']}\n", up, other)
		}
		return text
	}
	front := newConfigFile(t, frontText(0))
	frontOut := spawn(t, h2tp(t), "serve", "--config", front.path)
	frontOut.await(t, "msg=serving")
	url := "http://" + frontOut.await(t, "url=http://")
	admins := []string{"http://" + backOut.await(t, "addr=http://"), "http://" + frontOut.await(t, "addr=http://")}

	load := startLoad(t, url)
	load.goesOn(t)
	streams := []*watched{watchEvents(t, url+"/stays/events"), watchEvents(t, url+"/changes/events")}
	socket, _, err := websocket.Dial(t.Context(), "ws"+strings.TrimPrefix(url, "http")+"/changes/ws", nil)
	if err != nil {
		t.Fatal(err)
	}
	defer socket.CloseNow()
	for i := 1; i <= 10; i++ {
		back.write(backText(i))
		front.write(frontText(i))
		for k, out := range []*output{backOut, frontOut} {
			if i%2 == 1 {
				resp, body := do(t, newClient(t), newRequest(t, "POST", admins[k]+"/reload", nil))
				if resp.StatusCode != 200 {
					t.Fatalf("reload %d: %s", i, body)
				}
				continue
			}
			n := strings.Count(out.String(), "configuration reloaded")
			if err := signalTo(out.pid, syscall.SIGHUP); err != nil {
				t.Fatal(err)
			}
			awaitCount(t, out, "configuration reloaded", n+1)
		}
		what := fmt.Sprintf("after reload %d", i)
		load.goesOn(t)
		for _, s := range streams {
			s.goesOn(t, what)
		}
		if err := says(t, socket, what); err != nil {
			t.Fatalf("%s: the WebSocket: %v", what, err)
		}
		if i%2 == 1 {
			if _, body := getBy(t, "unix", sock, "/stays/x"); body != "/stays/x" {
				t.Errorf("%s: the new listener: got %q", what, body)
			}
		}
	}
	load.stop()
	for _, s := range streams {
		s.cancel()
	}
	socket.CloseNow()
	for i, want := range []map[string]int{
		{"proxy.(*route).sweepLoop": 3, "proxy.(*route).retireLoop": 0, "main.(*server).serveLoop": 1, "main.(*server).finishLoop": 0},
		{"proxy.(*route).sweepLoop": 3, "proxy.(*route).retireLoop": 0, "main.(*server).serveLoop": 1, "main.(*server).finishLoop": 0, "proxy.(*peer).peerLoop": 2},
	} { // an end's own, and two routes; of a front, a back each
		awaitGoroutines(t, admins[i], want)
	}
}

// awaitGoroutines waits until there are as many goroutines of each function as there should be.
func awaitGoroutines(t *testing.T, admin string, want map[string]int) {
	t.Helper()
	for end := time.Now().Add(patience); ; time.Sleep(10 * time.Millisecond) {
		_, stacks := get(t, admin+"/debug/pprof/goroutine?debug=2")
		got := make(map[string]int)
		for name := range want {
			got[name] = strings.Count(stacks, name+"(")
		}
		if maps.Equal(got, want) {
			return
		}
		if time.Now().After(end) {
			t.Fatalf("%s has %v; want %v", admin, got, want)
		}
	}
}

func says(t *testing.T, c *websocket.Conn, text string) error {
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	if err := c.Write(ctx, websocket.MessageText, []byte(text)); err != nil {
		return err
	}
	if _, got, err := c.Read(ctx); err != nil || string(got) != text {
		return fmt.Errorf("got %q, %v", got, err)
	}
	return nil
}

// loading are clients that ask without a pause; each answer has to be what was asked for.
type loading struct {
	n     atomic.Int64
	stopc chan struct{}
	once  sync.Once
	wg    sync.WaitGroup
}

func startLoad(t *testing.T, url string) *loading {
	l := &loading{stopc: make(chan struct{})}
	for i := range 4 {
		client := newClient(t)
		l.wg.Go(func() { l.askLoop(t, client, url, i) })
	}
	t.Cleanup(l.stop)
	return l
}

func (l *loading) askLoop(t *testing.T, client *http.Client, url string, i int) {
	for n := 0; ; n++ {
		select {
		case <-l.stopc:
			return
		default:
		}
		method, path, body := "GET", "/stays/x", ""
		if n%2 == 1 {
			method, body = "POST", strings.Repeat("x", 1+n%100*1000)
		}
		if i%2 == 1 {
			path = "/changes/x"
		}
		req, err := http.NewRequestWithContext(t.Context(), method, url+path, strings.NewReader(body))
		if err != nil {
			t.Error(err)
			return
		}
		resp, err := client.Do(req)
		if err != nil {
			t.Error(err)
			return
		}
		got, err := io.ReadAll(resp.Body)
		resp.Body.Close()
		if err != nil || resp.StatusCode != 200 || string(got) != body+path {
			t.Errorf("%s %s: got %d, %d bytes, %v; want 200 and %d", method, path, resp.StatusCode, len(got), err, len(body)+len(path))
			return
		}
		l.n.Add(1)
	}
}

// goesOn waits for some more answers.
func (l *loading) goesOn(t *testing.T) {
	t.Helper()
	seen := l.n.Load()
	for end := time.Now().Add(patience); l.n.Load() < seen+20 && !t.Failed(); time.Sleep(time.Millisecond) {
		if time.Now().After(end) {
			t.Fatal("no more answers")
		}
	}
}

func (l *loading) stop() {
	l.once.Do(func() { close(l.stopc) })
	l.wg.Wait()
}
