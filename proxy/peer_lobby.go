package proxy

import (
	"context"

	"github.com/h2tp/h2tp/proxy/internal/wire"
)

func (p *peer) capacity() int64 { return p.lobby.within(p.lobby.most()) }

func (p *peer) hasRoomLocked() bool {
	return p.lobby.most() == 0 || p.lobby.n == 0 && p.lobby.hasRoom(p.running)
}

func (p *peer) tellLocked() { p.lobby.tell(!p.hasRoomLocked()) }

// countLocked counts ex within the bound, if there is one, until it is over.
func (p *peer) countLocked(ex *exchange) {
	if p.lobby.most() > 0 {
		p.running++
		ex.held = p
		p.tellLocked()
	}
}

// leave is told by an exchange that counted that it is over.
func (p *peer) leave() {
	p.mu.Lock()
	p.running--
	isWaited := p.lobby.n > 0
	p.tellLocked()
	p.mu.Unlock()
	if isWaited {
		p.next()
	}
}

// waitAndUnlock lets ex wait for a stream, and for room.
func (p *peer) waitAndUnlock(ex *exchange) {
	ex.at.Store(&p.here)
	isGone := ex.isCancelled.Load()
	isIn := !isGone && p.lobby.enqueue(ex, p.route.now())
	p.tellLocked()
	p.mu.Unlock()
	switch {
	case isGone:
		p.inflight.Add(-1)
		ex.drop()
	case !isIn:
		p.fail(ex, failure{code: wire.CodeOverload, isNotStarted: true, err: ErrOverloaded})
	}
}

// unqueue is the station of the exchanges that wait.
func (p *peer) unqueue(ex *exchange) bool {
	p.mu.Lock()
	isIn := p.lobby.remove(ex)
	p.tellLocked()
	p.mu.Unlock()
	if isIn {
		p.inflight.Add(-1)
	}
	return isIn
}

// next gives what room there is to the exchanges that have waited longest. Whoever
// calls it meanwhile leaves the rest to the first: one that fails at once ends in
// here again.
func (p *peer) next() {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.isPassing {
		return
	}
	p.isPassing = true
	for p.lobby.n > 0 && p.stream != nil && p.lobby.hasRoom(p.running) {
		ex, ps := p.lobby.pop(), p.stream
		now := p.route.now()
		p.admitted(ex, now)
		p.countLocked(ex)
		if w := ex.waiter; w != nil {
			w.ps = ps
			w.begin()
			continue
		}
		p.mu.Unlock()
		ps.deliver(ex)
		p.mu.Lock()
	}
	p.tellLocked()
	p.isPassing = false
}

// admit waits for room, and returns the batched stream whose session a bulk stream
// joins.
func (p *peer) admit(ctx context.Context, ex *exchange) (*peerStream, *failure) {
	p.mu.Lock()
	if ps := p.stream; ps != nil && p.hasRoomLocked() {
		p.countLocked(ex)
		p.mu.Unlock()
		return ps, nil
	}
	if p.isClosed || p.isDraining {
		p.mu.Unlock()
		return nil, &failure{code: wire.CodeDraining, isNotStarted: true, err: ErrDraining}
	}
	w := &waiter{c: make(chan struct{})}
	ex.waiter = w
	isIn := p.lobby.enqueue(ex, p.route.now())
	p.tellLocked()
	p.mu.Unlock()
	if !isIn {
		ex.waiter = nil
		return nil, &failure{code: wire.CodeOverload, isNotStarted: true, err: ErrOverloaded}
	}
	select {
	case <-w.c:
	case <-ctx.Done():
		p.mu.Lock()
		isIn = p.lobby.remove(ex)
		p.tellLocked()
		p.mu.Unlock()
		if isIn {
			w.fail(failure{code: wire.CodeUnreachable, isNotStarted: true, err: ErrClosed})
		}
		<-w.c
	}
	ex.waiter = nil
	return w.ps, w.f
}

// failWaits ends waits in vain.
func (p *peer) failWaits(list []*exchange, why func(*exchange) failure) {
	for _, ex := range list {
		if w := ex.waiter; w != nil {
			w.fail(why(ex))
		} else {
			p.fail(ex, why(ex))
		}
	}
}
