package proxy

import (
	"net"
	"net/http"
	"slices"
	"testing"
	"time"

	"github.com/h2tp/h2tp/proxy/internal/wire"
)

// countOf returns one of the counts.
func countOf(t *testing.T, list []Count, method, what string) int64 {
	t.Helper()
	i := slices.IndexFunc(list, func(c Count) bool { return c.Method == method && c.What == what })
	if i < 0 {
		t.Fatalf("no count of %q %q", method, what)
	}
	return list[i].N
}

func total(h Histogram) (n int64) {
	for _, c := range h.Counts {
		n += c
	}
	return n
}

// eventually waits for counts that come behind the response.
func eventually(t *testing.T, what string, cond func() bool) {
	t.Helper()
	for began := time.Now(); !cond(); {
		if time.Since(began) > 10*time.Second {
			t.Fatalf("never: %s", what)
		}
		time.Sleep(time.Millisecond)
	}
}

func TestExchangesAreCountedByMethodAndStatus(t *testing.T) {
	seen := make(chan struct{})
	upstream := startUpstream(t, func(w http.ResponseWriter, r *http.Request) {
		switch r.URL.Path {
		case "/missing":
			http.NotFound(w, r)
		case "/large":
			w.Write(make([]byte, 1<<20))
		case "/cut":
			w.Header().Set("Content-Length", "2000000")
			w.Write(make([]byte, 1<<20))
			<-seen // else the reset may overtake the head
			panic(http.ErrAbortHandler)
		}
	})
	p := startPair(t, upstream, Config{}, Config{})
	for _, req := range [][2]string{{"GET", "/"}, {"GET", "/"}, {"POST", "/missing"}, {"BREW", "/"}, {"GET", "/large"}, {"GET", "/cut"}} {
		r, err := http.NewRequestWithContext(t.Context(), req[0], "http://"+p.addr+req[1], nil)
		if err != nil {
			t.Fatal(err)
		}
		resp, err := http.DefaultClient.Do(r)
		if err != nil {
			t.Fatal(err)
		}
		if req[1] == "/cut" {
			close(seen)
		}
		buf := make([]byte, 64<<10)
		for err == nil {
			_, err = resp.Body.Read(buf)
		}
		resp.Body.Close()
	}
	for name, stats := range map[string]func() Stats{"front": p.front.Stats, "back": p.back.Stats} {
		t.Run(name, func(t *testing.T) {
			eventually(t, "no exchange in flight", func() bool { return stats().InFlight == 0 })
			st := stats()
			d := st.Destinations[0]
			for _, tc := range []struct {
				got, want int64
				what      string
			}{
				{countOf(t, st.Ended, "GET", "2xx"), 4, "GET 2xx"},
				{countOf(t, st.Ended, "POST", "4xx"), 1, "POST 4xx"},
				{countOf(t, st.Ended, "other", "2xx"), 1, "other 2xx"},
				{countOf(t, st.Failures, "", "cut"), 1, "cut"},
				{countOf(t, d.Ended, "", "2xx"), 5, "destination's 2xx"},
				{countOf(t, d.Ended, "", "4xx"), 1, "destination's 4xx"},
				{total(st.Took), 6, "times"},
				{total(d.Took), 6, "destination's times"},
			} {
				if tc.got != tc.want {
					t.Errorf("%s: got %d; want %d", tc.what, tc.got, tc.want)
				}
			}
			hop := d.Hop
			if st.Hop != nil {
				hop = st.Hop
			}
			if st.Hop != nil {
				hop.In, hop.Out = hop.Out, hop.In // as the front sees them
			}
			if n := int64(hop.Out.Records.Sum); n < 6 || total(hop.Out.Records) != total(hop.Out.Sizes) || hop.Out.Plain < 6*20 {
				t.Errorf("requests: %+v", hop.Out)
			}
			if hop.In.Plain < 1<<20 || hop.In.Coded > hop.In.Plain/100 {
				t.Errorf("responses: %d bytes coded of %d; want a body of zeros at least, and few", hop.In.Coded, hop.In.Plain)
			}
			if len(hop.Sessions) != 1 || hop.Sessions[0].Codec != "zstd" || hop.Conns < 1 || hop.Sessions[0].Addr == "" {
				t.Errorf("hop: %+v", hop)
			}
		})
	}
	if st := p.front.Stats(); st.Accepted == 0 || total(st.Destinations[0].Hop.Out.Waited) == 0 {
		t.Errorf("got %+v", st)
	}
}

