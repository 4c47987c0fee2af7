package main

import (
	"fmt"
	"log/slog"
	"time"

	"github.com/h2tp/h2tp/pool"
)

// newTrace logs what happens on hops, for --trace.
func newTrace(log *slog.Logger) *pool.Trace {
	of := func(s *pool.Stream, args ...any) []any {
		return append([]any{"addr", s.RemoteAddr().String(), "stream", s.ID()}, args...)
	}
	return &pool.Trace{
		Dialing: func(addr string) { log.Info("trace: dialling", "addr", addr) },
		Connected: func(addr string, took time.Duration, err error) {
			if err != nil {
				log.Info("trace: not connected", "addr", addr, "took", took, "err", err)
				return
			}
			log.Info("trace: connected", "addr", addr, "took", took)
		},
		Disconnected: func(addr string, err error) { log.Info("trace: disconnected", "addr", addr, "err", err) },
		Opened:       func(s *pool.Stream, isReused bool) { log.Info("trace: stream opened", of(s, "reused", isReused)...) },
		Taken: func(s *pool.Stream, id uint32) {
			log.Info("trace: ready stream taken", of(s, "id", fmt.Sprintf("%08x", id))...)
		},
		Reset: func(s *pool.Stream, err *pool.ResetError) {
			log.Info("trace: stream reset", of(s, "code", err.Code.String(), "local", err.Local)...)
		},
		Closed: func(s *pool.Stream, err error) { log.Info("trace: stream closed", of(s, "err", err)...) },
	}
}
