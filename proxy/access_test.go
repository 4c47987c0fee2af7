package proxy

import (
	"net"
	"net/http"
	"regexp"
	"slices"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/h2tp/h2tp/proxy/internal/wire"
)

// journal keeps what OnExchange was told.
type journal struct {
	mu   sync.Mutex
	list []Exchange
}

func (j *journal) add(e *Exchange) {
	j.mu.Lock()
	defer j.mu.Unlock()
	own := *e
	j.list = append(j.list, *own.own())
}

// find waits for the exchange with that target.
func (j *journal) find(t *testing.T, target string) (found Exchange) {
	t.Helper()
	eventually(t, target+" is told", func() bool {
		j.mu.Lock()
		defer j.mu.Unlock()
		i := slices.IndexFunc(j.list, func(e Exchange) bool { return string(e.Target) == target })
		if i >= 0 {
			found = j.list[i]
		}
		return i >= 0
	})
	return found
}

func TestExchangesAreToldWhenTheyAreOver(t *testing.T) {
	came, letGo := make(chan struct{}), make(chan struct{})
	defer close(letGo)
	upstream := startUpstream(t, func(w http.ResponseWriter, r *http.Request) {
		switch r.URL.Path {
		case "/large":
			w.Write(make([]byte, 1<<20))
		case "/gone":
			close(came)
			<-letGo
		default:
			w.Write([]byte("hello"))
		}
	})
	var front, back journal
	p := startPair(t, upstream, Config{OnExchange: front.add}, Config{OnExchange: back.add})
	hop, server := "h2tpc://"+p.hop, "http://"+upstream
	c := dialClient(t, p.addr)
	c.get("/small?q=1").want(t, 200, "hello")
	e := front.find(t, "/small?q=1")
	if string(e.Client) != "127.0.0.1" || string(e.Method) != "GET" || e.Status != 200 || e.Bytes != 5 || e.Destination != hop || e.Repeats != 0 || e.IsBulk || e.Failure != "" || e.Duration <= 0 || e.Began.IsZero() {
		t.Errorf("at the front: %+v", e)
	}
	if e = back.find(t, "/small?q=1"); string(e.Client) != "127.0.0.1" || e.Status != 200 || e.Destination != server {
		t.Errorf("at the back: %+v", e)
	}
	resp, err := http.Get("http://" + p.addr + "/large")
	if err != nil {
		t.Fatal(err)
	}
	buf := make([]byte, 64<<10)
	for err == nil {
		_, err = resp.Body.Read(buf)
	}
	resp.Body.Close()
	for _, j := range []*journal{&front, &back} {
		if e = j.find(t, "/large"); e.Status != 200 || e.Bytes != 1<<20 || !e.IsBulk {
			t.Errorf("large: %+v", e)
		}
	}
	gone, err := net.Dial("tcp", p.addr)
	if err != nil {
		t.Fatal(err)
	}
	gone.Write([]byte("GET /gone HTTP/1.1\r\nHost: a\r\n\r\n"))
	<-came
	gone.Close()
	for _, j := range []*journal{&front, &back} {
		if e = j.find(t, "/gone"); e.Status != StatusGone {
			t.Errorf("gone: %+v", e)
		}
	}
}

func TestFailuresAreTold(t *testing.T) {
	var told journal
	_, addr := startFront(t, Config{To: []string{"http://127.0.0.1:1"}, OnExchange: told.add})
	dialClient(t, addr).get("/x").want(t, 502, "nothing listens there")
	if e := told.find(t, "/x"); e.Status != 502 || e.Failure != "unreachable" || e.Destination != "http://127.0.0.1:1" {
		t.Errorf("got %+v", e)
	}
}

