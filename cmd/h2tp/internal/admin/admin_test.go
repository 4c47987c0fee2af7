package admin

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/h2tp/h2tp/proxy"
)

func testState() State {
	took := proxy.Histogram{Bounds: []float64{0.5, 1}, Counts: []int64{2, 1, 1}, Sum: 4.5}
	batch := proxy.BatchStats{Plain: 100, Coded: 25, Records: took, Sizes: took, Waited: took}
	hop := &proxy.HopStats{Conns: 1, Streams: 6, In: batch, Out: batch, Sessions: []proxy.SessionStats{{Addr: "192.0.2.1:8443", Codec: "zstd", InFlight: 2, Ready: 4}}}
	ended := []proxy.Count{{Method: "GET", What: "2xx", N: 3}}
	dests := []proxy.DestinationStats{{Route: "a.test/b", URL: "h2tp://a\"b\\", Kind: "peer", IsUp: true, Took: took, Queued: took, Hop: hop}}
	return State{
		Version: "h2tp v1", Started: time.Unix(1700000000, 0), IsServing: true,
		Certificates: map[string]time.Time{"b.example": time.Unix(1800000000, 0), "a.example": time.Unix(1800000001, 0)},
		Ends: []End{{Name: "http", Kind: "front", URLs: []string{"http://127.0.0.1:8080"}, Stats: proxy.Stats{
			Ended: ended, Took: took, Destinations: dests,
			Routes: []proxy.RouteStats{{Name: "a.test/b", Ended: ended, Took: took}},
		}}},
	}
}

func newTest(t *testing.T, st *State, cfg Config) func(method, path string, set ...func(*http.Request)) (int, string) {
	cfg.State = func() State { return *st }
	cfg.Logger = slog.New(slog.DiscardHandler)
	return answers(t, New(cfg))
}

// answers asks a server.
func answers(t *testing.T, s *Server) func(method, path string, set ...func(*http.Request)) (int, string) {
	return func(method, path string, set ...func(*http.Request)) (int, string) {
		t.Helper()
		r := httptest.NewRequestWithContext(t.Context(), method, path, nil)
		r.Host = "127.0.0.1:9901"
		for _, f := range set {
			f(r)
		}
		w := httptest.NewRecorder()
		s.srv.Handler.ServeHTTP(w, r)
		return w.Code, w.Body.String()
	}
}

func TestPageHasTypesCumulativeBucketsAndEscapedLabels(t *testing.T) {
	st := testState()
	do := newTest(t, &st, Config{})
	code, page := do("GET", "/metrics")
	if code != 200 {
		t.Fatal(code, page)
	}
	for _, want := range []string{
		"# TYPE h2tp_exchanges_total counter\n" + `h2tp_exchanges_total{end="http",route="a.test/b",method="GET",status="2xx"} 3` + "\n",
		"# TYPE h2tp_exchange_duration_seconds histogram\n" +
			`h2tp_exchange_duration_seconds_bucket{end="http",route="a.test/b",le="0.5"} 2` + "\n" +
			`h2tp_exchange_duration_seconds_bucket{end="http",route="a.test/b",le="1"} 3` + "\n" +
			`h2tp_exchange_duration_seconds_bucket{end="http",route="a.test/b",le="+Inf"} 4` + "\n" +
			`h2tp_exchange_duration_seconds_sum{end="http",route="a.test/b"} 4.5` + "\n" +
			`h2tp_exchange_duration_seconds_count{end="http",route="a.test/b"} 4` + "\n",
		`h2tp_destination_up{end="http",route="a.test/b",destination="h2tp://a\"b\\"} 1` + "\n",
		`h2tp_hop_coded_bytes_total{end="http",route="a.test/b",peer="h2tp://a\"b\\",direction="out"} 25` + "\n",
		`h2tp_certificate_expiry_timestamp_seconds{name="a.example"} 1.800000001e+09` + "\n" +
			`h2tp_certificate_expiry_timestamp_seconds{name="b.example"} 1.8e+09` + "\n",
		`h2tp_build_info{version="h2tp v1"} 1` + "\n",
	} {
		if !strings.Contains(page, want) {
			t.Errorf("the page lacks\n%s", want)
		}
	}
	for _, name := range []string{"go_goroutines", "go_gomaxprocs", "go_heap_objects_bytes", "go_memory_bytes"} {
		if strings.Contains(page, "\n"+name+" 0\n") {
			t.Errorf("%s is 0: the runtime does not know it", name)
		}
	}
}

