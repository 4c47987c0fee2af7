package proxy

import (
	"context"
	"errors"
	"fmt"
	"slices"

	"github.com/h2tp/h2tp/proxy/internal/balance"
)

const (
	// maxDests bounds a set, and what is done for each of it ten times a second.
	maxDests = 1024
	// maxLeaving bounds those that left and have not finished; one more, and the first of them is closed.
	maxLeaving = 256
)

// destSet is what a route's exchanges go to; immutable. setDests makes another.
type destSet struct {
	dests   []destination
	only    destination // the one, when there are no others
	leaving []*leaver   // given nothing any more; they finish what they have

	hopIn, hopOut int64 // of those that are gone
}

// leaver is a destination that is not in the set any more.
type leaver struct {
	destination
	cancel context.CancelFunc // stops the waiting
	donec  chan struct{}      // closed when it is gone
}

// dests are the destinations of now, in the order they were named.
func (r *route) dests() []destination { return r.set.Load().dests }

// setDests makes to the destinations. Those of the same URL stay what they are, but
// for weight and tier; newcomers start slowly; those that are not named any more are
// given nothing else, have LeaveTimeout for what they have, and are closed. It
// changes nothing when it returns an error, and does not wait.
func (r *route) setDests(to []string) error {
	r.mu.Lock()
	defer r.mu.Unlock()
	old := r.set.Load()
	switch {
	case r.isEnding:
		return ErrClosed
	case r.config.Handler != nil:
		return errors.New("proxy: a Handler has no other destinations")
	case len(to) == 0:
		return errors.New("proxy: To is empty")
	case len(to) > maxDests:
		return fmt.Errorf("proxy: To names %d destinations; want %d at most", len(to), maxDests)
	}
	left := make(map[string][]destination, len(old.dests))
	for _, d := range old.dests {
		left[d.name()] = append(left[d.name()], d)
	}
	next := &destSet{leaving: slices.Clone(old.leaving), hopIn: old.hopIn, hopOut: old.hopOut}
	var entries []balance.Entry
	var fresh []destination
	for _, s := range to {
		named, err := balance.ParseDestination(s)
		if err != nil {
			err = fmt.Errorf("destination %w", err)
		}
		var d destination
		if same := left[named.URL]; err == nil && len(same) > 0 {
			d, left[named.URL] = same[0], same[1:]
		} else if err == nil {
			if d, err = r.newDestination(named.URL); err == nil {
				fresh = append(fresh, d)
			}
		}
		if err != nil {
			for _, d := range fresh {
				d.close()
			}
			return err
		}
		next.dests = append(next.dests, d)
		entries = append(entries, balance.Entry{Member: d.inGroup(), Weight: named.Weight, Tier: named.Tier})
	}
	if len(next.dests) == 1 {
		next.only = next.dests[0]
	}
	// What picks a destination that left meanwhile finds it closed to it, and picks again.
	r.group.Replace(r.now(), entries, len(old.dests) > 0)
	for _, d := range old.dests { // in their order
		if slices.Contains(left[d.name()], d) {
			ctx, cancel := context.WithTimeout(context.Background(), r.config.LeaveTimeout)
			l := &leaver{destination: d, cancel: cancel, donec: make(chan struct{})}
			next.leaving = append(next.leaving, l)
			defer r.wg.Go(func() { r.leaveLoop(ctx, l) }) // once the set is without it
		}
	}
	for _, l := range next.leaving[:max(0, len(next.leaving)-maxLeaving)] {
		l.cancel()
	}
	r.set.Store(next)
	for _, d := range fresh {
		d.start()
	}
	return nil
}

// newDestination makes a destination, and the member of the group that it is.
func (r *route) newDestination(url string) (destination, error) {
	end, err := parseEndpoint(url)
	if err != nil {
		return nil, err
	}
	if !end.isHop {
		u := newUpstream(r, r.config, end)
		u.member = r.group.NewMember(url, u, true)
		return u, nil
	}
	p, err := newPeer(r, r.config, end)
	if err != nil {
		return nil, err
	}
	p.member = r.group.NewMember(url, p, false)
	return p, nil
}

// leaveLoop lets a destination that left finish, and closes it.
func (r *route) leaveLoop(ctx context.Context, l *leaver) {
	defer close(l.donec)
	defer l.cancel()
	l.shutdown(ctx)
	l.close()
	st := l.stats(r.now())
	r.mu.Lock()
	defer r.mu.Unlock()
	next := *r.set.Load()
	next.leaving = slices.DeleteFunc(slices.Clone(next.leaving), func(x *leaver) bool { return x == l })
	if st.Hop != nil {
		next.hopIn += st.Hop.BytesIn
		next.hopOut += st.Hop.BytesOut
	}
	r.set.Store(&next)
}

// endSet refuses other sets from now on, and returns the last.
func (r *route) endSet() *destSet {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.isEnding = true
	return r.set.Load()
}

// SetTo replaces the destinations, named as in Config.To, while exchanges run. Those
// of the same URL keep their connections, health and counts, and take their weight and
// tier from to; newcomers start slowly; those not named any more are sent nothing
// else, have LeaveTimeout to finish what they have, and are closed. It does not wait,
// and changes nothing when it returns an error. ErrClosed says that Shutdown or Close
// came before. Without Config.To it is the route named DefaultRoute whose destinations they are.
func (f *Front) SetTo(to []string) error { return f.route.setTo(to) }

// SetTo is [Front.SetTo].
func (b *Back) SetTo(to []string) error { return b.route.setTo(to) }
