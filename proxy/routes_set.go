package proxy

import (
	"errors"
	"fmt"
	"reflect"
	"slices"
	"strings"
	"time"

	"github.com/h2tp/h2tp/proxy/internal/wire"
)

// SetRoutes replaces Config.Routes while exchanges run. A route that is as before stays as it is, with its connections; one of which
// only To is another keeps the destinations that stay. One that is not there any more, or is another, gets no more
// requests, finishes those it has, however long they take, and is closed. When there is an error all stay as they are.
func (f *Front) SetRoutes(list []Route) error { return f.route.setRoutes(list) }

// SetRoutes is as that of Front.
func (b *Back) SetRoutes(list []Route) error { return b.route.setRoutes(list) }

func (r *route) setRoutes(list []Route) error {
	if len(list) == 0 && !r.isDefault {
		return errors.New("proxy: Routes and To are empty")
	}
	if err := checkRoutes(list); err != nil {
		return err
	}
	list = ownRoutes(list)
	r.prime(list)
	defer r.primed.Clear()
	r.subsMu.Lock()
	defer r.subsMu.Unlock()
	if r.isOver {
		return ErrClosed
	}
	before := make(map[string]*route)
	if t := r.table.Load(); t != nil {
		for _, sub := range t.list {
			before[sub.name] = sub
		}
	}
	next, err := r.nextRoutesLocked(list, before)
	if err != nil {
		return err
	}
	for _, sub := range next {
		r.subs[sub] = struct{}{}
	}
	if len(next) == 0 {
		r.table.Store(nil)
	} else {
		r.table.Store(newRoutingTable(next))
	}
	for _, old := range before {
		if !slices.Contains(next, old) {
			old.isRetired.Store(true)
			r.wg.Go(func() { r.retireLoop(old) })
		}
	}
	return nil
}

// ownRoutes is a copy, so that who changes its own later can say so.
func ownRoutes(list []Route) []Route {
	list = slices.Clone(list)
	for i := range list {
		spec := &list[i]
		spec.To = slices.Clone(spec.To)
		if l := spec.Limits; l != nil {
			own := *l
			spec.Limits = &own
		}
		if b := spec.Balance; b != nil {
			own := *b
			spec.Balance = &own
		}
	}
	return list
}

// setTo replaces the destinations of the route that is the default.
func (r *route) setTo(to []string) error {
	if r.isDefault {
		return r.setDests(to)
	}
	r.subsMu.Lock()
	defer r.subsMu.Unlock()
	if t := r.table.Load(); t != nil {
		for _, sub := range t.list {
			if sub.name == DefaultRoute {
				return sub.setDests(to)
			}
		}
	}
	return errors.New("proxy: there is no default route")
}

// nextRoutesLocked makes what is not there yet, or changes nothing.
func (r *route) nextRoutesLocked(list []Route, before map[string]*route) (next []*route, err error) {
	var made, moved []*route
	undo := func() {
		for _, sub := range made {
			sub.close()
		}
		for _, sub := range moved {
			sub.setDests(sub.spec.To)
		}
	}
	for _, spec := range list {
		sub := before[spec.Name]
		switch {
		case sub != nil && reflect.DeepEqual(sub.spec, spec):
		case sub != nil && sub.differsInTo(spec):
			if err = sub.setDests(spec.To); err == nil {
				moved = append(moved, sub)
			}
		default:
			if sub, err = r.newSub(spec, sub); err == nil {
				made = append(made, sub)
			}
		}
		if err != nil {
			undo()
			return nil, fmt.Errorf("route %s: %w", spec.Name, err)
		}
		next = append(next, sub)
	}
	for i, sub := range next {
		sub.spec = list[i]
	}
	return next, nil
}

// differsInTo reports whether a route would be as spec says with other destinations.
func (r *route) differsInTo(spec Route) bool {
	spec.To = r.spec.To
	return reflect.DeepEqual(r.spec, spec)
}

