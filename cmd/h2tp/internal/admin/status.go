package admin

import (
	"runtime"
	"time"

	"github.com/h2tp/h2tp/proxy"
)

// status is the answer of /status. Names are those of the metrics where both tell the same.
type status struct {
	Version      string               `json:"version"`
	Started      time.Time            `json:"started"`
	Uptime       float64              `json:"uptime_seconds"`
	Ready        bool                 `json:"ready"`
	Why          string               `json:"why,omitempty"` // it is not ready
	Draining     bool                 `json:"draining"`
	Refused      bool                 `json:"config_refused"` // the configuration that was read last
	Ends         []endStatus          `json:"ends"`
	Memory       memoryStatus         `json:"memory"`
	Goroutines   int                  `json:"goroutines"`
	Certificates map[string]time.Time `json:"certificates,omitempty"` // when they end, by name
	History      *historyStatus       `json:"history,omitempty"`      // where it was asked for
}

type memoryStatus struct {
	Heap    int64  `json:"heap"`
	Codecs  Memory `json:"codecs"`
	Windows Memory `json:"windows"`
}

type endStatus struct {
	Name         string              `json:"name"`
	Kind         string              `json:"kind"`
	Listen       []string            `json:"listen"`
	Draining     bool                `json:"draining"`
	InFlight     int64               `json:"in_flight"`
	Exchanges    int64               `json:"exchanges"`
	Results      map[string]int64    `json:"results"`  // exchanges that are over, by class of status; gone: nobody waited
	Failures     map[string]int64    `json:"failures"` // of them, those without a destination's response, by reason
	Refusals     map[string]int64    `json:"refusals"` // requests that became no exchange, by status
	Overloads    int64               `json:"overloads"`
	Repeats      int64               `json:"repeats"`
	OverMemory   int64               `json:"over_body_memory"`
	OverRepeats  int64               `json:"over_retry_percent"`
	Connections  int                 `json:"client_connections"`
	Received     int64               `json:"client_received_bytes"`
	Sent         int64               `json:"client_sent_bytes"`
	MessageBytes int64               `json:"message_memory_bytes"`
	Peers        *hopStatus          `json:"peers,omitempty"` // a back's fronts
	Routes       []routeStatus       `json:"routes"`
	Destinations []destinationStatus `json:"destinations"`
	Leaving      int                 `json:"leaving"` // destinations that are none any more
	Lookups      []lookupStatus      `json:"lookups,omitempty"`
}

// lookupStatus is of a name of --to that is looked up, or of a file of it.
type lookupStatus struct {
	Route     string `json:"route"`
	URL       string `json:"url"`
	Addresses int    `json:"addresses"`     // that were found, and stay
	Why       string `json:"why,omitempty"` // the last lookup found none
	Done      int64  `json:"done"`
	None      int64  `json:"none"` // found that there is no address
	Failed    int64  `json:"failed"`
}

type routeStatus struct {
	Name      string           `json:"name"`
	InFlight  int64            `json:"in_flight"`
	Exchanges int64            `json:"exchanges"`
	Results   map[string]int64 `json:"results"`
	Failures  map[string]int64 `json:"failures"`
	Duration  histogramStatus  `json:"duration"`
}

type destinationStatus struct {
	Route       string           `json:"route"`
	URL         string           `json:"url"`
	Kind        string           `json:"kind"`
	Up          bool             `json:"up"`
	Why         string           `json:"why,omitempty"` // it is not up
	Weight      int              `json:"weight,omitempty"`
	Tier        int              `json:"tier"`
	Ejections   int64            `json:"ejections"`
	InFlight    int              `json:"in_flight"`
	Waiting     int              `json:"waiting"`
	Limit       int              `json:"limit,omitempty"` // of those that do not wait
	Connections int              `json:"connections"`
	Results     map[string]int64 `json:"results"`
	Failures    map[string]int64 `json:"failures"`
	Duration    histogramStatus  `json:"duration"`
	Hop         *hopStatus       `json:"hop,omitempty"`
}

// histogramStatus is as proxy.Histogram, in seconds.
type histogramStatus struct {
	Bounds []float64 `json:"bounds"`
	Counts []int64   `json:"counts"`
	Sum    float64   `json:"sum"`
}

type hopStatus struct {
	Connections int             `json:"connections"`
	Streams     int             `json:"streams"`
	Received    int64           `json:"received_bytes"`
	Sent        int64           `json:"sent_bytes"`
	PlainIn     int64           `json:"plain_in_bytes"` // before the codec, and after it
	CodedIn     int64           `json:"coded_in_bytes"`
	PlainOut    int64           `json:"plain_out_bytes"`
	CodedOut    int64           `json:"coded_out_bytes"`
	Resent      int64           `json:"wire_resent_bytes"` // by TCP; on Linux alone
	WireSent    int64           `json:"wire_sent_bytes"`
	RoundTrip   float64         `json:"round_trip_seconds"`
	Codecs      map[string]int  `json:"codecs"` // how many of the sessions send with which
	Ready       int             `json:"ready_streams"`
	Sessions    []sessionStatus `json:"sessions,omitempty"` // not where the history was asked for: there may be thousands
}

