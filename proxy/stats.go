package proxy

import (
	"strconv"
	"sync/atomic"
	"time"

	"github.com/h2tp/h2tp/pool"
	"github.com/h2tp/h2tp/proxy/internal/balance"
)

type stats struct {
	badHandshakes          atomic.Int64
	overloads              atomic.Int64
	conns, refused, denied atomic.Int64
	badTokens              atomic.Int64
	clientIn, clientOut    atomic.Int64
}

// Stats are counts of a [Front] or [Back] since it was made, and what is the case now.
type Stats struct {
	// Exchanges were begun; Repeats of them sent again; Overloads refused.
	Exchanges, Repeats, Overloads int64
	// SinceSweep is how long ago the loops that watch over time were last through: some 100 ms, and longer only in a
	// process that has no processor, or is stuck.
	SinceSweep time.Duration
	// InFlight are running now.
	InFlight int64
	// Ended are those that were begun and are over, by method and status; a status of "gone" has those for which
	// nobody waited any more. The sets of both are fixed.
	Ended []Count
	// Failures are exchanges that ended without a response of their destination, by reason, and bodies of
	// responses that were cut short, whose reason is "cut".
	Failures []Count
	// Refusals are requests that became no exchange, by status.
	Refusals []Count
	// Took is how long exchanges took, in seconds, from the whole request to the last byte of the response handed
	// on. Tunnels, and exchanges for which nobody waited any more, are left out.
	Took Histogram
	// Conns are connections of clients open now, Accepted those since the start.
	Conns    int
	Accepted int64
	// Refused are clients' connections closed over MaxConns or MaxConnsPerAddr, and fronts' over that or 4096.
	Refused int64
	// Denied are connections closed because their address may not come, or for want of a PROXY header.
	Denied int64
	// BadHandshakes are connections that ended in TLS: no certificate, none that is taken, or no TLS.
	BadHandshakes int64
	// BadTokens are streams of fronts refused for want of the right token.
	BadTokens int64
	// ClientIn and ClientOut are bytes of HTTP/1.1 read from and written to clients.
	ClientIn, ClientOut int64
	// HopIn and HopOut are bytes of HTTP/2 read from and written to peers, without TLS.
	HopIn, HopOut int64
	// Held is what messages hold of BodyMemory; OverMemory is how often one wanted more than there is.
	Held, OverMemory int64
	// OverRepeats are repeats that RetryPercent and RetryMin did not allow.
	OverRepeats int64
	// IsDraining is set once Shutdown or Close was called.
	IsDraining bool
	// Hop is a back's with its fronts, all together; nil of a front.
	Hop *HopStats
	// Routes are those there are now, that to Config.To first; what is said above of exchanges is of all together, and of those that
	// are not there any more.
	Routes []RouteStats
	// Destinations are those of all Routes, in the order of their To; or it is the Handler.
	Destinations []DestinationStats
	// Lookups are of the names of Config.To, or of SetTo's, that are looked up, and of its files; and of those of Routes.
	Lookups []LookupStats
	// Leaving are destinations that SetTo or SetRoutes left out and that have not finished.
	Leaving int
}

// RouteStats are of one route; its fields are as those of [Stats].
type RouteStats struct {
	Name                         string
	Exchanges, Repeats, InFlight int64
	Ended, Failures              []Count
	Took                         Histogram
}

// Count is how often something happened.
type Count struct {
	Method string // of Ended only
	What   string // a class of status such as "2xx", a status, or a reason
	N      int64
}

// Histogram tells how large values were. Counts[i] are those no larger than Bounds[i] and larger than the bound
// before; its last element, one more than Bounds has, are the rest.
type Histogram struct {
	Bounds []float64
	Counts []int64
	Sum    float64
}