// newSub makes a route besides the own one; it counts on where old, if there is one, has counted.
func (r *route) newSub(spec Route, old *route) (*route, error) {
	cfg := *r.config
	cfg.To, cfg.Handler, cfg.Routes = spec.To, nil, nil
	if l := spec.Limits; l != nil {
		full := *l
		if err := full.complete(); err != nil {
			return nil, err
		}
		cfg.Timeout, cfg.ConnectTimeout, cfg.QueueTimeout = full.Timeout, full.ConnectTimeout, full.QueueTimeout
		cfg.MaxUpstreamConns, cfg.GetOnly = full.MaxUpstreamConns, full.GetOnly
		cfg.Pipeline, cfg.PipelineConns = full.Pipeline, full.PipelineConns
	}
	if spec.Balance != nil {
		cfg.Balance = *spec.Balance
		if err := cfg.Balance.complete(); err != nil {
			return nil, err
		}
	}
	return newRouteIn(r, spec, old, &cfg)
}

// retireLoop closes a route once the last of its exchanges is over, which may be a tunnel.
func (r *route) retireLoop(old *route) {
	ticker := time.NewTicker(sweepPeriod)
	defer ticker.Stop()
	for old.inflight.Load() > 0 {
		select {
		case <-ticker.C:
		case <-r.life.Done(): // whoever closes r closes it
			return
		}
	}
	old.shutdown(r.life)
	r.subsMu.Lock()
	defer r.subsMu.Unlock()
	delete(r.subs, old)
	r.hops.addHops(old, r.now())
	for sub := range r.subs {
		if sub.meter == old.meter {
			return
		}
	}
	old.meter.addTo(&r.gone)
}

// newRouteIn makes a route of spec with the destinations of cfg, among those of home.
func newRouteIn(home *route, spec Route, old *route, cfg *Config) (*route, error) {
	r := newRoute(cfg)
	r.home, r.name, r.spec = home, spec.Name, spec
	r.start, r.via, r.memory, r.onExchange, r.marker = home.start, home.via, home.memory, home.onExchange, home.marker
	if old != nil {
		r.meter, r.base = old.meter, old.meter.exchanges.Load()
	}
	if err := r.addDestinations(cfg); err != nil {
		r.close()
		return nil, err
	}
	r.run()
	return r, nil
}

// stopRouting is all, after which there are no new ones.
func (r *route) stopRouting() []*route {
	r.subsMu.Lock()
	r.isOver = true
	r.subsMu.Unlock()
	r.endLife()
	return r.all()
}

func checkRoutes(list []Route) error {
	if i, err := CheckRoutes(list); err != nil {
		return fmt.Errorf("proxy: route %q: %w", list[i].Name, err)
	}
	return nil
}

// CheckRoutes finds what is wrong with routes, by themselves and beside each other, but for what To names. It returns the index
// of the first that is wrong.
func CheckRoutes(list []Route) (int, error) {
	names, places := make(map[string]bool), make(map[[2]string]string)
	for i := range list {
		spec := &list[i]
		place := [2]string{routeHost(spec.Host), routePath(spec.Path)}
		other, isTaken := places[place]
		host := strings.TrimPrefix(spec.Host, "*.")
		switch {
		case spec.Name == "":
			return i, errors.New("it has no name")
		case names[spec.Name]:
			return i, fmt.Errorf("another has the name %s", spec.Name)
		case len(spec.Host) > maxHost || strings.ContainsAny(host, "*/ ") || spec.Host != "" && routeHost(host) == "":
			return i, fmt.Errorf("its Host is %q; want a name or address without port, or *.SUFFIX", spec.Host)
		case spec.Path != "" && !wire.IsTarget([]byte(spec.Path)) || spec.Path != "" && spec.Path[0] != '/' || strings.ContainsAny(spec.Path, "?#"):
			return i, fmt.Errorf("its Path is %q; want one that begins with a slash", spec.Path)
		case isTaken:
			return i, fmt.Errorf("%s has the same host and path", other)
		case len(spec.To) == 0:
			return i, errors.New("its To is empty")
		}
		names[spec.Name], places[place] = true, spec.Name
	}
	return 0, nil
}
