package proxy

import (
	"bytes"
	"context"
	"encoding/binary"
	"io"
	"log/slog"
	"net"
	"net/http"
	"strings"
	"testing"
	"testing/iotest"
	"testing/synctest"
	"time"
)

// v2 makes a header of version 2.
func v2(command, family byte, body string) string {
	b := append([]byte(nil), proxyV2...)
	b = append(b, command, family)
	return string(binary.BigEndian.AppendUint16(b, uint16(len(body)))) + body
}

const (
	v2Addrs4 = "\xc0\x00\x02\x01\x0a\x00\x00\x01\x04\xd2\x01\xbb" // 192.0.2.1:1234 to 10.0.0.1:443
	v2Addrs6 = "\x20\x01\x0d\xb8\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x01\x20\x01\x0d\xb8\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x02\x04\xd2\x01\xbb"
	v2Mapped = "\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\xff\xff\xc0\x00\x02\x01\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\xff\xff\xc0\x00\x02\x02\x04\xd2\x01\xbb"
	v2TLV    = "\x04\x00\x03abc\x20\x00\x05\x01\x00\x00\x00\x00"
)

func TestProxyHeaders(t *testing.T) {
	const local = "-"
	for _, tt := range []struct {
		name, header, want string // want: an address, local, or what the error says
	}{
		{"v1 IPv4", "PROXY TCP4 192.0.2.1 10.0.0.1 1234 443\r\n", "192.0.2.1:1234"},
		{"v1 IPv4, the shortest", "PROXY TCP4 1.1.1.1 1.1.1.1 1 1\r\n", "1.1.1.1:1"},
		{"v1 IPv6", "PROXY TCP6 2001:db8::1 2001:db8::2 1234 443\r\n", "[2001:db8::1]:1234"},
		{"v1 IPv6, the longest", "PROXY TCP6 ffff:f...f:ffff ffff:f...f:ffff 65535 65535\r\n", "the PROXY header is"},
		{"v1 unknown", "PROXY UNKNOWN\r\n", local},
		{"v1 unknown, with more", "PROXY UNKNOWN ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff 65535 65535\r\n", local},
		{"v1 of another family", "PROXY TCP4 2001:db8::1 2001:db8::2 1234 443\r\n", "the PROXY header is"},
		{"v1 with two spaces", "PROXY TCP4  192.0.2.1 10.0.0.1 1234 443\r\n", "the PROXY header is"},
		{"v1 with a port too large", "PROXY TCP4 192.0.2.1 10.0.0.1 65536 443\r\n", "the PROXY header is"},
		{"v1 with a zone", "PROXY TCP6 fe80::1%eth0 2001:db8::2 1234 443\r\n", "the PROXY header is"},
		{"v1 with a bare line feed", "PROXY TCP4 192.0.2.1 10.0.0.1 1234 443\nx", "bare line feed"},
		{"v1 too long", "PROXY UNKNOWN " + strings.Repeat("x", 100), "too long"},
		{"v1 cut short", "PROXY TCP4 192.0.2.1", "EOF"},
		{"v2 IPv4", v2(0x21, 0x11, v2Addrs4), "192.0.2.1:1234"},
		{"v2 IPv4 with TLVs", v2(0x21, 0x11, v2Addrs4+v2TLV), "192.0.2.1:1234"},
		{"v2 IPv6", v2(0x21, 0x21, v2Addrs6), "[2001:db8::1]:1234"},
		{"v2 IPv4 in IPv6", v2(0x21, 0x21, v2Mapped), "192.0.2.1:1234"},
		{"v2 local", v2(0x20, 0x00, ""), local},
		{"v2 local with an address", v2(0x20, 0x11, v2Addrs4), local},
		{"v2 unspecified", v2(0x21, 0x00, v2TLV), local},
		{"v2 unix", v2(0x21, 0x31, strings.Repeat("p", 216)), local},
		{"v2 datagrams", v2(0x21, 0x12, v2Addrs4), "family 0x12"},
		{"v2 too short for its family", v2(0x21, 0x21, v2Addrs4), "family 0x21"},
		{"v2 of version 3", v2(0x31, 0x11, v2Addrs4), "command 0x31"},
		{"v2 of an unknown command", v2(0x22, 0x11, v2Addrs4), "command 0x22"},
		{"v2 too long", v2(0x21, 0x11, strings.Repeat("x", maxProxyV2+1)), "4097 bytes"},
		{"v2 cut short", v2(0x21, 0x11, v2Addrs4)[:20], "EOF"},
		{"neither", "GET / HTTP/1.1\r\nHost: x\r\n\r\n", "no PROXY header"},
		{"TLS", "\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03\x00", "no PROXY header"},
		{"nothing", "", "no PROXY header"},
	} {
		for _, isSlow := range []bool{false, true} {
			src := strings.NewReader(tt.header + "GET ")
			if strings.HasSuffix(tt.want, "EOF") || tt.header == "" {
				src = strings.NewReader(tt.header)
			}
			var r io.Reader = src
			if isSlow {
				r = iotest.OneByteReader(src)
			}
			from, err := readProxyHeader(r)
			got := from.String()
			if !from.IsValid() {
				got = local
			}
			if err != nil {
				if !strings.Contains(err.Error(), tt.want) {
					t.Errorf("%s: got %v; want %s", tt.name, err, tt.want)
				}
				continue
			}
			if rest, _ := io.ReadAll(src); got != tt.want || string(rest) != "GET " {
				t.Errorf("%s: got %s, left %q; want %s and what follows the header", tt.name, got, rest, tt.want)
			}
		}
	}
}

