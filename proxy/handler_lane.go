package proxy

// lane is what one session has sent to a handler that takes its exchanges one after another: of each
// lane one is in the lobby or runs, and the others wait here. Guarded by its handlerOut's lock.
type lane struct {
	queue
	isBusy bool
}

// lanes are those in which somebody waits.
type lanes map[*lane]struct{}

// pushLocked puts ex into the lobby, or into its lane when another of it comes first.
func (h *handlerOut) pushLocked(ex *exchange) {
	l := ex.lane
	switch {
	case l == nil || !h.cfg.Serial:
	case l.isBusy:
		if h.lanes == nil {
			h.lanes = make(lanes)
		}
		h.lanes[l] = struct{}{}
		ex.isInLane = true
		l.push(ex)
		return
	default:
		l.isBusy = true
	}
	h.lobby.push(ex)
}

// passLocked has the next of a lane follow one that has left the lobby for good, or that ran.
func (h *handlerOut) passLocked(l *lane) {
	if l == nil || !h.cfg.Serial {
		return
	}
	ex := l.pop()
	if l.n == 0 {
		delete(h.lanes, l)
	}
	if ex == nil {
		l.isBusy = false
		return
	}
	ex.isInLane = false
	h.lobby.push(ex)
}

// removeLocked takes ex out of where it waits, and reports whether it did.
func (h *handlerOut) removeLocked(ex *exchange) bool {
	if l := ex.lane; ex.isInLane {
		ex.isInLane = false
		l.remove(ex)
		if l.n == 0 {
			delete(h.lanes, l)
		}
		return true
	}
	if !h.lobby.remove(ex) {
		return false
	}
	h.passLocked(ex.lane)
	return true
}

// takeLanesLocked takes out all that wait in lanes.
func (h *handlerOut) takeLanesLocked() (all []*exchange) {
	for l := range h.lanes {
		for _, ex := range l.takeAll(func(*exchange) bool { return true }) {
			ex.isInLane = false
			all = append(all, ex)
		}
	}
	h.lanes = nil
	return all
}
