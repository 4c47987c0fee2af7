package bench

import (
	"bufio"
	"crypto/tls"
	"fmt"
	"io"
	"net"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/h2tp/h2tp/proxy"
)

// startOrigin is an HTTP/1.1 server of the simplest kind: GET /N is answered with N
// bytes, and a PUT by 204 once its body has come.
func startOrigin(tb testing.TB) string {
	return serve(tb, func(nc net.Conn) {
		r := bufio.NewReaderSize(nc, pieceSize)
		buf := make([]byte, pieceSize)
		for {
			var target string
			var length int64
			for line := "?"; line != "\r\n"; {
				var err error
				if line, err = r.ReadString('\n'); err != nil {
					return
				}
				if target == "" {
					target = strings.Fields(line)[1]
				}
				if v, ok := strings.CutPrefix(strings.ToLower(line), "content-length: "); ok {
					length, _ = strconv.ParseInt(strings.TrimSpace(v), 10, 64)
				}
			}
			if length > 0 {
				drain(r, length, buf)
				io.WriteString(nc, "HTTP/1.1 204 No Content\r\n\r\n")
				continue
			}
			n, _ := strconv.ParseInt(target[1:], 10, 64)
			fmt.Fprintf(nc, "HTTP/1.1 200 OK\r\nContent-Length: %d\r\nContent-Encoding: gzip\r\n\r\n", n)
			feed(nc, n)
		}
	})
}

// serve runs f for each connection, until the test ends.
func serve(tb testing.TB, f func(net.Conn)) (addr string) {
	ln := listen(tb)
	var wg sync.WaitGroup
	var mu sync.Mutex
	var conns []net.Conn
	wg.Go(func() {
		for {
			nc, err := ln.Accept()
			if err != nil {
				return
			}
			mu.Lock()
			conns = append(conns, nc)
			mu.Unlock()
			wg.Go(func() {
				defer nc.Close()
				f(nc)
			})
		}
	})
	tb.Cleanup(func() {
		ln.Close()
		mu.Lock()
		for _, nc := range conns {
			nc.Close()
		}
		mu.Unlock()
		wg.Wait()
	})
	return ln.Addr().String()
}

// moveHTTP moves bodies between a client at addr and the origin behind.
func moveHTTP(tb testing.TB, addr string, isUpload bool) mover {
	nc := dialPlain(tb, addr)
	r := bufio.NewReaderSize(nc, pieceSize)
	buf := make([]byte, pieceSize)
	head := func(status string) error {
		first, err := r.ReadString('\n')
		for line := first; err == nil && line != "\r\n"; {
			line, err = r.ReadString('\n')
		}
		if err == nil && !strings.HasPrefix(first, status) {
			err = fmt.Errorf("got %q", first)
		}
		return err
	}
	return func(n int64) error {
		if isUpload {
			fmt.Fprintf(nc, "PUT / HTTP/1.1\r\nHost: x\r\nContent-Encoding: gzip\r\nContent-Length: %d\r\n\r\n", n)
			if err := feed(nc, n); err != nil {
				return err
			}
			return head("HTTP/1.1 204")
		}
		fmt.Fprintf(nc, "GET /%d HTTP/1.1\r\nHost: x\r\n\r\n", n)
		if err := head("HTTP/1.1 200"); err != nil {
			return err
		}
		return drain(r, n, buf)
	}
}

// movePair moves through a front and a back; the body is said to be compressed, so
// that no codec sees it.
func movePair(tb testing.TB, isUpload bool, server, client *tls.Config) mover {
	ln := listen(tb)
	back, err := proxy.NewBack(proxy.Config{To: []string{"http://" + startOrigin(tb)}, ListenTLS: server, Cleartext: server == nil})
	if err != nil {
		tb.Fatal(err)
	}
	var wg sync.WaitGroup
	wg.Go(func() { back.Serve(ln) })
	scheme := "h2tpc://"
	if server != nil {
		scheme = "h2tp://"
	}
	front, err := proxy.NewFront(proxy.Config{To: []string{scheme + ln.Addr().String()}, Hop: proxy.Hop{TLS: func() *tls.Config { return client }}})
	if err != nil {
		tb.Fatal(err)
	}
	fln := listen(tb)
	wg.Go(func() { front.Serve(fln) })
	tb.Cleanup(func() { front.Close(); back.Close(); wg.Wait() })
	return moveHTTP(tb, fln.Addr().String(), isUpload)
}

// moveRelays moves through two relays of bytes in a row, the least that a pair can
// be; by splice the kernel moves the bytes and no relay sees them.
func moveRelays(tb testing.TB, isUpload, isSpliced bool) mover {
	addr := startOrigin(tb)
	for range 2 {
		to := addr
		addr = serve(tb, func(nc net.Conn) { relay(nc, dialPlain(tb, to), isSpliced) })
	}
	return moveHTTP(tb, addr, isUpload)
}

// relay copies both ways until one of them ends.
func relay(a, b net.Conn, isSpliced bool) {
	var wg sync.WaitGroup
	for _, d := range [][2]net.Conn{{a, b}, {b, a}} {
		wg.Go(func() {
			defer a.Close()
			defer b.Close()
			if isSpliced {
				io.Copy(d[0], d[1])
			} else {
				io.CopyBuffer(struct{ io.Writer }{d[0]}, struct{ io.Reader }{d[1]}, make([]byte, pieceSize))
			}
		})
	}
	wg.Wait()
}

const (
	longDelay = 25 * time.Millisecond // one way
	longRate  = 1e9 / 8               // bytes a second
)

// dialLong connects through a relay that delays each way and bounds its rate.
func dialLong(tb testing.TB, addr string) net.Conn {
	return dialPlain(tb, serve(tb, func(nc net.Conn) {
		far := dialPlain(tb, addr)
		var wg sync.WaitGroup
		wg.Go(func() { delay(nc, far) })
		delay(far, nc)
		wg.Wait()
	}))
}

// delay passes on what it reads, each piece longDelay after it would have left a
// link of longRate. What is on its way is bounded by a few bandwidth-delay products.
func delay(to, from net.Conn) {
	defer to.Close()
	type piece struct {
		due time.Time
		b   []byte
	}
	c := make(chan piece, 4*int(longRate*longDelay.Seconds())/pieceSize*2)
	var wg sync.WaitGroup
	wg.Go(func() {
		isBroken := false
		for p := range c {
			time.Sleep(time.Until(p.due)) // the link's, not a test's
			if _, err := to.Write(p.b); err != nil && !isBroken {
				isBroken = true
				from.Close()
			}
		}
	})
	var free time.Time // when the link has sent what was read before
	for {
		b := make([]byte, pieceSize)
		n, err := from.Read(b)
		if n > 0 {
			now := time.Now()
			if free.Before(now) {
				free = now
			}
			free = free.Add(time.Duration(float64(n) / longRate * 1e9))
			time.Sleep(time.Until(free) - 2*time.Millisecond) // no more than 2 ms of it in the link's queue
			c <- piece{free.Add(longDelay), b[:n]}
		}
		if err != nil {
			break
		}
	}
	close(c)
	wg.Wait()
}
