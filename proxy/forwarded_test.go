package proxy

import (
	"net/http"
	"net/netip"
	"strings"
	"testing"
	"time"

	"github.com/h2tp/h2tp/proxy/internal/wire"
)

// fieldsOf reads lines of fields.
func fieldsOf(lines ...string) (fields []wire.Field) {
	for _, line := range lines {
		name, value, _ := strings.Cut(line, ": ")
		fields = append(fields, wire.Field{Name: []byte(name), Value: []byte(value)})
	}
	return fields
}

func linesOf(fields []wire.Field) string {
	var b strings.Builder
	for _, f := range fields {
		b.WriteString(string(f.Name) + ": " + string(f.Value) + "\n")
	}
	return b.String()
}

func TestUpstreamsAreToldOfTheClient(t *testing.T) {
	spoofed := []string{"A: 1", "X-Forwarded-For: 192.0.2.9", "x-forwarded-host: evil", "X-FORWARDED-PROTO: https", "Forwarded: for=192.0.2.9", "X-Real-IP: 192.0.2.9", "X-Forwarded-Port: 1", "B: 2"}
	only := Entry{TrustedProxies: nets("10.0.0.0/8")}
	nobody := Entry{TrustNobody: true}
	both := Entry{TrustedProxies: nets("10.0.0.0/8"), Forwarded: true}
	long := strings.Repeat("h", maxForwardedHost+1)
	for _, tt := range []struct {
		name  string
		entry Entry
		addr  string // empty for a unix socket's client
		isTLS bool
		host  string
		sent  []string
		want  []string
	}{
		{"nothing said", Entry{}, "192.0.2.1", false, "a.example", []string{"A: 1"},
			[]string{"A: 1", "X-Forwarded-For: 192.0.2.1", "X-Forwarded-Host: a.example", "X-Forwarded-Proto: http"}},
		{"over TLS", Entry{}, "2001:db8::1", true, "a.example:8443", nil,
			[]string{"X-Forwarded-For: 2001:db8::1", "X-Forwarded-Host: a.example:8443", "X-Forwarded-Proto: https"}},
		{"all are trusted", Entry{}, "192.0.2.1", false, "a.example", spoofed,
			[]string{"A: 1", "X-Forwarded-For: 192.0.2.9, 192.0.2.1", "x-forwarded-host: evil", "X-FORWARDED-PROTO: https", "Forwarded: for=192.0.2.9", "X-Real-IP: 192.0.2.9", "X-Forwarded-Port: 1", "B: 2"}},
		{"not trusted", only, "192.0.2.1", false, "a.example", spoofed,
			[]string{"A: 1", "B: 2", "X-Forwarded-For: 192.0.2.1", "X-Forwarded-Host: a.example", "X-Forwarded-Proto: http"}},
		{"twins, not trusted", only, "192.0.2.1", false, "a.example", []string{"A: 1", "X_Forwarded_For: 192.0.2.9", "x_forwarded-PROTO: https", "X.Real.Ip: 192.0.2.9", "Forwarded: x", "X_Forward: 1", "0_Forwarded_For: 1", "B: 2"},
			[]string{"A: 1", "X_Forward: 1", "0_Forwarded_For: 1", "B: 2", "X-Forwarded-For: 192.0.2.1", "X-Forwarded-Host: a.example", "X-Forwarded-Proto: http"}},
		{"nobody is trusted", nobody, "192.0.2.1", false, "a.example", spoofed,
			[]string{"A: 1", "B: 2", "X-Forwarded-For: 192.0.2.1", "X-Forwarded-Host: a.example", "X-Forwarded-Proto: http"}},
		{"nobody is trusted, by a unix socket", nobody, "", false, "a.example", spoofed[:2],
			[]string{"A: 1", "X-Forwarded-For: 192.0.2.9, unknown", "X-Forwarded-Host: a.example", "X-Forwarded-Proto: http"}},
		{"trusted", only, "10.1.1.1", false, "a.example", spoofed[:4],
			[]string{"A: 1", "X-Forwarded-For: 192.0.2.9, 10.1.1.1", "x-forwarded-host: evil", "X-FORWARDED-PROTO: https"}},
		{"by a unix socket", only, "", false, "a.example", spoofed[:2],
			[]string{"A: 1", "X-Forwarded-For: 192.0.2.9, unknown", "X-Forwarded-Host: a.example", "X-Forwarded-Proto: http"}},
		{"Forwarded, not trusted", both, "192.0.2.1", true, `a"\.example`, spoofed,
			[]string{"A: 1", "B: 2", "X-Forwarded-For: 192.0.2.1", `X-Forwarded-Host: a"\.example`, "X-Forwarded-Proto: https", `Forwarded: for=192.0.2.1;host="a\"\\.example";proto=https`}},
		{"Forwarded, trusted", both, "10.1.1.1", false, "a.example", []string{"Forwarded: for=192.0.2.9"},
			[]string{`Forwarded: for=192.0.2.9, for=10.1.1.1;host="a.example";proto=http`, "X-Forwarded-For: 10.1.1.1", "X-Forwarded-Host: a.example", "X-Forwarded-Proto: http"}},
		{"Forwarded, IPv6", Entry{Forwarded: true}, "2001:db8::1", false, "", nil,
			[]string{"X-Forwarded-For: 2001:db8::1", "X-Forwarded-Proto: http", `Forwarded: for="[2001:db8::1]";proto=http`}},
		{"a host too long", Entry{Forwarded: true}, "192.0.2.1", false, long, nil,
			[]string{"X-Forwarded-For: 192.0.2.1", "X-Forwarded-Proto: http", "Forwarded: for=192.0.2.1;proto=http"}},
	} {
		ip, _ := netip.ParseAddr(tt.addr)
		from := tt.entry.originOf(ip, tt.isTLS)
		var h hygiene
		got := linesOf(h.forwarded(fieldsOf(tt.sent...), &from, []byte(tt.host), &tt.entry))
		if want := linesOf(fieldsOf(tt.want...)); got != want {
			t.Errorf("%s: got\n%swant\n%s", tt.name, got, want)
		}
	}
}

