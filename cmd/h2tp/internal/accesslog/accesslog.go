// Package accesslog writes a line for each exchange, by a goroutine of its own: a slow disk delays no exchange.
package accesslog

import (
	"bytes"
	"io"
	"log/slog"
	"math/rand/v2"
	"os"
	"sync"
	"time"

	"github.com/h2tp/h2tp/proxy"
)

const (
	// maxPending bounds the lines that wait to be written, besides as much that is being written; more are dropped.
	maxPending = 1 << 20
	// closeWait bounds how long Close waits for a disk, or a pipe, that takes nothing.
	closeWait = 2 * time.Second
)

// Config says what is written, and where.
type Config struct {
	// File is opened, and again by Reopen; empty writes to Stdout.
	File   string
	Stdout io.Writer
	// Common writes the common log format in place of JSON.
	Common bool
	// Sample is the share of the exchanges that are written, 0 to 1.
	Sample float64
	// Query keeps targets' query strings, which may hold secrets.
	Query bool
	// Logger takes failures. It must be set.
	Logger *slog.Logger
}

// Log is an access log. Its methods may be called concurrently.
type Log struct {
	cfg   Config
	kickc chan struct{} // wakes writeLoop, capacity 1
	donec chan struct{} // closed when writeLoop has ended

	mu       sync.Mutex // guards all below
	pending  []byte
	lines    int64 // in pending
	lost     int64
	next     *os.File // to be written to from now on; nil when that did not change
	isClosed bool
}

// New opens the log.
func New(cfg Config) (*Log, error) {
	l := &Log{cfg: cfg, kickc: make(chan struct{}, 1), donec: make(chan struct{})}
	if err := l.Reopen(); err != nil {
		return nil, err
	}
	go l.writeLoop()
	return l, nil
}

// For returns a proxy.Config's OnExchange for an end with that name.
func (l *Log) For(end string) func(*proxy.Exchange) {
	return func(e *proxy.Exchange) { l.add(end, e) }
}

func (l *Log) add(end string, e *proxy.Exchange) {
	if l.cfg.Sample < 1 && rand.Float64() >= l.cfg.Sample {
		return
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	before := len(l.pending)
	if l.cfg.Common {
		l.pending = l.cfg.appendCommon(l.pending, e)
	} else {
		l.pending = l.cfg.appendJSON(l.pending, end, e)
	}
	if len(l.pending) > maxPending || l.isClosed {
		l.pending = l.pending[:before]
		l.lost++
		return
	}
	l.lines++
	l.kick()
}

func (l *Log) kick() {
	select {
	case l.kickc <- struct{}{}:
	default:
	}
}

// Reopen opens the file anew, after it was moved away. When that fails the old one is written to as before.
func (l *Log) Reopen() error {
	if l.cfg.File == "" {
		return nil
	}
	f, err := os.OpenFile(l.cfg.File, os.O_APPEND|os.O_CREATE|os.O_WRONLY, 0o640)
	if err != nil {
		return err
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.next != nil {
		l.next.Close()
	}
	l.next = f
	l.kick()
	return nil
}

// Lost returns the lines that were dropped, or could not be written.
func (l *Log) Lost() int64 {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.lost
}

// Close writes what waits, within closeWait.
func (l *Log) Close() error {
	l.mu.Lock()
	l.isClosed = true
	l.mu.Unlock()
	l.kick()
	timer := time.NewTimer(closeWait)
	defer timer.Stop()
	select {
	case <-l.donec:
	case <-timer.C:
	}
	return nil
}

func (l *Log) writeLoop() {
	defer close(l.donec)
	var file *os.File
	out := l.cfg.Stdout
	var spare []byte
	isFailing := false
	for range l.kickc {
		l.mu.Lock()
		p, lines, next, isClosed := l.pending, l.lines, l.next, l.isClosed
		l.pending, l.lines, l.next = spare[:0], 0, nil
		l.mu.Unlock()
		if next != nil {
			if file != nil {
				file.Close()
			}
			file, out = next, next
		}
		if len(p) > 0 {
			n, err := out.Write(p)
			if err != nil {
				l.mu.Lock()
				l.lost += lines - int64(bytes.Count(p[:n], []byte("\n")))
				l.mu.Unlock()
				if !isFailing { // one line, not one for each
					l.cfg.Logger.Error("access log not written", "err", err)
				}
			}
			isFailing = err != nil
		}
		spare = p
		if isClosed {
			if file != nil {
				file.Close()
			}
			return
		}
	}
}
