package main

import (
	"log/slog"
	"net"
	"testing"

	"github.com/h2tp/h2tp/pool"
)

func TestTraceLogsConnectionsAndStreams(t *testing.T) {
	up := startUpstream(t, hello)
	back := startServe(t, "--listen", "h2tpc://127.0.0.1:0", "--to", up, "--trace")
	front := startServe(t, "--listen", "http://127.0.0.1:0", "--to", back.url(t, "h2tpc"), "--trace")
	wantHello(t, front.url(t, "http"))
	for _, p := range []*process{front, back} {
		p.out.await(t, `msg="trace: connected" addr=127.0.0.1:`)
		p.out.await(t, `stream=1 reused=false`)
	}
	front.out.await(t, `msg="trace: dialling" addr=127.0.0.1:`)
	back.cancel()
	front.out.await(t, `msg="trace: stream closed"`)
	front.out.await(t, `msg="trace: disconnected"`)
}

// A ready stream has the id that the protocol writes.
func TestTraceWritesIDsAsTheProtocolDoes(t *testing.T) {
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	srv, err := pool.NewServer(pool.ServerConfig{Common: pool.Common{Cleartext: true}, Accept: func(s *pool.Stream) { s.Respond(200) }})
	if err != nil {
		t.Fatal(err)
	}
	go srv.Serve(ln)
	defer srv.Close()
	cl, err := pool.NewClient(pool.ClientConfig{Common: pool.Common{Cleartext: true}, Addr: ln.Addr().String()})
	if err != nil {
		t.Fatal(err)
	}
	defer cl.Close()
	s, err := cl.Open(t.Context(), pool.Header{Path: "/"}, nil)
	if err != nil {
		t.Fatal(err)
	}
	out := newOutput()
	newTrace(slog.New(slog.NewTextHandler(out, nil))).Taken(s, 0x00c6_8fdb)
	out.await(t, "id=00c68fdb")
}
