package pool_test

import (
	"context"
	"fmt"
	"io"
	"log"
	"net"
	"time"

	"github.com/h2tp/h2tp/pool"
)

// A server takes one of the streams that its client keeps ready, tells the client
// which, and the two ends meet: both are a net.Conn.
func ExampleReady() {
	ctx, cancel := context.WithTimeout(context.Background(), 10*time.Second)
	defer cancel()
	ids := make(chan uint32) // stands for whatever carries the id to the client

	// The server.
	set, err := pool.NewReadySet(pool.ReadySetConfig{})
	if err != nil {
		log.Fatal(err)
	}
	srv, err := pool.NewServer(pool.ServerConfig{
		Common: pool.Common{Cleartext: true}, // or TLS
		Accept: func(s *pool.Stream) { set.Offer(s) },
	})
	if err != nil {
		log.Fatal(err)
	}
	defer srv.Close()
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		log.Fatal(err)
	}
	go srv.Serve(ln)
	go func() {
		s, id, err := set.Accept(ctx)
		if err != nil {
			log.Fatal(err)
		}
		defer s.Close()
		ids <- id
		name, _ := io.ReadAll(s)
		fmt.Fprintf(s, "hello, %s", name)
	}()

	// The client.
	cl, err := pool.NewClient(pool.ClientConfig{Common: pool.Common{Cleartext: true}, Addr: ln.Addr().String()})
	if err != nil {
		log.Fatal(err)
	}
	defer cl.Close()
	ready, err := cl.Ready(pool.ReadyConfig{MinCapacity: 2})
	if err != nil {
		log.Fatal(err)
	}
	defer ready.Close()
	s, err := ready.Take(ctx, <-ids)
	if err != nil {
		log.Fatal(err)
	}
	defer s.Close()
	io.WriteString(s, "client")
	s.CloseWrite()
	answer, err := io.ReadAll(s)
	fmt.Println(string(answer), err)
	// Output: hello, client <nil>
}
