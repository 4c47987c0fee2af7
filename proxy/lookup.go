package proxy

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"net"
	"net/netip"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/h2tp/h2tp/proxy/internal/balance"
)

const (
	// lookupTimeout bounds one lookup, and the wait for the first: as a resolver asks twice for 5 s each.
	lookupTimeout = 5 * time.Second
	// lookupAgain is when one that found nothing yet is made again.
	lookupAgain = time.Second
	// maxTargets bounds the names of SRV records whose addresses are looked up.
	maxTargets = 64
	maxTier    = 9
	maxWeight  = 1000
)

// lookup is a name of --to whose addresses are destinations. Its loop asks for them;
// exchanges never wait for it. What fails, or finds nothing, leaves those that were
// found before.
type lookup struct {
	// Immutable.
	r      *route
	named  balance.Destination // its weight and tier are the route's to know
	end    endpoint
	cancel context.CancelFunc

	// Guarded by route.mu.
	found              []balance.Destination
	err                error // why the last found none; nil when it did
	done, failed, none int64
}

// lookupsOf finds the lookups that run, and makes those that do not yet.
func (r *route) lookupsOf(named []balance.Destination) (next map[balance.Destination]*lookup, fresh []*lookup, err error) {
	next = make(map[balance.Destination]*lookup)
	for i := range named {
		key := lookupKey(&named[i])
		if key.Every == 0 || next[key] != nil {
			continue
		}
		if next[key] = r.lookups[key]; next[key] == nil { // written under setting, which is held
			l, err := newLookup(r, key)
			if err != nil {
				return nil, nil, err
			}
			next[key] = l
			fresh = append(fresh, l)
		}
	}
	return next, fresh, nil
}

// lookupAnswer is what a lookup found.
type lookupAnswer struct {
	found []balance.Destination
	err   error
}

// askAll asks for the first time, where prime has not.
func askAll(list []*lookup) []lookupAnswer {
	answers := make([]lookupAnswer, len(list))
	var wg sync.WaitGroup
	for i, l := range list {
		if a, ok := l.r.home.primed.Load(l.named); ok {
			answers[i] = a.(lookupAnswer)
			continue
		}
		wg.Go(func() { answers[i].found, answers[i].err = l.ask(l.r.home.life) })
	}
	wg.Wait()
	return answers
}

// prime asks for what is new in several routes, for all at once and before a lock is taken. primed is to be
// cleared when they are made.
func (r *route) prime(list []Route) {
	known := make(map[balance.Destination]bool)
	for _, sub := range r.current() {
		sub.mu.Lock()
		for key := range sub.lookups {
			known[key] = true
		}
		sub.mu.Unlock()
	}
	var fresh []*lookup
	for _, spec := range list {
		lines, _, _ := readFiles(spec.To) // what is wrong is for setDests to say
		for _, line := range lines {
			d, err := balance.ParseDestination(line.text)
			if err != nil || d.Every == 0 || known[lookupKey(&d)] {
				continue
			}
			known[lookupKey(&d)] = true
			if l, err := newLookup(r, lookupKey(&d)); err == nil {
				fresh = append(fresh, l)
			}
		}
	}
	for i, a := range askAll(fresh) {
		r.primed.Store(fresh[i].named, a)
	}
}

// expandLocked puts what was found in the place of the names.
func expandLocked(named []balance.Destination, lookups map[balance.Destination]*lookup) (list []balance.Destination) {
	for _, d := range named {
		l := lookups[lookupKey(&d)]
		if l == nil {
			list = append(list, d)
			continue
		}
		for _, found := range l.found {
			if !d.IsSRV {
				found.Weight, found.Tier, found.Max = d.Weight, d.Tier, d.Max
			}
			list = append(list, found)
		}
	}
	return list
}

// found takes in what a lookup found.
func (r *route) found(l *lookup, found []balance.Destination, err error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.isEnding || r.lookups[l.named] != l || !l.noteLocked(found, err) {
		return
	}
	if err := r.applyLocked(expandLocked(r.named, r.lookups)); err != nil {
		l.err = err
		r.config.Logger.Warn("destinations stay as they are", "err", err)
	}
}

