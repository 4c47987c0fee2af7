package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"slices"
	"time"

	"github.com/coreos/go-systemd/v22/daemon"

	"github.com/h2tp/h2tp/proxy"
)

const (
	// configPeriod is how often the configuration file is looked at: a stat. One that changed is read at the look after, if it
	// is as it was by then: who writes it may not be done.
	configPeriod = time.Second
	// configRetry is after how many looks a file that was refused is tried again: what was wrong may be elsewhere, such as
	// a port that was taken.
	configRetry = 5
)

// reloaded are the settings that a reload changes, besides those of routes and the routes themselves. All others are fixed when the
// process starts: limits that connections were accepted by, budgets that are shared, files that are open.
var reloaded = append([]string{"listen", "to", "drain-timeout", "log-level"}, routeSettings...)

// reload reads all files again: certificates, token, configuration; and opens the access log anew. It is what SIGHUP and POST /reload
// order.
func (s *server) reload() error {
	s.manager.tell(reloading())
	defer s.manager.tell(daemon.SdNotifyReady)
	s.base.token.reload()
	errs := []error{reload(s.base.live, s.log), s.reopen()}
	if s.base.config != "" {
		errs = append(errs, s.reloadConfig(false))
	}
	err := errors.Join(errs...)
	if err == nil {
		s.log.Info("reloaded")
	}
	return err
}

// reloadConfig takes what the configuration file says now; when something is wrong, all stays as it is. One that is tried again says
// nothing of the same mistake.
func (s *server) reloadConfig(isAgain bool) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	err := s.reconfigureLocked()
	if text := fmt.Sprint(err); err != nil {
		if !isAgain || text != s.refusal {
			s.refusal = text
			s.admin.noteReload(false)
			s.log.Error("configuration not reloaded, the old one stays", "err", err)
		}
		return fmt.Errorf("configuration not reloaded, the old one stays: %w", err)
	}
	s.refusal = ""
	s.admin.noteReload(true)
	s.log.Info("configuration reloaded", "file", s.base.config, "listeners", len(s.served), "routes", len(s.cur.ways))
	return nil
}

func (s *server) reconfigureLocked() error {
	if s.isDraining {
		return errors.New("draining")
	}
	next, list, err := parseSettings(s.args)
	s.stamp = next.stamp
	if err != nil {
		return err
	}
	if err := s.checkFixedLocked(next, list); err != nil {
		return next.located(list, err)
	}
	fresh, gone, kept := s.compareLocked(next)
	opened, err := s.base.openAll(s.life, fresh)
	if err != nil {
		return next.located(list, err)
	}
	made, err := s.makeEndsLocked(opened, next.ways)
	if err != nil {
		return err
	}
	if err := s.setRoutesLocked(next.ways); err != nil {
		closeServed(opened)
		for _, e := range made {
			e.Close()
		}
		return err
	}
	s.serveLocked(opened, made)
	s.leaveLocked(gone)
	for l, e := range kept {
		l.ln.Restrict(e.allow, e.deny)
	}
	s.cur, s.list = next, list
	s.base.leastLevel.Set(next.leastLevel.Level())
	return nil
}

// checkFixedLocked finds a setting that differs and that no reload changes.
func (s *server) checkFixedLocked(next *options, list []*setting) error {
	for i, n := range list {
		was := s.list[i].get()
		if n.get() == was || n.name == configSetting || slices.Contains(reloaded, n.name) {
			continue
		}
		return about(n.name, fmt.Errorf("flag --%s: it was %q, and only a restart changes it", n.name, was))
	}
	return nil
}

// compareLocked returns the listeners that are new, those that are not there any more, and what becomes of the others.
func (s *server) compareLocked(next *options) (fresh []endpoint, gone []*served, kept map[*served]endpoint) {
	kept = make(map[*served]endpoint)
	gone = slices.DeleteFunc(slices.Clone(s.served), func(l *served) bool { return l.scheme == "redirect" })
	for _, e := range next.listeners {
		i := slices.IndexFunc(gone, func(l *served) bool {
			return l.scheme == e.scheme && l.addr == e.addr && l.prefix == e.prefix
		})
		if i < 0 {
			fresh = append(fresh, e)
		} else {
			kept[gone[i]] = e
			gone = slices.Delete(gone, i, i+1)
		}
	}
	return fresh, gone, kept
}

// routed is an end whose exchanges take routes.
type routed interface{ SetRoutes([]proxy.Route) error }

// setRoutesLocked has all ends take other routes. What is wrong with them is wrong for the first.
func (s *server) setRoutesLocked(ways []proxy.Route) error {
	for _, e := range s.ends {
		if e, ok := e.(routed); ok {
			if err := e.SetRoutes(ways); err != nil {
				return err
			}
		}
	}
	return nil
}

// leaveLocked closes listeners. Their connections live on; an end without listeners finishes what it has.
func (s *server) leaveLocked(gone []*served) {
	for _, l := range gone {
		l.isClosing.Store(true)
		l.ln.Close()
		s.served = slices.DeleteFunc(s.served, func(other *served) bool { return other == l })
		s.admin.remove(l.end, l.url)
		s.log.Info("listens no more", "url", l.url)
		if k := kindOf(l.endpoint); !slices.ContainsFunc(s.served, func(other *served) bool { return other.end == l.end }) {
			delete(s.ends, k)
			s.left[l.end] = struct{}{}
			s.wg.Go(func() { s.finishLoop(l.end) })
		}
	}
}

// finishLoop lets an end finish what it has, however long that takes while the process lives.
func (s *server) finishLoop(e end) {
	e.Shutdown(s.life)
	e.Close()
	s.mu.Lock()
	delete(s.left, e)
	s.mu.Unlock()
}

// followConfig reads the configuration again when its file changes, until ctx ends.
func (s *server) followConfig(ctx context.Context) {
	ticker := time.NewTicker(configPeriod)
	defer ticker.Stop()
	seen, looks := s.base.stamp, 0
	for {
		select {
		case <-ticker.C:
		case <-ctx.Done():
			return
		}
		now := stampOf(s.base.config)
		isSettled := isSame(now, seen)
		seen = now
		isRead, isRefused := s.isRead(now)
		switch {
		case !isSettled:
		case !isRead:
			looks = 0
			s.reloadConfig(false)
		case isRefused:
			if looks++; looks >= configRetry {
				looks = 0
				s.reloadConfig(true)
			}
		}
	}
}

// isRead reports whether a version of the file was read, and refused.
func (s *server) isRead(stamp os.FileInfo) (isRead, isRefused bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return isSame(stamp, s.stamp) || s.isDraining, s.refusal != "" && !s.isDraining
}
