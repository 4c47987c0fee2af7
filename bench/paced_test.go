package bench

import (
	"flag"
	"fmt"
	"slices"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/valyala/fasthttp"
)

var (
	paced     = flag.String("paced", "", "TestPaced asks for this URL, and prints how long answers take")
	pacedRate = flag.Int("rate", 200, "requests a second of TestPaced")
	pacedFor  = flag.Duration("for", 8*time.Second, "how long TestPaced goes on")
)

// TestPaced asks at a fixed rate, however slow the answers are, and prints the
// median and the 99th percentile in microseconds. A request is timed from when it
// was made, not from when it should have been: the timers of an idle process may
// be a millisecond late, and that is not the server's doing.
func TestPaced(t *testing.T) {
	if *paced == "" {
		t.Skip("measures only with -paced URL")
	}
	client := fasthttp.Client{MaxConnsPerHost: 4096, ReadTimeout: 20 * time.Second}
	var wg sync.WaitGroup
	var failed atomic.Int64
	took := make([]time.Duration, int(pacedFor.Seconds()*float64(*pacedRate)))
	ticker := time.NewTicker(time.Second / time.Duration(*pacedRate))
	defer ticker.Stop()
	for i := range took {
		<-ticker.C
		wg.Go(func() {
			began := time.Now()
			status, _, err := client.Get(nil, *paced)
			took[i] = time.Since(began)
			if err != nil || status != 200 {
				failed.Add(1)
			}
		})
	}
	wg.Wait()
	if n := failed.Load(); n > 0 {
		t.Errorf("%d of %d requests to %s failed", n, len(took), *paced)
	}
	slices.Sort(took)
	fmt.Printf("p50 %d p99 %d\n", took[len(took)/2].Microseconds(), took[len(took)*99/100].Microseconds())
}
