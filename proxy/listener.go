package proxy

import (
	"net"
	"net/netip"
	"sync/atomic"

	"github.com/h2tp/h2tp/pool"
)

// Listener is a listener with rules of its own, for Serve of a [Front] or [Back]: who may connect to it. Its methods may be called
// concurrently.
type Listener struct {
	net.Listener
	own atomic.Pointer[rules] // nil without
}

// rules are Allow and Deny of an Entry, or what stands in their place.
type rules struct{ allow, deny pool.Prefixes }

// NewListener makes a Listener of ln that goes by Config's Allow and Deny.
func NewListener(ln net.Listener) *Listener { return &Listener{Listener: ln} }

// Restrict has those who connect from now on go by allow and deny in place of Config's; by Config's again, if both are empty.
func (l *Listener) Restrict(allow, deny []netip.Prefix) {
	if len(allow)+len(deny) == 0 {
		l.own.Store(nil)
		return
	}
	l.own.Store(&rules{allow, deny})
}

// rulesOf are a listener's own, nil without.
func rulesOf(ln net.Listener) *rules {
	if l, ok := ln.(*Listener); ok {
		return l.own.Load()
	}
	return nil
}

// isAllowed reports whether who has this address may come. Who comes by a unix socket has none.
func (r *rules) isAllowed(ip netip.Addr) bool {
	return !ip.IsValid() || (len(r.allow) == 0 || r.allow.Contains(ip)) && !r.deny.Contains(ip)
}
