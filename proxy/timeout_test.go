package proxy

import (
	"bufio"
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"strings"
	"testing"
	"testing/synctest"
	"time"
)

// The bounds on time, each beside others that are far off, to the 100 ms of a sweep.

// wantIn checks that something took d.
func wantIn(t *testing.T, began time.Time, d time.Duration, what string) {
	t.Helper()
	if took := time.Since(began); took < d || took > d+sweepPeriod+sweepPeriod/10 {
		t.Errorf("%s after %v; want %v", what, took, d)
	}
}

// mute reads requests and never answers.
func mute(nc net.Conn) {
	defer nc.Close()
	io.Copy(io.Discard, nc)
}

func TestUpstreamThatNeverShakesHandsIsGivenUp(t *testing.T) {
	bubble(t, func(t *testing.T) {
		f, err := NewFront(Config{To: []string{"https://a"}, Limits: Limits{ConnectTimeout: 3 * time.Second}, Dial: bubbleDial(t, mute),
			UpstreamTLS: func() *tls.Config { return new(tls.Config) }})
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { f.Close() })
		began := time.Now()
		if _, err := ask(f, "GET", "http://x/", ""); !errors.Is(err, ErrUpstream) {
			t.Errorf("got %v; want ErrUpstream", err)
		}
		wantIn(t, began, 3*time.Second, "given up")
	})
}

// A streamed exchange connects within its time, too.
func TestStreamedExchangeThatCannotConnectRunsOutOfTime(t *testing.T) {
	bubble(t, func(t *testing.T) {
		hole := func(_, _ string, timeout time.Duration) (net.Conn, error) {
			time.Sleep(timeout)
			return nil, context.DeadlineExceeded
		}
		f, err := NewFront(Config{To: []string{"http://a"}, Dial: hole, Limits: Limits{Timeout: 2 * time.Second, ConnectTimeout: 20 * time.Second}})
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { f.Close() })
		for _, body := range []string{"Content-Length: 1\r\n\r\nx", "Transfer-Encoding: chunked\r\n\r\n1\r\n"} { // batched, streamed
			c := serveBubble(t, f)
			began := time.Now()
			c.send("POST / HTTP/1.1\r\nHost: x\r\n" + body)
			c.read("POST").want(t, 504, body)
			wantIn(t, began, 2*time.Second, "it is over")
		}
	})
}

func TestResponseHasToBeginInTime(t *testing.T) {
	limits := Limits{FirstByteTimeout: 2 * time.Second}
	bubble(t, func(t *testing.T) {
		f := bubbleUpstreams(t, limits, []string{"http://a", "http://b;tier=1"}, mute, mute)
		for method, want := range map[string]time.Duration{"POST": 2 * time.Second, "GET": 4 * time.Second} { // a GET is asked elsewhere, once
			began := time.Now()
			if _, err := ask(f, method, "http://x/", ""); !errors.Is(err, ErrTimeout) {
				t.Errorf("%s: got %v; want ErrTimeout", method, err)
			}
			if took := time.Since(began); took < want || took > want+2*sweepPeriod {
				t.Errorf("%s: over after %v; want %v", method, took, want)
			}
		}
		c := serveBubble(t, f)
		c.send("POST / HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n")
		time.Sleep(5 * time.Second)
		began := time.Now()
		c.send("0\r\n\r\n")
		c.read("POST").want(t, 504, "a streamed exchange")
		wantIn(t, began, 2*time.Second, "it is over")
	})
}

func TestResponseThatBeganMayTakeLonger(t *testing.T) {
	bubble(t, func(t *testing.T) {
		f := bubbleUpstreams(t, Limits{FirstByteTimeout: 2 * time.Second}, []string{"http://a"}, func(nc net.Conn) {
			defer nc.Close()
			for r := bufio.NewReader(nc); readHead(r) != ""; {
				time.Sleep(time.Second)
				io.WriteString(nc, "HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\nfirst")
				time.Sleep(5 * time.Second)
				io.WriteString(nc, "later")
			}
		})
		for range 2 {
			mustAsk(t, f, "GET", "http://x/", "", "firstlater")
		}
	})
}

