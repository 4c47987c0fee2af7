package admin

import (
	"slices"
	"sync"
	"time"

	"github.com/h2tp/h2tp/proxy"
)

// What is remembered, so that a page just opened shows what was: 600 samples of some 400 bytes.
const (
	samplePeriod = time.Second
	samplesKept  = 600
)

// sample is what was counted since the start, of all ends together, at a time.
type sample struct {
	At       int64 `json:"at"` // ms since 1970, by a clock that only moves forward while the process lives
	InFlight int64 `json:"in_flight"`
	// Plain is what would have crossed the hop without h2tp: clients' bytes, or where a back or a relay does not know
	// those, its records before the codec. Hop is what did cross.
	Plain int64 `json:"plain_bytes"`
	Hop   int64 `json:"hop_bytes"`
	// Results are exchanges that are over, as resultNames has them.
	Results [len(resultNames)]int64 `json:"results"`
	// Failures are of exchanges that got no response of their destination, by historyStatus.Failures, and Took is how many
	// took how long, by historyStatus.Bounds.
	Failures []int64 `json:"failures"`
	Took     []int64 `json:"took"`

	isRecords bool // Plain is of records
}

// resultNames are the classes of status, what nobody waited for any more, and requests that became no exchange.
var resultNames = [...]string{"1xx", "2xx", "3xx", "4xx", "5xx", "gone", "refused"}

// historyStatus is what /status tells of the samples.
type historyStatus struct {
	Results  []string  `json:"results"`
	Failures []string  `json:"failures"`
	Bounds   []float64 `json:"bounds"` // of took, in seconds
	Samples  []sample  `json:"samples"`
}

// history keeps the last samples.
type history struct {
	mu       sync.Mutex // guards all below
	failures []string
	bounds   []float64
	samples  []sample
	next     int                // where the next one goes, once there are samplesKept
	ends     map[string]*sample // what each end told last
	gone     sample             // what those did that are no more
}

// add adds what all ends tell at a time; there are none while the process starts.
func (h *history) add(st *State, now time.Time) {
	if len(st.Ends) == 0 {
		return
	}
	ends := make(map[string]*sample, len(st.Ends))
	for i := range st.Ends {
		ends[st.Ends[i].Name] = newSample(&st.Ends[i].Stats)
	}
	h.mu.Lock()
	defer h.mu.Unlock()
	for name, was := range h.ends {
		switch e := ends[name]; {
		case e == nil || e.ended() < was.ended(): // it left, and maybe another came
			h.gone.add(was)
		case e.isRecords != was.isRecords: // its destinations are others: no jump
			h.gone.Plain += was.Plain - e.Plain
		}
	}
	h.ends, h.gone.InFlight = ends, 0
	s := sample{At: st.Started.Add(now.Sub(st.Started)).UnixMilli()}
	s.add(&h.gone)
	for _, e := range ends {
		s.add(e)
	}
	if h.bounds == nil { // they are the same of all ends, and ever
		h.bounds = st.Ends[0].Stats.Took.Bounds
		for _, c := range st.Ends[0].Stats.Failures {
			h.failures = append(h.failures, c.What)
		}
	}
	if len(h.samples) < samplesKept {
		h.samples = append(h.samples, s)
		return
	}
	h.samples[h.next] = s
	h.next = (h.next + 1) % samplesKept
}

// since returns the samples after a time, oldest first.
func (h *history) since(after int64) *historyStatus {
	h.mu.Lock()
	defer h.mu.Unlock()
	to := &historyStatus{Results: resultNames[:], Failures: h.failures, Bounds: h.bounds, Samples: []sample{}}
	for i := range h.samples {
		s := &h.samples[(h.next+i)%len(h.samples)]
		if s.At > after {
			to.Samples = append(to.Samples, *s)
		}
	}
	return to
}

// sampleLoop takes samples until Close.
func (s *Server) sampleLoop() {
	ticker := time.NewTicker(samplePeriod)
	defer ticker.Stop()
	for {
		select {
		case <-s.donec:
			return
		case <-ticker.C:
			st := s.state()
			s.history.add(&st, time.Now())
		}
	}
}

// newSample is of one end.
func newSample(st *proxy.Stats) *sample {
	s := &sample{InFlight: st.InFlight, Took: slices.Clone(st.Took.Counts)}
	for _, c := range st.Ended {
		for i, name := range resultNames {
			if c.What == name {
				s.Results[i] += c.N
			}
		}
	}
	for _, c := range st.Refusals {
		s.Results[len(resultNames)-1] += c.N
	}
	for _, c := range st.Failures {
		s.Failures = append(s.Failures, c.N)
	}
	s.Plain, s.Hop, s.isRecords = saving(st)
	return s
}

// ended is how many exchanges and other requests are over.
func (s *sample) ended() (n int64) {
	for _, m := range s.Results {
		n += m
	}
	return n
}

// add adds another's counts.
func (s *sample) add(o *sample) {
	s.InFlight += o.InFlight
	s.Plain += o.Plain
	s.Hop += o.Hop
	for i, n := range o.Results {
		s.Results[i] += n
	}
	addTo(&s.Failures, o.Failures)
	addTo(&s.Took, o.Took)
}

// addTo adds a list to a sum, which grows to its length, and is not nil then.
func addTo(sum *[]int64, list []int64) {
	*sum = append(*sum, make([]int64, max(0, len(list)-len(*sum)))...)
	if *sum == nil {
		*sum = []int64{}
	}
	for i, n := range list {
		(*sum)[i] += n
	}
}

// saving compares what crossed an end's hops with what would have without them. An end of which a part goes to upstreams
// is judged by its records alone.
func saving(st *proxy.Stats) (plain, hop int64, isRecords bool) {
	records, isFront := int64(0), st.Hop == nil
	if st.Hop != nil {
		records += st.Hop.In.Plain + st.Hop.Out.Plain
	}
	for _, d := range st.Destinations {
		if d.Hop == nil {
			isFront = false
			continue
		}
		records += d.Hop.In.Plain + d.Hop.Out.Plain
	}
	hop = st.HopIn + st.HopOut // those of destinations that left, too
	if isFront || hop == 0 {
		return st.ClientIn + st.ClientOut, hop, false
	}
	return records, hop, true
}
