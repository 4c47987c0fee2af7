package main

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"net"
	"net/netip"
	"slices"
	"sync"
	"time"

	"github.com/h2tp/h2tp/certs"
	"github.com/h2tp/h2tp/cmd/h2tp/internal/admin"
	"github.com/h2tp/h2tp/cmd/h2tp/internal/page"
	"github.com/h2tp/h2tp/proxy"
)

// adminOptions are the flags of the admin listener.
type adminOptions struct {
	adminURL    string
	adminPublic bool
	admin       endpoint // adminURL taken apart
}

// checkAdmin finds an address that others than this machine's users could reach: whoever reaches the listener may
// drain the process, and read of its memory what pprof shows.
func (o *options) checkAdmin() error {
	if o.adminURL == "" {
		if o.adminPublic {
			return about("admin-public", errors.New("flag --admin-public has no effect: --admin is missing"))
		}
		return nil
	}
	e, err := parseEndpoint(o.adminURL)
	switch {
	case err != nil:
		return about("admin", fmt.Errorf("flag --admin: %w", err))
	case e.scheme != "http" && e.scheme != "unix":
		return about("admin", fmt.Errorf("flag --admin: %q does not begin with http:// or unix://", o.adminURL))
	case e.scheme == "http" && !o.adminPublic && !isLoopback(e.host):
		return about("admin", fmt.Errorf("flag --admin: %q is not a loopback address such as http://127.0.0.1:9901; --admin-public allows it, and lets everybody who reaches it drain this process", o.adminURL))
	}
	for _, other := range o.listeners {
		if e.addr == other.addr && e.network() == other.network() && e.port != "0" {
			return about("admin", fmt.Errorf("flag --admin: %q and %q are the same address", other.url, o.adminURL))
		}
	}
	o.admin = e
	return nil
}

func isLoopback(host string) bool {
	addr, err := netip.ParseAddr(host)
	return err == nil && addr.IsLoopback() || host == "localhost"
}

// adminServer runs the admin listener beside the ends. The zero value runs none.
type adminServer struct {
	srv *admin.Server
	wg  sync.WaitGroup // its Serve

	started time.Time

	mu         sync.Mutex // guards all below
	ends       []namedEnd
	isServing  bool
	isDraining bool
	reloads    [2]int64             // of the configuration: refused, taken
	isRefused  bool                 // the last one
	acmeAt     time.Time            // when acmeEnds was read
	acmeEnds   map[string]time.Time // when certificates obtained by ACME end
}

// acmePeriod is how long acmeEnds will do: it is read from the disk, a file a name, and asked for each second.
const acmePeriod = 10 * time.Second

// counted is an end whose exchanges are counted: a front or a back.
type counted interface{ Stats() proxy.Stats }

// namedEnd is an end as the admin listener tells of it.
type namedEnd struct {
	counted
	name, kind string
	urls       []string
}

// startAdmin begins to answer, before the ends accept; the process is not ready yet.
func (s *server) startAdmin(ctx context.Context, o *options) error {
	a := &s.admin
	a.started = time.Now()
	if o.adminURL == "" {
		return nil
	}
	ln, err := o.open(ctx, o.admin)
	if err != nil {
		return fmt.Errorf("flag --admin: %s: %w", o.adminURL, err)
	}
	a.srv = admin.New(admin.Config{
		State: func() admin.State { return s.state(o) }, Drain: s.drain, Reload: s.reload, Page: page.Handler(),
		AnyHost: o.adminPublic, IsSocket: o.admin.scheme == "unix", Logger: s.log,
	})
	if o.adminPublic {
		s.log.Warn("INSECURE: --admin-public is set, whoever reaches the admin listener can drain this process and read its memory")
	}
	s.log.Info("admin listens", "addr", o.admin.scheme+"://"+ln.Addr().String())
	a.wg.Go(func() { s.serveAdminLoop(ln) })
	return nil
}

func (s *server) serveAdminLoop(ln net.Listener) {
	if err := s.admin.srv.Serve(ln); err != nil {
		s.log.Error("admin listener failed", "err", err)
	}
}

