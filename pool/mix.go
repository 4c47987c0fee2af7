package pool

import (
	"sync/atomic"
	"time"
)

// Mix is shared by connections that go the same way: what is batched on one of them
// waits on that way behind the bulk of the others, which therefore keep the queue
// short that they make there. Its methods may be called concurrently.
type Mix struct {
	start     time.Time
	batchedAt atomic.Int64 // since start: when a batch was last written
}

// sharedTime is how long after a batch bulk is thought to be beside batches: the next
// is not to meet the queue that bulk alone would have made meanwhile.
const sharedTime = time.Minute

// NewMix makes a Mix.
func NewMix() *Mix {
	m := &Mix{start: time.Now()}
	m.batchedAt.Store(-int64(sharedTime))
	return m
}

func (m *Mix) noteBatch(now time.Time) { m.batchedAt.Store(int64(now.Sub(m.start))) }

// isMixed reports whether there are batches beside what is written now.
func (m *Mix) isMixed(now time.Time) bool {
	return now.Sub(m.start)-time.Duration(m.batchedAt.Load()) < sharedTime
}
