package proxy

import (
	"bufio"
	"bytes"
	"context"
	"fmt"
	"io"
	"net"
	"net/http"
	"runtime"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/h2tp/h2tp/pool"
)

// ownGoroutines are those of fronts, backs and their connections; not the tests' own in which Serve is about to return.
func ownGoroutines() (list []string) {
	buf := make([]byte, 16<<20)
	for stack := range strings.SplitSeq(string(buf[:runtime.Stack(buf, true)]), "\n\n") {
		isOwn := strings.Contains(stack, "/proxy.(*") || strings.Contains(stack, "/pool.(*")
		isTests := strings.Contains(stack, "testing.tRunner") || strings.Contains(stack, "created by github.com/h2tp/h2tp/proxy.start")
		if isOwn && !isTests {
			list = append(list, stack)
		}
	}
	return list
}

// After a mixed run, with exchanges of every kind still under way, Close leaves no
// goroutine at either end.
func TestCloseLeavesNoGoroutine(t *testing.T) {
	var here sync.WaitGroup // requests that stay
	up := startUpstream(t, func(w http.ResponseWriter, r *http.Request) {
		rc := http.NewResponseController(w)
		switch {
		case r.Header.Get("Upgrade") != "":
			nc, rw, _ := rc.Hijack()
			defer nc.Close()
			io.WriteString(nc, "HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: echo\r\n\r\n")
			io.Copy(nc, rw)
		case strings.HasPrefix(r.URL.Path, "/stay"):
			if r.URL.Path == "/stay/half" {
				io.WriteString(w, "half")
				rc.Flush()
			}
			io.ReadFull(r.Body, make([]byte, 10))
			here.Done()
			io.Copy(io.Discard, r.Body) // whose end net/http must have seen to notice one who leaves
			<-r.Context().Done()
		default:
			rc.EnableFullDuplex()
			io.Copy(w, r.Body)
		}
	})
	before := ownGoroutines()
	p := startPair(t, up, Config{}, Config{})
	tr := &http.Transport{}
	defer tr.CloseIdleConnections()
	ask := func(ctx context.Context, path string, size int) (got []byte, err error) {
		req, _ := http.NewRequestWithContext(ctx, "POST", "http://"+p.addr+path, bytes.NewReader(bodyOf(size, size)))
		resp, err := tr.RoundTrip(req)
		if err != nil {
			return nil, err
		}
		defer resp.Body.Close()
		return io.ReadAll(resp.Body)
	}
	tunnel := func() net.Conn {
		nc, err := net.Dial("tcp", p.addr)
		if err != nil {
			t.Error(err)
			return nil
		}
		io.WriteString(nc, "GET / HTTP/1.1\r\nHost: x\r\nConnection: Upgrade\r\nUpgrade: echo\r\n\r\nhello")
		r := bufio.NewReader(nc)
		readHead(r)
		if _, err := io.ReadFull(r, make([]byte, 5)); err != nil {
			t.Error(err)
		}
		return nc
	}
	var wg sync.WaitGroup
	for i := range 40 {
		wg.Go(func() {
			size := []int{10, 1000, 70_000, 1_000_000}[i%4] // batched and bulk
			if got, err := ask(t.Context(), "/", size); err != nil || !bytes.Equal(got, bodyOf(size, size)) {
				t.Errorf("got %d bytes, %v; want %d", len(got), err, size)
			}
			ctx, cancel := context.WithTimeout(t.Context(), time.Duration(i)*time.Millisecond/4)
			ask(ctx, "/", size)
			cancel()
			if nc := tunnel(); nc != nil {
				nc.Close()
			}
		})
	}
	wg.Wait()
	defer tunnel().Close()
	for _, path := range []string{"/stay", "/stay/half", "/stay/upload"} {
		here.Add(1)
		nc, err := net.Dial("tcp", p.addr)
		if err != nil {
			t.Fatal(err)
		}
		defer nc.Close()
		size := 10
		if path == "/stay/upload" {
			size = 1_000_000
		}
		fmt.Fprintf(nc, "POST %s HTTP/1.1\r\nHost: x\r\nContent-Length: %d\r\n\r\n%s", path, size, bodyOf(1, min(size, 100_000)))
	}
	here.Wait()
	p.front.Close()
	p.back.Close()
	if after := ownGoroutines(); len(after) > len(before) {
		t.Errorf("%d goroutines are left:\n%s", len(after)-len(before), strings.Join(after, "\n\n"))
	}
}

// A back that names one stream for two responses has one of them fail, and the session.
func TestStreamNamedTwice(t *testing.T) {
	ask := func(t *testing.T, do func(b *bodyScript, ss *scriptStream, s *pool.Stream)) (first, second string) {
		b := startBodies(t)
		f, addr := startFront(t, Config{To: []string{"h2tpc://" + b.addr}})
		firstc := asked(t, addr)
		ss := await(t, b.batchc, "a batched stream")
		ss.want("/it")
		secondc := asked(t, addr)
		ss.want("/it")
		do(b, ss, await(t, b.readyc, "a ready stream"))
		first, second = await(t, firstc, "the first answer"), await(t, secondc, "the second answer")
		awaitNone(t, f.route)
		return first, second
	}
	t.Run("before it was seen", func(t *testing.T) {
		t.Parallel()
		first, second := ask(t, func(b *bodyScript, ss *scriptStream, s *pool.Stream) {
			ss.name(1, 7)
			ss.name(2, 7)
			awaitFuture(t, ss) // a stream error
		})
		if first != "502 Bad Gateway" || second != "502 Bad Gateway" {
			t.Errorf("got %q and %q; want 502", first, second)
		}
	})
	t.Run("after it was taken", func(t *testing.T) {
		t.Parallel()
		first, second := ask(t, func(b *bodyScript, ss *scriptStream, s *pool.Stream) {
			fill(s, 7, "body", true)
			await(t, b.readyc, "the next ready stream") // so the first is known to be one
			ss.name(1, 7)
			ss.name(2, 7)
		})
		if first > second {
			first, second = second, first
		}
		if first != "200 body" || second != "502 Bad Gateway" {
			t.Errorf("got %q and %q; want one body, and 502", first, second)
		}
	})
}
