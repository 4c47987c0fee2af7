package pool

import "slices"

// Stats are counts of a [Client] or [Server] since it was made.
type Stats struct {
	// Conns and Streams are open now.
	Conns, Streams int
	// Dials were begun, those that failed included.
	Dials int64
	// Errors are dials that failed and connections that were lost, since ResetErrors.
	Errors int64
	// Refused are connections of a server that were closed over MaxConns or MaxConnsPerAddr.
	Refused int64
	// BadHandshakes are connections of a server that ended in TLS: who came had no certificate, or none that is taken, or
	// spoke something else.
	BadHandshakes int64
	// BytesIn and BytesOut are HTTP/2 frames read and written, without TLS.
	BytesIn, BytesOut int64
	// Wire is what TCP made of them.
	Wire WireStats
}

func (st *Stats) add(cn *conn) {
	cn.mu.Lock()
	st.Streams += len(cn.streams)
	cn.mu.Unlock()
	st.Conns++
	st.BytesIn += cn.bytesIn.Load()
	st.BytesOut += cn.bytesOut.Load()
	st.Wire.Add(cn.wireStats())
}

// Stats returns the counts.
func (c *Client) Stats() Stats {
	c.mu.Lock()
	conns := slices.Clone(c.conns)
	st := Stats{Dials: c.dials, Errors: c.errors, BytesIn: c.bytesIn, BytesOut: c.bytesOut, Wire: c.wire}
	c.mu.Unlock()
	for _, cn := range conns {
		st.add(cn)
	}
	return st
}
