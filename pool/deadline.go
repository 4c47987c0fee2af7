package pool

import (
	"sync"
	"time"
)

// deadline is a point in time that can be moved and waited for; as in net.Pipe.
type deadline struct {
	mu    sync.Mutex
	timer *time.Timer
	overc chan struct{} // closed when the deadline has passed
	has   bool
}

func makeDeadline() deadline { return deadline{overc: make(chan struct{})} }

func (d *deadline) set(t time.Time) {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.timer != nil && !d.timer.Stop() {
		<-d.overc // the timer is about to close it
	}
	d.timer = nil
	d.has = !t.IsZero()
	isOver := d.isOverLocked()
	if !d.has {
		if isOver {
			d.overc = make(chan struct{})
		}
		return
	}
	if dur := time.Until(t); dur > 0 {
		if isOver {
			d.overc = make(chan struct{})
		}
		overc := d.overc
		d.timer = time.AfterFunc(dur, func() { close(overc) })
		return
	}
	if !isOver {
		close(d.overc)
	}
}

func (d *deadline) isOverLocked() bool {
	select {
	case <-d.overc:
		return true
	default:
		return false
	}
}

func (d *deadline) wait() chan struct{} {
	d.mu.Lock()
	defer d.mu.Unlock()
	return d.overc
}

func (d *deadline) isSet() bool {
	d.mu.Lock()
	defer d.mu.Unlock()
	return d.has
}

func (d *deadline) isOver() bool {
	d.mu.Lock()
	defer d.mu.Unlock()
	return d.has && d.isOverLocked()
}
