package pool

import "net"

// gatherer is a socket that writes what lies in several places by one system call.
type gatherer interface {
	// WriteBuffers writes all of v, and uses it up.
	WriteBuffers(v *net.Buffers) (int64, error)
}

// minGather is the least payload worth a place of its own in such a call.
const minGather = 4 << 10

// gathererOf returns nc as one, or nil: TLS copies what it is given.
func gathererOf(nc net.Conn) gatherer {
	switch nc := nc.(type) {
	case gatherer:
		return nc
	case *net.TCPConn:
		return netGatherer{nc}
	case *net.UnixConn:
		return netGatherer{nc}
	}
	return nil
}

type netGatherer struct{ net.Conn }

func (g netGatherer) WriteBuffers(v *net.Buffers) (int64, error) { return v.WriteTo(g.Conn) }

// loan is a payload that lies with its Write, and belongs into out at a place.
type loan struct {
	at int
	p  []byte
}

// writeGathered is writeSocket with loans.
func (c *conn) writeGathered(out []byte, loans []loan) (int64, error) {
	v := c.vector[:0]
	at := 0
	for _, l := range loans {
		v = append(v, out[at:l.at], l.p)
		at = l.at
	}
	if at < len(out) {
		v = append(v, out[at:])
	}
	c.vector, c.gathered = v, v
	n, err := c.gatherer.WriteBuffers(&c.gathered)
	clear(c.vector)
	return n, err
}