type sessionStatus struct {
	Addr         string `json:"addr"`
	Codec        string `json:"codec"`
	Level        string `json:"level"`
	Why          string `json:"why"`
	InFlight     int    `json:"in_flight"`
	ReadyStreams int    `json:"ready_streams"`
}

func newStatus(st *State, now time.Time) *status {
	why := st.unready()
	to := &status{
		Version: st.Version, Started: st.Started, Uptime: now.Sub(st.Started).Seconds(), Ready: why == "", Why: why, Draining: st.IsDraining, Refused: st.IsConfigRefused,
		Ends: []endStatus{}, Goroutines: runtime.NumGoroutine(), Certificates: st.Certificates,
		Memory: memoryStatus{Heap: int64(readRuntime("/memory/classes/heap/objects:bytes")), Codecs: st.CodecMemory, Windows: st.WindowMemory},
	}
	for _, e := range st.Ends {
		to.Ends = append(to.Ends, newEndStatus(&e))
	}
	return to
}

func newEndStatus(e *End) endStatus {
	st := &e.Stats
	to := endStatus{
		Name: e.Name, Kind: e.Kind, Listen: e.URLs, Draining: st.IsDraining, InFlight: st.InFlight, Exchanges: st.Exchanges,
		Connections: st.Conns, Received: st.ClientIn, Sent: st.ClientOut, MessageBytes: st.Held, Peers: newHopStatus(st.Hop),
		Results: counts(st.Ended), Failures: counts(st.Failures), Refusals: counts(st.Refusals), Overloads: st.Overloads, Repeats: st.Repeats, Leaving: st.Leaving,
		OverMemory: st.OverMemory, OverRepeats: st.OverRepeats,
	}
	for _, l := range st.Lookups {
		to.Lookups = append(to.Lookups, lookupStatus(l))
	}
	for _, r := range st.Routes {
		to.Routes = append(to.Routes, routeStatus{
			Name: r.Name, InFlight: r.InFlight, Exchanges: r.Exchanges, Results: counts(r.Ended), Failures: counts(r.Failures), Duration: histogramStatus(r.Took),
		})
	}
	for _, d := range st.Destinations {
		to.Destinations = append(to.Destinations, destinationStatus{
			Route: d.Route, URL: d.URL, Kind: d.Kind, Up: d.IsUp, Why: d.Why, InFlight: d.InFlight, Waiting: d.Waiting, Limit: d.Limit, Connections: d.Conns, Hop: newHopStatus(d.Hop),
			Weight: d.Weight, Tier: d.Tier, Ejections: d.Ejections, Results: counts(d.Ended), Failures: counts(d.Failures), Duration: histogramStatus(d.Took),
		})
	}
	return to
}

// forget leaves the sessions out.
func (s *status) forget() {
	for i := range s.Ends {
		s.Ends[i].Peers.forget()
		for j := range s.Ends[i].Destinations {
			s.Ends[i].Destinations[j].Hop.forget()
		}
	}
}

func (h *hopStatus) forget() {
	if h != nil {
		h.Sessions = nil
	}
}

// counts adds up over methods what there is of each kind; what there is none of is left out.
func counts(list []proxy.Count) map[string]int64 {
	to := make(map[string]int64)
	for _, c := range list {
		if c.N > 0 {
			to[c.What] += c.N
		}
	}
	return to
}

func newHopStatus(h *proxy.HopStats) *hopStatus {
	if h == nil {
		return nil
	}
	to := &hopStatus{
		Connections: h.Conns, Streams: h.Streams, Received: h.BytesIn, Sent: h.BytesOut, Codecs: make(map[string]int),
		Resent: h.Wire.BytesAgain, WireSent: h.Wire.BytesOut, RoundTrip: h.Wire.RoundTrip.Seconds(),
		PlainIn: h.In.Plain, CodedIn: h.In.Coded, PlainOut: h.Out.Plain, CodedOut: h.Out.Coded,
	}
	for _, s := range h.Sessions {
		to.Codecs[s.Codec]++
		to.Ready += s.Ready
		to.Sessions = append(to.Sessions, sessionStatus{Addr: s.Addr, Codec: s.Codec, Level: s.Level, Why: s.Why, InFlight: s.InFlight, ReadyStreams: s.Ready})
	}
	return to
}
