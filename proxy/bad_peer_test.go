package proxy

import (
	"crypto/tls"
	"crypto/x509"
	"io"
	"log/slog"
	"net"
	"strings"
	"testing"
	"time"

	"github.com/valyala/fasthttp"
)

// Who may not come is refused before a request, counted and named once, and disturbs nobody.
func TestBadPeersAreRefusedCountedAndNamed(t *testing.T) {
	server, client := testTLS(t)
	server.ClientAuth, server.ClientCAs = tls.RequireAndVerifyClientCert, client.RootCAs
	for _, isBack := range []bool{false, true} {
		config := server.Clone()
		config.NextProtos = []string{"http/1.1"}
		if isBack {
			config.NextProtos = []string{"h2"}
		}
		var log lockedBuffer
		handled := make(chan struct{}, 10)
		cfg := Config{ListenTLS: config, Logger: slog.New(slog.NewTextHandler(&log, nil)), Handler: func(*fasthttp.RequestCtx) { handled <- struct{}{} }}
		var addr string
		var counts func() Stats
		if isBack {
			ln := listenTCP(t)
			b := startBack(t, ln, cfg)
			addr, counts = ln.Addr().String(), b.Stats
		} else {
			f, a := startFront(t, cfg)
			addr, counts = a, f.Stats
		}
		good := client.Clone()
		good.NextProtos = config.NextProtos
		strange := good.Clone()
		strange.RootCAs = x509.NewCertPool()
		for i, start := range []func(nc net.Conn) error{
			func(nc net.Conn) error { // in the clear
				io.WriteString(nc, "GET / HTTP/1.1\r\nHost: x\r\n\r\n")
				got, _ := io.ReadAll(nc)
				if strings.Contains(string(got), "HTTP/1.1 2") {
					t.Errorf("in the clear: got %q", got)
				}
				return nil
			},
			func(nc net.Conn) error { return shakeHands(nc, good) }, // no certificate
			func(nc net.Conn) error { return shakeHands(nc, strange) },
		} {
			nc, err := net.Dial("tcp", addr)
			if err != nil {
				t.Fatal(err)
			}
			nc.SetDeadline(time.Now().Add(patience))
			if err := start(nc); err != nil {
				t.Error(err)
			}
			nc.Close()
			awaitTrue(t, func() bool { return counts().BadHandshakes == int64(i+1) }, "the count")
		}
		if !strings.Contains(log.String(), `msg="handshake failed" addr=127.0.0.1`) {
			t.Errorf("the log does not name it:\n%s", &log)
		}
		if len(handled) > 0 || counts().Exchanges > 0 {
			t.Error("a request was handled")
		}
	}
}

// shakeHands fails unless the peer refuses.
func shakeHands(nc net.Conn, config *tls.Config) error {
	tc := tls.Client(nc, config)
	if tc.Handshake() != nil {
		return nil
	}
	if _, err := tc.Read(make([]byte, 1)); err == nil { // TLS 1.3 tells a client of its certificate after the handshake
		return io.ErrShortWrite
	}
	return nil
}

// A listener in the clear takes no TLS.
func TestHTTPListenerTakesNoTLS(t *testing.T) {
	_, addr := startFront(t, Config{Handler: okHandler})
	_, client := testTLS(t)
	nc, err := net.Dial("tcp", addr)
	if err != nil {
		t.Fatal(err)
	}
	defer nc.Close()
	nc.SetDeadline(time.Now().Add(patience))
	if err := tls.Client(nc, client).Handshake(); err == nil {
		t.Error("TLS was spoken in the clear")
	}
}
