package proxy

import (
	"bytes"
	"errors"
	"io"
	"log/slog"
	"net"
	"net/netip"
	"strings"
	"syscall"
	"testing"
	"testing/synctest"
	"time"

	"github.com/valyala/fasthttp"
)

func nets(list ...string) (prefixes []netip.Prefix) {
	for _, s := range list {
		prefixes = append(prefixes, netip.MustParsePrefix(s))
	}
	return prefixes
}

func TestAllowAndDenyGoByTheAddress(t *testing.T) {
	for _, tt := range []struct {
		allow, deny []netip.Prefix
		addr        string
		want        bool
	}{
		{nil, nil, "192.0.2.1:1", true},
		{nets("192.0.2.0/24"), nil, "192.0.2.1:1", true},
		{nets("192.0.2.0/24"), nil, "[::ffff:192.0.2.1]:1", true},
		{nets("::ffff:192.0.2.0/120"), nil, "192.0.2.1:1", true},
		{nets("192.0.2.0/24"), nil, "198.51.100.1:1", false},
		{nets("192.0.2.0/24"), nil, "[2001:db8::1]:1", false},
		{nets("2001:db8::/32"), nil, "[2001:db8::1%eth0]:1", true},
		{nil, nets("2001:db8::/32"), "[2001:db8::1]:1", false},
		{nil, nets("192.0.2.1/32"), "192.0.2.2:1", true},
		{nets("192.0.2.0/24"), nets("192.0.2.1/32"), "192.0.2.1:1", false}, // deny wins
		{nets("192.0.2.0/24"), nets("0.0.0.0/0"), "@", true},               // a unix socket's client
	} {
		e := Entry{Allow: tt.allow, Deny: tt.deny}
		g := entrance{cfg: &e, log: slog.New(slog.DiscardHandler), stats: new(stats)}
		var addr net.Addr = &net.UnixAddr{Name: tt.addr, Net: "unix"}
		if tcp, err := net.ResolveTCPAddr("tcp", tt.addr); err == nil {
			addr = tcp
		}
		if got := g.admits(addrOf(addr), nil); got != tt.want {
			t.Errorf("%v without %v: %s: got %v; want %v", tt.allow, tt.deny, tt.addr, got, tt.want)
		}
	}
}

func TestNobodyIsTrustedBesideNoOne(t *testing.T) {
	_, err := NewFront(Config{Handler: okHandler, Entry: Entry{TrustNobody: true, TrustedProxies: nets("10.0.0.0/8")}})
	if err == nil {
		t.Error("TrustNobody is taken beside TrustedProxies")
	}
}

// wantClosed sees the connection closed without a byte having been read or written.
func wantClosed(t *testing.T, addr string) {
	t.Helper()
	nc, err := net.Dial("tcp", addr)
	if err != nil {
		t.Fatal(err)
	}
	defer nc.Close()
	if got, err := io.ReadAll(nc); len(got) > 0 || err != nil && !errors.Is(err, syscall.ECONNRESET) {
		t.Errorf("got %q, %v; want the end", got, err)
	}
}

func TestWhoMayNotComeIsClosedCountedAndNamedOnce(t *testing.T) {
	for _, who := range []string{"front", "back"} {
		t.Run(who, func(t *testing.T) {
			var log bytes.Buffer
			cfg := Config{Entry: Entry{Deny: nets("127.0.0.0/8")}, Handler: okHandler, Logger: slog.New(slog.NewTextHandler(&log, nil))}
			var addr string
			var counts func() Stats
			if who == "front" {
				f, a := startFront(t, cfg)
				addr, counts = a, f.Stats
				defer f.Close()
			} else {
				ln := listenTCP(t)
				b := startBack(t, ln, cfg)
				addr, counts = ln.Addr().String(), b.Stats
				defer b.Close()
			}
			for range 3 {
				wantClosed(t, addr)
			}
			if got := counts().Denied; got != 3 {
				t.Errorf("got %d denied; want 3", got)
			}
			lines := strings.Count(log.String(), "msg=refused addr=127.0.0.1")
			if lines < 1 || lines > 2 { // one a second
				t.Errorf("got %d lines of the refusal; want one a second:\n%s", lines, &log)
			}
		})
	}
}

func TestLinesOfRefusalsAreBoundedForAnAddressAndForAll(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var out bytes.Buffer
		log := slog.New(slog.NewTextHandler(&out, nil))
		var s seldom
		say := func(from, count int) (lines int) {
			out.Reset()
			for i := range count {
				for range 3 {
					s.info(log, netip.AddrFrom4([4]byte{192, 0, 2, byte(from + i)}), "refused")
				}
			}
			return strings.Count(out.String(), "\n")
		}
		for i, tt := range []struct {
			wait        time.Duration
			from, count int
			want        int
		}{
			{0, 1, 2, 2},                      // one does not hide the other
			{999 * time.Millisecond, 1, 2, 0}, // who was told is not told again
			{0, 3, 20, seldomLines - 2},
			{time.Millisecond, 1, 20, seldomLines},
		} {
			time.Sleep(tt.wait)
			if got := say(tt.from, tt.count); got != tt.want {
				t.Errorf("step %d: got %d lines; want %d:\n%s", i, got, tt.want, &out)
			}
		}
		time.Sleep(time.Second)
		if say(1, 1); !strings.Contains(out.String(), "omitted=") {
			t.Errorf("got %q; want how many were omitted", &out)
		}
	})
}

func TestGetOnlyAnswersOtherMethods405(t *testing.T) {
	for _, who := range []string{"front", "back"} {
		t.Run(who, func(t *testing.T) {
			bubble(t, func(t *testing.T) {
				var front, back Config
				back.Handler = func(ctx *fasthttp.RequestCtx) { ctx.SetBodyString("ok") }
				limits := Limits{GetOnly: true}
				if who == "front" {
					front.Limits = limits
				} else {
					back.Limits = limits
				}
				f, _ := bubblePair(t, front, back)
				c := serveBubble(t, f)
				c.get("/").want(t, 200, "GET")
				c.send("HEAD / HTTP/1.1\r\nHost: x\r\n\r\n")
				c.read("HEAD").want(t, 200, "HEAD")
				for _, method := range []string{"DELETE", "OPTIONS", "get", "X"} {
					c.send(method + " / HTTP/1.1\r\nHost: x\r\n\r\n")
					a := c.read(method)
					a.want(t, 405, method)
					if got := a.header.Get("Allow"); got != "GET, HEAD" {
						t.Errorf("%s: Allow is %q", method, got)
					}
				}
				c.post("/", "small").want(t, 405, "a small body")
				c.get("/").want(t, 200, "the next GET")
				c.send("POST / HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n")
				c.read("POST").want(t, 405, "a streamed body")
				if got := f.Stats().InFlight; got != 0 {
					t.Errorf("%d exchanges in flight; want 0", got)
				}
			})
		})
	}
}