// LookupStats are of the lookups of one name, or of the readings of one file.
type LookupStats struct {
	// Route is the name of the route whose it is.
	Route string
	// URL is as in Config.To. Addresses were found, and are destinations, or are a file's lines.
	URL       string
	Addresses int
	// Why says why the last lookup found none, or a file was refused, what was found before being kept; else empty.
	Why string
	// Done found addresses, None that there are none, Failed nothing.
	Done, None, Failed int64
}

// DestinationStats are of one destination.
type DestinationStats struct {
	// Route is the name of the route whose it is.
	Route string
	// URL is as in Config.To, or "handler". Kind is "peer", "upstream" or "handler".
	URL, Kind string
	// IsUp is set when a delivery now is likely to work; else Why says why it is not.
	IsUp bool
	Why  string
	// Weight and Tier are as in Config.To; a handler has none.
	Weight, Tier int
	// Ejections are how often it was left out for its failures.
	Ejections int64
	// InFlight exchanges were given to it, Waiting of them wait for room or a connection.
	InFlight, Waiting int
	// Limit bounds those that do not wait; 0 is no bound.
	Limit int
	// Refused exchanges found the queue full, Late ones waited QueueTimeout in vain for room.
	Refused, Late int64
	// Conns are open to it.
	Conns int
	// Ended are attempts, by the class of their status or "gone"; Failures those that failed, by reason.
	Ended, Failures []Count
	// Took is the time of attempts in seconds, until the whole response was here, or the head of a streamed one. Queued
	// is how long those waited that had to.
	Took, Queued Histogram
	// Hop is that to a peer; else nil.
	Hop *HopStats
}

// HopStats are of the hop to one peer, or at a back of those from all fronts.
type HopStats struct {
	// Conns and Streams are HTTP/2's, open now.
	Conns, Streams int
	// Sessions are the batched streams among them, those that drain left out.
	Sessions []SessionStats
	// BytesIn and BytesOut are those of HTTP/2, without TLS.
	BytesIn, BytesOut int64
	// Wire is what TCP made of them: with TLS, and what was sent again.
	Wire pool.WireStats
	// In came from the peer, Out was sent to it.
	In, Out BatchStats
}

// SessionStats are of one batched stream.
type SessionStats struct {
	Addr     string // the peer's
	Codec    string // that this end sends with
	Level    string // and how hard it tries
	Why      string // that: config, or peer, which decodes no other; with Auto usual, near, link, cpu, dense or no-gain
	InFlight int    // batched exchanges
	Ready    int    // its ready streams
}

// BatchStats are of the batches of one direction of a hop.
type BatchStats struct {
	// Plain and Coded are bytes of records before and after the codec; streamed bodies count too.
	Plain, Coded int64
	// Records and Sizes are of each batch on a batched stream: how many records it had, and its bytes before the codec.
	Records, Sizes Histogram
	// Waited is how long a record waited at most until its batch was sent, in seconds; only of Out.
	Waited Histogram
}

func (h *histogram) stats(bounds []int64, unit float64) Histogram {
	to := Histogram{Bounds: make([]float64, len(bounds)), Counts: make([]int64, len(bounds)+1), Sum: float64(h.sum.Load()) / unit}
	for i := range to.Counts {
		if to.Counts[i] = h.counts[i].Load(); i < len(bounds) {
			to.Bounds[i] = float64(bounds[i]) / unit
		}
	}
	return to
}

func (h *histogram) seconds() Histogram { return h.stats(timeBounds, float64(time.Second)) }

func (m *hopMeter) stats() *HopStats { return &HopStats{In: m.in.stats(), Out: m.out.stats()} }

func (m *wayMeter) stats() BatchStats {
	return BatchStats{
		Plain: m.plain.Load(), Coded: m.coded.Load(),
		Records: m.records.stats(countBounds, 1), Sizes: m.sizes.stats(sizeBounds, 1), Waited: m.waited.seconds(),
	}
}