func TestFailuresAreCountedByReason(t *testing.T) {
	f, addr := startFront(t, Config{To: []string{"http://127.0.0.1:1"}})
	c := dialClient(t, addr)
	c.get("/").want(t, 502, "nothing listens there")
	st := f.Stats()
	d := st.Destinations[0]
	if countOf(t, st.Failures, "", "unreachable") != 1 || countOf(t, st.Ended, "GET", "5xx") != 1 || countOf(t, d.Failures, "", "unreachable") == 0 || d.IsUp || d.Why == "" {
		t.Errorf("got %+v", st)
	}
	if got := raw(t, addr, "GET / HTTP/1.1\r\nHost: a\r\nHost: b\r\n\r\n"); got == "" {
		t.Fatal("no answer")
	}
	if st := f.Stats(); countOf(t, st.Refusals, "", "400") != 1 {
		t.Errorf("got %+v", st.Refusals)
	}
}

func TestClientThatLeavesIsCounted(t *testing.T) {
	came, letGo := make(chan struct{}), make(chan struct{})
	upstream := startUpstream(t, func(http.ResponseWriter, *http.Request) { close(came); <-letGo })
	defer close(letGo)
	p := startPair(t, upstream, Config{}, Config{})
	nc, err := net.Dial("tcp", p.addr)
	if err != nil {
		t.Fatal(err)
	}
	nc.Write([]byte("POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 0\r\n\r\n"))
	<-came
	nc.Close()
	for name, stats := range map[string]func() Stats{"front": p.front.Stats, "back": p.back.Stats} {
		eventually(t, name+" counts who left", func() bool {
			st := stats()
			return countOf(t, st.Ended, "POST", "gone") == 1 && countOf(t, st.Destinations[0].Ended, "", "gone") == 1 && st.InFlight == 0
		})
	}
}

func TestWaitsForAConnectionAreCounted(t *testing.T) {
	turn := make(chan struct{})
	upstream := startUpstream(t, func(http.ResponseWriter, *http.Request) { <-turn })
	f, addr := startFront(t, Config{To: []string{"http://" + upstream}, Limits: Limits{MaxUpstreamConns: 1}})
	answers := make(chan string, 2)
	for range 2 {
		go func() { answers <- raw(t, addr, "GET / HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n") }()
	}
	eventually(t, "one waits", func() bool { return f.Stats().Destinations[0].Waiting == 1 })
	turn <- struct{}{}
	turn <- struct{}{}
	<-answers
	<-answers
	if st := f.Stats().Destinations[0]; total(st.Queued) != 1 || st.Waiting != 0 || st.Conns > 1 {
		t.Errorf("got %+v", st)
	}
}

func TestCountingAllocatesNothing(t *testing.T) {
	var m hopMeter
	r := &route{meter: new(meter)}
	d := &upstream{}
	ex := &exchange{route: r, last: d, req: wire.Request{Method: []byte("GET")}}
	if n := testing.AllocsPerRun(100, func() {
		d.answered(ex, 200, time.Second)
		ex.ended(200, time.Second)
		m.in.batch(3, 1000, 100)
	}); n != 0 {
		t.Errorf("%v allocations", n)
	}
}

func BenchmarkCounting(b *testing.B) {
	r := &route{meter: new(meter)}
	d := &upstream{}
	ex := &exchange{route: r, last: d, req: wire.Request{Method: []byte("GET")}}
	b.ReportAllocs()
	for b.Loop() {
		ex.last.meter().answered(ex, 200, 3*time.Millisecond)
		ex.ended(200, 3*time.Millisecond)
	}
}
