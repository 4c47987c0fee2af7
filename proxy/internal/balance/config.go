package balance

import (
	"fmt"
	"time"
)

// Policy is how a member is chosen.
type Policy uint8

const (
	// Least takes turns by weight, but passes one over whose load is higher than
	// another's would be with one exchange more: of all when they are few, of two
	// when they are many.
	Least Policy = iota
	// RoundRobin takes turns by weight.
	RoundRobin
	// Latency prefers what answers sooner: the product of load and of the latency's
	// peak, which fades within seconds.
	Latency
	// Hash gives one key to one member, as long as that has no more than 1.25 times
	// its share of the load.
	Hash
)

var policies = [...]string{Least: "least", RoundRobin: "round-robin", Latency: "latency", Hash: "hash"}

// ParsePolicy returns the policy with that name.
func ParsePolicy(name string) (Policy, error) {
	for p, s := range policies {
		if s == name {
			return Policy(p), nil
		}
	}
	return 0, fmt.Errorf("unknown policy %q; want least, round-robin, latency or hash", name)
}

func (p Policy) String() string { return policies[p] }

// Config says how a group chooses, and when a member is out.
type Config struct {
	Policy Policy
	// SlowStart is how long a newcomer's share grows from a tenth to the whole.
	SlowStart time.Duration
	// EjectAfter failures in a row put a member out; 0 never does.
	EjectAfter int
	// EjectShare of failures, of at least 20 exchanges in 10 s, does so too; 0 never does.
	EjectShare float64
	// EjectTime is how long, doubled each time, up to 64 times as long.
	EjectTime time.Duration
	// MaxEjected is the share of the members that may be out for their failures.
	MaxEjected float64
	// PanicBelow is the share of healthy members of a tier below which those that
	// were judged unhealthy are used too, when no other tier can help.
	PanicBelow float64
}

const (
	shareWindow = 10 * time.Second
	shareLeast  = 20
	forgetAfter = time.Minute     // healthy so long, a member's ejections are forgotten
	downTime    = time.Second     // after a dial that failed, doubled each time
	maxDownTime = 4 * time.Second // so that one that is back is found soon
	few         = 8               // members that are all looked at
	overshare   = 1.4             // of a tier's healthy share that it takes before the next does
)
