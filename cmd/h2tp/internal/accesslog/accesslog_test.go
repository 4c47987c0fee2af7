package accesslog

import (
	"encoding/json"
	"io"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/h2tp/h2tp/proxy"
)

func testExchange() *proxy.Exchange {
	return &proxy.Exchange{
		Client: []byte("192.0.2.7"), Method: []byte("GET"), Target: []byte("/a\"b?token=secret"), Authority: []byte("shop\xff"),
		RequestID: []byte(strings.Repeat("i", 500)), Status: 200, Bytes: 42, Began: time.Date(2026, 1, 2, 3, 4, 5, 6e6, time.UTC),
		Duration: 1234567 * time.Nanosecond, Destination: "h2tp://back:8443", Repeats: 1,
		Protocol: "HTTP/2.0", Took: 1100 * time.Microsecond, Queued: 20 * time.Microsecond,
	}
}

func startLog(t *testing.T, cfg Config) *Log {
	t.Helper()
	cfg.Logger = slog.New(slog.DiscardHandler)
	l, err := New(cfg)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { l.Close() })
	return l
}

func TestLinesAreJSONWithoutTheQuery(t *testing.T) {
	file := filepath.Join(t.TempDir(), "log")
	l := startLog(t, Config{File: file, Sample: 1})
	l.For("http")(testExchange())
	l.Close()
	b, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	var got map[string]any
	if err := json.Unmarshal(b, &got); err != nil {
		t.Fatal(err, string(b))
	}
	for name, want := range map[string]any{
		"time": "2026-01-02T03:04:05.006Z", "end": "http", "client": "192.0.2.7", "method": "GET", "host": "shop\ufffd", "target": `/a"b`,
		"status": 200.0, "bytes": 42.0, "seconds": 0.001235, "destination": "h2tp://back:8443", "repeats": 1.0, "way": "batched",
		"request_id": strings.Repeat("i", maxValue), "protocol": "HTTP/2.0", "queue_seconds": 0.00002, "destination_seconds": 0.0011,
	} {
		if got[name] != want {
			t.Errorf("%s: got %v; want %v", name, got[name], want)
		}
	}
	if len(got) != 16 || strings.Contains(string(b), "secret") {
		t.Errorf("got %s", b)
	}
}

// What may hold secrets is cut off in either form.
func TestTargetsEndBeforeQueryAndFragment(t *testing.T) {
	for target, want := range map[string]string{"/a?b#c": "/a", "/a#b?c": "/a", "/a": "/a", "?": "", "#": ""} {
		e := &proxy.Exchange{Target: []byte(target)}
		if got := string((&Config{}).target(e)); got != want {
			t.Errorf("%s: got %q; want %q", target, got, want)
		}
		if got := string((&Config{Query: true}).target(e)); got != target {
			t.Errorf("%s: got %q with the query", target, got)
		}
	}
}

func TestCommonFormatIsOneLineWhateverTheTarget(t *testing.T) {
	e := testExchange()
	e.Target = []byte("/\" 200\n?q=1")
	cfg := Config{Query: true}
	for protocol, want := range map[string]string{"HTTP/2.0": "HTTP/2.0", "HTTP/1.0": "HTTP/1.0", "": "HTTP/1.1"} {
		e.Protocol = protocol
		want := `192.0.2.7 - - [02/Jan/2026:03:04:05 +0000] "GET /\x22 200\x0a?q=1 ` + want + `" 200 42` + "\n"
		if got := string(cfg.appendCommon(nil, e)); got != want {
			t.Errorf("got %q; want %q", got, want)
		}
	}
}

func TestReopenFollowsAMovedFile(t *testing.T) {
	dir := t.TempDir()
	file, old := filepath.Join(dir, "log"), filepath.Join(dir, "log.1")
	l := startLog(t, Config{File: file, Sample: 1, Common: true})
	l.For("http")(testExchange())
	for { // until it is written
		if fi, err := os.Stat(file); err == nil && fi.Size() > 0 {
			break
		}
		time.Sleep(time.Millisecond)
	}
	if err := os.Rename(file, old); err != nil {
		t.Fatal(err)
	}
	if err := l.Reopen(); err != nil {
		t.Fatal(err)
	}
	l.For("http")(testExchange())
	l.Close()
	for _, name := range []string{file, old} {
		if b, err := os.ReadFile(name); err != nil || strings.Count(string(b), "\n") != 1 {
			t.Errorf("%s: %q, %v; want one line", name, b, err)
		}
	}
}

// A reader that takes nothing costs a bounded memory, and delays nobody.
func TestWhatADiskDoesNotTakeIsDroppedAndCounted(t *testing.T) {
	r, w := io.Pipe()
	l := startLog(t, Config{Stdout: w, Sample: 1})
	tell := l.For("http")
	for range 3 * maxPending / 200 {
		tell(testExchange())
	}
	lost := l.Lost()
	if lost == 0 {
		t.Fatal("nothing was dropped")
	}
	l.mu.Lock()
	if len(l.pending) > maxPending {
		t.Errorf("%d bytes wait", len(l.pending))
	}
	l.mu.Unlock()
	donec := make(chan int)
	go func() {
		b, _ := io.ReadAll(r)
		donec <- strings.Count(string(b), "\n")
	}()
	l.Close()
	w.Close()
	if written := <-donec; int64(written)+lost != 3*maxPending/200 {
		t.Errorf("%d written and %d lost of %d", written, lost, 3*maxPending/200)
	}
}

func TestSampleIsAShare(t *testing.T) {
	var none, some countWriter
	a, b := startLog(t, Config{Stdout: &none, Sample: 0}), startLog(t, Config{Stdout: &some, Sample: 0.5, Common: true})
	for range 2000 {
		a.For("x")(testExchange())
		b.For("x")(testExchange())
	}
	a.Close()
	b.Close()
	if none != 0 || some < 700 || some > 1300 {
		t.Errorf("%d and %d of 2000; want 0 and about 1000", none, some)
	}
}

type countWriter int

func (c *countWriter) Write(p []byte) (int, error) {
	*c += countWriter(strings.Count(string(p), "\n"))
	return len(p), nil
}
