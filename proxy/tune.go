package proxy

import (
	"runtime"
	"sync/atomic"
	"time"

	"github.com/h2tp/h2tp/compress"
	"github.com/h2tp/h2tp/pool"
)

// tuned is one of what Auto chooses among; each takes more CPU than the one before, and makes fewer bytes.
type tuned struct {
	codec compress.ID
	level compress.Level
}

var tunings = [...]tuned{
	{compress.None, compress.Fastest}, {compress.Snappy, compress.Fastest}, {compress.Zstd, compress.Fastest},
	{compress.Zstd, compress.Default}, {compress.Zstd, compress.Better},
}

// tuneUsual is where Auto begins, and what it comes back to on a way of some length that is short of nothing.
const tuneUsual = 2

const (
	tuneWindow = time.Second      // what is judged at once
	tuneLeast  = 64 << 10         // plain bytes, without which a window says nothing
	tuneAgain  = 2                // windows in a row have to say the same
	tuneTrial  = time.Minute      // after it what gained nothing, or took too much, is tried again
	tuneHold   = time.Minute      // how long what the link was short of is kept though it no longer is; twice as long each time
	tuneLong   = 16 * time.Minute // up to this, until none was short of it for as long
	tuneGain   = 0.98             // of the bytes before: more is no gain
	tuneDense  = 0.95             // of the plain bytes: more is not worth a codec
	tuneNear   = time.Millisecond // a round trip within which bytes are taken to cost nothing unless they have to wait
	tuneShort  = 0.25             // of the time somebody waited for the link: it is short
	tuneFree   = 0.02             // less: it is not
	tuneBusy   = 0.9              // of all processors: there are none to spare
	tuneSpare  = 0.8              // less: there are some
)

// why Auto chose what it did.
const (
	whyUsual    = "usual"   // nothing is short
	whyNear     = "near"    // nothing is short, and the way is
	whyLink     = "link"    // bytes wait for the link
	whyCPU      = "cpu"     // no processor is left, and the link is free
	whyDense    = "dense"   // what is sent gets no smaller
	whyNoLesser = "no-gain" // the stronger one made no fewer bytes
	whyConfig   = "config"  // it was not chosen
	whyPeer     = "peer"    // the peer decodes no other
)

// tuneSample is what one window of one direction was like.
type tuneSample struct {
	now, took    time.Duration
	waits        float64       // the share of it in which bytes waited for the link
	plain, coded int64         // bytes, before the codec and after
	trip         time.Duration // the least round trip; 0 is not known
	cpu          float64       // share of all processors in use; below 0 is not known
}

// tuner chooses codec and level for one direction of a hop, by the link and the processors as it finds them. It is owned by
// the direction's flushLoop, but for choice and why.
type tuner struct {
	choice atomic.Int32
	why    atomic.Pointer[string]

	toward  int // the choice that windows in a row have asked for
	agreed  int
	ratio   float64       // coded to plain, before the last step up
	isTrial bool          // the last step was up, and its gain is not known yet
	until   time.Duration // no step up before
	dense   time.Duration // no codec before
	held    time.Duration // no step down before, but for want of processors
	holdFor time.Duration
}

func newTuner() *tuner {
	t := new(tuner)
	t.set(tuneUsual, whyUsual)
	return t
}

func (t *tuner) set(choice int, why string) {
	t.choice.Store(int32(choice))
	t.why.Store(&why)
}

// now is what to send with.
func (t *tuner) now() tuned { return tunings[t.choice.Load()] }

