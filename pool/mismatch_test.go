package pool

import (
	"bufio"
	"context"
	"crypto/tls"
	"errors"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"
)

// testTLS is a server's configuration, and a client's that trusts it.
func testTLS(t testing.TB) (server, client *tls.Config) {
	t.Helper()
	srv := httptest.NewUnstartedServer(nil)
	srv.StartTLS()
	defer srv.Close()
	return &tls.Config{Certificates: srv.TLS.Certificates},
		&tls.Config{RootCAs: srv.Client().Transport.(*http.Transport).TLSClientConfig.RootCAs, ServerName: "example.com"}
}

// answering accepts connections, reads what comes first, and answers with text.
func answering(t *testing.T, text string) net.Listener {
	ln := listen(t)
	t.Cleanup(func() { ln.Close() })
	go func() {
		for {
			nc, err := ln.Accept()
			if err != nil {
				return
			}
			bufio.NewReader(nc).Peek(16)
			nc.Write([]byte(text))
			nc.Close()
		}
	}()
	return ln
}

func TestClientNamesTheProtocolItMeets(t *testing.T) {
	serverTLS, clientTLS := testTLS(t)
	clear := func(t *testing.T) net.Listener {
		ln := listen(t)
		startServer(t, ln, echo)
		return ln
	}
	encrypted := func(t *testing.T) net.Listener {
		ln := listen(t)
		srv, err := NewServer(ServerConfig{Common: Common{TLS: serverTLS}, Accept: echo})
		if err != nil {
			t.Fatal(err)
		}
		go srv.Serve(ln)
		t.Cleanup(func() { srv.Close() })
		return ln
	}
	says := func(text string) func(*testing.T) net.Listener {
		return func(t *testing.T) net.Listener { return answering(t, text) }
	}
	for _, test := range []struct {
		name   string
		server func(*testing.T) net.Listener
		client Common
		want   string
	}{
		{"clear to TLS", encrypted, Common{Cleartext: true}, "peer speaks TLS; want HTTP/2 in the clear"},
		{"clear to HTTP/1.1", says("HTTP/1.1 400 Bad Request\r\n\r\n"), Common{Cleartext: true}, "peer answered HTTP/1.1; want HTTP/2 in the clear"},
		{"clear to one that closes", says(""), Common{Cleartext: true}, "peer closed the connection before its SETTINGS"},
		{"TLS to clear", clear, Common{TLS: clientTLS}, "peer speaks no TLS: it speaks HTTP/2 in the clear; want TLS"},
		{"TLS to HTTP/1.1", says("HTTP/1.1 400 Bad Request\r\n\r\n"), Common{TLS: clientTLS}, "peer speaks no TLS: it answered HTTP/1.1; want TLS"},
		{"TLS to another", says("SSH-2.0-x\r\n"), Common{TLS: clientTLS}, `peer speaks no TLS: it sent "SSH-2"; want TLS`},
		{"TLS to one that closes", says(""), Common{TLS: clientTLS}, "peer closed the connection in the handshake"},
	} {
		t.Run(test.name, func(t *testing.T) {
			ln := test.server(t)
			cl, err := NewClient(ClientConfig{Common: test.client, Addr: ln.Addr().String()})
			if err != nil {
				t.Fatal(err)
			}
			defer cl.Close()
			ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second)
			defer cancel()
			for cl.Err() == nil && ctx.Err() == nil { // until the first dial has failed
				cl.mu.Lock()
				changedc := cl.changedc
				cl.mu.Unlock()
				if cl.Err() == nil {
					<-changedc
				}
			}
			err = cl.Err()
			if err == nil || !strings.Contains(err.Error(), test.want) {
				t.Errorf("got %v; want ... %s", err, test.want)
			}
			if _, ok := errors.AsType[*MismatchError](err); ok == strings.Contains(test.want, "closed") {
				t.Errorf("got a %T", err)
			}
		})
	}
}

func TestServerNamesTheProtocolItMeets(t *testing.T) {
	serverTLS, _ := testTLS(t)
	for _, test := range []struct {
		sent string
		cfg  Common
		want string
	}{
		{"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", Common{TLS: serverTLS}, "peer speaks no TLS: it speaks HTTP/2 in the clear; want TLS"},
		{"GET / HTTP/1.1\r\n\r\n", Common{TLS: serverTLS}, "peer speaks no TLS: it speaks HTTP/1.1; want TLS"},
		{"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03", Common{Cleartext: true}, "no HTTP/2 preface: peer speaks TLS"},
		{"POST / HTTP/1.1\r\n\r\n", Common{Cleartext: true}, "no HTTP/2 preface: peer speaks HTTP/1.1"},
	} {
		a, b := net.Pipe()
		go func() {
			a.Write([]byte(test.sent))
			io.Copy(io.Discard, a)
		}()
		cfg := test.cfg
		nc, _, err := handshake(t.Context(), b, false, &cfg)
		if err == nil {
			err = cfg.complete()
			if err == nil {
				err = newConn(nc, false, &cfg).run()
			}
		}
		a.Close()
		b.Close()
		if err == nil || !strings.Contains(err.Error(), test.want) {
			t.Errorf("%q: got %v; want ... %s", test.sent, err, test.want)
		}
	}
}