// begin begins what a destination tells of itself.
func (m *destMeter) begin(url, kind string) DestinationStats {
	st := DestinationStats{URL: url, Kind: kind, Took: m.took.seconds(), Queued: m.queued.seconds(), Failures: failureCounts(&m.failed)}
	for i := range m.ended {
		st.Ended = append(st.Ended, Count{What: resultNames[i], N: m.ended[i].Load()})
	}
	return st
}

// outLobby tells of who waits; the destination's lock is held.
func (st *DestinationStats) outLobby(l *lobby) {
	st.Waiting, st.Limit, st.Refused, st.Late = l.n, l.most(), l.refused.Load(), l.late.Load()
}

func failureCounts(from *[len(failureCodes)]atomic.Int64) (list []Count) {
	for i, code := range failureCodes {
		_, token := statusOf(failure{code: code})
		list = append(list, Count{What: token, N: from[i].Load()})
	}
	return list
}

func (p *peer) stats(now time.Duration) DestinationStats {
	st := p.begin(p.end.url, "peer")
	hop, pooled := p.hop.stats(), p.pooled()
	hop.Conns, hop.Streams, hop.BytesIn, hop.BytesOut, hop.Wire = pooled.Conns, pooled.Streams, pooled.BytesIn, pooled.BytesOut, pooled.Wire
	st.Hop, st.Conns, st.InFlight, st.IsUp = hop, hop.Conns, p.load(), p.isUp(now)
	p.mu.Lock()
	st.outLobby(&p.lobby)
	err, ps := p.err, p.stream
	p.mu.Unlock()
	if ps != nil {
		hop.Sessions = append(hop.Sessions, ps.sender.stats(&ps.inflight, ps.ready.Ready()))
	}
	if dialErr := p.client.Err(); dialErr != nil {
		err = dialErr
	}
	st.of(p.route, p.member, err)
	return st
}

// of tells what the group knows of a destination, and why no exchange is likely to be sent to it. One that is alone
// gets them all the same.
func (st *DestinationStats) of(r *route, m *balance.Member, err error) {
	why := ""
	if m != nil {
		st.Weight, st.Tier = m.Weight()
		st.Ejections = m.Ejections()
	}
	if m != nil && r.set.Load().only == nil {
		why = m.Why()
	}
	st.IsUp = st.IsUp && why == ""
	switch {
	case st.IsUp || err == nil:
		st.Why = why
	case why == "":
		st.Why = err.Error()
	default:
		st.Why = why + ": " + err.Error()
	}
}

// stats is what a batched stream's two ends have in common.
func (s *sender) stats(inflight *table, ready int) SessionStats {
	s.mu.Lock()
	defer s.mu.Unlock()
	st := SessionStats{
		Addr: s.stream.RemoteAddr().String(), Codec: s.tuned.codec.String(), Level: s.tuned.level.String(), Why: whyConfig,
		InFlight: inflight.n, Ready: ready,
	}
	want := codecIDs[s.hop.Compress]
	if s.tune != nil {
		want, st.Why = s.tune.tuner.now().codec, *s.tune.tuner.why.Load()
	}
	if s.theirs.sendCodec(want) != want {
		st.Why = whyPeer
	}
	return st
}

func (u *upstream) stats(now time.Duration) DestinationStats {
	st := u.begin(u.end.url, "upstream")
	st.InFlight, st.IsUp = u.load(), u.isUp(now)
	u.mu.Lock()
	st.outLobby(&u.lobby)
	st.Conns = len(u.conns) + u.bulks
	err := u.downErr
	u.mu.Unlock()
	st.of(u.route, u.member, err)
	return st
}

func (h *handlerOut) stats(time.Duration) DestinationStats {
	st := h.begin("handler", "handler")
	st.InFlight, st.IsUp = h.load(), true
	h.mu.Lock()
	st.outLobby(&h.lobby)
	h.mu.Unlock()
	return st
}

