package pool

import (
	"crypto/tls"
	"net"
	"sync"
)

// records is the socket below TLS. TLS writes each record, of 16 KiB at most, by
// itself; here those of one large Write are put together.
type records struct {
	net.Conn
	// Set before the first use, or with nobody using it: what is told of bytes that were
	// read, and what counts those written. Nil-able.
	onRead func(n int)
	drip   *drip

	mu        sync.Mutex // guards all below
	isHeld    bool       // from before TLS's Write until all it made is written
	isLeaving bool       // of that, the time behind TLS's Write
	buf       *[]byte    // while isHeld
	late      []byte     // came while isLeaving
}

const (
	// maxRecord is a record of TLS with all that belongs to it, and about the most
	// that is worth no putting together.
	maxRecord = 16<<10 + 512
	// holdRecords is how much is put together at most.
	holdRecords = 8 * maxRecord
)

var recordBufs = sync.Pool{New: func() any { b := make([]byte, 0, holdRecords); return &b }}

// recordsOf returns the socket below TLS, nil in the clear.
func recordsOf(nc net.Conn) *records {
	if tc, ok := nc.(*tls.Conn); ok {
		r, _ := tc.NetConn().(*records)
		return r
	}
	return nil
}

// NetConn gives the socket itself.
func (r *records) NetConn() net.Conn { return r.Conn }

// Read tells of whatever comes: a record may be long on its way.
func (r *records) Read(p []byte) (int, error) {
	n, err := r.Conn.Read(p)
	if n > 0 && r.onRead != nil {
		r.onRead(n)
	}
	return n, err
}

// write writes to the socket.
func (r *records) write(p []byte) (int, error) {
	if r.drip != nil {
		return r.drip.write(r.Conn, p)
	}
	return r.Conn.Write(p)
}

// Write is called by TLS, one call at a time. While isLeaving that may be who closes,
// or answers the peer's update of a key, who has not to wait for the socket.
func (r *records) Write(p []byte) (int, error) {
	r.mu.Lock()
	if !r.isHeld {
		r.mu.Unlock()
		return r.write(p)
	}
	defer r.mu.Unlock()
	if r.isLeaving {
		r.late = append(r.late, p...)
		return len(p), nil
	}
	if len(*r.buf)+len(p) > holdRecords { // within TLS's Write there is no other
		if _, err := r.write(*r.buf); err != nil {
			return 0, err
		}
		*r.buf = (*r.buf)[:0]
	}
	*r.buf = append(*r.buf, p...)
	return len(p), nil
}

// writeThrough writes p by TLS.
func (r *records) writeThrough(tc net.Conn, p []byte) (int, error) {
	if len(p) <= maxRecord {
		return tc.Write(p)
	}
	r.mu.Lock()
	r.isHeld, r.buf = true, recordBufs.Get().(*[]byte)
	r.mu.Unlock()
	n, err := tc.Write(p)
	if leftErr := r.leave(); err == nil {
		err = leftErr
	}
	return n, err
}

// leave writes what is held, and what comes meanwhile.
func (r *records) leave() (err error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.isLeaving = true
	for left := *r.buf; len(left) > 0 && err == nil; {
		r.mu.Unlock()
		_, err = r.write(left)
		r.mu.Lock()
		left, r.late = r.late, nil
	}
	if cap(*r.buf) <= holdRecords {
		*r.buf = (*r.buf)[:0]
		recordBufs.Put(r.buf)
	}
	r.isHeld, r.isLeaving, r.buf = false, false, nil
	return err
}