// drain begins what SIGTERM does.
func (s *server) drain() {
	select {
	case s.drainc <- struct{}{}:
	default: // ordered already
	}
}

// close ends the listener; it is the last to go.
func (a *adminServer) close() {
	if a.srv != nil {
		a.srv.Close()
	}
	a.wg.Wait()
}

// add names an end, or a further URL of it.
func (a *adminServer) add(of end, k kind, url string) {
	e, ok := of.(counted)
	if !ok { // one that only redirects
		return
	}
	a.mu.Lock()
	defer a.mu.Unlock()
	for i := range a.ends {
		if a.ends[i].counted == e {
			a.ends[i].urls = append(a.ends[i].urls, url)
			return
		}
	}
	n := namedEnd{counted: e, name: k.scheme + k.prefix, kind: "front", urls: []string{url}}
	if _, ok := e.(*proxy.Back); ok {
		n.kind = "back"
	}
	a.ends = append(a.ends, n)
}

// remove forgets a URL of an end, and the end with its last.
func (a *adminServer) remove(of end, url string) {
	c, _ := of.(counted)
	a.mu.Lock()
	defer a.mu.Unlock()
	for i := range a.ends {
		if e := &a.ends[i]; e.counted == c {
			e.urls = slices.DeleteFunc(slices.Clone(e.urls), func(u string) bool { return u == url })
			if len(e.urls) == 0 {
				a.ends = slices.Delete(a.ends, i, i+1)
			}
			return
		}
	}
}

// note sets what the process is about to do.
func (a *adminServer) note(isServing, isDraining bool) {
	a.mu.Lock()
	a.isServing, a.isDraining = isServing, isDraining
	a.mu.Unlock()
}

// noteReload counts a reload of the configuration.
func (a *adminServer) noteReload(isTaken bool) {
	a.mu.Lock()
	defer a.mu.Unlock()
	if a.isRefused = !isTaken; isTaken {
		a.reloads[1]++
	} else {
		a.reloads[0]++
	}
}

// state is what the admin listener tells.
func (s *server) state(o *options) admin.State {
	st := s.admin.state(o)
	if s.access != nil {
		st.AccessLogLost = s.access.Lost()
	}
	return st
}

func (a *adminServer) state(o *options) admin.State {
	a.mu.Lock()
	defer a.mu.Unlock()
	st := admin.State{
		Version: version(), Started: a.started, IsServing: a.isServing, IsDraining: a.isDraining, Certificates: o.certificates(a.acmeLocked(o.acme)),
		CodecMemory: admin.Memory{Used: o.Memory.Used(), Limit: o.Memory.Limit(), Refused: o.Memory.Refused()}, WindowMemory: admin.Memory{Used: o.Windows.Used(), Limit: o.Windows.Limit()},
	}
	st.ConfigRefused, st.ConfigTaken, st.IsConfigRefused = a.reloads[0], a.reloads[1], a.isRefused
	for _, e := range a.ends {
		st.Ends = append(st.Ends, admin.End{Name: e.name, Kind: e.kind, URLs: e.urls, Stats: e.Stats()})
	}
	return st
}

func (a *adminServer) acmeLocked(acme *certs.ACME) map[string]time.Time {
	if now := time.Now(); acme != nil && now.Sub(a.acmeAt) >= acmePeriod {
		a.acmeAt, a.acmeEnds = now, acme.Expiries()
	}
	return a.acmeEnds
}

// certificates tells when those end that listeners and clients of ours show, by name, besides those obtained; of several
// with a name the one that ends first.
func (o *options) certificates(obtained map[string]time.Time) map[string]time.Time {
	ends := make(map[string]time.Time)
	maps.Copy(ends, obtained)
	for _, l := range o.live {
		for _, c := range l.Certificates() {
			names := c.DNSNames
			for _, ip := range c.IPAddresses {
				names = append(names[:len(names):len(names)], ip.String())
			}
			if len(names) == 0 {
				names = []string{c.Subject.CommonName}
			}
			for _, name := range names {
				if at, ok := ends[name]; !ok || c.NotAfter.Before(at) {
					ends[name] = c.NotAfter
				}
			}
		}
	}
	return ends
}