func FuzzProxyHeader(f *testing.F) {
	for _, s := range []string{"PROXY TCP4 192.0.2.1 10.0.0.1 1234 443\r\n", "PROXY UNKNOWN\r\n", v2(0x21, 0x11, v2Addrs4+v2TLV), v2(0x21, 0x21, v2Addrs6)} {
		f.Add([]byte(s))
	}
	f.Fuzz(func(t *testing.T, p []byte) {
		r := bytes.NewReader(p)
		if _, err := readProxyHeader(r); err == nil && len(p)-r.Len() > len(proxyV2)+4+maxProxyV2 {
			t.Errorf("%d bytes read", len(p)-r.Len())
		}
	})
}

// Whom the header names is the client: for upstreams, for who may come and for how many may.
func TestProxyHeaderNamesTheClient(t *testing.T) {
	up := startUpstream(t, func(w http.ResponseWriter, r *http.Request) {
		io.WriteString(w, r.Header.Get("X-Forwarded-For"))
	})
	server, client := testTLS(t)
	server.NextProtos = []string{"h2", "http/1.1"}
	var log lockedBuffer
	cfg := Config{
		To:     []string{"http://" + up},
		Limits: Limits{MaxConnsPerAddr: 1},
		Entry:  Entry{ProxyProtocol: true, Allow: nets("192.0.2.0/24", "127.0.0.0/8"), TrustedProxies: nets("127.0.0.0/8")},
		Logger: slog.New(slog.NewTextHandler(&log, nil)),
	}
	f, plain := startFront(t, cfg)
	cfg.ListenTLS, cfg.MaxConnsPerAddr = server, 0
	_, secure := startFront(t, cfg)
	const header, other, denied = "PROXY TCP4 192.0.2.1 10.0.0.1 1234 443\r\n", "PROXY TCP4 192.0.2.2 10.0.0.1 1234 443\r\n", "PROXY TCP4 198.51.100.1 10.0.0.1 1234 443\r\n"

	first := dialClient(t, plain)
	first.send(header + "GET / HTTP/1.1\r\nHost: x\r\n\r\n")
	if a := first.read("GET"); a.body != "192.0.2.1" {
		t.Errorf("got %q; want the address in the header", a.body)
	}
	second := dialClient(t, plain)
	second.send(header + "GET / HTTP/1.1\r\nHost: x\r\n\r\n")
	second.wantEnd("a second connection of one address")
	third := dialClient(t, plain)
	third.send(other + "GET / HTTP/1.1\r\nHost: x\r\n\r\n")
	third.read("GET").want(t, 200, "one of another address")
	local := dialClient(t, plain)
	local.send(v2(0x20, 0, "") + "GET / HTTP/1.1\r\nHost: x\r\n\r\n")
	if a := local.read("GET"); a.body != "127.0.0.1" {
		t.Errorf("LOCAL: got %q; want the proxy's own address", a.body)
	}
	before := f.Stats().Denied
	for _, start := range []string{denied + "GET / HTTP/1.1\r\nHost: x\r\n\r\n", "GET / HTTP/1.1\r\nHost: x\r\n\r\n"} {
		c := dialClient(t, plain)
		c.send(start)
		c.wantEnd(start)
	}
	if got := f.Stats().Denied - before; got != 2 || !strings.Contains(log.String(), "msg=refused") {
		t.Errorf("%d denied; want 2, and a line:\n%s", got, &log)
	}
	for _, isHTTP2 := range []bool{false, true} {
		tr := &http.Transport{TLSClientConfig: client.Clone(), ForceAttemptHTTP2: isHTTP2, DialContext: func(context.Context, string, string) (net.Conn, error) {
			nc, err := net.Dial("tcp", secure)
			if err == nil {
				_, err = io.WriteString(nc, header)
			}
			return nc, err
		}}
		resp, err := (&http.Client{Transport: tr}).Get("https://example.com/")
		if err != nil {
			t.Fatal(err)
		}
		body, _ := io.ReadAll(resp.Body)
		resp.Body.Close()
		if string(body) != "192.0.2.1" {
			t.Errorf("%s: got %q; want the address in the header", resp.Proto, body)
		}
		tr.CloseIdleConnections()
	}
}

// Of one who is no trusted proxy no header is taken: it is no request.
func TestProxyHeaderOfStrangersIsNotTaken(t *testing.T) {
	for _, e := range []Entry{{TrustedProxies: nets("192.0.2.0/24")}, {TrustNobody: true}} {
		e.ProxyProtocol = true
		_, addr := startFront(t, Config{Handler: okHandler, Entry: e})
		c := dialClient(t, addr)
		c.send("PROXY TCP4 192.0.2.1 10.0.0.1 1234 443\r\n\r\n")
		c.read("GET").want(t, 400, "a header of a stranger")
		c = dialClient(t, addr)
		c.get("/").want(t, 200, "a request of a stranger")
	}
}

func TestProxyHeaderHasToComeInTime(t *testing.T) {
	bubble(t, func(t *testing.T) {
		f, err := NewFront(Config{Handler: okHandler, Entry: Entry{ProxyProtocol: true}})
		if err != nil {
			t.Fatal(err)
		}
		defer f.Close()
		c := serveBubble(t, f)
		c.send("PROXY TCP4 192.0.2.1")
		synctest.Wait()
		began := time.Now()
		c.wantEnd("half a header")
		if took := time.Since(began); took != proxyTimeout {
			t.Errorf("took %v; want %v", took, proxyTimeout)
		}
		c = serveBubble(t, f)
		c.send("PROXY TCP4 192.0.2.1 10.0.0.1 1234 443\r\n")
		time.Sleep(proxyTimeout + time.Second) // an idle client's time, not the header's
		c.get("/").want(t, 200, "a request after that")
	})
}
