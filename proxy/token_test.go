package proxy

import (
	"io"
	"log/slog"
	"net/http"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/h2tp/h2tp/pool"
)

func tokens(list ...string) func() []string { return func() []string { return list } }

func TestTokenOpensTheHop(t *testing.T) {
	const right, next = "a-16-byte-secret", "the-next-one-to-come"
	for _, tt := range []struct {
		name        string
		front, back func() []string
		isOpen      bool
	}{
		{"both have it", tokens(right), tokens(right), true},
		{"the back asks for none", tokens(right), nil, true},
		{"the back takes an older one", tokens(right), tokens(next, right), true},
		{"the back has only the next", tokens(right), tokens(next), false},
		{"the front shows its first", tokens(next, right), tokens(right), false},
		{"the front has none", nil, tokens(right), false},
		{"a part of it", tokens(right[:15]), tokens(right), false},
		{"more than it", tokens(right + "x"), tokens(right), false},
		{"an empty one", tokens(""), tokens(right), false},
	} {
		t.Run(tt.name, func(t *testing.T) {
			bubble(t, func(t *testing.T) {
				var frontLog, backLog lockedBuffer
				logTo := func(b *lockedBuffer) *slog.Logger {
					return slog.New(slog.NewTextHandler(b, &slog.HandlerOptions{Level: slog.LevelDebug}))
				}
				m := newMemNet()
				b := startBack(t, m, Config{Hop: Hop{Tokens: tt.back}, Handler: okHandler, Logger: logTo(&backLog)})
				f, err := NewFront(Config{Hop: Hop{Tokens: tt.front}, To: []string{"h2tpc://back:1"}, Dial: m.dial, Logger: logTo(&frontLog)})
				if err != nil {
					t.Fatal(err)
				}
				defer f.Close()
				synctest.Wait()
				c := serveBubble(t, f)
				status := 502
				if tt.isOpen {
					status = 200
				}
				c.get("/").want(t, status, "a batched exchange")
				go io.WriteString(c.nc, "POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 100000\r\n\r\n"+strings.Repeat("b", 100000)) // may be refused early
				c.read("POST").want(t, status, "a bulk one")
				time.Sleep(time.Minute)
				for _, secret := range []string{right, next} {
					if strings.Contains(frontLog.String()+backLog.String(), secret) {
						t.Errorf("a log holds the token:\n%s%s", &frontLog, &backLog)
					}
				}
				refusals, stats := strings.Count(frontLog.String(), `msg="peer refuses"`), b.Stats()
				switch {
				case tt.isOpen && (refusals > 0 || stats.BadTokens > 0):
					t.Errorf("refused:\n%s%s", &frontLog, &backLog)
				case tt.isOpen:
				case refusals != 1 || !strings.Contains(frontLog.String(), "denied"):
					t.Errorf("the front says so %d times; want once:\n%s", refusals, &frontLog)
				case stats.Exchanges > 0 || stats.BadTokens < 10 || stats.BadTokens > 30: // a back-off of up to 5 s
					t.Errorf("%d exchanges, %d streams refused; want none, and some 20 in a minute", stats.Exchanges, stats.BadTokens)
				case !strings.Contains(backLog.String(), `level=WARN msg="front refused" addr=`):
					t.Errorf("the back does not say so:\n%s", &backLog)
				}
			})
		})
	}
}

// A stream of the hop that shows no token is refused whatever it is for, and the answer tells nothing else.
func TestEveryStreamOfTheHopNeedsTheToken(t *testing.T) {
	ln := listenTCP(t)
	startBack(t, ln, Config{Hop: Hop{Tokens: tokens("0123456789abcdef")}, Handler: okHandler})
	var protocols http.Protocols
	protocols.SetUnencryptedHTTP2(true)
	client := &http.Client{Transport: &http.Transport{Protocols: &protocols}}
	defer client.CloseIdleConnections()
	for _, path := range []string{pathBatch, pathReady, pathBulk} {
		for _, value := range []string{"", "0123456789abcdef", "Basic 0123456789abcdef", "Bearer 0123456789abcdeg"} {
			req, _ := http.NewRequest("POST", "http://"+ln.Addr().String()+path, nil)
			if value != "" {
				req.Header.Set("Authorization", value)
			}
			resp, err := client.Do(req)
			if err != nil {
				t.Fatal(err)
			}
			body, _ := io.ReadAll(resp.Body)
			resp.Body.Close()
			if resp.StatusCode != 403 || resp.Header.Get("h2tp-error") != "denied" || string(body) != "denied\n" {
				t.Errorf("%s with %q: got %d, %v, %q; want 403 denied", path, value, resp.StatusCode, resp.Header, body)
			}
		}
	}
	h := Hop{Tokens: tokens("0123456789abcdef")}
	if want := (pool.Field{Name: "authorization", Value: "Bearer 0123456789abcdef", Sensitive: true}); h.tokenFields()[0] != want {
		t.Errorf("got %+v; want %+v", h.tokenFields()[0], want)
	}
}
