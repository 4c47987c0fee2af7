package proxy

import (
	"math/rand/v2"
	"syscall"
	"time"
)

// simFault is what happens to a connection at a byte.
type simFault int

const (
	noFault    simFault = iota
	faultReset          // both ends are told; what has not been read may be lost
	faultEnd            // the reader sees a clean end, the writer's next write fails
	faultLose           // what follows disappears, and nobody is told
	faultPause          // what follows takes seconds
	lastFault
)

// arm lets a running connection break soon.
func (p *simPair) arm(random *rand.Rand) {
	p.mu.Lock()
	defer p.mu.Unlock()
	c := p.ends[random.IntN(2)]
	if c.in.fault == noFault {
		c.in.fault = faultReset + simFault(random.IntN(int(lastFault-faultReset)))
		c.in.faultAt = c.in.total + int64(random.IntN(1<<(1+random.IntN(14))))
	}
}

// reset breaks the connection now.
func (p *simPair) reset() {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.resetLocked(p.random.IntN(2) == 0)
}

func (p *simPair) resetLocked(losesUnread bool) {
	if p.err == nil {
		p.err = syscall.ECONNRESET
	}
	for _, c := range p.ends {
		if losesUnread {
			c.in.chunks, c.in.size = nil, 0
		}
	}
	p.cond.Broadcast()
}

func (p *simPair) freeze(isFrozen bool) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.isFrozen = isFrozen
	p.cond.Broadcast()
}

// heal ends faults to come, and resets what has lost bytes.
func (p *simPair) heal() {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.isFrozen = false
	for _, c := range p.ends {
		c.in.fault = noFault
		if c.in.isLost {
			p.resetLocked(true)
		}
	}
	p.cond.Broadcast()
}

// breakLocked makes the fault of the direction that c writes happen.
func (c *simConn) breakLocked() {
	to, p := &c.peer.in, c.pair
	fault := to.fault
	to.fault = noFault
	switch fault {
	case faultReset:
		p.resetLocked(p.random.IntN(2) == 0)
	case faultEnd:
		to.isEnded = true
		p.cond.Broadcast()
	case faultLose:
		to.isLost = true
	case faultPause:
		to.notBefore = time.Now().Add(time.Duration(p.random.IntN(3000)) * time.Millisecond)
	}
}

// lose makes what is written in either direction disappear from now on.
func (p *simPair) lose() {
	p.mu.Lock()
	defer p.mu.Unlock()
	for _, c := range p.ends {
		c.in.isLost = true
	}
}
