package main

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"math"
	"net"
	"os"
	"slices"
	"sync"
	"sync/atomic"
	"time"
)

// A result is what the client saw in the time between its lines "begin" and "end".
type result struct {
	Exchanges int     `json:"exchanges"`
	Errors    int     `json:"errors"`
	Seconds   float64 `json:"seconds"`
	P50       float64 `json:"p50_us"`
	P99       float64 `json:"p99_us"`
	Error     string  `json:"error,omitempty"` // the last one
}

// A load is clients, each with one connection and one request at a time.
type load struct {
	addr    string
	corpus  *corpus
	next    atomic.Uint64
	phase   atomic.Int32 // warming, measuring or over
	patient time.Time    // until when a first exchange may fail
	end     time.Time    // of all connections: one that hangs is an error, and not for ever
	ready   sync.WaitGroup
	errors  atomic.Int64
	lastErr atomic.Value
}

const (
	warming = iota
	measuring
	over
)

// runLoad is the client of one measurement.
func runLoad(args []string) error {
	fs := newFlagSet("load")
	addr := fs.String("addr", "", "")
	name := fs.String("corpus", "", "")
	clients := fs.Int("clients", 1, "")
	warm := fs.Duration("warm", 0, "")
	measured := fs.Duration("for", time.Second, "")
	seed := fs.Uint64("at", 0, "where in the corpus to begin")
	if err := fs.Parse(args); err != nil {
		return err
	}
	l := &load{addr: *addr, corpus: newCorpus(*name, corpusBytes), patient: time.Now().Add(30 * time.Second)}
	l.end = l.patient.Add(*warm + *measured + 10*time.Second)
	l.next.Store(*seed)
	took := make([][]int32, *clients)
	var wg sync.WaitGroup
	l.ready.Add(*clients)
	for i := range took {
		wg.Go(func() { took[i] = l.clientLoop() })
	}
	l.ready.Wait()
	time.Sleep(*warm)
	fmt.Println("begin")
	begun := time.Now()
	l.phase.Store(measuring)
	time.Sleep(*measured)
	l.phase.Store(over)
	r := result{Seconds: time.Since(begun).Seconds(), Errors: int(l.errors.Load())}
	fmt.Println("end")
	wg.Wait()
	r.Error, _ = l.lastErr.Load().(string)
	r.count(took)
	return json.NewEncoder(os.Stdout).Encode(r)
}

func (r *result) count(took [][]int32) {
	all := slices.Concat(took...)
	slices.Sort(all)
	r.Exchanges = len(all)
	r.P50, r.P99 = quantile(all, 0.5), quantile(all, 0.99)
}

func quantile(sorted []int32, q float64) float64 {
	if len(sorted) == 0 {
		return 0
	}
	return float64(sorted[int(math.Ceil(q*float64(len(sorted))))-1])
}

// clientLoop makes exchanges until the load is over, and returns how long each
// that ended while it was measured took, in microseconds.
func (l *load) clientLoop() (took []int32) {
	var c *conn
	isReady := false
	for l.phase.Load() != over {
		start := time.Now()
		err := l.exchange(&c)
		now := time.Now()
		switch {
		case err == nil && l.phase.Load() == measuring:
			took = append(took, int32(min(now.Sub(start).Microseconds(), math.MaxInt32)))
		case err != nil:
			if c != nil {
				c.nc.Close()
				c = nil
			}
			l.lastErr.Store(err.Error())
			if isReady || now.After(l.patient) {
				l.errors.Add(1)
			}
			time.Sleep(20 * time.Millisecond) // who answers with an error does not want the next request at once
		}
		if !isReady && (err == nil || now.After(l.patient)) {
			isReady = true
			l.ready.Done()
		}
	}
	if c != nil {
		c.nc.Close()
	}
	return took
}

func (l *load) exchange(c **conn) error {
	if *c == nil {
		nc, err := net.DialTimeout("tcp", l.addr, 5*time.Second)
		if err != nil {
			return err
		}
		nc.SetDeadline(l.end)
		*c = newConn(nc)
	}
	e := &l.corpus.exchanges[l.next.Add(1)%uint64(len(l.corpus.exchanges))]
	if _, err := (*c).nc.Write(e.request); err != nil {
		return err
	}
	head, err := (*c).head()
	if err != nil {
		return err
	}
	// An error's body may come without a length; what it says is not looked at.
	if len(head) < 13 || !bytes.Equal(head[9:12], e.response[9:12]) {
		return fmt.Errorf("answered %q, want %q", head[:min(len(head), 30)], e.response[:12])
	}
	length, isChunked, err := framing(head)
	if err != nil {
		return err
	}
	body, err := (*c).rest(length, isChunked)
	if err != nil {
		return err
	}
	if !bytes.Equal(body, e.body) {
		return errors.New("the body is not the upstream's")
	}
	return nil
}
