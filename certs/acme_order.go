package certs

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"encoding/pem"
	"fmt"
	"slices"
	"time"
)

// flight is an order under way.
type flight struct {
	donec chan struct{}
	cert  *tls.Certificate // set before donec closes
	err   error
}

// isKnown reports whether the certificate is in memory, where autocert renews it.
func (a *ACME) isKnown(name string) bool {
	a.mu.Lock()
	defer a.mu.Unlock()
	_, ok := a.known[name]
	return ok
}

// orderFor returns the order for name, which it starts unless one is under way.
func (a *ACME) orderFor(name string) (*flight, error) {
	a.mu.Lock()
	defer a.mu.Unlock()
	f := a.flights[name]
	switch {
	case f != nil:
		return f, nil
	case a.ctx.Err() != nil:
		return nil, errClosed
	case len(a.flights) >= maxFlights:
		return nil, errBusy
	}
	f = &flight{donec: make(chan struct{})}
	a.flights[name] = f
	a.wg.Go(func() { a.orderLoop(name, f) })
	return f, nil
}

// orderLoop takes the certificate from the cache, or orders one if name may have one now. It ends when autocert
// does, after 5 minutes at most.
func (a *ACME) orderLoop(name string, f *flight) {
	f.cert, f.err = a.order(name)
	a.mu.Lock()
	delete(a.flights, name)
	if f.err == nil {
		a.known[name] = &seen{leaf: f.cert.Leaf, since: time.Now()}
	}
	a.mu.Unlock()
	close(f.donec)
}

func (a *ACME) order(name string) (*tls.Certificate, error) {
	now := time.Now()
	isThere, isValid := a.look(name, now)
	if isValid {
		return a.obtain(name)
	}
	if err := a.cool.check(name, now); err != nil {
		return nil, err
	}
	if !isThere && !slices.Contains(a.exact, name) && !a.spend(now) {
		return nil, errBudget
	}
	cert, err := a.obtain(name)
	if a.ctx.Err() != nil {
		return nil, errClosed // no failure of the name's
	}
	if err != nil {
		next := a.cool.failed(name, time.Now())
		if why, _ := a.heard.of(name); why.text != "" && !why.at.Before(now) {
			err = fmt.Errorf("%w (%s)", err, why.text)
		}
		a.cfg.Logger.Error("no certificate obtained", "name", name, "err", err, "next", next)
		return nil, err
	}
	a.cool.worked(name)
	a.cfg.Logger.Info("certificate obtained", "name", name, "expires", cert.Leaf.NotAfter)
	return cert, nil
}

// look finds the name's certificate in the cache, where another process may have put it, and says whether it has
// not expired. autocert checks the rest.
func (a *ACME) look(name string, now time.Time) (isThere, isValid bool) {
	isThere, leaf := a.leaf(name)
	return isThere, leaf != nil && now.Before(leaf.NotAfter)
}

// leaf reads the name's certificate from the cache; nil if there is none, or what is there is none.
func (a *ACME) leaf(name string) (isThere bool, leaf *x509.Certificate) {
	ctx, cancel := context.WithTimeout(a.ctx, orderWait)
	defer cancel()
	rest, err := a.cache.Get(ctx, name)
	if err != nil {
		return false, nil
	}
	for {
		var block *pem.Block
		if block, rest = pem.Decode(rest); block == nil {
			return true, nil
		}
		if block.Type != "CERTIFICATE" {
			continue
		}
		leaf, err := x509.ParseCertificate(block.Bytes)
		if err != nil {
			return true, nil
		}
		return true, leaf
	}
}

// ObtainAll obtains what is missing of the exact names, one after the other, so that the first handshakes need not
// wait. It returns when all had their turn, or ctx ends. Challenges must be answered by then.
func (a *ACME) ObtainAll(ctx context.Context) {
	for _, name := range a.exact {
		f, err := a.orderFor(name)
		if err != nil {
			continue
		}
		select {
		case <-f.donec:
		case <-ctx.Done():
			return
		}
	}
}

// spend takes one from the hour's budget of new names.
func (a *ACME) spend(now time.Time) bool {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.recent = slices.DeleteFunc(a.recent, func(t time.Time) bool { return now.Sub(t) >= time.Hour })
	if len(a.recent) >= a.cfg.NewNames {
		return false
	}
	a.recent = append(a.recent, now)
	return true
}

// obtain asks autocert. Every client is taken for one that knows ECDSA, as all do that speak TLS 1.2 or 1.3: an
// order for RSA would be another one for the same name.
func (a *ACME) obtain(name string) (*tls.Certificate, error) {
	return a.manager.GetCertificate(&tls.ClientHelloInfo{
		ServerName: name, CipherSuites: []uint16{tls.TLS_ECDHE_ECDSA_WITH_AES_128_GCM_SHA256},
	})
}
