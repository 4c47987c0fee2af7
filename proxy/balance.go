package proxy

import (
	"bytes"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/h2tp/h2tp/proxy/internal/balance"
	"github.com/h2tp/h2tp/proxy/internal/wire"
)

// Balance says how one of several destinations is chosen, when one is left out,
// and what is repeated.
type Balance struct {
	// Policy is how a destination is chosen. least takes turns by weight and passes
	// over one that has clearly more in flight than another; round-robin takes turns
	// by weight; latency prefers what answers sooner; hash keeps to one destination for
	// one value of HashBy, up to 1.25 times its share. If empty, least is used.
	Policy string
	// HashBy is what hash goes by: field:NAME, cookie:NAME or target. A request
	// without it goes as by least.
	HashBy string
	// SlowStart is how long the share of a destination that is new, or that is back,
	// grows from a tenth to the whole. If zero, 5 s is used. If negative, it has the whole at once.
	SlowStart time.Duration
	// EjectAfter is how many exchanges in a row may fail before a destination is left
	// out. If zero, 5 is used. If negative, any number.
	EjectAfter int
	// EjectPercent of failures, of 20 exchanges at least within 10 s, does the same. If
	// zero, 50 is used. If negative, none does.
	EjectPercent int
	// EjectTime is how long it is left out, doubled each time up to 64 times. If
	// zero, 1 s is used.
	EjectTime time.Duration
	// MaxEjected is the percentage of destinations that may be left out so. If zero, 50 is
	// used. If negative, none is.
	MaxEjected int
	// PanicBelow is the percentage of healthy destinations of a tier below which those
	// left out are used too, when no other tier is to be had. If zero, 30 is used. If
	// negative, they are only when none is healthy.
	PanicBelow int
	// RetryPercent of the exchanges of the last 10 s may be repeated, and RetryMin a
	// second besides; what no destination saw is not counted. If zero, 20 and 10 are
	// used. If RetryPercent is negative, there is no bound.
	RetryPercent, RetryMin int
	// RepeatIdempotent repeats PUT and DELETE, too, as GET, HEAD and OPTIONS are:
	// once, when a connection was lost before a response.
	RepeatIdempotent bool
	// LeaveTimeout is how long a destination that SetTo left out may take to finish what
	// it has, streamed bodies and tunnels too, before it is closed. If zero or negative, as long as that lasts.
	LeaveTimeout time.Duration
	// CheckPath is what each upstream is asked for, by GET on a connection of its own, to
	// find whether it is healthy. If empty, none is asked. Peers are watched by the hop's pings.
	CheckPath string
	// CheckStatus is the status that says so. If zero, 200 to 399 do.
	CheckStatus int
	// CheckPeriod is the time between two checks, +-10 %, and CheckTimeout bounds one.
	// If zero, 2 s and 1 s are used.
	CheckPeriod, CheckTimeout time.Duration
	// CheckFall failures in a row put an upstream out, and CheckRise successes bring it
	// back. If zero, 3 and 2 are used.
	CheckFall, CheckRise int
}

func (b *Balance) complete() error {
	if b.Policy == "" {
		b.Policy = balance.Least.String()
	}
	def(&b.SlowStart, 5*time.Second)
	def(&b.EjectAfter, 5)
	def(&b.EjectPercent, 50)
	def(&b.EjectTime, time.Second)
	def(&b.MaxEjected, 50)
	def(&b.PanicBelow, 30)
	def(&b.RetryPercent, 20)
	def(&b.RetryMin, 10)
	def(&b.CheckPeriod, 2*time.Second)
	def(&b.CheckTimeout, time.Second)
	def(&b.CheckFall, 3)
	def(&b.CheckRise, 2)
	policy, err := balance.ParsePolicy(b.Policy)
	kind, name, _ := strings.Cut(b.HashBy, ":")
	isKey := b.HashBy == "target" || (kind == "field" || kind == "cookie") && name != ""
	switch {
	case err != nil:
		return fmt.Errorf("proxy: Policy: %w", err)
	case b.HashBy != "" && !isKey:
		return fmt.Errorf("proxy: HashBy is %q; want field:NAME, cookie:NAME or target", b.HashBy)
	case (policy == balance.Hash) != isKey:
		return fmt.Errorf("proxy: Policy is %s and HashBy %q; hash needs it, and no other has a use for it", policy, b.HashBy)
	case max(b.EjectPercent, b.MaxEjected, b.PanicBelow, b.RetryPercent) > 100:
		return fmt.Errorf("proxy: more than 100 percent")
	case b.EjectTime < 0 || b.EjectTime > time.Hour:
		return fmt.Errorf("proxy: EjectTime is %v; want up to 1h", b.EjectTime)
	case b.CheckPath != "" && (b.CheckPath[0] != '/' || strings.ContainsFunc(b.CheckPath, func(r rune) bool { return r <= ' ' || r >= 0x7f })):
		return fmt.Errorf("proxy: CheckPath is %q; want one that begins with a slash, of printable ASCII", b.CheckPath)
	case min(b.CheckPeriod, b.CheckTimeout) < time.Millisecond || min(b.CheckFall, b.CheckRise) < 1:
		return errors.New("proxy: CheckPeriod, CheckTimeout, CheckFall and CheckRise are to be positive")
	}
	return nil
}

