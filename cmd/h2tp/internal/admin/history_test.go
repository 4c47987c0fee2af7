package admin

import (
	"encoding/json"
	"log/slog"
	"net/http"
	"strconv"
	"testing"
	"testing/synctest"
	"time"

	"github.com/valyala/fasthttp/fasthttputil"

	"github.com/h2tp/h2tp/proxy"
)

func TestSamplesAreTakenEachSecondAndTheLastAreKept(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		st := testState()
		st.Started = time.Now()
		s := New(Config{State: func() State { return st }, Logger: slog.New(slog.DiscardHandler)})
		servec := make(chan error, 1)
		go func() { servec <- s.Serve(fasthttputil.NewInmemoryListener()) }()
		time.Sleep(3*time.Second + time.Millisecond)
		first := s.history.since(0).Samples
		if n := len(first); n != 3 {
			t.Fatalf("%d samples after 3 s", n)
		}
		time.Sleep(samplesKept * time.Second)
		all := s.history.since(0).Samples
		if len(all) != samplesKept {
			t.Fatalf("%d samples; want %d", len(all), samplesKept)
		}
		for i, got := range all {
			if want := first[2].At + int64(i+1)*1000; got.At != want {
				t.Fatalf("sample %d is of %d; want %d", i, got.At, want)
			}
		}
		if got := s.history.since(all[samplesKept-3].At).Samples; len(got) != 2 || got[1].At != all[samplesKept-1].At {
			t.Errorf("got %v; want the last two", got)
		}
		s.Close()
		if err := <-servec; err != nil {
			t.Error(err)
		}
		n := len(s.history.samples)
		time.Sleep(5 * time.Second)
		if len(s.history.samples) != n {
			t.Error("samples are taken after Close")
		}
	})
}

func TestSampleAddsUpEnds(t *testing.T) {
	st := testState()
	end := &st.Ends[0]
	end.Stats.InFlight, end.Stats.ClientIn, end.Stats.ClientOut = 2, 300, 700
	end.Stats.HopIn, end.Stats.HopOut = 30, 70
	end.Stats.Ended = append(end.Stats.Ended, proxy.Count{Method: "POST", What: "2xx", N: 1}, proxy.Count{Method: "GET", What: "gone", N: 4})
	end.Stats.Failures = []proxy.Count{{What: "timeout", N: 1}, {What: "upstream", N: 3}}
	end.Stats.Refusals = []proxy.Count{{What: "400", N: 5}}
	st.Ends = append(st.Ends, *end)
	st.Ends[1].Name = "h2tp"
	var h history
	h.add(&st, st.Started.Add(1500*time.Millisecond))
	got := h.samples[0]
	if got.At != 1700000001500 || got.InFlight != 4 || got.Plain != 2000 || got.Hop != 200 {
		t.Errorf("got %+v", got)
	}
	if len(got.Failures) != 2 || got.Failures[1] != 6 {
		t.Errorf("failures %v", got.Failures)
	}
	if want := [...]int64{0, 8, 0, 0, 0, 8, 10}; got.Results != want {
		t.Errorf("results %v; want %v", got.Results, want)
	}
	if len(got.Took) != 3 || got.Took[0] != 4 {
		t.Errorf("took %v", got.Took)
	}
}

// Listeners come and go with the configuration; what they did stays in the sums.
func TestWhatEndsThatLeftDidStaysCounted(t *testing.T) {
	st := testState()
	st.Ends = append(st.Ends, st.Ends[0])
	st.Ends[1].Name, st.Ends[1].Stats.InFlight = "h2tp", 5
	var h history
	tell := func() sample {
		h.add(&st, time.Now())
		return h.samples[len(h.samples)-1]
	}
	if s := tell(); s.Results[1] != 6 || s.InFlight != 5 || s.Took[0] != 4 {
		t.Fatalf("got %+v", s)
	}
	st.Ends = st.Ends[:1]
	for range 2 {
		if s := tell(); s.Results[1] != 6 || s.InFlight != 0 || s.Took[0] != 4 {
			t.Errorf("one left: got %+v", s)
		}
	}
	st.Ends[0].Stats.ClientIn, st.Ends[0].Stats.HopIn = 5000, 100
	before := tell().Plain
	st.Ends[0].Stats.Destinations = append(st.Ends[0].Stats.Destinations, proxy.DestinationStats{}) // an upstream: records are compared
	if s := tell(); s.Plain != before {
		t.Errorf("other destinations made %d of %d plain bytes", s.Plain, before)
	}
	st.Ends[0].Stats.Ended = []proxy.Count{{Method: "GET", What: "2xx", N: 1}} // another of that name
	if s := tell(); s.Results[1] != 7 {
		t.Errorf("one was replaced: got %+v", s)
	}
}

