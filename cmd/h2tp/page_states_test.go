package main

import (
	"fmt"
	"log/slog"
	"net"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/h2tp/h2tp/cmd/h2tp/internal/admin"
	"github.com/h2tp/h2tp/cmd/h2tp/internal/page"
	"github.com/h2tp/h2tp/proxy"
)

// crowded is a state with more of everything than fits, and with names that are not kind. Its counts grow by the second.
func crowded(began time.Time) admin.State {
	n := int64(time.Since(began).Milliseconds())
	long := strings.Repeat("a-name-without-end.", 12) + "example"
	took := proxy.Histogram{Bounds: []float64{0.001, 0.01, 0.1, 1}, Counts: []int64{n, 20 * n, 3 * n, n / 10, 0}}
	hop := &proxy.HopStats{Conns: 900, Streams: 12345, BytesIn: 5000 * n, BytesOut: 9000 * n, In: proxy.BatchStats{Plain: 20000 * n, Coded: 5000 * n}}
	for i := range 500 {
		hop.Sessions = append(hop.Sessions, proxy.SessionStats{Addr: fmt.Sprintf("192.0.2.%d:443", i%250), Codec: []string{"zstd", "snappy", "none"}[i%3], Ready: 4})
	}
	st := admin.State{
		Version: "h2tp v1 " + long, Started: began, IsServing: true, Certificates: map[string]time.Time{long: time.Now().Add(2 * time.Hour), "<b>old</b>": time.Now().Add(-time.Hour)},
		CodecMemory: admin.Memory{Used: 255 << 20, Limit: 256 << 20, Refused: n}, WindowMemory: admin.Memory{Used: 1 << 20, Limit: 64 << 20},
	}
	for _, name := range []string{"http", "h2tp/prefix"} {
		e := admin.End{Name: name, Kind: "front", URLs: []string{name + "://" + long, "http://[::]:8080"}, Stats: proxy.Stats{
			Exchanges: 30 * n, InFlight: 9876, Took: took, Conns: 49999, Held: 200 << 20, ClientIn: 11000 * n, ClientOut: 80000 * n, HopIn: 8000 * n, HopOut: 9000 * n, Overloads: n / 10,
			Ended:    []proxy.Count{{What: "2xx", N: 20 * n}, {What: "3xx", N: n}, {What: "4xx", N: 2 * n}, {What: "5xx", N: 5 * n}, {What: "gone", N: n}},
			Failures: []proxy.Count{{What: "timeout", N: n}, {What: "upstream", N: 2 * n}}, Refusals: []proxy.Count{{What: "431", N: n}},
		}}
		e.Stats.Routes = []proxy.RouteStats{{Name: "default", Ended: e.Stats.Ended, Took: took}, {Name: long + "/<i>path</i>", InFlight: 7, Exchanges: n, Took: took}}
		for i := range 6 {
			d := proxy.DestinationStats{URL: fmt.Sprintf("h2tp://%d.%s:8443", i, long), Kind: "peer", IsUp: true, Weight: 1000, Tier: i % 2, InFlight: 1234, Waiting: 55, Conns: 2, Took: took, Ejections: int64(i), Hop: hop}
			if i%3 == 1 {
				d.IsUp, d.Why, d.Failures = false, `ejected: <img src="x" onerror="document.title = 'owned'"> `+long, []proxy.Count{{What: "upstream", N: 1e9 + n}}
			}
			e.Stats.Destinations = append(e.Stats.Destinations, d)
		}
		st.Ends = append(st.Ends, e)
	}
	return st
}

// showState serves the page of states that a function makes up.
func showState(t *testing.T, state func() admin.State) (url string) {
	t.Helper()
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	s := admin.New(admin.Config{State: state, Page: page.Handler(), Logger: slog.New(slog.DiscardHandler)})
	var wg sync.WaitGroup
	wg.Go(func() {
		if err := s.Serve(ln); err != nil {
			t.Error(err)
		}
	})
	t.Cleanup(func() {
		s.Close()
		wg.Wait()
	})
	return "http://" + ln.Addr().String() + "/"
}

func TestPageHoldsMoreThanFitsAndNoMarkup(t *testing.T) {
	b := openTab(t)
	began := time.Now().Add(-100 * 24 * time.Hour)
	url := showState(t, func() admin.State { return crowded(began) })
	b.be(1280, 800, "light")
	b.open(url)
	b.until(textOf("state") + " === 'Degraded' && " + textOf("why") + ".includes('timeout') && " + textOf("errors") + " === '17.9 %'")
	for id, want := range map[string]string{
		"why": "and 2 more", "destinations": "<img src=", "certificates": "<b>old</b>", "hops": "zstd × 167", "routes": "<i>path</i>", "requests-more": "since the start",
	} {
		if got := eval[string](b, textOf(id)); !strings.Contains(got, want) {
			t.Errorf("%s lacks %q: %.500s", id, want, got)
		}
	}
	if n := eval[int](b, "document.querySelectorAll('img, td b, td i, th i').length"); n > 0 {
		t.Errorf("%d elements are made of names", n)
	}
	b.check(url)
	if list := b.complaints(""); len(list) > 0 {
		t.Errorf("the console says %q", list)
	}
}

// A process that starts has no ends, and then destinations that were never reached.
func TestPageOfAProcessThatStarts(t *testing.T) {
	b := openTab(t)
	began := time.Now()
	var isServing atomic.Bool
	b.be(360, 740, "dark")
	b.open(showState(t, func() admin.State {
		st := admin.State{Started: began, IsServing: isServing.Load()}
		if st.IsServing {
			d := proxy.DestinationStats{URL: "h2tp://back:8443", Kind: "peer", Hop: new(proxy.HopStats)}
			st.Ends = []admin.End{{Name: "http", Kind: "front", URLs: []string{"http://[::]:80"}, Stats: proxy.Stats{Destinations: []proxy.DestinationStats{d}}}}
		}
		return st
	}))
	b.until(textOf("state") + " === 'Starting'")
	isServing.Store(true)
	b.until(textOf("state") + " === 'Down' && " + textOf("why") + " === 'h2tp://back:8443 is down: no connection yet'")
	b.until(textOf("requests") + " === '0/s' && " + textOf("latency") + " === '–' && " + textOf("saving-more") + " === 'no hop'")
	if list := b.complaints(""); len(list) > 0 {
		t.Errorf("the console says %q", list)
	}
}