// config is what package balance needs of it.
func (b *Balance) config() balance.Config {
	policy, _ := balance.ParsePolicy(b.Policy) // complete has
	share := func(percent int) float64 { return float64(max(percent, 0)) / 100 }
	return balance.Config{
		Policy: policy, SlowStart: b.SlowStart, EjectAfter: max(b.EjectAfter, 0), EjectShare: share(b.EjectPercent),
		EjectTime: b.EjectTime, MaxEjected: share(b.MaxEjected), PanicBelow: share(b.PanicBelow),
	}
}

// retries is the budget of repeats.
func (b *Balance) retries() *balance.Retries {
	return balance.NewRetries(float64(b.RetryPercent)/100, b.RetryMin)
}

// hashKey finds what an exchange is hashed by.
type hashKey struct {
	isTarget bool
	isCookie bool
	name     string // of the field in lower case, or of the cookie
}

func (b *Balance) key() *hashKey {
	kind, name, _ := strings.Cut(b.HashBy, ":")
	switch kind {
	case "target":
		return &hashKey{isTarget: true}
	case "cookie":
		return &hashKey{isCookie: true, name: name}
	case "field":
		return &hashKey{name: strings.ToLower(name)}
	}
	return nil
}

// of returns the key of a request, 0 for one without.
func (k *hashKey) of(req *wire.Request) uint64 {
	switch {
	case k.isTarget:
		return balance.KeyOf(req.Target)
	case !k.isCookie:
		if v := fieldValue(req.Fields, k.name); len(v) > 0 {
			return balance.KeyOf(v)
		}
		return 0
	}
	for i := range req.Fields {
		if !isName(req.Fields[i].Name, "cookie") {
			continue
		}
		for rest := req.Fields[i].Value; len(rest) > 0; {
			var pair []byte
			pair, rest, _ = bytes.Cut(rest, []byte(";"))
			name, v, ok := bytes.Cut(bytes.TrimLeft(pair, " "), []byte("="))
			if ok && string(name) == k.name && len(v) > 0 {
				return balance.KeyOf(v)
			}
		}
	}
	return 0
}

// CheckTo checks one of Config.To by itself; of a file, all its lines. [ToList] checks several.
func CheckTo(to string) error {
	_, err := new(ToList).Add(to)
	return err
}

// chosen is one of several destinations that an exchange went to.
type chosen struct {
	member *balance.Member
	sent   time.Duration
	tried  []*balance.Member // one of each attempt that failed
}

// pick chooses a destination for the next attempt, one that was tried only when
// no other is in use; isAgain says that it is such a one, and nil that there is none.
func (r *route) pick(ex *exchange) (d destination, isAgain bool) {
	if only := r.set.Load().only; only != nil {
		return only, only == ex.last
	}
	now, key := ex.began, uint64(0)
	if r.key != nil {
		key = r.key.of(&ex.req)
	}
	if ex.attempts > 0 {
		now = r.now()
		ex.tried = append(ex.tried, ex.last.inGroup())
	}
	m := r.group.Pick(now, key, ex.tried)
	if m == nil {
		ex.member = nil
		return nil, false
	}
	m.Begin()
	ex.member, ex.sent = m, now
	return m.Value.(destination), slices.Contains(ex.tried, m)
}

// noteFailed tells the group how an attempt ended without a response. What says
// nothing of the destination, or what its half has told already, does not count.
func (ex *exchange) noteFailed(f failure) {
	m := ex.member
	if m == nil {
		return
	}
	ex.member = nil
	now := ex.route.now()
	switch f.code {
	case wire.CodeUpstream, wire.CodeTimeout:
		m.Done(now, now-ex.sent, true)
	default: // a peer tells of what is behind it, and why it is itself out is told already
		m.Drop()
	}
}

// noteHead tells the group of a response's head: 502, 503 and 504 count as
// failures of an upstream. A back says itself what it failed at.
func (ex *exchange) noteHead(status int) {
	if m := ex.member; m != nil {
		now := ex.route.now()
		isFailed := status >= 502 && status <= 504
		if isFailed {
			_, isPeer := m.Value.(*peer)
			isFailed = !isPeer
		}
		m.Note(now, now-ex.sent, isFailed)
	}
}

// letGo says that a member does not have the exchange any more.
func (ex *exchange) letGo() {
	if m := ex.member; m != nil {
		m.Drop()
		ex.member = nil
	}
}
