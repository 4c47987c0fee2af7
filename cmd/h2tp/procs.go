package main

import (
	"runtime"
	"time"
)

// procs keeps GOMAXPROCS at what the load needs. A proxy that one core can serve
// spends more on two: goroutines wake threads, and the caches are cold. The
// figures are in bench/README.md.
type procs struct {
	n, most int
	calm    int // turns in which fewer would have done
}

const (
	procsPeriod = 250 * time.Millisecond
	// procsHigh is the share of the processors in use above which one more is
	// taken, and procsLow the share of one fewer below which it is given back,
	// after procsCalm turns.
	procsHigh = 0.85
	procsLow  = 0.6
	procsCalm = 20
)

// next returns the number of processors after a turn in which that many were in
// use, on average.
func (p *procs) next(used float64) int {
	switch {
	case used > procsHigh*float64(p.n) && p.n < p.most:
		p.n++
		p.calm = 0
	case used < procsLow*float64(p.n-1) || used < 0.05 && p.n > 1:
		if p.calm++; p.calm >= procsCalm {
			p.n--
			p.calm = 0
		}
	default:
		p.calm = 0
	}
	return p.n
}

// adaptProcs begins with one processor and follows the load until stopc closes.
func adaptProcs(stopc <-chan struct{}) {
	p := &procs{n: 1, most: runtime.GOMAXPROCS(0)}
	if _, ok := cpuTime(); !ok || p.most == 1 {
		return
	}
	runtime.GOMAXPROCS(p.n)
	ticker := time.NewTicker(procsPeriod)
	defer ticker.Stop()
	lastCPU, _ := cpuTime()
	last := time.Now()
	for {
		select {
		case <-ticker.C:
		case <-stopc:
			return
		}
		cpu, _ := cpuTime()
		now := time.Now()
		before := p.n
		if n := p.next(float64(cpu-lastCPU) / float64(now.Sub(last))); n != before {
			runtime.GOMAXPROCS(n)
		}
		lastCPU, last = cpu, now
	}
}