// What an exchange's time was spent on: waiting for room, the destination, the response's body.
func TestTimesOfAnExchangeAreTold(t *testing.T) {
	for _, way := range ways {
		t.Run(way, func(t *testing.T) {
			bubble(t, func(t *testing.T) {
				m := newMemNet()
				srv := &http.Server{Handler: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
					time.Sleep(2 * time.Second)
					if r.URL.Path == "/streamed" {
						w.(http.Flusher).Flush()
						time.Sleep(3 * time.Second)
					}
				})}
				go srv.Serve(m)
				defer srv.Close()
				var told journal
				cfg := Config{To: []string{"http://up:1"}, Dial: m.dial, Limits: Limits{MaxDestExchanges: 1, QueueTimeout: 8 * time.Second}, OnExchange: told.add}
				if way == "hop" {
					hop := newMemNet()
					startBack(t, hop, Config{To: cfg.To, Dial: m.dial})
					cfg.To, cfg.Dial = []string{"h2tpc://back:1"}, hop.dial
				}
				f, err := NewFront(cfg)
				if err != nil {
					t.Fatal(err)
				}
				defer f.Close()
				synctest.Wait()
				first, second, third, fourth := serveBubble(t, f), serveBubble(t, f), serveBubble(t, f), serveBubble(t, f)
				first.send("GET /streamed HTTP/1.1\r\nHost: x\r\n\r\n")
				synctest.Wait()
				second.send("GET /second HTTP/1.1\r\nHost: x\r\n\r\n")
				synctest.Wait()
				third.send("GET /third HTTP/1.0\r\nHost: x\r\n\r\n")
				synctest.Wait()
				fourth.send("GET /late HTTP/1.1\r\nHost: x\r\n\r\n")
				first.read("GET").want(t, 200, "the first")
				second.read("GET").want(t, 200, "the second")
				third.read("GET").want(t, 200, "the third")
				fourth.read("GET").want(t, 503, "one that waited too long")
				first.get("/again").want(t, 200, "the first again")
				for target, want := range map[string]Exchange{
					"/streamed": {Took: 2 * time.Second, Duration: 5 * time.Second, Protocol: "HTTP/1.1"},
					"/second":   {Queued: 5 * time.Second, Took: 2 * time.Second, Duration: 7 * time.Second, Protocol: "HTTP/1.1"},
					"/third":    {Queued: 7 * time.Second, Took: 2 * time.Second, Duration: 9 * time.Second, Protocol: "HTTP/1.0"},
					"/late":     {Queued: 8 * time.Second, Duration: 8 * time.Second, Protocol: "HTTP/1.1"},
					"/again":    {Took: 2 * time.Second, Duration: 2 * time.Second, Protocol: "HTTP/1.1"},
				} {
					e := told.find(t, target)
					if e.Took.Round(time.Second) != want.Took || e.Queued.Round(time.Second) != want.Queued || e.Duration.Round(time.Second) != want.Duration || e.Protocol != want.Protocol {
						t.Errorf("%s: took %v, queued %v of %v, by %s; want %v, %v of %v, by %s", target, e.Took, e.Queued, e.Duration, e.Protocol, want.Took, want.Queued, want.Duration, want.Protocol)
					}
				}
			})
		})
	}
}

func TestRequestIDIsMadeOnlyWhereThereIsNone(t *testing.T) {
	upstream := startUpstream(t, func(w http.ResponseWriter, r *http.Request) {
		w.Write([]byte(r.Header.Get("X-Request-Id")))
	})
	var told journal
	_, addr := startFront(t, Config{To: []string{"http://" + upstream}, RequestID: true, OnExchange: told.add})
	got := raw(t, addr, "GET /new HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n")
	id := regexp.MustCompile(`\b[0-9a-f]{32}$`).FindString(got)
	if id == "" {
		t.Errorf("the upstream got no id: %q", got)
	}
	if e := told.find(t, "/new"); string(e.RequestID) != id {
		t.Errorf("told %q; want %q", e.RequestID, id)
	}
	got = raw(t, addr, "GET /old HTTP/1.1\r\nHost: a\r\nX-Request-ID: mine\r\nConnection: close\r\n\r\n")
	if regexp.MustCompile("mine$").FindString(got) == "" || string(told.find(t, "/old").RequestID) != "mine" {
		t.Errorf("the id was not kept: %q", got)
	}
}

