package admin

import (
	"net/http"
	"strings"
	"testing"
)

// A page of a browser on this machine may have its own name resolve to 127.0.0.1.
func TestOnlyAddressesAndLocalhostAreServed(t *testing.T) {
	st := testState()
	do := newTest(t, &st, Config{})
	anyHost := newTest(t, &st, Config{AnyHost: true})
	for host, want := range map[string]int{
		"127.0.0.1:9901": 200, "127.0.0.1": 200, "[::1]:9901": 200, "[::1]": 200, "localhost:9901": 200, "localhost": 200,
		"evil.example:9901": 403, "evil.example": 403, "localhost.evil.example": 403,
	} {
		set := func(r *http.Request) { r.Host = host }
		if code, _ := do("GET", "/debug/pprof/cmdline", set); code != want {
			t.Errorf("%s: %d; want %d", host, code, want)
		}
		if code, _ := anyHost("GET", "/healthz", set); code != 200 {
			t.Errorf("%s: %d; want 200", host, code)
		}
	}
}

// What comes by a unix socket is for no host, unless a browser sent it, which a name server may have led there.
func TestBrowsersAtAUnixSocketComeFromALoopbackAddress(t *testing.T) {
	st := testState()
	do := newTest(t, &st, Config{IsSocket: true, Drain: func() {}})
	for _, tt := range []struct {
		host   string
		fields []string
		want   int
	}{
		{"h2tp", nil, 202},
		{"evil.example", nil, 202},
		{"localhost:9901", []string{"Sec-Fetch-Site: same-origin"}, 202},
		{"127.1.2.3:9901", []string{"Origin: http://127.1.2.3:9901"}, 202},
		{"[::1]:9901", []string{"Sec-Fetch-Site: none"}, 202},
		{"evil.example:9901", []string{"Sec-Fetch-Site: same-origin"}, 403},
		{"evil.example:9901", []string{"Origin: http://evil.example:9901"}, 403},
		{"evil.example:9901", []string{"Accept-Language: "}, 403}, // what Chromium sends besides, by GET, to a name that is no loopback
		{"192.0.2.1:9901", []string{"Sec-Fetch-Mode: cors"}, 403},
		{"localhost:9901", []string{"Sec-Fetch-Site: cross-site"}, 403},
	} {
		code, _ := do("POST", "/drain", func(r *http.Request) {
			r.Host = tt.host
			setFields(r, tt.fields)
		})
		if code != tt.want {
			t.Errorf("%s, %v: %d; want %d", tt.host, tt.fields, code, tt.want)
		}
	}
}

func setFields(r *http.Request, fields []string) {
	for _, f := range fields {
		name, value, _ := strings.Cut(f, ": ")
		r.Header.Set(name, value)
	}
}

// A page of another site can have a browser ask for anything; only a link to the page is followed.
func TestOtherSitesGetNothing(t *testing.T) {
	st := testState()
	do := newTest(t, &st, Config{Page: http.HandlerFunc(func(http.ResponseWriter, *http.Request) {})})
	const origin, cross, same, visit = "Origin: http://evil.example", "Sec-Fetch-Site: cross-site", "Sec-Fetch-Site: same-site", "Sec-Fetch-Mode: navigate"
	for _, tt := range []struct {
		method, path string
		fields       []string
		want         int
	}{
		{"GET", "/debug/pprof/cmdline", nil, 200},
		{"GET", "/debug/pprof/cmdline", []string{"Sec-Fetch-Site: none", visit}, 200},
		{"GET", "/debug/pprof/cmdline", []string{"Sec-Fetch-Site: same-origin"}, 200},
		{"GET", "/debug/pprof/cmdline", []string{"Origin: http://127.0.0.1:9901"}, 200},
		{"GET", "/debug/pprof/cmdline", []string{cross}, 403},
		{"GET", "/debug/pprof/cmdline", []string{same}, 403},
		{"GET", "/debug/pprof/cmdline", []string{cross, visit}, 403},
		{"GET", "/debug/pprof/cmdline", []string{origin}, 403},
		{"HEAD", "/metrics", []string{cross}, 403},
		{"GET", "/", []string{cross, visit}, 200},
		{"GET", "/", []string{cross, "Sec-Fetch-Mode: no-cors"}, 403},
		{"POST", "/", []string{cross, visit}, 403},
		{"GET", "/page/main.mjs", []string{cross}, 403},
	} {
		if code, _ := do(tt.method, tt.path, func(r *http.Request) { setFields(r, tt.fields) }); code != tt.want {
			t.Errorf("%s %s, %v: %d; want %d", tt.method, tt.path, tt.fields, code, tt.want)
		}
	}
}
