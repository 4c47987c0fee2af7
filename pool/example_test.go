package pool_test

import (
	"context"
	"fmt"
	"io"
	"net"
	"net/http"
	"sync"
	"time"

	"github.com/h2tp/h2tp/pool"
)

// A server that accepts streams, and a client that opens one, as net.Conns.
func Example() {
	srv, err := pool.NewServer(pool.ServerConfig{Common: pool.Common{Cleartext: true}})
	if err != nil {
		panic(err)
	}
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		panic(err)
	}
	go srv.Serve(ln)
	defer srv.Close()
	go func() {
		for {
			s, err := srv.Accept(context.Background())
			if err != nil {
				return
			}
			go func() {
				io.Copy(s, s)
				s.Close()
			}()
		}
	}()

	cl, err := pool.NewClient(pool.ClientConfig{Common: pool.Common{Cleartext: true}, Addr: ln.Addr().String()})
	if err != nil {
		panic(err)
	}
	defer cl.Close()
	ctx, cancel := context.WithTimeout(context.Background(), 10*time.Second)
	defer cancel()
	s, err := cl.Open(ctx, pool.Header{Path: "/echo"}, nil)
	if err != nil {
		panic(err)
	}
	defer s.Close()
	io.WriteString(s, "hello over a stream")
	s.CloseWrite()
	answer, err := io.ReadAll(s)
	fmt.Println(string(answer), err)
	// Output: hello over a stream <nil>
}

// Whatever serves a net.Listener serves streams, and whatever dials opens them: here
// Go's HTTP/1.1 server and client, over one connection.
func ExampleServer_Listener() {
	srv, err := pool.NewServer(pool.ServerConfig{Common: pool.Common{Cleartext: true}})
	if err != nil {
		panic(err)
	}
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		panic(err)
	}
	go srv.Serve(ln)
	defer srv.Close()
	go http.Serve(srv.Listener(), http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		fmt.Fprintln(w, "you asked for", r.URL.Path)
	}))

	cl, err := pool.NewClient(pool.ClientConfig{Common: pool.Common{Cleartext: true}, Addr: ln.Addr().String()})
	if err != nil {
		panic(err)
	}
	defer cl.Close()
	hc := &http.Client{Transport: &http.Transport{
		DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
			return cl.Open(ctx, pool.Header{Path: "/"}, nil)
		},
	}}
	var wg sync.WaitGroup
	for range 10 {
		wg.Go(func() {
			resp, err := hc.Get("http://streams/some/page")
			if err != nil {
				panic(err)
			}
			defer resp.Body.Close()
			text, _ := io.ReadAll(resp.Body)
			fmt.Print(string(text))
		})
	}
	wg.Wait()
	fmt.Println(cl.Stats().Dials, "connection")
	// Unordered output:
	// you asked for /some/page
	// you asked for /some/page
	// you asked for /some/page
	// you asked for /some/page
	// you asked for /some/page
	// you asked for /some/page
	// you asked for /some/page
	// you asked for /some/page
	// you asked for /some/page
	// you asked for /some/page
	// 1 connection
}

// One of several addresses in turn, and one from discovery, here DNS.
func ExampleClientConfig_resolve() {
	rotating := pool.ClientConfig{
		Addr:    "back.example:8443", // what certificates name
		Resolve: pool.Rotate("192.0.2.1:8443", "192.0.2.2:8443"),
		Conns:   2,
	}
	discovered := pool.ClientConfig{
		Addr: "back.example:8443",
		Resolve: func(ctx context.Context) (string, error) {
			_, records, err := net.DefaultResolver.LookupSRV(ctx, "h2tp", "tcp", "back.example")
			if err != nil {
				return "", err
			}
			return fmt.Sprintf("%s:%d", records[0].Target, records[0].Port), nil // the lookup shuffles them
		},
	}
	for range 3 {
		fmt.Println(rotating.Resolve(context.Background()))
	}
	_ = discovered
	// Output:
	// 192.0.2.1:8443 <nil>
	// 192.0.2.2:8443 <nil>
	// 192.0.2.1:8443 <nil>
}
