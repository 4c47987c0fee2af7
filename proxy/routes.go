package proxy

import (
	"context"
	"sync"
	"sync/atomic"
	"time"

	"github.com/h2tp/h2tp/proxy/internal/rawconn"
	"github.com/h2tp/h2tp/proxy/internal/wire"
)

// Route is where the requests for a host and a path go, of the several of one front or back. Of the routes that match a
// request, the one with the most specific host takes it, and of these the one with the longest path; one that none
// matches goes to Config.To, and without that is answered 404.
type Route struct {
	// Name is what Stats and Exchange call it; no two have the same.
	Name string
	// Host is a name or address without port, in any case, or *.SUFFIX for every name below it. If empty, any host
	// is taken.
	Host string
	// Path is a prefix of the path, whole segments of it: /a is for /a and /a/b and not for /ab. Paths are compared as they
	// came, nothing in them decoded or resolved, and are passed on whole. If empty, any path is taken.
	Path string
	// To is as Config.To.
	To []string
	// Limits are of this route's exchanges: Timeout, ConnectTimeout, QueueTimeout, MaxUpstreamConns, Pipeline,
	// PipelineConns and GetOnly of them, no others. If nil, Config's are used.
	Limits *Limits
	// Balance is of this route's destinations. If nil, Config's is used.
	Balance *Balance
}

// DefaultRoute is what Stats and Exchange call the way to Config.To.
const DefaultRoute = "default"

// routing is what a route has to do with others: a front's or back's own one leads requests to them.
type routing struct {
	// Of all but the own one.
	home *route // the own one; itself of that
	name string
	spec Route // guarded by home's subsMu
	base int64 // exchanges that the one before it has counted
	// isRetired is set once no request is to choose it any more.
	isRetired atomic.Bool

	// Of the own one.
	isDefault bool // immutable: what no other matches goes to its destinations
	table     atomic.Pointer[routingTable]
	primed    sync.Map // lookupAnswers by lookupKey, while routes are made
	loopOnce  sync.Once
	loop      *rawconn.Loop // of the own one, for all; nil where there is none

	life    context.Context // ends when it closes
	endLife context.CancelFunc

	subsMu sync.Mutex          // guards all below; held while others are made
	subs   map[*route]struct{} // those that are not closed: the table's, and retired ones
	isOver bool
	gone   meter // of routes that are closed and that no other has replaced
	hops   Stats // of routes that are closed: HopIn, HopOut and OverRepeats
}

func (r *route) initRouting(cfg *Config) {
	r.home, r.name = r, DefaultRoute
	r.isDefault = len(cfg.To) > 0 || cfg.Handler != nil
	r.life, r.endLife = context.WithCancel(context.Background())
	r.subs = make(map[*route]struct{})
}

// choose finds the route of an exchange, or answers 404 and returns nil. A route that is not the own one has counted it in, so
// that it is not closed before.
func (r *route) choose(ex *exchange) *route {
	t := r.table.Load()
	if t == nil {
		return r
	}
	for {
		chosen := t.find(ex.req.Authority, ex.req.Target)
		switch {
		case chosen == nil && r.isDefault:
			return r
		case chosen == nil:
			ex.route = r
			r.meter.refuse(404)
			resp := noRoute // the sink may change it
			ex.sink.respond(ex, &resp)
			return nil
		}
		chosen.inflight.Add(1)
		if !chosen.isRetired.Load() { // if it is set from now on, who retires it sees this one
			return chosen
		}
		chosen.inflight.Add(-1)
		t = r.table.Load() // another was stored before
	}
}

var noRoute = wire.Response{
	Status: 404, BodyKind: wire.BodyWhole, Body: []byte("Not Found\n"),
	Fields: []wire.Field{{Name: []byte("Content-Type"), Value: []byte("text/plain; charset=utf-8")}},
}

// countHops adds the bytes of all hops there are and were.
func (r *route) countHops(st *Stats, now time.Duration) {
	r.subsMu.Lock()
	defer r.subsMu.Unlock()
	st.HopIn += r.hops.HopIn
	st.HopOut += r.hops.HopOut
	st.OverRepeats += r.hops.OverRepeats
	st.addHops(r, now)
	for sub := range r.subs {
		st.addHops(sub, now)
	}
}

// total is what all routes have counted.
func (r *route) total() *meter {
	r.subsMu.Lock()
	defer r.subsMu.Unlock()
	sum := new(meter)
	r.gone.addTo(sum)
	r.meter.addTo(sum)
	seen := make(map[*meter]bool)
	for sub := range r.subs {
		if !seen[sub.meter] {
			seen[sub.meter] = true
			sub.meter.addTo(sum)
		}
	}
	return sum
}

// all are the other routes, those that are retired too.
func (r *route) all() []*route {
	r.subsMu.Lock()
	defer r.subsMu.Unlock()
	list := make([]*route, 0, len(r.subs))
	for sub := range r.subs {
		list = append(list, sub)
	}
	return list
}

// current are the routes that requests may choose, the own one first if it is one.
func (r *route) current() []*route {
	var list []*route
	if r.isDefault {
		list = append(list, r)
	}
	if t := r.table.Load(); t != nil {
		list = append(list, t.list...)
	}
	return list
}

// healthy is the share of destinations that can be reached, the mean of all routes.
func (r *route) healthy() float64 {
	list, sum := r.current(), 0.0
	for _, sub := range list {
		sum += sub.group.Healthy()
	}
	return sum / float64(max(1, len(list)))
}
