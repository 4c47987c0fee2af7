//go:build unix && !race && !h2tp_portable

package rawconn

import (
	"net"
	"testing"
)

func TestIOAllocatesNothing(t *testing.T) {
	c, peer := pair(t, "tcp")
	p := c // both ends wrapped, since AllocsPerRun counts the whole process
	q := Wrap(peer).(*Conn)
	buf := make([]byte, 64)
	l := &lender{buf: make([]byte, 64)}
	var parts [2][]byte
	var v net.Buffers
	if got := testing.AllocsPerRun(200, func() {
		p.Write(buf)
		q.Read(buf)
		parts[0], parts[1] = buf[:10], buf[10:]
		v = parts[:]
		p.WriteBuffers(&v)
		q.Read(buf)
		q.TryWrite(buf)
		p.ReadInto(l)
		p.Peek()
	}); got != 0 {
		t.Errorf("%v allocations a round; want 0", got)
	}
}
