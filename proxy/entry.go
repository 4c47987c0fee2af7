package proxy

import (
	"context"
	"errors"
	"log/slog"
	"net"
	"net/netip"
	"slices"
	"sync"
	"time"

	"github.com/h2tp/h2tp/pool"
	"github.com/h2tp/h2tp/proxy/internal/wire"
)

// Entry says who may come, and what is told of it to upstreams and to browsers.
type Entry struct {
	// Allow are the addresses whose connections are taken, of clients and of fronts, save where a [Listener] has rules of its
	// own; the others' are closed before a byte of them is read. If empty, all are taken. A prefix is of IPv4 or IPv6; an IPv4 address that comes
	// mapped into IPv6 is IPv4. Who comes by a unix socket has no address: its file's mode says who may.
	Allow []netip.Prefix
	// Deny are addresses whose connections are not taken, also of those that Allow has.
	Deny []netip.Prefix
	// TrustedProxies are the clients whose Forwarded, X-Forwarded-* and X-Real-Ip are passed on, and appended to; those of
	// others are dropped. One who comes by a unix socket is trusted. If empty, all are.
	TrustedProxies []netip.Prefix
	// TrustNobody leaves TrustedProxies, which is empty then, to those of unix sockets alone.
	TrustNobody bool
	// ProxyProtocol has clients' connections begin with a header of the PROXY protocol, version 1 or 2, which tells whom
	// they are for; those of clients that are trusted. Allow, Deny and MaxConnsPerAddr then go by who is named. It must come within 10 s. A Back has no use for it.
	ProxyProtocol bool
	// Forwarded has the field of that name (RFC 7239) tell of the client too.
	Forwarded bool
	// HSTS is how long browsers that came by https are to come by nothing else: Strict-Transport-Security, where the
	// upstream sent none. If zero or negative, it is not said.
	HSTS time.Duration
}

func (e *Entry) complete() error {
	if e.TrustNobody && len(e.TrustedProxies) > 0 {
		return errors.New("proxy: TrustNobody is set beside TrustedProxies")
	}
	return nil
}

// trusts reports whether a client's word of others is taken. It has no valid address when it came by a unix socket: its file's
// mode says who may.
func (e *Entry) trusts(ip netip.Addr) bool {
	return !ip.IsValid() || !e.TrustNobody && (len(e.TrustedProxies) == 0 || pool.Prefixes(e.TrustedProxies).Contains(ip))
}

// addrOf is the IP address of one end of a connection; not valid when it has none.
func addrOf(addr net.Addr) netip.Addr {
	var ip netip.Addr
	if tcp, ok := addr.(*net.TCPAddr); ok {
		ip = tcp.AddrPort().Addr()
	} else if ap, err := netip.ParseAddrPort(addr.String()); err == nil {
		ip = ap.Addr()
	}
	return ip.WithZone("").Unmap()
}

// entrance stands before a front's or back's listeners.
type entrance struct {
	cfg   *Entry
	log   *slog.Logger
	stats *stats
	lines seldom
}

// admits reports whether who has this address may come, by a listener's own rules or else by all listeners'; it counts who may
// not, and says so.
func (g *entrance) admits(ip netip.Addr, own *rules) bool {
	if own == nil {
		own = &rules{g.cfg.Allow, g.cfg.Deny}
	}
	if own.isAllowed(ip) {
		return true
	}
	g.stats.denied.Add(1)
	g.lines.info(g.log, ip, "refused", "addr", ip.String(), "why", "the address may not come")
	return false
}

// seldom writes a line a second for each address at most, and seldomLines of all: whoever is refused may come often, but
// is not to hide another who is refused too.
type seldom struct {
	mu      sync.Mutex
	since   time.Time // when the second began
	told    []netip.Addr
	omitted int
}

// seldomLines bounds the lines of a second.
const seldomLines = 10

func (s *seldom) info(log *slog.Logger, ip netip.Addr, msg string, args ...any) {
	s.write(log, slog.LevelInfo, ip, msg, args)
}

func (s *seldom) warn(log *slog.Logger, ip netip.Addr, msg string, args ...any) {
	s.write(log, slog.LevelWarn, ip, msg, args)
}

func (s *seldom) write(log *slog.Logger, level slog.Level, ip netip.Addr, msg string, args []any) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if now := time.Now(); now.Sub(s.since) >= time.Second {
		s.since, s.told = now, s.told[:0]
	}
	if len(s.told) == seldomLines || slices.Contains(s.told, ip) {
		s.omitted++
		return
	}
	s.told = append(s.told, ip)
	if s.omitted > 0 {
		args = append(args, "omitted", s.omitted)
		s.omitted = 0
	}
	log.Log(context.Background(), level, msg, args...)
}

var notAllowed = wire.Response{
	Status: 405, BodyKind: wire.BodyWhole, Body: []byte("Method Not Allowed\n"),
	Fields: []wire.Field{{Name: []byte("Allow"), Value: []byte("GET, HEAD")}, {Name: []byte("Content-Type"), Value: []byte("text/plain; charset=utf-8")}},
}

// refuseMethod answers a method that GetOnly leaves out; false when ex is to be delivered.
func (r *route) refuseMethod(ex *exchange) bool {
	if m := ex.req.Method; !r.cfg.GetOnly || string(m) == "GET" || string(m) == "HEAD" {
		return false
	}
	r.home.meter.refuse(405)
	resp := notAllowed // the sink may change it
	ex.sink.respond(ex, &resp)
	return true
}
