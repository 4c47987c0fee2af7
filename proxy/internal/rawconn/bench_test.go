//go:build unix && !h2tp_portable

package rawconn

import (
	"net"
	"testing"
)

func BenchmarkRoundTrip(b *testing.B) {
	for _, via := range []string{"direct", "rawconn"} {
		b.Run("via="+via, func(b *testing.B) {
			c, peer := pair(b, "tcp")
			var a net.Conn = c
			if via == "direct" {
				a = c.NetConn()
			} else {
				peer = Wrap(peer)
			}
			buf := make([]byte, 200)
			b.ReportAllocs()
			for b.Loop() { // one goroutine: the calls themselves, no wake-ups
				a.Write(buf)
				peer.Read(buf)
			}
		})
	}
}

func BenchmarkPeek(b *testing.B) {
	c, _ := pair(b, "tcp")
	b.ReportAllocs()
	for b.Loop() {
		c.Peek()
	}
}
