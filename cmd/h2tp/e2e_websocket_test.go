package main

import (
	"bytes"
	"context"
	_ "embed"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"os"
	"os/exec"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/coder/websocket"
)

// echoSocket is a WebSocket server; it tells the close code that each client sent, -1 for none.
type echoSocket struct{ codec chan websocket.StatusCode }

func newEchoSocket() *echoSocket { return &echoSocket{make(chan websocket.StatusCode, 1000)} }

func (e *echoSocket) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	c, err := websocket.Accept(w, r, &websocket.AcceptOptions{Subprotocols: []string{"echo"}, CompressionMode: websocket.CompressionContextTakeover})
	if err != nil {
		return // it has answered
	}
	defer c.CloseNow()
	c.SetReadLimit(-1)
	for {
		typ, data, err := c.Read(r.Context())
		if err != nil {
			e.codec <- websocket.CloseStatus(err)
			return
		}
		words := strings.Fields(string(data[:min(len(data), 100)]))
		switch {
		case typ == websocket.MessageText && len(words) == 3 && words[0] == "close":
			code, _ := strconv.Atoi(words[1])
			c.Close(websocket.StatusCode(code), words[2])
			return
		case typ == websocket.MessageText && len(words) == 1 && words[0] == "die":
			return
		}
		if err := writeFragments(r.Context(), c, typ, data); err != nil {
			return
		}
	}
}

// writeFragments writes a message in several frames, when it is large enough for them.
func writeFragments(ctx context.Context, c *websocket.Conn, typ websocket.MessageType, data []byte) error {
	w, err := c.Writer(ctx, typ)
	if err != nil {
		return err
	}
	for len(data) > 0 {
		n := min(len(data), 50_000)
		if _, err := w.Write(data[:n]); err != nil {
			return err
		}
		data = data[n:]
	}
	return w.Close()
}

func dialSocket(t *testing.T, addr string) *websocket.Conn {
	t.Helper()
	c, _, err := websocket.Dial(t.Context(), "ws://"+addr+"/ws", &websocket.DialOptions{CompressionMode: websocket.CompressionContextTakeover})
	if err != nil {
		t.Fatal(err)
	}
	c.SetReadLimit(-1)
	t.Cleanup(func() { c.CloseNow() })
	return c
}

// echoes sends messages of all sizes and wants them back.
func echoes(ctx context.Context, c *websocket.Conn, seed byte, sizes ...int) error {
	for _, size := range sizes {
		want, _ := io.ReadAll(newContent(seed, size))
		for _, typ := range []websocket.MessageType{websocket.MessageText, websocket.MessageBinary} {
			if typ == websocket.MessageText {
				want = bytes.ToValidUTF8(want, []byte("?"))
			}
			if err := writeFragments(ctx, c, typ, want); err != nil {
				return err
			}
			gotType, got, err := c.Read(ctx)
			if err != nil || gotType != typ || !bytes.Equal(got, want) {
				return fmt.Errorf("%v of %d: got %v of %d, %w", typ, len(want), gotType, len(got), err)
			}
		}
	}
	return nil
}

func checkSockets(t *testing.T, addr string, codec <-chan websocket.StatusCode) {
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	c := dialSocket(t, addr)
	if err := echoes(ctx, c, 1, 0, 1, 125, 126, 1<<16-1, 1<<16, 1<<22); err != nil {
		t.Fatal(err)
	}
	go c.Reader(ctx) // which reads pongs
	if err := c.Ping(ctx); err != nil {
		t.Error(err)
	}
	for _, code := range []websocket.StatusCode{1000, 1001, 1008, 1011, 3000, 4999} {
		mine := dialSocket(t, addr)
		if err := mine.Close(code, "mine"); err != nil {
			t.Errorf("close %d: %v", code, err)
		}
		if codec != nil {
			if got := await(t, codec, "the server's end"); got != code {
				t.Errorf("the server got close %d; want %d", got, code)
			}
		}
		theirs := dialSocket(t, addr)
		theirs.Write(ctx, websocket.MessageText, fmt.Appendf(nil, "close %d theirs", code))
		if _, _, err := theirs.Read(ctx); websocket.CloseStatus(err) != code || !strings.Contains(err.Error(), "theirs") {
			t.Errorf("got %v; want close %d", err, code)
		}
	}
	dying := dialSocket(t, addr)
	dying.Write(ctx, websocket.MessageText, []byte("die"))
	if _, _, err := dying.Read(ctx); err == nil || websocket.CloseStatus(err) != -1 {
		t.Errorf("a connection that died: got %v", err)
	}
	var wg sync.WaitGroup
	for i := range 20 {
		c := dialSocket(t, addr)
		wg.Go(func() {
			for j := range 10 {
				if err := echoes(ctx, c, byte(i), 10*j, 1000*j); err != nil {
					t.Error(err)
					return
				}
			}
			c.CloseNow() // without a word
			if codec != nil {
				await(t, codec, "the end of a server whose client left")
			}
		})
	}
	wg.Wait()
}

