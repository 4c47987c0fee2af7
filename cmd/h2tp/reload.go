package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"slices"
	"time"

	"github.com/coreos/go-systemd/v22/daemon"
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

var errDraining = errors.New("draining")

// reload reads all files again: certificates, token, configuration; and opens the access log anew. It is what SIGHUP and POST /reload
// order.
func (s *server) reload() error {
	if s.isEnding() {
		return errDraining
	}
	s.manager.tell(reloading())
	defer s.manager.tell(daemon.SdNotifyReady)
	errs := []error{reload(s.base.live, s.log), s.base.token.reload(), s.reopen()}
	if s.base.config != "" {
		errs = append(errs, s.reloadConfig(false))
	}
	err := errors.Join(errs...)
	if err == nil {
		s.log.Info("reloaded")
	}
	return err
}

// hupLoop reloads on each SIGHUP, until ctx ends. It is not wait's to do: files may be read for ever.
func (s *server) hupLoop(ctx context.Context, hupc <-chan os.Signal) {
	for {
		select {
		case <-hupc:
			s.reload()
		case <-ctx.Done():
			return
		}
	}
}

// reloadConfig takes what the configuration file says now; when something is wrong, all stays as it is. One that is tried again says
// nothing of the same mistake.
func (s *server) reloadConfig(isAgain bool) error {
	s.reloading.Lock()
	defer s.reloading.Unlock()
	err := s.reconfigure(isAgain)
	if text := fmt.Sprint(err); err != nil {
		if !isAgain || text != s.refusal {
			s.setRefusal(text)
			s.admin.noteReload(false)
			s.log.Error("configuration not reloaded, the old one stays", "err", err)
		}
		return fmt.Errorf("configuration not reloaded, the old one stays: %w", err)
	}
	s.setRefusal("")
	s.admin.noteReload(true)
	s.log.Info("configuration reloaded", "file", s.base.config, "listeners", len(s.served), "routes", len(s.cur.ways))
	return nil
}

func (s *server) setRefusal(text string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.refusal = text
}

// reconfigure is reloadConfig while reloading is held. All that may fail comes before the first change, and all that may take long
// before mu.
func (s *server) reconfigure(isAgain bool) error {
	next, list, err := parseSettings(s.args, true)
	s.mu.Lock()
	s.stamp = next.stamp
	s.mu.Unlock()
	if err != nil {
		return err
	}
	if err := s.checkNext(next, list); err != nil {
		return next.located(list, err)
	}
	fresh, gone, kept := s.compare(next)
	c := change{server: s}
	if err := c.prepare(next, fresh, gone, !isAgain); err != nil {
		c.undo()
		return next.located(list, err)
	}
	was := s.cur
	if !c.commit(next, list, gone) {
		c.undo()
		return errDraining
	}
	for l, e := range kept {
		l.ln.Restrict(e.allow, e.deny)
	}
	for _, w := range next.warnings(was) {
		s.log.Warn("INSECURE: " + w)
	}
	return nil
}

// checkNext finds what a start would refuse of the settings beside the files that are read already, and settings that differ and
// that no reload changes.
func (s *server) checkNext(next *options, list []*setting) error {
	if err := s.checkFixed(next, list); err != nil || s.base.listenTLS == nil {
		return err
	}
	return next.checkListenNames(s.base.listenTLS.Certificates())
}

// checkFixed finds a setting that differs and that no reload changes.
func (s *server) checkFixed(next *options, list []*setting) error {
	for i, n := range list {
		was := s.list[i].get()
		if n.get() == was || n.name == configSetting || slices.Contains(reloaded, n.name) {
			continue
		}
		return about(n.name, fmt.Errorf("flag --%s: it was %q, and only a restart changes it", n.name, was))
	}
	return nil
}

// compare returns the listeners that are new, those that are not there any more, and what becomes of the others.
func (s *server) compare(next *options) (fresh []endpoint, gone []*served, kept map[*served]endpoint) {
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

// followConfig reads the configuration again when its file changes, until ctx ends. What came by a pipe comes once.
func (s *server) followConfig(ctx context.Context) {
	if s.base.stamp != nil && !s.base.stamp.Mode().IsRegular() {
		return
	}
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
