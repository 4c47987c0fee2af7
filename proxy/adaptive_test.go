package proxy

import (
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/valyala/fasthttp"
)

// An upstream that answers in 50 ms while it has no more than so many at once, and then as
// much later as it has more.
func TestAdaptiveLimitFindsWhatAnUpstreamBears(t *testing.T) {
	bubble(t, func(t *testing.T) {
		var running, knee, pace atomic.Int64
		knee.Store(20)
		pace.Store(int64(50 * time.Millisecond))
		f, err := NewFront(Config{
			Limits: Limits{Adaptive: true, MaxDestExchanges: 150, QueueTimeout: time.Minute, Timeout: -1},
			Handler: func(*fasthttp.RequestCtx) {
				n := running.Add(1)
				time.Sleep(time.Duration(pace.Load() * max(n, knee.Load()) / knee.Load()))
				running.Add(-1)
			},
		})
		if err != nil {
			t.Fatal(err)
		}
		defer f.Close()
		var wg sync.WaitGroup
		var isOver atomic.Bool
		for range 300 {
			wg.Go(func() {
				for !isOver.Load() {
					if _, err := ask(f, "GET", "http://x/", ""); err != nil {
						t.Error(err)
						return
					}
				}
			})
		}
		wantWithin := func(low, high int, after time.Duration, what string) {
			t.Helper()
			for end := time.Now().Add(after); time.Now().Before(end); time.Sleep(50 * time.Millisecond) {
				if n := f.Stats().Destinations[0].Limit; n < adaptiveLeast || n > 150 {
					t.Fatalf("%s: the limit is %d", what, n)
				}
			}
			if n := f.Stats().Destinations[0].Limit; n < low || n > high {
				t.Errorf("%s: the limit is %d; want %d to %d", what, n, low, high)
			}
		}
		wantWithin(15, 45, 25*time.Second, "at the start")
		knee.Store(80)
		wantWithin(70, 150, 50*time.Second, "four times as fast")
		knee.Store(5)
		wantWithin(adaptiveLeast, 15, 20*time.Second, "a sixteenth of that")
		knee.Store(20)
		pace.Store(int64(150 * time.Millisecond))
		wantWithin(15, 45, 95*time.Second, "slower for all")
		isOver.Store(true)
		wg.Wait()
	})
}

// An upstream that refuses quickly for a while is not taken for one that answered quickly.
func TestAdaptiveLimitLearnsNothingOfRefusals(t *testing.T) {
	bubble(t, func(t *testing.T) {
		var isSick atomic.Bool
		f, err := NewFront(Config{Limits: Limits{Adaptive: true, QueueTimeout: time.Minute}, Handler: func(ctx *fasthttp.RequestCtx) {
			if isSick.Load() {
				ctx.SetStatusCode(503)
				return
			}
			time.Sleep(30 * time.Millisecond)
		}})
		if err != nil {
			t.Fatal(err)
		}
		defer f.Close()
		rush := func() {
			var wg sync.WaitGroup
			for range 30 {
				wg.Go(func() {
					for range 100 {
						if _, err := ask(f, "GET", "http://x/", ""); err != nil {
							t.Error(err)
						}
					}
				})
			}
			wg.Wait()
		}
		isSick.Store(true)
		rush()
		isSick.Store(false)
		rush()
		if n := f.Stats().Destinations[0].Limit; n < 30 {
			t.Errorf("the limit is %d, which 30 at once are not too many for", n)
		}
	})
}