func TestTellingOfTheClientAllocatesNothing(t *testing.T) {
	e := Entry{TrustedProxies: nets("10.0.0.0/8"), Forwarded: true}
	from := e.originOf(netip.MustParseAddr("192.0.2.1"), true)
	sent := fieldsOf("A: 1", "X-Forwarded-For: 192.0.2.9", "Forwarded: for=192.0.2.9")
	fields, host := make([]wire.Field, 0, 16), []byte("a.example")
	var h hygiene
	if n := testing.AllocsPerRun(100, func() {
		h.scratch = h.scratch[:0]
		fields = h.forwarded(append(fields[:0], sent...), &from, host, &e)
	}); n > 0 {
		t.Errorf("%v allocations; want 0", n)
	}
}

// Across the hop these are fields as all others: a back has no client of its own.
func TestBackAddsNoClient(t *testing.T) {
	up, requestc := startRecorder(t, okResponse)
	p := startPair(t, up, Config{Entry: Entry{Forwarded: true}}, Config{Entry: Entry{Forwarded: true, TrustedProxies: nets("10.0.0.0/8")}})
	c := dialClient(t, p.addr)
	c.send("GET / HTTP/1.1\r\nHost: a.example\r\n\r\n")
	c.read("GET").want(t, 200, "a request")
	c.send("POST / HTTP/1.1\r\nHost: a.example\r\nTransfer-Encoding: chunked\r\n\r\n")
	c.nc.Write([]byte("0\r\n\r\n"))
	c.read("POST").want(t, 200, "a streamed one")
	for range 2 {
		got := await(t, requestc, "request")
		for _, line := range []string{"X-Forwarded-For: 127.0.0.1", "X-Forwarded-Host: a.example", "X-Forwarded-Proto: http", `Forwarded: for=127.0.0.1;host="a.example";proto=http`} {
			if strings.Count(got, "\r\n"+line+"\r\n") != 1 {
				t.Errorf("%q is not there once: %q", line, got)
			}
		}
	}
}

func TestHSTSIsSaidOnceAndOverTLSOnly(t *testing.T) {
	up := startUpstream(t, func(w http.ResponseWriter, r *http.Request) {
		switch r.URL.Path {
		case "/own":
			w.Header().Set("Strict-Transport-Security", "max-age=1")
		case "/streamed":
			w.Write(make([]byte, 200<<10))
		case "/die":
			panic(http.ErrAbortHandler)
		}
	})
	server, client := testTLS(t)
	server.NextProtos = []string{"h2", "http/1.1"}
	_, secure := startFront(t, Config{To: []string{"http://" + up}, ListenTLS: server, Entry: Entry{HSTS: time.Hour}})
	_, plain := startFront(t, Config{To: []string{"http://" + up}, Entry: Entry{HSTS: time.Hour}})
	for _, isHTTP2 := range []bool{false, true} {
		tr := &http.Transport{TLSClientConfig: client.Clone(), ForceAttemptHTTP2: isHTTP2}
		for url, want := range map[string]string{
			"https://" + secure + "/": "max-age=3600", "https://" + secure + "/streamed": "max-age=3600", "https://" + secure + "/own": "max-age=1",
			"https://" + secure + "/die": "max-age=3600", "http://" + plain + "/": "",
		} {
			resp, err := (&http.Client{Transport: tr}).Get(url)
			if err != nil {
				t.Fatal(err)
			}
			resp.Body.Close()
			if got := strings.Join(resp.Header.Values("Strict-Transport-Security"), "|"); got != want {
				t.Errorf("%s by %s: got %q; want %q", url, resp.Proto, got, want)
			}
		}
		tr.CloseIdleConnections()
	}
}