func TestBodyMayStallAsLongAsItIsAllowed(t *testing.T) {
	for _, stall := range []time.Duration{0, 3 * time.Second} {
		bubble(t, func(t *testing.T) {
			f := bubbleUpstreams(t, Limits{StallTimeout: stall}, []string{"http://a"}, func(nc net.Conn) {
				defer nc.Close()
				for r := bufio.NewReader(nc); readHead(r) != ""; {
					io.WriteString(nc, "HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nTransfer-Encoding: chunked\r\n\r\n")
					for _, pause := range []time.Duration{time.Second, 2 * time.Second, time.Hour} {
						time.Sleep(pause)
						io.WriteString(nc, "6\r\nevent\n\r\n")
					}
					io.WriteString(nc, "0\r\n\r\n")
				}
			})
			c := serveBubble(t, f)
			c.send("GET / HTTP/1.1\r\nHost: x\r\n\r\n")
			began := time.Now()
			if stall == 0 {
				if a := c.read("GET"); strings.Count(a.body, "event") != 3 {
					t.Errorf("got %q; want three events", a.body)
				}
				return
			}
			all, _ := io.ReadAll(c.r)
			wantIn(t, began, 6*time.Second, "cut off")
			if strings.Count(string(all), "event\n") != 2 || strings.HasSuffix(string(all), "0\r\n\r\n") {
				t.Errorf("got %q; want two events and no end", all)
			}
		})
	}
}

// The back's bound is far off: what its front has left counts.
func TestTimeLeftEndsTheUpstreamsWork(t *testing.T) {
	for _, request := range []string{
		"GET / HTTP/1.1\r\nHost: x\r\n\r\n",
		"POST / HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n0\r\n\r\n",
	} {
		bubble(t, func(t *testing.T) {
			endc := make(chan time.Time, 1)
			dial := bubbleDial(t, func(nc net.Conn) {
				mute(nc)
				endc <- time.Now()
			})
			f, _ := bubblePair(t, Config{Limits: Limits{Timeout: 2 * time.Second}}, Config{To: []string{"http://a"}, Dial: dial, Limits: Limits{Timeout: time.Minute}})
			c := serveBubble(t, f)
			began := time.Now()
			c.send(request)
			c.read("GET").want(t, 504, request[:4])
			wantIn(t, began, 2*time.Second, request[:4]+" over")
			synctest.Wait()
			select {
			case end := <-endc:
				if took := end.Sub(began); took < 2*time.Second || took > 2*time.Second+2*sweepPeriod {
					t.Errorf("%s: the upstream is let go after %v; want 2s", request[:4], took)
				}
			case <-time.After(sweepPeriod):
				t.Errorf("%s: the upstream works on", request[:4])
			}
		})
	}
}

// The back's own bound, where it is the first to run out.
func TestTimeoutOfTheBackIsATimeoutAtTheFront(t *testing.T) {
	bubble(t, func(t *testing.T) {
		f, _ := bubblePair(t, Config{}, Config{To: []string{"http://a"}, Dial: bubbleDial(t, mute), Limits: Limits{FirstByteTimeout: time.Second}})
		for i := range 2 {
			began := time.Now()
			if _, err := ask(f, "GET", fmt.Sprint("http://x/", i), ""); !errors.Is(err, ErrTimeout) {
				t.Errorf("got %v; want ErrTimeout", err)
			}
			wantIn(t, began, time.Second, "over")
		}
	})
}

// Pieces that come faster than a body is waited for do not add up: the first is passed on within those 2 ms.
func TestBodyInQuickPiecesIsNotHeldBack(t *testing.T) {
	for _, framing := range []string{"Transfer-Encoding: chunked\r\n\r\n", "Connection: close\r\n\r\n"} {
		bubble(t, func(t *testing.T) {
			f := bubbleUpstreams(t, Limits{}, []string{"http://a"}, func(nc net.Conn) {
				defer nc.Close()
				r := bufio.NewReader(nc)
				if readHead(r) == "" {
					return
				}
				io.WriteString(nc, "HTTP/1.1 200 OK\r\n"+framing)
				for range 100 {
					if _, err := io.WriteString(nc, "2\r\nhi\r\n"); err != nil {
						return
					}
					time.Sleep(time.Millisecond)
				}
				io.WriteString(nc, "0\r\n\r\n")
			})
			c := serveBubble(t, f)
			began := time.Now()
			c.send("GET / HTTP/1.1\r\nHost: x\r\n\r\n")
			resp, err := http.ReadResponse(c.r, nil)
			if err != nil {
				t.Fatal(err)
			}
			if _, err := resp.Body.Read(make([]byte, 1)); err != nil {
				t.Fatal(err)
			}
			if took := time.Since(began); took != wholeWait {
				t.Errorf("%q: the first piece took %v; want %v", framing, took, wholeWait)
			}
			io.Copy(io.Discard, resp.Body)
		})
	}
}
