package proxy

import (
	crand "crypto/rand"
	"encoding/hex"
	"math"
	"net"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"
)

// tuneWorld is a link and processors, and what the codecs make of a corpus.
type tuneWorld struct {
	rate    float64 // bytes a second that the link takes
	trip    time.Duration
	offered float64               // plain bytes a second that clients want sent
	base    float64               // processor seconds for a plain byte, besides the codec
	ratio   [len(tunings)]float64 // coded to plain
	cost    [len(tunings)]float64 // processor seconds for a plain byte
}

// json is a corpus of JSON, at 5 us an exchange of 4 KB.
func jsonWorld(rate float64, trip time.Duration, offered float64) tuneWorld {
	return tuneWorld{rate, trip, offered, 5e-9, [...]float64{1, 0.4, 0.25, 0.24, 0.22}, [...]float64{0, 1e-9, 3e-9, 8e-9, 20e-9}}
}

// run lets seconds pass and returns how often the choice changed.
func (w *tuneWorld) run(t *tuner, now *time.Duration, seconds int) (changes int) {
	for range seconds {
		k := t.choice.Load()
		byLink, byCPU := w.rate/w.ratio[k], 2/(w.base+w.cost[k])
		plain := min(w.offered, byLink, byCPU)
		s := tuneSample{now: *now, took: time.Second, trip: w.trip, plain: int64(plain), coded: int64(plain * w.ratio[k]), cpu: plain / byCPU}
		if plain == byLink {
			s.waits = 0.9
		}
		t.judge(s)
		*now += time.Second
		if t.choice.Load() != k {
			changes++
		}
	}
	return changes
}

func TestAutoFindsWhatTheLinkAndTheProcessorsAreShortOf(t *testing.T) {
	const mbit, lots = 1e6 / 8, 1e12
	level := func(k int) [len(tunings)]float64 { // of which no level gains over k
		r := [...]float64{1, 0.4, 0.25, 0.24, 0.22}
		for i := k; i < len(r); i++ {
			r[i] = r[k]
		}
		return r
	}
	dense := jsonWorld(20*mbit, 20*time.Millisecond, lots)
	dense.ratio = [...]float64{1, 1, 1, 1, 1}
	flat := jsonWorld(20*mbit, 20*time.Millisecond, lots)
	flat.ratio = level(2)
	for _, tt := range []struct {
		name  string
		world tuneWorld
		want  int
		why   string
	}{
		{"a thin link", jsonWorld(20*mbit, 20*time.Millisecond, lots), 4, whyLink},
		{"a thin link nearby", jsonWorld(20*mbit, 200*time.Microsecond, lots), 4, whyLink},
		{"a long way with room", jsonWorld(1000*mbit, 20*time.Millisecond, 1e6), 2, whyUsual},
		{"a short way with room", jsonWorld(10_000*mbit, 200*time.Microsecond, 1e6), 0, whyNear},
		{"no processor to spare", jsonWorld(100_000*mbit, 20*time.Millisecond, lots), 0, whyCPU},
		{"a link that the strongest would leave idle for want of processors", jsonWorld(200*mbit, 20*time.Millisecond, lots), 3, ""},
		{"nothing gets smaller", dense, 0, whyDense},
		{"no level gains", flat, 2, ""},
	} {
		t.Run(tt.name, func(t *testing.T) {
			tu, now := newTuner(), time.Duration(0)
			tt.world.run(tu, &now, 30)
			changes := tt.world.run(tu, &now, 30)
			if got := int(tu.choice.Load()); math.Abs(float64(got-tt.want)) > 0 || tt.why != "" && *tu.why.Load() != tt.why {
				t.Errorf("chose %v because %s; want %v because %s", tunings[got], *tu.why.Load(), tunings[tt.want], tt.why)
			}
			changes += tt.world.run(tu, &now, 3600)
			if changes > 130 { // two a trial: what might gain is tried once a minute
				t.Errorf("changed %d times in an hour", changes)
			}
		})
	}
}

