package pool

import (
	"crypto/tls"
	"net"
	"testing"

	"golang.org/x/net/nettest"
)

// Streams do what Go's own suite asks of a net.Conn. (nettest is of golang.org/x/net,
// which the package needs anyway.)
func TestStreamIsANetConn(t *testing.T) {
	ca := newAuthority()
	for _, tt := range []struct {
		name           string
		server, client Common
	}{
		{"cleartext", Common{Cleartext: true}, Common{Cleartext: true}},
		{"tls", Common{TLS: &tls.Config{Certificates: []tls.Certificate{ca.issue("back")}}}, Common{TLS: &tls.Config{RootCAs: ca.pool}}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			srv, err := NewServer(ServerConfig{Common: tt.server})
			if err != nil {
				t.Fatal(err)
			}
			ln := listen(t)
			go srv.Serve(ln)
			defer srv.Close()
			cl, err := NewClient(ClientConfig{Common: tt.client, Addr: ln.Addr().String()})
			if err != nil {
				t.Fatal(err)
			}
			defer cl.Close()
			nettest.TestConn(t, func() (c1, c2 net.Conn, stop func(), err error) {
				opened := make(chan error, 1)
				go func() {
					s, err := cl.Open(t.Context(), Header{Path: "/"}, nil)
					c1 = s
					opened <- err
				}()
				c2, err = srv.Listener().Accept()
				if err == nil {
					err = <-opened
				}
				return c1, c2, func() { c1.Close(); c2.Close() }, err
			})
		})
	}
}
