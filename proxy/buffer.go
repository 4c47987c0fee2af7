package proxy

import (
	"sync"

	"github.com/h2tp/h2tp/proxy/internal/wire"
)

const (
	// inputSize is what a read from a client or an upstream is given room for at
	// first: nearly all requests and most responses of an API fit.
	inputSize = 8 << 10
)

// output is a buffer for one message on its way to a socket: shared by all
// connections, so that few stay hot.
type output struct {
	b      []byte
	resp   wire.Response // a response with fields of our own
	fields []wire.Field  // and those
}

var outputs = sync.Pool{New: func() any { return &output{b: make([]byte, 0, inputSize)} }}

func getOutput() *output { return outputs.Get().(*output) }

func (o *output) put() {
	if o.resp.Status != 0 {
		o.resp, o.fields = wire.Response{}, clearFields(o.fields)
	}
	if cap(o.b) <= keepBuffer {
		o.b = o.b[:0]
		outputs.Put(o)
	}
}

// grow returns p with room for at least n more bytes.
func grow(p []byte, n int) []byte {
	if cap(p)-len(p) >= n {
		return p
	}
	q := make([]byte, len(p), max(2*cap(p), len(p)+n))
	copy(q, p)
	return q
}

// clearFields lets go of what fields point to, and keeps their memory.
func clearFields(f []wire.Field) []wire.Field {
	clear(f)
	return f[:0]
}
