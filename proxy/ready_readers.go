package proxy

import (
	"sync"

	"github.com/h2tp/h2tp/pool"
)

// readyReaders are the readers of a session's ready streams that were not taken. Each
// was made before its stream was opened, as it has the memory of what was announced.
type readyReaders struct {
	mu sync.Mutex // guards m
	m  map[*pool.Stream]*bulkReader
}

func (r *readyReaders) add(s *pool.Stream, in *bulkReader) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.m == nil {
		r.m = make(map[*pool.Stream]*bulkReader)
	}
	r.m[s] = in
}

// take returns the reader of a stream that was taken, whose taker has it from then on.
func (r *readyReaders) take(s *pool.Stream) *bulkReader {
	r.mu.Lock()
	defer r.mu.Unlock()
	in := r.m[s]
	delete(r.m, s)
	return in
}

// drop lets go of the reader of a stream that nobody will take.
func (r *readyReaders) drop(s *pool.Stream) {
	if in := r.take(s); in != nil {
		in.release()
	}
}
