package proxy

import (
	"math/rand/v2"
	"testing"
	"time"

	"github.com/valyala/fasthttp"
)

// The table agrees with a map under random use, exchanges that outlive many
// turns included.
func TestTableAgreesWithAMap(t *testing.T) {
	r := rand.New(rand.NewPCG(1, 2))
	var tab table
	want := map[uint32]*exchange{}
	var live []uint32
	for id := uint32(1); id < 200_000; id++ {
		ex := new(exchange)
		tab.put(id, ex)
		want[id] = ex
		live = append(live, id)
		for len(live) > 0 && (r.IntN(2) == 0 || len(live) > 300) {
			i := r.IntN(len(live))
			if r.IntN(10) > 0 {
				i = len(live) - 1 // the old ones stay
			}
			gone := live[i]
			live[i] = live[len(live)-1]
			live = live[:len(live)-1]
			if got := tab.take(gone); got != want[gone] {
				t.Fatalf("take(%d) gave another exchange", gone)
			}
			delete(want, gone)
			if tab.take(gone) != nil || tab.get(gone) != nil {
				t.Fatalf("%d is still there", gone)
			}
		}
	}
	if tab.n != len(want) {
		t.Errorf("got %d entries; want %d", tab.n, len(want))
	}
	for id, ex := range want {
		if tab.get(id) != ex {
			t.Errorf("get(%d) gave another exchange", id)
		}
	}
	if all := tab.takeAll(func(id uint32, _ *exchange) bool { return id%2 == 0 }); len(all)+tab.n != len(want) {
		t.Errorf("takeAll took %d and left %d of %d", len(all), tab.n, len(want))
	}
}

func TestQueueKeepsOrder(t *testing.T) {
	var q queue
	next, first := 0, 0
	all := make([]*exchange, 0, 1000)
	for range 5000 {
		if rand.IntN(5) < 3 {
			all = append(all, new(exchange))
			q.push(all[next])
			next++
			continue
		}
		if ex := q.pop(); first < next && ex != all[first] || first == next && ex != nil {
			t.Fatal("pop out of order")
		}
		first = min(first+1, next)
	}
	if q.n != next-first {
		t.Errorf("got %d; want %d", q.n, next-first)
	}
	if next > first && (!q.remove(all[next-1]) || q.remove(all[next-1])) {
		t.Error("remove does not")
	}
}

// Each end pings in its own time; a front that never does must not be taken for
// dead while an exchange runs.
func TestSilentFrontIsPingedNotCutOff(t *testing.T) {
	bubble(t, func(t *testing.T) {
		f, _ := bubblePair(t, Config{Hop: Hop{PingPeriod: -1}, Limits: Limits{Timeout: -1}}, Config{
			Hop: Hop{PingPeriod: time.Second, PingTimeout: time.Second}, Limits: Limits{Timeout: -1},
			Handler: func(ctx *fasthttp.RequestCtx) {
				time.Sleep(10 * time.Minute)
				ctx.SetBodyString("late")
			},
		})
		mustAsk(t, f, "POST", "http://x/", "body", "late")
	})
}