// lookupKey tells lookups apart.
func lookupKey(d *balance.Destination) balance.Destination {
	return balance.Destination{URL: d.URL, Every: d.Every, IsSRV: d.IsSRV}
}

func newLookup(r *route, d balance.Destination) (*lookup, error) {
	end, err := parseEndpoint(d.URL)
	if err != nil {
		return nil, err
	}
	return &lookup{r: r, named: d, end: end}, checkLookup(&d, end)
}

// checkLookup sees that a destination has a name that can be looked up.
func checkLookup(d *balance.Destination, end endpoint) error {
	_, err := netip.ParseAddr(end.name)
	switch {
	case end.network == "unix" || err == nil:
		return fmt.Errorf("%q has no name to look up", d.URL)
	case d.IsSRV && end.hasPort:
		return fmt.Errorf("%q has a port, which is that of the SRV records", d.URL)
	}
	return nil
}

// loop asks again and again, first after a while.
func (l *lookup) loop(ctx context.Context) {
	timer := time.NewTimer(l.pause())
	defer timer.Stop()
	for {
		select {
		case <-timer.C:
		case <-ctx.Done():
			return
		}
		found, err := l.ask(ctx)
		if ctx.Err() != nil {
			return
		}
		l.r.found(l, found, err)
		timer.Reset(l.pause())
	}
}

// pause is the time to the next, +-10 %.
func (l *lookup) pause() time.Duration {
	l.r.mu.Lock()
	defer l.r.mu.Unlock()
	every := l.named.Every
	if len(l.found) == 0 {
		every = min(every, lookupAgain)
	}
	return every*9/10 + rand.N(every/5)
}

var errNoAddress = errors.New("no address")

// ask asks once. What it finds is in an order that depends on nothing else.
func (l *lookup) ask(ctx context.Context) (found []balance.Destination, err error) {
	ctx, cancel := context.WithTimeout(ctx, lookupTimeout)
	defer cancel()
	if l.named.IsSRV {
		found, err = l.askSRV(ctx)
	} else {
		var ips []netip.Addr
		ips, err = l.addresses(ctx, l.end.name)
		for _, ip := range ips {
			found = append(found, balance.Destination{URL: l.named.URL, Weight: 1, Addr: net.JoinHostPort(ip.String(), l.end.port)})
		}
	}
	if err == nil && len(found) == 0 {
		err = errNoAddress
	}
	if err != nil {
		return nil, err
	}
	slices.SortFunc(found, func(a, b balance.Destination) int {
		return cmp.Or(cmp.Compare(a.Tier, b.Tier), cmp.Compare(a.Addr, b.Addr))
	})
	seen := make(map[string]bool)
	return slices.DeleteFunc(found, func(d balance.Destination) bool {
		isTwice := seen[d.Addr]
		seen[d.Addr] = true
		return isTwice
	}), nil
}

// addresses are those of a name to which there is a way, or all when there is none
// to any: most hosts have no way to IPv6, or none to IPv4.
func (l *lookup) addresses(ctx context.Context, name string) ([]netip.Addr, error) {
	ips, err := l.r.config.Resolver.LookupNetIP(ctx, "ip", name)
	if err != nil {
		return nil, err
	}
	for i := range ips {
		ips[i] = ips[i].Unmap()
	}
	if l.r.config.Dial == nil {
		ips = within(ips, hasRoute)
	}
	return ips, nil
}

// within leaves out what cannot be reached, unless nothing can.
func within(ips []netip.Addr, isNear func(netip.Addr) bool) []netip.Addr {
	near := slices.DeleteFunc(slices.Clone(ips), func(ip netip.Addr) bool { return !isNear(ip) })
	if len(near) == 0 {
		return ips
	}
	return near
}

// hasRoute asks the kernel; nothing is sent.
func hasRoute(ip netip.Addr) bool {
	c, err := net.DialUDP("udp", nil, net.UDPAddrFromAddrPort(netip.AddrPortFrom(ip, 9)))
	if err == nil {
		c.Close()
	}
	return err == nil
}

