//go:build unix && !h2tp_portable

package rawconn

import (
	"net"
	"syscall"
)

// WriteBuffers writes all of v, by as few system calls as maxIO allows, and uses it up, also what
// it has no place for any more. Turns are taken as in Write.
func (c *Conn) WriteBuffers(v *net.Buffers) (int64, error) {
	c.wmu.Lock()
	defer c.wmu.Unlock()
	all := lengthOf(*v)
	c.wvec = *v
	err := c.raw.Write(c.vecFn)
	n, errno := all-lengthOf(c.wvec), c.werr
	clear(*v)
	c.wvec, c.werr, *v = nil, 0, nil
	return n, c.opError("write", err, errno)
}

func (c *Conn) vecReady(fd uintptr) bool {
	for len(c.wvec) > 0 {
		n, errno := c.vec.send(fd, c.wvec)
		switch errno {
		case 0:
			c.wvec = used(c.wvec, n)
		case syscall.EINTR:
		case syscall.EAGAIN:
			return false
		default:
			c.werr = errno
			return true
		}
	}
	return true
}

func lengthOf(v net.Buffers) (n int64) {
	for _, p := range v {
		n += int64(len(p))
	}
	return n
}

// used takes n bytes off the front of v, and what is empty then.
func used(v net.Buffers, n int) net.Buffers {
	for len(v) > 0 && n >= len(v[0]) {
		n -= len(v[0])
		v[0] = nil
		v = v[1:]
	}
	if n > 0 {
		v[0] = v[0][n:]
	}
	return v
}
