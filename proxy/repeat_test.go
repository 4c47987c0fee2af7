package proxy

import (
	"context"
	"net"
	"runtime"
	"sync/atomic"
	"testing"
	"time"

	"github.com/h2tp/h2tp/proxy/internal/balance"
	"github.com/h2tp/h2tp/proxy/internal/wire"
)

// scriptedOut is a destination that fails each delivery with the next of its failures, and
// then answers.
type scriptedOut struct {
	destMeter
	failures []failure
	had      int
}

func (d *scriptedOut) deliver(ex *exchange) {
	d.had++
	if d.had > len(d.failures) {
		ex.finish(&wire.Response{Status: 200})
		return
	}
	ex.fail(d.failures[d.had-1])
}
func (d *scriptedOut) carry(ex *exchange)                   { d.deliver(ex) }
func (d *scriptedOut) isUp(time.Duration) bool              { return true }
func (d *scriptedOut) meter() *destMeter                    { return &d.destMeter }
func (d *scriptedOut) inGroup() *balance.Member             { return nil }
func (d *scriptedOut) start()                               {}
func (d *scriptedOut) bound(int)                            {}
func (d *scriptedOut) capacity() int64                      { return 0 }
func (d *scriptedOut) stats(time.Duration) DestinationStats { return DestinationStats{} }
func (d *scriptedOut) load() int                            { return 0 }
func (d *scriptedOut) sweep(time.Duration)                  {}
func (d *scriptedOut) shutdown(context.Context)             {}
func (d *scriptedOut) close()                               {}
func (d *scriptedOut) name() string                         { return "scripted" }

// endSink keeps how an exchange ended.
type endSink struct {
	sink
	status int
	failed *failure
}

func (s *endSink) respond(_ *exchange, resp *wire.Response) { s.status = resp.Status }
func (s *endSink) fail(_ *exchange, f failure)              { s.failed = &f }

func TestWhatWasStartedIsCountedForRepeats(t *testing.T) {
	lost := failure{code: wire.CodeUpstream}
	refused := failure{code: wire.CodeUnreachable, isNotStarted: true}
	for _, tc := range []struct {
		name, method string
		failures     []failure
		had          int  // deliveries
		isNotStarted bool // said of the failure; no failures are left when it is answered
	}{
		{"a GET that was lost once, after it was refused", "GET", []failure{refused, lost}, 3, false},
		{"a GET that was lost twice", "GET", []failure{lost, refused, lost, refused}, 3, false},
		{"a GET that was lost, and refused ever since", "GET", []failure{lost, refused, refused, refused, refused}, 4, false},
		{"a POST that was lost, after it was refused", "POST", []failure{refused, lost, lost}, 2, false},
		{"a POST that was refused", "POST", []failure{refused, refused, refused, refused, refused}, 4, true},
	} {
		cfg, err := Config{To: []string{"-"}}.withDefaults()
		if err != nil {
			t.Fatal(err)
		}
		r := newRoute(&cfg)
		d := &scriptedOut{failures: tc.failures}
		r.set.Store(&destSet{dests: []destination{d}, only: d})
		s := &endSink{}
		ex := &exchange{sink: s, req: wire.Request{Method: []byte(tc.method)}}
		r.deliver(ex)
		isAnswered := tc.had > len(tc.failures)
		if d.had != tc.had || isAnswered != (s.status == 200) || isAnswered != (s.failed == nil) {
			t.Errorf("%s: delivered %d times, answered %d, %v; want %d times", tc.name, d.had, s.status, s.failed, tc.had)
		}
		if s.failed != nil && s.failed.isNotStarted != tc.isNotStarted {
			t.Errorf("%s: not started: %v; want %v", tc.name, s.failed.isNotStarted, tc.isNotStarted)
		}
	}
}

// An exchange may be cancelled as soon as it can be found, while it is still being delivered.
func TestACancelMeetsADelivery(t *testing.T) {
	refuse := func(string, string, time.Duration) (net.Conn, error) { return nil, net.ErrClosed }
	f, err := NewFront(Config{To: []string{"http://up:1"}, Dial: refuse})
	if err != nil {
		t.Fatal(err)
	}
	u := f.route.dests()[0].(*upstream)
	var ended, cancelled atomic.Int64
	for range 500 {
		ex := &exchange{sink: countSink{&ended}, route: f.route, last: u, req: wire.Request{Method: []byte("POST")}, attempts: maxAttempts}
		f.route.inflight.Add(1)
		go u.deliver(ex)
		for ex.at.Load() == nil {
			runtime.Gosched()
		}
		if ex.cancel() {
			cancelled.Add(1)
		}
	}
	f.Close()
	if n := ended.Load() + cancelled.Load(); n != 500 || u.load() != 0 || f.route.inflight.Load() != 0 {
		t.Errorf("%d of 500 ended, of which %d were cancelled; %d and %d are left", n, cancelled.Load(), u.load(), f.route.inflight.Load())
	}
}

// countSink counts exchanges that end.
type countSink struct{ n *atomic.Int64 }

func (s countSink) respond(*exchange, *wire.Response)           { panic("answered") }
func (s countSink) stream(*exchange, *wire.Response) bodyWriter { panic("answered") }
func (s countSink) fail(*exchange, failure)                     { s.n.Add(1) }
func (s countSink) dropped(*exchange)                           { s.n.Add(1) }
