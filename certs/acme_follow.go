package certs

import (
	"context"
	"crypto/x509"
	"time"
)

const (
	// renewTimeout is how long autocert tries to renew a certificate, before it waits for half an hour and more.
	renewTimeout = 10 * time.Minute
	// renewRetry is the longest of these waits.
	renewRetry = time.Hour
)

// seen is what is known of a certificate that is shown.
type seen struct {
	leaf  *x509.Certificate
	since time.Time // when it was first seen
	state renewal
	said  time.Time // when that was logged
}

// renewal is how the renewal of a certificate stands.
type renewal int

const (
	// renewed is not due, or has not been for long.
	renewed renewal = iota
	// failing was refused, or is due for a quarter of the time there is for it.
	failing
	// expired was not renewed in time.
	expired
)

// Follow says which certificates were renewed, and warns of those that are not, until ctx ends.
func (a *ACME) Follow(ctx context.Context) {
	ticker := time.NewTicker(lookPeriod)
	defer ticker.Stop()
	for {
		a.lookAtAll(time.Now())
		select {
		case <-ticker.C:
		case <-ctx.Done():
			return
		}
	}
}

func (a *ACME) lookAtAll(now time.Time) {
	for _, name := range a.names() {
		if cert, err := a.obtain(name); err == nil { // in memory
			a.lookAt(name, cert.Leaf, now)
		}
	}
}

// names are those that had a certificate.
func (a *ACME) names() []string {
	a.mu.Lock()
	defer a.mu.Unlock()
	names := make([]string, 0, len(a.known))
	for name := range a.known {
		names = append(names, name)
	}
	return names
}

// lookAt logs what has become of a name's certificate: each state once, and what lasts once a day.
func (a *ACME) lookAt(name string, leaf *x509.Certificate, now time.Time) {
	refused, all := a.heard.of(name)
	a.mu.Lock()
	defer a.mu.Unlock()
	s := a.known[name]
	if !leaf.Equal(s.leaf) {
		*s = seen{leaf: leaf, since: now}
		a.cfg.Logger.Info("certificate renewed", "name", name, "expires", leaf.NotAfter)
		return
	}
	state := s.stateAt(a.cfg.RenewBefore, refused, now)
	if state == renewed || state == s.state && now.Sub(s.said) < warnPeriod {
		s.state = state
		return
	}
	s.state, s.said = state, now
	more := []any{"name", name, "expires", leaf.NotAfter, "left", leaf.NotAfter.Sub(now).Round(time.Minute)}
	for _, why := range []reason{refused, all} { // what is of no name may be of what matters little, such as tidying up
		if why.at.After(s.since) && now.Sub(why.at) < renewTimeout+renewRetry {
			more = append(more, "err", why.text)
			break
		}
	}
	if state == expired {
		a.cfg.Logger.Error("certificate has expired", more...)
	} else {
		a.cfg.Logger.Warn("certificate is not being renewed", more...)
	}
}

// stateAt is how the renewal stands. One that was refused may still be obtained by another challenge.
func (s *seen) stateAt(renewBefore time.Duration, refused reason, now time.Time) renewal {
	window := min(s.leaf.NotAfter.Sub(s.leaf.NotBefore)/3, 30*24*time.Hour)
	if renewBefore > 0 {
		window = min(window, renewBefore)
	}
	isRefused := refused.at.After(s.since) && now.Sub(refused.at) >= renewTimeout
	switch left := s.leaf.NotAfter.Sub(now); {
	case left <= 0:
		return expired
	case left < window/4*3 || isRefused:
		return failing
	}
	return renewed
}