func TestTraceContext(t *testing.T) {
	const (
		trace  = "0af7651916cd43dd8448eb211c80319c"
		parent = "b7ad6b7169203331"
	)
	anew := regexp.MustCompile("^00-[0-9a-f]{32}-[0-9a-f]{16}-01$")
	for _, tc := range []struct {
		name        string
		in          []string
		kept, begun bool   // by TraceContinue, and by TraceStart
		want        string // the flags, when it is continued
	}{
		{name: "valid", in: []string{"00-" + trace + "-" + parent + "-01"}, want: "01"},
		{name: "not sampled", in: []string{"00-" + trace + "-" + parent + "-00"}, want: "00"},
		{name: "later version", in: []string{"cc-" + trace + "-" + parent + "-03-more"}, want: "01"},
		{name: "none", begun: true},
		{name: "two", in: []string{"00-" + trace + "-" + parent + "-01", "00-" + trace + "-" + parent + "-01"}, kept: true, begun: true},
		{name: "upper case", in: []string{"00-" + "0AF7651916CD43DD8448EB211C80319C" + "-" + parent + "-01"}, kept: true, begun: true},
		{name: "zero trace", in: []string{"00-00000000000000000000000000000000-" + parent + "-01"}, kept: true, begun: true},
		{name: "zero parent", in: []string{"00-" + trace + "-0000000000000000-01"}, kept: true, begun: true},
		{name: "version ff", in: []string{"ff-" + trace + "-" + parent + "-01"}, kept: true, begun: true},
		{name: "too long", in: []string{"00-" + trace + "-" + parent + "-01-x"}, kept: true, begun: true},
		{name: "short", in: []string{"00-" + trace}, kept: true, begun: true},
	} {
		t.Run(tc.name, func(t *testing.T) {
			fields := func() (list []wire.Field) {
				for _, v := range tc.in {
					list = append(list, wire.Field{Name: []byte("Traceparent"), Value: []byte(v)})
				}
				return append(list, wire.Field{Name: []byte("tracestate"), Value: []byte("a=b")})
			}
			for _, mode := range []TraceContext{TraceContinue, TraceStart} {
				out := mode.apply(fields())
				got := string(fieldValue(out, "traceparent"))
				state := string(fieldValue(out, "tracestate"))
				switch {
				case tc.want != "":
					if !regexp.MustCompile("^00-"+trace+"-[0-9a-f]{16}-"+tc.want+"$").MatchString(got) || got[36:52] == parent || state != "a=b" {
						t.Errorf("mode %d: got %q, %q", mode, got, state)
					}
				case mode == TraceStart && tc.begun:
					if !anew.MatchString(got) || state != "" || len(out) != 1 {
						t.Errorf("not begun anew: %q, %q, %d fields", got, state, len(out))
					}
				case mode == TraceContinue:
					if len(out) != len(tc.in)+1 || tc.kept && got != tc.in[0] || state != "a=b" {
						t.Errorf("changed: %q, %q", got, state)
					}
				}
			}
		})
	}
}

// Two processes are two parents in the same trace.
func TestTraceGoesOnThroughAPair(t *testing.T) {
	upstream := startUpstream(t, func(w http.ResponseWriter, r *http.Request) { w.Write([]byte(r.Header.Get("Traceparent"))) })
	var front, back journal
	p := startPair(t, upstream, Config{TraceContext: TraceStart, OnExchange: front.add}, Config{TraceContext: TraceContinue, OnExchange: back.add})
	got := raw(t, p.addr, "GET /t HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n")
	f, b := string(front.find(t, "/t").TraceParent), string(back.find(t, "/t").TraceParent)
	if len(f) != 55 || len(b) != 55 || f[:36] != b[:36] || f[36:52] == b[36:52] || got[len(got)-55:] != b {
		t.Errorf("front %q, back %q, upstream's %q", f, b, got)
	}
}
