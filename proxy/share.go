package proxy

import (
	"sync"
	"sync/atomic"
)

// fieldFront names the front's process when it opens a batched stream: PROTOCOL.md section 2.
const fieldFront = "h2tp-front"

// maxFrontName bounds its value; a longer one names nobody.
const maxFrontName = 64

// frontShare is what one front, by all its sessions, has in flight at a back: batched and bulk, and bodies that are not
// over. None is counted while there is no other front.
type frontShare struct {
	fronts   *atomic.Int64 // how many the back has
	sessions int           // guarded by the back's mu

	all  share
	last atomic.Pointer[share] // the one of routes that was used last

	mu     sync.Mutex // guards all below
	routes map[*route]*share
}

// share is what a front has in flight on one route, or on all.
type share struct {
	n     atomic.Int64
	route *route
	up    *share // of all routes; nil for that
}

// take counts ex in on its way to r. It reports whether it may go on: when seven eighths of what r, or the whole back, can take
// are taken, only for a front that has less than what all have equally. So the last eighth is for those.
func (f *frontShare) take(ex *exchange, r *route) bool {
	fronts := f.fronts.Load()
	if fronts < 2 {
		return true
	}
	s := &f.all
	if r != r.home {
		s = f.of(r)
	}
	if f.all.isOver(r.home, fronts) || s != &f.all && s.isOver(r, fronts) {
		return false
	}
	s.add(1)
	ex.share = s
	return true
}

// isOver reports whether one exchange more, which r counts already, is to be refused.
func (s *share) isOver(r *route, fronts int64) bool {
	most := r.capacity.Load()
	return most > 0 && r.inflight.Load() > most-(most+7)/8 && s.n.Load() >= max(1, most/fronts)
}

func (s *share) add(n int64) {
	s.n.Add(n)
	if s.up != nil {
		s.up.n.Add(n)
	}
}

// of is the share on a route besides the own one.
func (f *frontShare) of(r *route) *share {
	if s := f.last.Load(); s != nil && s.route == r {
		return s
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	s := f.routes[r]
	if s == nil {
		for old := range f.routes { // what is still counted keeps its share
			if old.isRetired.Load() {
				delete(f.routes, old)
			}
		}
		s = &share{route: r, up: &f.all}
		f.routes[r] = s
	}
	f.last.Store(s)
	return s
}

// enter finds the share of the front that opened a session; nobody's name is a front of its own.
func (b *Back) enterLocked(name string) *frontShare {
	if len(name) > maxFrontName {
		name = ""
	}
	f := b.shares[name]
	if f == nil || name == "" {
		f = &frontShare{fronts: &b.fronts, routes: make(map[*route]*share)}
		b.fronts.Add(1)
		if name != "" {
			b.shares[name] = f
		}
	}
	f.sessions++
	return f
}

// leaveLocked is enterLocked's end.
func (b *Back) leaveLocked(name string, f *frontShare) {
	if f.sessions--; f.sessions > 0 {
		return
	}
	b.fronts.Add(-1)
	if b.shares[name] == f {
		delete(b.shares, name)
	}
}
