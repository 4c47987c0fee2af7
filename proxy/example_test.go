package proxy_test

import (
	"errors"
	"fmt"
	"io"
	"log"
	"net"
	"net/http"
	"time"

	"github.com/valyala/fasthttp"

	"github.com/h2tp/h2tp/proxy"
)

// startBack serves the hop with a handler of this process.
func startBack(handler fasthttp.RequestHandler) (back *proxy.Back, url string) {
	back, err := proxy.NewBack(proxy.Config{Handler: handler, Cleartext: true})
	if err != nil {
		log.Fatal(err)
	}
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		log.Fatal(err)
	}
	go back.Serve(ln)
	return back, "h2tpc://" + ln.Addr().String()
}

func greet(ctx *fasthttp.RequestCtx) {
	fmt.Fprintf(ctx, "hello %s", ctx.QueryArgs().Peek("name"))
}

func newFront(cfg proxy.Config) *proxy.Front {
	front, err := proxy.NewFront(cfg)
	if err != nil {
		log.Fatal(err)
	}
	return front
}

// A program may send its requests over the hop without any HTTP/1.1.
func ExampleFront_Do() {
	back, url := startBack(greet)
	defer back.Close()
	front, err := proxy.NewFront(proxy.Config{To: []string{url}})
	if err != nil {
		log.Fatal(err)
	}
	defer front.Close()

	var req fasthttp.Request
	var resp fasthttp.Response
	req.SetRequestURI("http://greeter.test/?name=gopher")
	if err := front.Do(&req, &resp); err != nil {
		log.Fatal(err)
	}
	fmt.Println(resp.StatusCode(), string(resp.Body()))
	// Output: 200 hello gopher
}

func ExampleFront_DoTimeout() {
	releasec := make(chan struct{})
	back, url := startBack(func(*fasthttp.RequestCtx) { <-releasec })
	defer back.Close()
	defer close(releasec)
	front := newFront(proxy.Config{To: []string{url}})
	defer front.Close()

	var req fasthttp.Request
	var resp fasthttp.Response
	req.SetRequestURI("http://slow.test/")
	err := front.DoTimeout(&req, &resp, 20*time.Millisecond)
	fmt.Println(errors.Is(err, proxy.ErrTimeout))
	// Output: true
}

func ExampleFront_DoDeadline() {
	back, url := startBack(greet)
	defer back.Close()
	front := newFront(proxy.Config{To: []string{url}})
	defer front.Close()

	var req fasthttp.Request
	var resp fasthttp.Response
	req.SetRequestURI("http://greeter.test/?name=deadline")
	err := front.DoDeadline(&req, &resp, time.Now().Add(10*time.Second))
	fmt.Println(err, string(resp.Body()), front.PendingRequests())
	// Output: <nil> hello deadline 0
}

// Fronts are clients that fasthttp can balance between.
func ExampleFront_balanced() {
	var lb fasthttp.LBClient
	for range 3 {
		back, url := startBack(greet)
		defer back.Close()
		front := newFront(proxy.Config{To: []string{url}})
		defer front.Close()
		lb.Clients = append(lb.Clients, front)
	}

	var req fasthttp.Request
	var resp fasthttp.Response
	req.SetRequestURI("http://greeter.test/?name=all")
	for range 6 {
		if err := lb.DoTimeout(&req, &resp, 10*time.Second); err != nil {
			log.Fatal(err)
		}
	}
	fmt.Println(string(resp.Body()))
	// Output: hello all
}

// A fasthttp server may proxy some of its requests over the hop.
func ExampleFront_Handle() {
	back, url := startBack(func(ctx *fasthttp.RequestCtx) {
		fmt.Fprintf(ctx, "%s for %s", ctx.Path(), ctx.Request.Header.Peek("X-Forwarded-For"))
	})
	defer back.Close()
	front := newFront(proxy.Config{To: []string{url}})
	defer front.Close()

	srv := &fasthttp.Server{Handler: front.Handle}
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		log.Fatal(err)
	}
	go srv.Serve(ln)
	defer srv.Shutdown()
	printBody("http://" + ln.Addr().String() + "/path")
	// Output: 200 /path for 127.0.0.1
}

func printBody(url string) {
	resp, err := http.Get(url)
	if err != nil {
		log.Fatal(err)
	}
	defer http.DefaultClient.CloseIdleConnections()
	defer resp.Body.Close()
	body, err := io.ReadAll(resp.Body)
	fmt.Println(resp.StatusCode, string(body))
	if err != nil {
		log.Fatal(err)
	}
}

// A front accepts HTTP/1.1 and sends what comes to a back.
func ExampleFront_Serve() {
	back, url := startBack(greet)
	defer back.Close()
	front := newFront(proxy.Config{To: []string{url}})
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		log.Fatal(err)
	}
	done := make(chan error)
	go func() { done <- front.Serve(ln) }()
	printBody("http://" + ln.Addr().String() + "/?name=curl")
	front.Close()
	fmt.Println(<-done)
	// Output:
	// 200 hello curl
	// proxy: closed
}

// A back may answer in its own process, by any fasthttp handler; one that takes
// too long may answer by TimeoutError and go on with its RequestCtx.
func ExampleNewBack() {
	releasec := make(chan struct{})
	defer close(releasec)
	back, url := startBack(func(ctx *fasthttp.RequestCtx) {
		done := make(chan struct{})
		go func() {
			<-releasec
			ctx.SetBodyString("nobody waits for this")
			close(done)
		}()
		select {
		case <-done:
		case <-time.After(10 * time.Millisecond):
			ctx.TimeoutError("too slow")
		}
	})
	defer back.Close()
	front := newFront(proxy.Config{To: []string{url}})
	defer front.Close()

	var req fasthttp.Request
	var resp fasthttp.Response
	req.SetRequestURI("http://slow.test/")
	err := front.Do(&req, &resp)
	fmt.Println(err, resp.StatusCode(), string(resp.Body()))
	// Output: <nil> 408 too slow
}

// Connections may be made in any way.
func ExampleConfig_dial() {
	back, err := proxy.NewBack(proxy.Config{Handler: greet, Cleartext: true})
	if err != nil {
		log.Fatal(err)
	}
	defer back.Close()
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		log.Fatal(err)
	}
	go back.Serve(ln)

	front := newFront(proxy.Config{
		To:  []string{"h2tpc://back.test:8043"},
		Hop: proxy.Hop{Conns: 1},
		Dial: func(network, addr string, timeout time.Duration) (net.Conn, error) {
			fmt.Println("dial", addr)
			return net.DialTimeout(network, ln.Addr().String(), timeout)
		},
	})
	defer front.Close()
	var req fasthttp.Request
	var resp fasthttp.Response
	req.SetRequestURI("http://greeter.test/?name=dial")
	err = front.Do(&req, &resp)
	fmt.Println(err, string(resp.Body()))
	// Output:
	// dial back.test:8043
	// <nil> hello dial
}