// What was right is not right for ever, and a link that is short at times is not chased.
func TestAutoFollowsTheLinkButDoesNotChaseIt(t *testing.T) {
	near := jsonWorld(1e9, 200*time.Microsecond, 1e6)
	thin := jsonWorld(1e5, 200*time.Microsecond, 1e6)
	tu, now := newTuner(), time.Duration(0)
	near.run(tu, &now, 10)
	if k := tu.choice.Load(); k != 0 {
		t.Errorf("near: chose %v", tunings[k])
	}
	thin.run(tu, &now, 10)
	if k := tu.choice.Load(); k < tuneUsual {
		t.Errorf("thin: chose %v", tunings[k])
	}
	near.run(tu, &now, 3600)
	if k := tu.choice.Load(); k != 0 {
		t.Errorf("near again: chose %v", tunings[k])
	}
	changes := 0
	for range 360 { // short for a while each ten seconds, for an hour
		changes += thin.run(tu, &now, 5)
		changes += near.run(tu, &now, 5)
	}
	if changes > 40 {
		t.Errorf("changed %d times in an hour", changes)
	}
}

func TestAutoJudgesNothingByLittle(t *testing.T) {
	tu := newTuner()
	for range 100 {
		tu.judge(tuneSample{took: time.Second, waits: 1, plain: tuneLeast - 1, coded: 1})
	}
	if k := tu.choice.Load(); k != tuneUsual {
		t.Errorf("chose %v", tunings[k])
	}
}

// thinConn passes so many bytes a second of what is written to it.
type thinConn struct {
	net.Conn
	mu   sync.Mutex
	rate *atomic.Int64
}

func (c *thinConn) Write(p []byte) (int, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	for done := 0; done < len(p); {
		n, err := c.Conn.Write(p[done:min(len(p), done+4096)])
		if done += n; err != nil {
			return done, err
		}
		time.Sleep(time.Duration(n) * time.Second / time.Duration(c.rate.Load()))
	}
	return len(p), nil
}

// A front with Auto sends by another codec when its link becomes short, on the stream that is open, and says so.
func TestAutoChangesTheCodecOfOpenStreams(t *testing.T) {
	bubble(t, func(t *testing.T) {
		ln := newMemNet()
		startBack(t, ln, Config{Handler: okHandler, Hop: Hop{Compress: Auto}})
		var rate atomic.Int64
		rate.Store(1e9)
		dial := func(network, addr string, timeout time.Duration) (net.Conn, error) {
			nc, err := ln.dial(network, addr, timeout)
			return &thinConn{Conn: nc, rate: &rate}, err
		}
		f, err := NewFront(Config{Dial: dial, To: []string{"h2tpc://back:1"}, Hop: Hop{Compress: Auto, PingPeriod: -1}, Limits: Limits{Timeout: -1}})
		if err != nil {
			t.Fatal(err)
		}
		defer f.Close()
		synctest.Wait()
		for _, tt := range []struct {
			rate       int64
			codec, why string
		}{{1e9, "none", whyNear}, {200_000, "zstd", whyLink + ", or " + whyNoLesser}} { // a stronger level may have been tried
			rate.Store(tt.rate)
			var wg sync.WaitGroup
			until := time.Now().Add(10 * time.Second)
			for range 20 {
				wg.Go(func() {
					for time.Now().Before(until) {
						noise := make([]byte, 6000)
						crand.Read(noise)
						body := strings.Repeat("a line of text that is much like others ", 100) + hex.EncodeToString(noise)
						if got, err := ask(f, "POST", "http://x/", body); err != nil || got != "ok" {
							t.Errorf("got %q, %v", got, err)
							return
						}
						time.Sleep(100 * time.Millisecond)
					}
				})
			}
			wg.Wait()
			st := f.Stats().Destinations[0].Hop.Sessions[0]
			if st.Codec != tt.codec || !strings.Contains(tt.why, st.Why) {
				t.Errorf("at %d bytes a second it sends by %s %s because %s; want %s because %s", tt.rate, st.Codec, st.Level, st.Why, tt.codec, tt.why)
			}
		}
		if n := f.route.meter.repeats.Load(); n > 0 {
			t.Errorf("%d repeats: the stream was another", n)
		}
	})
}