func TestSavingIsOfClientsBytesWhereTheyAllCrossTheHop(t *testing.T) {
	batch := proxy.BatchStats{Plain: 100, Coded: 25}
	hop := &proxy.HopStats{In: batch, Out: batch}
	peer, upstream := proxy.DestinationStats{Hop: hop}, proxy.DestinationStats{}
	for _, tc := range []struct {
		name       string
		st         proxy.Stats
		plain, hop int64
	}{
		{"front", proxy.Stats{ClientIn: 500, ClientOut: 600, HopIn: 30, HopOut: 20, Destinations: []proxy.DestinationStats{peer, peer}}, 1100, 50},
		{"front that has upstreams too", proxy.Stats{ClientIn: 500, ClientOut: 600, HopIn: 30, HopOut: 20, Destinations: []proxy.DestinationStats{peer, upstream}}, 200, 50},
		{"back", proxy.Stats{Hop: hop, HopIn: 30, HopOut: 20, Destinations: []proxy.DestinationStats{upstream}}, 200, 50},
		{"relay", proxy.Stats{Hop: hop, HopIn: 60, HopOut: 40, Destinations: []proxy.DestinationStats{peer}}, 400, 100},
		{"no hop", proxy.Stats{ClientIn: 500, ClientOut: 600, Destinations: []proxy.DestinationStats{upstream}}, 1100, 0},
	} {
		t.Run(tc.name, func(t *testing.T) {
			if plain, hop, _ := saving(&tc.st); plain != tc.plain || hop != tc.hop {
				t.Errorf("got %d, %d; want %d, %d", plain, hop, tc.plain, tc.hop)
			}
		})
	}
}

func TestStatusHasTheHistoryThatIsAskedFor(t *testing.T) {
	st := testState()
	s := New(Config{State: func() State { return st }, Logger: slog.New(slog.DiscardHandler)})
	for i := range 3 {
		s.history.add(&st, st.Started.Add(time.Duration(i)*time.Second))
	}
	s.history.add(&State{}, time.Now())
	get := answers(t, s)
	for query, want := range map[string]int{"": -1, "?after=0": 3, "?after=" + strconv.FormatInt(st.Started.UnixMilli(), 10): 2, "?after=9999999999999": 0} {
		code, body := get("GET", "/status"+query)
		var got status
		if err := json.Unmarshal([]byte(body), &got); code != 200 || err != nil {
			t.Fatal(code, err, body)
		}
		n, hop := -1, got.Ends[0].Destinations[0].Hop
		if got.History != nil {
			n = len(got.History.Samples)
		}
		if hasSessions := len(hop.Sessions) == 1; hasSessions != (want < 0) || hop.Codecs["zstd"] != 1 || hop.Ready != 4 {
			t.Errorf("%q: the hop is %+v", query, hop)
		}
		if n != want {
			t.Errorf("%q: %d samples; want %d", query, n, want)
		}
		if got.Ends[0].Results["2xx"] != 3 || got.Ends[0].Destinations[0].Hop.CodedOut != 25 || len(got.Ends[0].Destinations[0].Duration.Counts) != 3 ||
			got.Ends[0].Routes[0].Results["2xx"] != 3 {
			t.Errorf("%q: got %s", query, body)
		}
	}
	for _, bad := range []string{"x", "-1", "1.5"} {
		if code, _ := get("GET", "/status?after="+bad); code != 400 {
			t.Errorf("after=%s: %d; want 400", bad, code)
		}
	}
}

func TestPageIsAsGuardedAsTheRest(t *testing.T) {
	st := testState()
	shown := http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) { w.Write([]byte(r.URL.Path)) })
	get := newTest(t, &st, Config{Page: shown})
	for _, path := range []string{"/", "/page/main.mjs"} {
		if code, body := get("GET", path); code != 200 || body != path {
			t.Errorf("%s: %d %q", path, code, body)
		}
		if code, _ := get("GET", path, func(r *http.Request) { r.Host = "evil.example" }); code != 403 {
			t.Errorf("%s for another host: %d; want 403", path, code)
		}
		if code, _ := get("POST", path); code != 405 {
			t.Errorf("POST %s: %d; want 405", path, code)
		}
	}
	if code, _ := newTest(t, &st, Config{})("GET", "/"); code != 404 {
		t.Errorf("without a page: %d; want 404", code)
	}
}