// askSRV asks for records, and for the addresses of what they name. A record's weight is
// that of its addresses together, and each priority is a tier.
func (l *lookup) askSRV(ctx context.Context) (found []balance.Destination, err error) {
	_, records, err := l.r.config.Resolver.LookupSRV(ctx, "", "", l.end.name)
	if err != nil && len(records) == 0 { // some may be invalid
		return nil, err
	}
	var shares []float64
	tier := 0
	for i, srv := range records[:min(len(records), maxTargets)] {
		if i > 0 && srv.Priority != records[i-1].Priority {
			tier = min(tier+1, maxTier)
		}
		ips, err := l.addresses(ctx, srv.Target)
		if isNone(err) || srv.Target == "." { // it says that there is no such service
			continue
		} else if err != nil {
			return nil, err
		}
		for _, ip := range ips {
			found = append(found, balance.Destination{URL: l.named.URL, IsSRV: true, Tier: tier, Addr: net.JoinHostPort(ip.String(), strconv.Itoa(int(srv.Port)))})
			shares = append(shares, max(float64(srv.Weight), 1)/float64(len(ips)))
		}
	}
	weigh(found, shares)
	return found, nil
}

// weigh makes weights of shares: the same, if they are such, else in proportion.
func weigh(found []balance.Destination, shares []float64) {
	scale := 1.0
	for _, s := range shares {
		if s > maxWeight || s != float64(int(s)) {
			scale = maxWeight / slices.Max(shares)
			break
		}
	}
	for i, s := range shares {
		found[i].Weight = max(int(s*scale), 1)
	}
}

// isNone reports whether an error says that there is no such name, or nothing of the
// kind that was asked for.
func isNone(err error) bool {
	de, ok := errors.AsType[*net.DNSError](err)
	return err == errNoAddress || ok && de.IsNotFound
}

// noteLocked takes what was found in, and reports whether that is another set.
func (l *lookup) noteLocked(found []balance.Destination, err error) (isNew bool) {
	log, was := l.r.config.Logger, l.err
	l.err = err
	switch {
	case err == nil:
		l.done++
	case isNone(err):
		l.none++
	default:
		l.failed++
	}
	if err != nil {
		if was == nil {
			log.Warn("lookup failed, what it found before stays", "destination", l.named.URL, "addresses", len(l.found), "err", err)
		}
		return false
	}
	if was != nil {
		log.Info("lookup works again", "destination", l.named.URL)
	}
	if slices.Equal(found, l.found) {
		return false
	}
	log.Info("addresses changed", "destination", l.named.URL, "before", len(l.found), "addresses", len(found))
	l.found = found
	return true
}

// lookupStats are in the order of the names, and then of the files.
func (r *route) lookupStats() (list []LookupStats) {
	r.mu.Lock()
	defer r.mu.Unlock()
	for i := range r.named {
		if l := r.lookups[lookupKey(&r.named[i])]; l != nil {
			st := LookupStats{Route: r.name, URL: l.named.URL, Addresses: len(l.found), Done: l.done, None: l.none, Failed: l.failed}
			if l.err != nil {
				st.Why = l.err.Error()
			}
			list = append(list, st)
		}
	}
	for _, f := range r.files {
		st := LookupStats{Route: r.name, URL: f.url, Addresses: f.lines, Done: f.done, Failed: f.failed}
		if f.err != nil {
			st.Why = f.err.Error()
		}
		list = append(list, st)
	}
	return list
}

// endpointOf is the endpoint of a destination. The name that its certificate shows is that of
// the URL, without the labels of an SRV record's service: what DNS answers proves nothing.
func endpointOf(d *balance.Destination) (endpoint, error) {
	end, err := parseEndpoint(d.URL)
	if err != nil || d.Addr == "" {
		return end, err
	}
	end.url, end.addr = d.Name(), d.Addr
	for d.IsSRV && strings.HasPrefix(end.name, "_") {
		_, end.name, _ = strings.Cut(end.name, ".")
		end.host = end.name
	}
	return end, nil
}