func (r *route) snapshot() Stats {
	st := Stats{
		Overloads: r.stats.overloads.Load(), InFlight: r.inflight.Load(),
		Accepted: r.stats.conns.Load(), Refused: r.stats.refused.Load(), Denied: r.stats.denied.Load(),
		BadTokens: r.stats.badTokens.Load(), BadHandshakes: r.stats.badHandshakes.Load(), ClientIn: r.stats.clientIn.Load(), ClientOut: r.stats.clientOut.Load(),
		Held: r.memory.used.Load(), OverMemory: r.memory.hits.Load(),
	}
	now := r.now()
	for _, of := range r.current() {
		st.Routes = append(st.Routes, of.routeStats())
		st.Lookups = append(st.Lookups, of.lookupStats()...)
		for _, d := range of.dests() {
			ds := d.stats(now)
			ds.Route = of.name
			st.Destinations = append(st.Destinations, ds)
		}
	}
	r.countHops(&st, now)
	sum := r.total()
	st.Exchanges, st.Repeats, st.Ended, st.Failures, st.Took = sum.exchanges.Load(), sum.repeats.Load(), sum.endedCounts(), sum.failedCounts(), sum.took.seconds()
	for i, status := range refusalStatuses {
		what := "other"
		if i < len(refusalStatuses)-1 {
			what = strconv.Itoa(status)
		}
		st.Refusals = append(st.Refusals, Count{What: what, N: r.meter.refusals[i].Load()})
	}
	return st
}

// addHops adds the bytes of a route's hops, the destinations that leave it, and the repeats it had no budget for.
func (st *Stats) addHops(r *route, now time.Duration) {
	set := r.set.Load()
	st.SinceSweep = max(st.SinceSweep, now-time.Duration(r.swept.Load()))
	st.OverRepeats += r.retries.Refused()
	st.HopIn += set.hopIn
	st.HopOut += set.hopOut
	st.Leaving += len(set.leaving)
	count := func(d destination) {
		if ds := d.stats(now); ds.Hop != nil {
			st.HopIn += ds.Hop.BytesIn
			st.HopOut += ds.Hop.BytesOut
		}
	}
	for _, d := range set.dests {
		count(d)
	}
	for _, l := range set.leaving {
		count(l)
	}
	if r.isRetired.Load() {
		st.Leaving += len(set.dests)
	}
}

func (r *route) routeStats() RouteStats {
	m := r.meter
	st := RouteStats{
		Name: r.name, Exchanges: m.exchanges.Load(), Repeats: m.repeats.Load(), InFlight: r.inflight.Load(),
		Ended: m.endedCounts(), Failures: m.failedCounts(), Took: m.took.seconds(),
	}
	if r.home == r { // which has counted the others' too
		for _, sub := range r.all() {
			st.InFlight -= sub.inflight.Load()
		}
		st.InFlight = max(0, st.InFlight)
	}
	return st
}

func (m *meter) endedCounts() (list []Count) {
	for i := range m.ended {
		for k := range m.ended[i] {
			list = append(list, Count{Method: methodNames[i], What: resultNames[k], N: m.ended[i][k].Load()})
		}
	}
	return list
}

func (m *meter) failedCounts() []Count {
	return append(failureCounts(&m.failed), Count{What: "cut", N: m.cut.Load()})
}

// addTo adds what m has counted of exchanges.
func (m *meter) addTo(sum *meter) {
	sum.exchanges.Add(m.exchanges.Load())
	sum.repeats.Add(m.repeats.Load())
	sum.cut.Add(m.cut.Load())
	for i := range m.ended {
		for k := range m.ended[i] {
			sum.ended[i][k].Add(m.ended[i][k].Load())
		}
	}
	for i := range m.failed {
		sum.failed[i].Add(m.failed[i].Load())
	}
	for i := range m.took.counts {
		sum.took.counts[i].Add(m.took.counts[i].Load())
	}
	sum.took.sum.Add(m.took.sum.Load())
}