// judge takes a window in.
func (t *tuner) judge(s tuneSample) {
	if s.plain < tuneLeast {
		return
	}
	ratio := float64(s.coded) / float64(s.plain)
	next, why := t.wish(&s, ratio)
	now := int(t.choice.Load())
	if next == now {
		t.agreed, t.isTrial = 0, false
		if why != "" && *t.why.Load() != why {
			t.set(now, why)
		}
		return
	}
	if t.agreed == 0 || t.toward != next {
		t.toward, t.agreed = next, 0
	}
	if t.agreed++; t.agreed < tuneAgain {
		return
	}
	t.agreed = 0
	if t.isTrial = next > now && now >= tuneUsual; t.isTrial {
		t.ratio = ratio
	}
	switch why {
	case whyLink:
		if s.now >= t.held+tuneLong {
			t.holdFor = 0
		}
		t.holdFor = min(max(2*t.holdFor, tuneHold), tuneLong)
		t.held = s.now + t.holdFor
	case whyDense:
		t.dense = s.now + tuneTrial
	case whyNoLesser, whyCPU:
		t.until = s.now + tuneTrial
	}
	t.set(next, why)
}

// wish is the choice that a window asks for.
func (t *tuner) wish(s *tuneSample, ratio float64) (next int, why string) {
	now := int(t.choice.Load())
	switch {
	case t.isTrial && ratio > tuneGain*t.ratio:
		return now - 1, whyNoLesser
	case now >= tuneUsual && ratio > tuneDense:
		return 0, whyDense
	case s.now < t.dense:
		return now, ""
	case s.cpu >= tuneBusy && s.waits < tuneFree && now > 0:
		return now - 1, whyCPU
	case s.waits >= tuneShort && now < tuneUsual:
		return tuneUsual, whyLink
	case s.waits >= tuneShort && now < len(tunings)-1 && s.cpu < tuneSpare && s.now >= t.until:
		return now + 1, whyLink
	case s.waits >= tuneFree || s.now < t.held || s.cpu >= tuneSpare && now < tuneUsual:
		return now, ""
	case s.trip > 0 && s.trip < tuneNear:
		return 0, whyNear
	case now > tuneUsual:
		return now - 1, whyUsual
	}
	return tuneUsual, whyUsual
}

// tuneMeter makes the samples of one direction. It is owned by its flushLoop, but for the tuner's choice.
type tuneMeter struct {
	tuner *tuner
	start time.Time

	since, cpu    time.Duration
	waited        time.Duration // in writes
	looked        time.Duration // when the link was looked at last
	looks, shorts int           // and how often it was, and was short
	plain, coded  int64
}

func newTuneMeter() *tuneMeter { return &tuneMeter{tuner: newTuner(), start: time.Now()} }

// sent notes one batch, and that writing it took so long; link is asked how it is.
func (m *tuneMeter) sent(plain, coded int, wrote time.Duration, link func() pool.LinkState) {
	m.plain += int64(plain)
	m.coded += int64(coded)
	if wrote >= waitsFrom {
		m.waited += wrote
	}
	now := time.Since(m.start)
	if now-m.looked < lookEvery {
		return
	}
	m.looked = now
	m.looks++
	st := link()
	if st.Unsent > coded || st.RoundTrip > 2*st.LeastRoundTrip+queueFrom {
		m.shorts++
	}
	took := now - m.since
	if took < tuneWindow {
		return
	}
	s := tuneSample{now: now, took: took, plain: m.plain, coded: m.coded, trip: st.LeastRoundTrip, cpu: -1}
	s.waits = max(float64(m.waited)/float64(took), float64(m.shorts)/float64(m.looks))
	if used, ok := cpuTime(); ok {
		s.cpu = float64(used-m.cpu) / float64(took) / float64(runtime.NumCPU())
		m.cpu = used
	}
	if m.since > 0 {
		m.tuner.judge(s)
	}
	m.since, m.waited, m.looks, m.shorts, m.plain, m.coded = now, 0, 0, 0, 0, 0
}

const (
	// waitsFrom is how long a write takes that has waited for the link; one that has not is over in less.
	waitsFrom = 300 * time.Microsecond
	// lookEvery is how often the link is looked at, which is a system call.
	lookEvery = 10 * time.Millisecond
	// queueFrom is how much more than twice the least round trip makes a queue on the way.
	queueFrom = 2 * time.Millisecond
)