func TestEndToEndWebSocketGo(t *testing.T) {
	for _, s := range spans {
		t.Run(s.scheme+"/"+s.codec, func(t *testing.T) {
			e := newEchoSocket()
			checkSockets(t, s.start(t, startUpstream(t, e.ServeHTTP)), e.codec)
		})
	}
}

// nodeScript returns node and the arguments that run the script of the npm package ws.
func nodeScript(t *testing.T) (node, script string) {
	t.Helper()
	node = program(t, "node")
	if _, err := os.Stat("testdata/ws/node_modules/ws"); err != nil {
		missing(t, "what npm ci --prefix cmd/h2tp/testdata/ws installs")
	}
	return node, "testdata/ws/ws.mjs"
}

func TestEndToEndWebSocketNode(t *testing.T) {
	node, script := nodeScript(t)
	up := "http://127.0.0.1:" + spawn(t, node, script, "serve").await(t, "port=")
	check := func(t *testing.T, addr string) {
		ctx, cancel := context.WithTimeout(t.Context(), 2*patience)
		defer cancel()
		if out, err := exec.CommandContext(ctx, node, script, "check", "ws://"+addr+"/ws").CombinedOutput(); err != nil || string(out) != "ok\n" {
			t.Errorf("%v: %s", err, out)
		}
	}
	for _, s := range spans {
		t.Run(s.scheme+"/"+s.codec, func(t *testing.T) {
			addr := s.start(t, up)
			check(t, addr)
			checkSockets(t, addr, nil)
		})
	}
	t.Run("before a server in Go", func(t *testing.T) { check(t, spans[0].start(t, startUpstream(t, newEchoSocket().ServeHTTP))) })
}

//go:embed testdata/browser.html
var browserPage []byte

// ticks sends events with the time each was written; it ends in the middle, and goes on
// when the browser comes back.
func ticks(w http.ResponseWriter, r *http.Request) {
	w.Header().Set("Content-Type", "text/event-stream")
	last, _ := strconv.Atoi(r.Header.Get("Last-Event-ID"))
	ticker := time.NewTicker(10 * time.Millisecond)
	defer ticker.Stop()
	fmt.Fprint(w, "retry: 10\n\n")
	for id := last + 1; id <= last+25; id++ {
		<-ticker.C
		fmt.Fprintf(w, "id: %d\ndata: %d\n\n", id, time.Now().UnixMilli())
		w.(http.Flusher).Flush()
	}
}

func TestEndToEndBrowser(t *testing.T) {
	chromium := program(t, "chromium", "chromium-browser", "google-chrome")
	type verdict struct {
		Errors []string
		Late   []int
	}
	verdictc := make(chan verdict, 1)
	mux := http.NewServeMux()
	mux.Handle("/ws", newEchoSocket())
	mux.HandleFunc("/ticks", ticks)
	mux.HandleFunc("/verdict", func(w http.ResponseWriter, r *http.Request) {
		var v verdict
		if err := json.NewDecoder(r.Body).Decode(&v); err != nil {
			v.Errors = append(v.Errors, err.Error())
		}
		verdictc <- v
	})
	mux.HandleFunc("/{$}", func(w http.ResponseWriter, r *http.Request) { w.Write(browserPage) })
	for _, s := range []span{spans[0], spans[3]} {
		t.Run(s.scheme+"/"+s.codec, func(t *testing.T) {
			addr := s.start(t, startUpstream(t, mux.ServeHTTP))
			startBrowser(t, chromium, "http://"+addr+"/")
			v := await(t, verdictc, "the page's verdict")
			for _, err := range v.Errors {
				t.Error(err)
			}
			if len(v.Late) != 50 {
				t.Fatalf("%d events; want 50", len(v.Late))
			}
			times := make([]time.Duration, len(v.Late))
			for i, ms := range v.Late {
				times[i] = time.Duration(ms) * time.Millisecond
			}
			median, most := spread(times)
			t.Logf("events at the page after %v at the median, %v at the most", median, most)
			if median > 200*time.Millisecond { // the most is the page's, busy with messages
				t.Errorf("events took %v; want 20ms", median)
			}
		})
	}
}

// startBrowser starts Chromium with further arguments, the last of them a URL.
func startBrowser(t *testing.T, path string, args ...string) *output {
	t.Helper()
	out := newOutput()
	cmd := exec.Command(path, append([]string{"--headless", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-background-networking",
		"--disable-component-update", "--disable-sync", "--disable-dev-shm-usage", "--no-proxy-server", "--user-data-dir=" + t.TempDir()}, args...)...)
	cmd.Stdout, cmd.Stderr = out, out
	kill := inGroup(cmd)
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		kill()
		cmd.Wait()
		if t.Failed() {
			t.Logf("the browser says: %.2000s", out)
		}
	})
	return out
}