// The README's table is that of families.
func TestReadmeListsEveryMetric(t *testing.T) {
	readme, err := os.ReadFile("../../../../README.md")
	if err != nil {
		t.Fatal(err)
	}
	var names []string
	var table strings.Builder
	isMissing := false
	for _, f := range families {
		names = append(names, f.name)
		row := fmt.Sprintf("| `%s` | %s | %s | %s |\n", f.name, f.kind, strings.Join(f.labels, ", "), f.help)
		row = strings.Replace(row, "|  |", "| |", 1)
		table.WriteString(row)
		if !strings.Contains(string(readme), row) {
			isMissing = true
			t.Errorf("README.md lacks the row of %s, or has another", f.name)
		}
	}
	if isMissing {
		t.Log("the table is:\n" + table.String())
	}
	for _, m := range regexp.MustCompile("(?m)^\\| `((?:h2tp|go|process)_[a-z0-9_]+)` \\|").FindAllSubmatch(readme, -1) {
		if !slices.Contains(names, string(m[1])) {
			t.Errorf("README.md has %s; the page has not", m[1])
		}
	}
}

func TestReadyWhileADestinationOfEachEndIsUp(t *testing.T) {
	for _, tc := range []struct {
		name string
		set  func(*State)
		code int
		want string
	}{
		{"serving", func(*State) {}, 200, "ready\n"},
		{"starting", func(st *State) { st.IsServing = false }, 503, "starting\n"},
		{"draining", func(st *State) { st.IsDraining = true }, 503, "draining\n"},
		{"down", func(st *State) { st.Ends[0].Stats.Destinations[0].IsUp = false }, 503, "no destination of http is up\n"},
	} {
		t.Run(tc.name, func(t *testing.T) {
			st := testState()
			tc.set(&st)
			do := newTest(t, &st, Config{})
			if code, body := do("GET", "/readyz"); code != tc.code || body != tc.want {
				t.Errorf("got %d %q; want %d %q", code, body, tc.code, tc.want)
			}
			if code, body := do("GET", "/healthz"); code != 200 || body != "ok\n" {
				t.Errorf("healthz: %d %q; want 200", code, body)
			}
		})
	}
}

func TestStatusSaysWhyADestinationIsDown(t *testing.T) {
	st := testState()
	d := &st.Ends[0].Stats.Destinations[0]
	d.IsUp, d.Why = false, "dial tcp 192.0.2.1:8443: connection refused"
	do := newTest(t, &st, Config{})
	code, body := do("GET", "/status")
	var got status
	if err := json.Unmarshal([]byte(body), &got); code != 200 || err != nil {
		t.Fatal(code, err, body)
	}
	end := got.Ends[0].Destinations[0]
	if got.Ready || end.Up || end.Why != d.Why || end.Hop.Sessions[0].Codec != "zstd" || end.Hop.Sessions[0].ReadyStreams != 4 {
		t.Errorf("got %s", body)
	}
}

func TestOrdersArePostsAndOfNoOtherSite(t *testing.T) {
	st := testState()
	var drained, reloaded int
	var failing error
	do := newTest(t, &st, Config{Drain: func() { drained++ }, Reload: func() error { reloaded++; return failing }})
	origin := func(r *http.Request) { r.Header.Set("Origin", "http://evil.example") }
	if code, _ := do("GET", "/drain"); code != 405 {
		t.Errorf("GET /drain: %d; want 405", code)
	}
	if code, _ := do("POST", "/drain", origin); code != 403 {
		t.Errorf("POST /drain of another site: %d; want 403", code)
	}
	if drained != 0 {
		t.Fatal("drained")
	}
	if code, _ := do("POST", "/drain"); code != 202 || drained != 1 {
		t.Errorf("POST /drain: %d, drained %d times", code, drained)
	}
	if code, _ := do("POST", "/reload"); code != 200 || reloaded != 1 {
		t.Errorf("POST /reload: %d, reloaded %d times", code, reloaded)
	}
	failing = errors.New("no such file")
	if code, body := do("POST", "/reload"); code != 500 || body != "no such file\n" {
		t.Errorf("POST /reload that fails: %d %q", code, body)
	}
}

func TestDrainIsAnsweredBeforeTheProcessEnds(t *testing.T) {
	var s *Server
	s = New(Config{State: testState, Drain: func() { s.Close() }, Logger: slog.New(slog.DiscardHandler)})
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	servec := make(chan error, 1)
	go func() { servec <- s.Serve(ln) }()
	resp, err := http.Post("http://"+ln.Addr().String()+"/drain", "", nil)
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	if body, err := io.ReadAll(resp.Body); resp.StatusCode != 202 || string(body) != "draining\n" || err != nil {
		t.Errorf("got %d %q, %v", resp.StatusCode, body, err)
	}
	if err := <-servec; err != nil {
		t.Error(err)
	}
}
