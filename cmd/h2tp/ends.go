package main

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"maps"
	"net"
	"sync/atomic"

	"github.com/h2tp/h2tp/proxy"
)

// end is a front or a back.
type end interface {
	Serve(net.Listener) error
	Shutdown(context.Context) error
	Close() error
}

// served is a listener and who serves it.
type served struct {
	endpoint
	ln        *proxy.Listener
	end       end
	url       string      // with the port it has
	isClosing atomic.Bool // a configuration without it was read
	// isInherited says that the service manager listens on it, too: closing it frees no address.
	isInherited bool
}

// kind tells which listeners share an end: all fronts do, and backs with the
// same prefix and the same way in.
type kind struct {
	scheme, prefix string
}

// kindOf is the kind of end that serves a listener.
func kindOf(e endpoint) kind {
	if e.scheme == "unix" {
		return kind{"http", e.prefix}
	}
	return kind{e.scheme, e.prefix}
}

// openAll listens everywhere, or nowhere.
func (o *options) openAll(ctx context.Context, list []endpoint) (opened []*served, err error) {
	for _, e := range list {
		l, err := o.listenAt(ctx, e)
		if err != nil {
			closeServed(opened)
			return nil, err
		}
		if e.scheme == "https" && o.httpsAddr == nil {
			o.httpsAddr = l.ln.Addr()
		}
		opened = append(opened, l)
	}
	return opened, nil
}

// listenAt makes a listener that nobody serves yet.
func (o *options) listenAt(ctx context.Context, e endpoint) (*served, error) {
	inherited := len(o.inherited)
	socket, err := o.open(ctx, e)
	if err != nil {
		return nil, about(flagOf(e), fmt.Errorf("flag --%s: %s: %w", flagOf(e), e.url, err))
	}
	ln := proxy.NewListener(socket)
	ln.Restrict(e.allow, e.deny)
	return &served{endpoint: e, ln: ln, url: e.scheme + "://" + ln.Addr().String() + e.prefix, isInherited: len(o.inherited) < inherited}, nil
}

func closeServed(list []*served) {
	for _, l := range list {
		l.ln.Close()
	}
}

// makeEnds makes the ends that listeners need and that are not there yet.
func (s *server) makeEnds(opened []*served, ways []proxy.Route) (map[kind]end, error) {
	made := make(map[kind]end)
	for _, l := range opened {
		k := kindOf(l.endpoint)
		if s.ends[k] != nil || made[k] != nil {
			continue
		}
		e, err := s.base.newEnd(k, ways, s.log)
		if err != nil {
			return made, err
		}
		made[k] = e
	}
	return made, nil
}

// serveLocked serves listeners by ends that are there or were made for them.
func (s *server) serveLocked(opened []*served, made map[kind]end) {
	maps.Copy(s.ends, made)
	for _, l := range opened {
		k := kindOf(l.endpoint)
		l.end = s.ends[k]
		s.log.Info("listening", "url", l.url)
		s.admin.add(l.end, k, l.url)
		s.served = append(s.served, l)
		s.wg.Go(func() { s.serveLoop(l) })
	}
}

// flagOf is the flag that asked for a listener.
func flagOf(e endpoint) string {
	if e.scheme == "redirect" {
		return "redirect"
	}
	return "listen"
}

func (o *options) newEnd(k kind, ways []proxy.Route, log *slog.Logger) (end, error) {
	cfg := proxy.Config{Limits: o.Limits, Hop: o.Hop, Balance: o.Balance, Entry: o.Entry, Routes: ways, UpstreamTLS: o.upstreamTLS, Prefix: k.prefix, Logger: log}
	cfg.RequestID, cfg.TraceContext = o.requestID, traceContexts[o.traceContext]
	if o.onExchange != nil {
		cfg.OnExchange = o.onExchange(k.scheme + k.prefix)
	}
	switch k.scheme {
	case "http":
		return proxy.NewFront(cfg)
	case "https":
		cfg.ListenTLS = o.listenTLS.ConfigFor("h2", "http/1.1")
		return proxy.NewFront(cfg)
	case "redirect":
		return o.newRedirector(o.httpsAddr), nil
	case "h2tp":
		cfg.ListenTLS = o.listenTLS.Config()
	default:
		cfg.Cleartext = true
	}
	return proxy.NewBack(cfg)
}

func (s *server) serveLoop(l *served) {
	if err := l.end.Serve(l.ln); !errors.Is(err, proxy.ErrClosed) && !l.isClosing.Load() {
		select {
		case s.failc <- err:
		default:
		}
	}
}
