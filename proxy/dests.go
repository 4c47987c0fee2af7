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

// setDests makes to the destinations: what it names, the lines of its files, and what the names in it that are
// to be looked up come to. It waits for the first answers to those that are new, and
// changes nothing when it returns an error.
func (r *route) setDests(to []string) error {
	r.setting.Lock()
	defer r.setting.Unlock()
	return r.setNamed(to)
}

// setNamed is setDests while setting is held.
func (r *route) setNamed(to []string) error {
	lines, files, err := readFiles(to)
	if err != nil {
		return err
	}
	named, err := r.parseTo(lines)
	if err != nil {
		return err
	}
	next, fresh, err := r.lookupsOf(named)
	if err != nil {
		return err
	}
	first := askAll(fresh)
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.isEnding {
		return ErrClosed
	}
	for i, l := range fresh {
		l.noteLocked(first[i].found, first[i].err)
	}
	list := expandLocked(named, next)
	if len(list) == 0 && r.named != nil { // there is more to lose than at the start
		return fmt.Errorf("proxy: destination %q: %w", named[0].URL, next[lookupKey(&named[0])].err)
	}
	if err := r.applyLocked(list); err != nil {
		return err
	}
	for key, l := range r.lookups {
		if next[key] != l {
			l.cancel()
		}
	}
	r.to, r.named, r.lookups = to, named, next
	r.followLocked(files)
	for _, l := range fresh {
		ctx, cancel := context.WithCancel(context.Background())
		l.cancel = cancel
		r.wg.Go(func() { l.loop(ctx) })
	}
	return nil
}

// parseTo checks what is named.
func (r *route) parseTo(to []toLine) (named []balance.Destination, err error) {
	switch {
	case r.config.Handler != nil:
		return nil, errors.New("proxy: a Handler has no other destinations")
	case len(to) == 0:
		return nil, errors.New("proxy: To is empty")
	}
	var list ToList
	for _, line := range to {
		d, end, err := list.add(line)
		if err == nil && end.isHop && end.isTLS && r.config.TLS == nil {
			err = fmt.Errorf("%s%q needs TLS", line.where, d.URL)
		}
		if err != nil {
			return nil, fmt.Errorf("proxy: destination %w", err)
		}
		named = append(named, d)
	}
	return named, nil
}

// applyLocked makes list the destinations. Those of the same name stay what they are, but
// for weight, tier and max; newcomers start slowly; those that are not there any more are
// given nothing else, finish what they have within LeaveTimeout, and are closed.
func (r *route) applyLocked(list []balance.Destination) error {
	old := r.set.Load()
	if len(list) > maxDests {
		return fmt.Errorf("proxy: there are %d destinations; want %d at most", len(list), maxDests)
	}
	left := make(map[string][]destination, len(old.dests))
	for _, d := range old.dests {
		left[d.name()] = append(left[d.name()], d)
	}
	next := &destSet{leaving: slices.Clone(old.leaving), hopIn: old.hopIn, hopOut: old.hopOut}
	var entries []balance.Entry
	var fresh []destination
	var bounds []int
	for i := range list {
		var d destination
		name := list[i].Name()
		if same := left[name]; len(same) > 0 {
			d, left[name] = same[0], same[1:]
		} else {
			var err error
			if d, err = r.newDestination(&list[i]); err != nil {
				for _, d := range fresh {
					d.close()
				}
				return err
			}
			fresh = append(fresh, d)
		}
		next.dests = append(next.dests, d)
		bounds = append(bounds, list[i].Max)
		entries = append(entries, balance.Entry{Member: d.inGroup(), Weight: list[i].Weight, Tier: list[i].Tier})
	}
	for i, d := range next.dests {
		d.bound(bounds[i])
	}
	if len(next.dests) == 1 {
		next.only = next.dests[0]
	}
	// What picks a destination that left meanwhile finds it closed to it, and picks again.
	r.group.Replace(r.now(), entries, len(old.dests) > 0)
	for _, d := range old.dests { // in their order
		if slices.Contains(left[d.name()], d) {
			ctx, cancel := r.config.leaveContext()
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

// leaveContext ends when a destination that leaves has to be closed.
func (b *Balance) leaveContext() (context.Context, context.CancelFunc) {
	if b.LeaveTimeout > 0 {
		return context.WithTimeout(context.Background(), b.LeaveTimeout)
	}
	return context.WithCancel(context.Background())
}

// newDestination makes a destination, and the member of the group that it is.
func (r *route) newDestination(to *balance.Destination) (destination, error) {
	end, err := endpointOf(to)
	if err != nil {
		return nil, err
	}
	if !end.isHop {
		u := newUpstream(r, r.config, end)
		u.member = r.group.NewMember(end.url, u, true)
		u.lobby.member = u.member
		return u, nil
	}
	p, err := newPeer(r, r.config, end)
	if err != nil {
		return nil, err
	}
	p.member = r.group.NewMember(end.url, p, false)
	p.lobby.member = p.member
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
	for _, l := range r.lookups {
		l.cancel()
	}
	return r.set.Load()
}

// SetTo replaces the destinations, named as in Config.To, while exchanges run. Those
// of the same URL keep their connections, health and counts, and take their weight,
// tier and max from to; newcomers start slowly; those not named any more are sent nothing
// else, finish what they have within LeaveTimeout, and are closed. It waits for the
// first lookup of names that are new, 5 s at most, and for nothing else. It changes
// nothing when it returns an error, as when no name has an address. ErrClosed says that
// Shutdown or Close came before. Without Config.To it is the route named DefaultRoute whose destinations they are.
func (f *Front) SetTo(to []string) error { return f.route.setTo(to) }

// SetTo is [Front.SetTo].
func (b *Back) SetTo(to []string) error { return b.route.setTo(to) }
