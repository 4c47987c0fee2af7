package proxy

import (
	"bufio"
	"fmt"
	"io"
	"net"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/h2tp/h2tp/pool"
)

// A stream that the front opens for an exchange in the moment in which the back gives
// up is either taken or refused.
func TestStreamAtTheLastMomentIsTakenOrRefused(t *testing.T) {
	bubble(t, func(t *testing.T) {
		_, far := streamPair(t)
		bs := &backStream{wanted: make(map[uint32]chan *pool.Stream)}
		bs.stream = far
		for i := range 300 {
			late := time.Duration(i%3 - 1) // nanoseconds; at 0 both are at once
			c, takenc := make(chan *pool.Stream, 1), make(chan bool, 1)
			bs.wanted[1] = c
			go func() { takenc <- bs.awaitOpened(1, c) != nil }()
			time.Sleep(bodyWait + late)
			isOpened := bs.opened(1, far, bulkTerms(&route{}, lightCodecs))
			if isTaken := <-takenc; isTaken != isOpened || late != 0 && isTaken != (late < 0) {
				t.Fatalf("%d ns late: opened %v, taken %v", late, isOpened, isTaken)
			}
			if len(bs.wanted) != 0 {
				t.Fatal("the exchange is still wanted")
			}
		}
		// It was found, and is not handed over yet.
		c, takenc := make(chan *pool.Stream, 1), make(chan *pool.Stream, 1)
		go func() { takenc <- bs.awaitOpened(1, c) }()
		time.Sleep(2 * bodyWait)
		synctest.Wait()
		c <- far
		if s := <-takenc; s != far {
			t.Error("a stream that was answered with 200 is not taken")
		}
	})
}

// A body of unknown length over the batch limit is streamed as it is, also when one
// read makes it whole.
func TestBodyJustOverTheBatchLimitIsStreamed(t *testing.T) {
	up := startScript(t, func(nc net.Conn, r *bufio.Reader) {
		for readHead(r) != "" {
			fmt.Fprintf(nc, "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n%x\r\n%s\r\n0\r\n\r\n", 1025, strings.Repeat("x", 1025))
		}
	})
	p := startPair(t, up, Config{}, Config{Limits: Limits{BatchLimit: 1024}})
	nc, err := net.Dial("tcp", p.addr)
	if err != nil {
		t.Fatal(err)
	}
	defer nc.Close()
	nc.SetDeadline(time.Now().Add(patience))
	r := bufio.NewReader(nc)
	for range 3 { // the upstream's connection is used again
		io.WriteString(nc, "GET / HTTP/1.1\r\nHost: x\r\n\r\n")
		head := readHead(r)
		if !strings.Contains(head, "Transfer-Encoding: chunked") || strings.Contains(head, "Content-Length") {
			t.Errorf("got %q; want a streamed body", head)
		}
		var body strings.Builder
		for !strings.HasSuffix(body.String(), "\r\n0\r\n\r\n") {
			b, err := r.ReadByte()
			if err != nil {
				t.Fatal(err)
			}
			body.WriteByte(b)
		}
		if n := strings.Count(body.String(), "x"); n != 1025 {
			t.Errorf("got %d bytes; want 1025", n)
		}
	}
}
