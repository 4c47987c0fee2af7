package proxy

import (
	"sync/atomic"
	"time"

	"github.com/h2tp/h2tp/proxy/internal/wire"
)

// What is counted while exchanges run: atomic additions only, no lock and no memory. The clock is read where it is read
// anyhow. stats.go makes of it what a reader sees.

// maxBuckets is one more than the most bounds.
const maxBuckets = 18

// Bounds of histograms: of times, of records in a batch, of bytes.
var (
	timeBounds = []int64{
		int64(100 * time.Microsecond), int64(250 * time.Microsecond), int64(500 * time.Microsecond),
		int64(time.Millisecond), int64(2500 * time.Microsecond), int64(5 * time.Millisecond),
		int64(10 * time.Millisecond), int64(25 * time.Millisecond), int64(50 * time.Millisecond),
		int64(100 * time.Millisecond), int64(250 * time.Millisecond), int64(500 * time.Millisecond),
		int64(time.Second), int64(2500 * time.Millisecond), int64(5 * time.Second), int64(10 * time.Second), int64(60 * time.Second),
	}
	countBounds = []int64{1, 2, 5, 10, 20, 50, 100, 200, 500, 1000}
	sizeBounds  = []int64{256, 1 << 10, 4 << 10, 16 << 10, 32 << 10, 64 << 10, 128 << 10, 256 << 10, 1 << 20, 4 << 20}
)

// histogram counts values by how large they are.
type histogram struct {
	sum    atomic.Int64
	counts [maxBuckets]atomic.Int64
}

func (h *histogram) observe(v int64, bounds []int64) {
	i := 0
	for i < len(bounds) && v > bounds[i] {
		i++
	}
	h.counts[i].Add(1)
	h.sum.Add(v)
}

func (h *histogram) time(d time.Duration) { h.observe(int64(d), timeBounds) }

// result is how an exchange ended, as far as counts tell it apart.
type result int

const (
	result1xx result = iota // 101
	result2xx
	result3xx
	result4xx
	result5xx
	resultGone // nobody waited any more
	results
)

var resultNames = [results]string{"1xx", "2xx", "3xx", "4xx", "5xx", "gone"}

func resultOf(status int) result {
	if status < 100 || status > 599 { // what a peer may say
		return result5xx
	}
	return result(status/100 - 1)
}

// methodNames are the methods counted by name; all others are the last.
var methodNames = [...]string{"GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS", "other"}

func methodIndex(m []byte) int {
	switch string(m) {
	case "GET":
		return 0
	case "HEAD":
		return 1
	case "POST":
		return 2
	case "PUT":
		return 3
	case "PATCH":
		return 4
	case "DELETE":
		return 5
	case "OPTIONS":
		return 6
	}
	return len(methodNames) - 1
}

// failureCodes are those that statusOf has a token for; the last stands for all others.
var failureCodes = [...]wire.Code{
	wire.CodeTimeout, wire.CodeOverload, wire.CodeDraining, wire.CodeRequestTooLarge, wire.CodeFieldsTooLarge, wire.CodeLoop,
	wire.CodeUnreachable, wire.CodeResponseTooLarge, wire.CodeUpstream, wire.CodeInternal,
}

func failureIndex(code wire.Code) int {
	for i, c := range failureCodes {
		if c == code {
			return i
		}
	}
	return len(failureCodes) - 1
}

// refusalStatuses are those of requests that never became exchanges; the last stands for all others.
var refusalStatuses = [...]int{400, 404, 405, 408, 413, 414, 417, 421, 431, 501, 503, 505, 508, 500}

// meter counts a route's exchanges. One that takes another's place goes on with its.
type meter struct {
	exchanges, repeats atomic.Int64
	ended              [len(methodNames)][results]atomic.Int64
	failed             [len(failureCodes)]atomic.Int64
	cut                atomic.Int64 // bodies of responses
	took               histogram
	refusals           [len(refusalStatuses)]atomic.Int64
}

func (m *meter) refuse(status int) {
	for i, s := range refusalStatuses {
		if s == status || i == len(refusalStatuses)-1 {
			m.refusals[i].Add(1)
			return
		}
	}
}

// destMeter counts what one destination was given: each attempt of an exchange. It is embedded, and so implements
// destination's meter.
type destMeter struct {
	ended  [results]atomic.Int64
	failed [len(failureCodes)]atomic.Int64
	took   histogram // to the whole response, or to the head of a streamed one
	queued histogram // of those that waited
	adapt  *adaptive // is told of times; nil without Adaptive. Immutable
}

func (m *destMeter) meter() *destMeter { return m }

// admitted counts the wait of an exchange that has room now.
func (m *destMeter) admitted(ex *exchange, now time.Duration) {
	m.queued.time(now - ex.queued)
	ex.waited += now - ex.queued
	ex.delivered = now
}

// hopMeter counts one hop's batches; at a back those of all fronts together.
type hopMeter struct{ out, in wayMeter }

// wayMeter counts batches of one direction, those of bulk streams too.
type wayMeter struct {
	plain, coded atomic.Int64 // bytes before and after the codec
	records      histogram    // of a batch; of batched streams only, as is what follows
	sizes        histogram    // of a batch before the codec
	waited       histogram    // from a batch's first record until it was taken to be sent
}

// bytes counts a batch of a bulk stream; nil counts nothing.
func (m *wayMeter) bytes(plain, coded int) {
	if m != nil {
		m.plain.Add(int64(plain))
		m.coded.Add(int64(coded))
	}
}

// batch counts a batch of a batched stream.
func (m *wayMeter) batch(records, plain, coded int) {
	if m != nil {
		m.bytes(plain, coded)
		m.records.observe(int64(records), countBounds)
		m.sizes.observe(int64(plain), sizeBounds)
	}
}
