package main

import (
	"context"
	"fmt"
	"log/slog"
	"net"
	"slices"
	"strings"
	"time"

	"github.com/coreos/go-systemd/v22/activation"
	"github.com/coreos/go-systemd/v22/daemon"
)

// manager is the service manager, told how the process is (sd_notify). Without NOTIFY_SOCKET nobody is.
type manager struct{ log *slog.Logger }

func (m manager) tell(state ...string) {
	if _, err := daemon.SdNotify(false, strings.Join(state, "\n")); err != nil {
		m.log.Warn("service manager not told", "state", state[0], "err", err)
	}
}

func reloading() string { return daemon.SdNotifyReloading + "\n" + daemon.SdNotifyMonotonicUsec() }

// every is how often the manager's watchdog wants to hear of the process; 0 is never.
func (m manager) every() time.Duration {
	interval, err := daemon.SdWatchdogEnabled(false)
	if err != nil {
		m.log.Warn("no watchdog", "err", err)
	}
	return interval / 2
}

// watchdogLoop tells the manager's watchdog that the process lives, until ctx ends and all ends are closed: as long as
// the loops that watch over time come through, and what the admin listener tells can be told, which takes the ends' locks.
func (s *server) watchdogLoop(ctx context.Context, every time.Duration) {
	ticker := time.NewTicker(every)
	defer ticker.Stop()
	for {
		if since := s.admin.sinceSweep(); since < every {
			s.manager.tell(daemon.SdNotifyWatchdog)
		} else {
			s.log.Error("stuck", "since", since)
		}
		select {
		case <-ticker.C:
		case <-ctx.Done():
			return
		}
	}
}

// sinceSweep is how long ago the slowest end was swept; what drains may be closed, and counts for nothing.
func (a *adminServer) sinceSweep() (since time.Duration) {
	a.mu.Lock()
	defer a.mu.Unlock()
	for _, e := range a.ends {
		if st := e.Stats(); !a.isDraining {
			since = max(since, st.SinceSweep)
		}
	}
	return since
}

// inheritListeners takes the sockets that the service manager, or another program, listens on for this one: LISTEN_FDS.
func inheritListeners() (lns []net.Listener, err error) {
	for _, f := range activation.Files(true) {
		ln, lnErr := net.FileListener(f)
		f.Close()
		if lnErr != nil {
			err = fmt.Errorf("the service manager's socket %s: %w", f.Name(), lnErr)
			continue
		}
		lns = append(lns, ln)
	}
	if err != nil {
		closeAll(lns)
		return nil, err
	}
	return lns, nil
}

// inheritedFor takes the inherited socket that listens where e says; nil when there is none. One that was taken is
// no more to be had: several for one address are for several URLs.
func (o *options) inheritedFor(e endpoint) net.Listener {
	for i, ln := range o.inherited {
		if e.isAt(ln.Addr()) {
			o.inherited = slices.Delete(o.inherited, i, i+1)
			return ln
		}
	}
	return nil
}

// isAt tells whether a socket with that address is what e asks for.
func (e *endpoint) isAt(addr net.Addr) bool {
	switch a := addr.(type) {
	case *net.UnixAddr:
		return e.scheme == "unix" && a.Name == e.addr
	case *net.TCPAddr:
		if e.scheme == "unix" {
			return false
		}
		want, err := net.ResolveTCPAddr(networkOf(e.host), e.addr)
		return err == nil && want.Port == a.Port && (want.IP.Equal(a.IP) || want.IP == nil && a.IP.IsUnspecified())
	}
	return false
}

func closeAll(lns []net.Listener) {
	for _, ln := range lns {
		ln.Close()
	}
}
