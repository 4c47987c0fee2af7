//go:build unix && !h2tp_portable

package rawconn

import (
	"bytes"
	"crypto/rand"
	"io"
	"net"
	"testing"
)

// More parts than one call takes, empty ones among them, and more bytes than the
// socket holds arrive whole and in order.
func TestBuffersArriveInOrder(t *testing.T) {
	onBoth(t, func(t *testing.T, c *Conn, peer net.Conn) {
		sent := make([]byte, 8<<20)
		rand.Read(sent)
		var v net.Buffers
		for at, i := 0, 0; at < len(sent); i++ {
			n := min(len(sent)-at, []int{9, 60_000, 0, 1, 500_000}[i%5])
			v = append(v, sent[at:at+n])
			at += n
		}
		done := make(chan error, 1)
		go func() {
			n, err := c.WriteBuffers(&v)
			if n != int64(len(sent)) || len(v) != 0 {
				t.Errorf("WriteBuffers = %d, %d parts left; want all", n, len(v))
			}
			done <- err
		}()
		got := make([]byte, len(sent))
		if _, err := io.ReadFull(peer, got); err != nil {
			t.Fatal(err)
		}
		if err := <-done; err != nil || !bytes.Equal(got, sent) {
			t.Errorf("got %v, equal: %v", err, bytes.Equal(got, sent))
		}
	})
}

func TestBuffersToAClosedConnFail(t *testing.T) {
	onBoth(t, func(t *testing.T, c *Conn, peer net.Conn) {
		c.Close()
		v := net.Buffers{[]byte("x")}
		if n, err := c.WriteBuffers(&v); n != 0 || err == nil {
			t.Errorf("WriteBuffers = %d, %v; want an error", n, err)
		}
	})
}
