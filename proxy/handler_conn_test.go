package proxy

import (
	"fmt"
	"io"
	"net"
	"strings"
	"testing"
	"time"

	"github.com/valyala/fasthttp"

	"github.com/h2tp/h2tp/proxy/internal/wire"
)

const upgradeRequest = "GET /echo HTTP/1.1\r\nHost: x\r\nX-Long: %s\r\nConnection: Upgrade\r\nUpgrade: echo\r\n\r\n"

// hijackHandler echoes what comes on a connection it has taken, then says bye.
func hijackHandler(ended chan<- error) fasthttp.RequestHandler {
	return func(ctx *fasthttp.RequestCtx) {
		switch string(ctx.Path()) {
		case "/panic":
			panic("on purpose")
		case "/early":
			ctx.Hijack(func(net.Conn) {})
			return
		}
		ctx.SetStatusCode(101)
		ctx.Response.Header.Set("Upgrade", "echo")
		ctx.Response.Header.Set("Connection", "Upgrade")
		ctx.Response.Header.Set("X-Path", string(ctx.Path()))
		ctx.Hijack(func(nc net.Conn) {
			_, err := io.Copy(nc, nc)
			io.WriteString(nc, "bye")
			ended <- err
		})
	}
}

func TestHandlerTakesTheConnectionOfAnUpgrade(t *testing.T) {
	ended := make(chan error, 10)
	cfg := Config{Handler: hijackHandler(ended)}
	_, direct := startFront(t, cfg)
	p := startPair(t, "", Config{}, cfg)
	for _, addr := range []string{direct, p.addr} {
		c := dialClient(t, addr)
		c.send(fmt.Sprintf(upgradeRequest, strings.Repeat("x", 30_000)))
		if a := c.read("GET"); a.status != 101 || a.header.Get("Upgrade") != "echo" || a.header.Get("X-Path") != "/echo" {
			t.Fatalf("got %v", a)
		}
		want := strings.Repeat("there and back ", 50_000)
		go func() {
			io.WriteString(c.nc, want)
			c.nc.(*net.TCPConn).CloseWrite()
		}()
		got, err := io.ReadAll(c.r)
		if string(got) != want+"bye" || err != nil {
			t.Errorf("got %d bytes, %v; want %d and bye", len(got), err, len(want))
		}
		if err := await(t, ended, "the handler's end"); err != nil {
			t.Errorf("the handler read up to %v", err)
		}
		dialClient(t, addr).get("/early").want(t, 502, "Hijack without an Upgrade")
		for _, fields := range []string{"", "Connection: Upgrade\r\nUpgrade: echo\r\n"} {
			c := dialClient(t, addr)
			c.send("GET /panic HTTP/1.1\r\nHost: x\r\n" + fields + "\r\n")
			c.read("GET").want(t, 502, "a panic")
		}
	}
}

// A connection that a handler has taken ends with its client, and with the end that serves it.
func TestTakenConnectionEnds(t *testing.T) {
	for _, isClient := range []bool{true, false} {
		ended := make(chan error, 1)
		b, err := NewBack(Config{Handler: hijackHandler(ended), Cleartext: true})
		if err != nil {
			t.Fatal(err)
		}
		ln := listenTCP(t)
		served := make(chan error, 1)
		go func() { served <- b.Serve(ln) }()
		_, addr := startFront(t, Config{To: []string{"h2tpc://" + ln.Addr().String()}})
		c := dialClient(t, addr)
		c.send(fmt.Sprintf(upgradeRequest, "short"))
		c.read("GET").want(t, 101, "an Upgrade")
		if isClient {
			c.nc.(*net.TCPConn).SetLinger(0)
			c.nc.Close()
			await(t, ended, "the handler's end")
		}
		b.Close()
		if !isClient {
			await(t, ended, "the handler's end")
			c.nc.SetReadDeadline(time.Now().Add(patience))
			if _, err := io.ReadAll(c.r); err != nil && !strings.Contains(err.Error(), "reset") {
				t.Errorf("the client read up to %v", err)
			}
		}
		await(t, served, "the back's end")
	}
}

// A back may answer, and end the stream, before the front has noticed that its request was sent.
func TestAnswerThatOvertakesTheRequestsEndCounts(t *testing.T) {
	b := startBodies(t)
	_, addr := startFront(t, Config{To: []string{"h2tpc://" + b.addr}})
	for range 50 {
		c := dialClient(t, addr)
		c.send("GET / HTTP/1.1\r\nHost: x\r\nConnection: Upgrade\r\nUpgrade: x\r\n\r\n")
		s := await(t, b.openc, "the bulk stream")
		own := ownTerms()
		s.Respond(200, own.fields()...)
		var batch wire.Batch
		enc := wire.NewEncoder(wire.DictLimits{})
		enc.AppendResponse(&batch, 1, &wire.Response{Status: 200, BodyKind: wire.BodyWhole, Body: []byte("early")})
		writeBatch(s, &batch)
		s.Close()
		if a := c.read("GET"); a.status != 200 || a.body != "early" {
			t.Fatalf("got %d %q", a.status, a.body)
		}
	}
}
