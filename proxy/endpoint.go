package proxy

import (
	"context"
	"crypto/tls"
	"fmt"
	"net"
	"net/netip"
	"net/url"
	"path"
	"strconv"
	"strings"
	"time"

	"github.com/h2tp/h2tp/proxy/internal/balance"
	"github.com/h2tp/h2tp/proxy/internal/rawconn"
)

// endpoint is a destination's URL taken apart.
type endpoint struct {
	url     string // as given, and the address where that was looked up
	isHop   bool   // a peer, else an upstream
	isTLS   bool
	network string // tcp or unix
	host    string // host and port as in the URL: the authority
	name    string // host, which a certificate must name
	port    string
	hasPort bool   // the URL has
	addr    string // host and port, or path, to dial
	prefix  string // path of a peer's URL, without a trailing slash
}

// parseEndpoint reads a destination's URL. Its errors begin with it, and name what is wrong in it.
func parseEndpoint(s string) (endpoint, error) {
	e, shown := endpoint{url: s, network: "tcp"}, balance.Shown(s)
	u, err := url.Parse(s)
	if err != nil {
		return e, fmt.Errorf("%q is not a URL such as http://host:port", shown)
	}
	port := "80"
	switch u.Scheme {
	case "http":
	case "https":
		e.isTLS, port = true, "443"
	case "unix":
		return parseUnix(e, u)
	case "h2tp":
		e.isHop, e.isTLS, port = true, true, "443"
	case "h2tpc":
		e.isHop = true
	default:
		return e, fmt.Errorf("%q does not begin with http://, https://, unix://, h2tp:// or h2tpc://", shown)
	}
	if e.port = port; u.Port() != "" {
		e.port, e.hasPort = u.Port(), true
	}
	n, err := strconv.ParseUint(e.port, 10, 16)
	switch {
	case u.Hostname() == "":
		return e, fmt.Errorf("%q has no host", shown)
	case strings.Contains(u.Hostname(), ":") && u.Host[0] != '[':
		return e, fmt.Errorf("%q has an address of IPv6 without brackets", shown)
	case !isHost(u.Hostname()):
		return e, fmt.Errorf("%q has a host that is no name and no address", shown)
	case err != nil:
		return e, fmt.Errorf("%q has no port from 1 to 65535", shown)
	case n == 0:
		return e, fmt.Errorf("%q has port 0", shown)
	case u.User != nil || u.RawQuery != "" || u.ForceQuery || u.Fragment != "":
		return e, fmt.Errorf("%q has more than scheme, host, port and path", shown)
	case !e.isHop && u.Path != "" && u.Path != "/":
		return e, fmt.Errorf("%q has a path, which an upstream has not", shown)
	}
	e.host, e.name, e.addr = u.Host, u.Hostname(), net.JoinHostPort(u.Hostname(), e.port)
	e.prefix = strings.TrimRight(u.Path, "/")
	return e, nil
}

// isHost reports whether a host can be dialled, or looked up.
func isHost(host string) bool {
	if _, err := netip.ParseAddr(host); err == nil {
		return true
	}
	isOther := func(r rune) bool {
		return !(r >= 'a' && r <= 'z' || r >= 'A' && r <= 'Z' || r >= '0' && r <= '9' || r == '-' || r == '.' || r == '_')
	}
	return len(host) <= maxHost && !strings.ContainsFunc(host, isOther) && host[0] != '.' && !strings.Contains(host, "..")
}

// key is the same for URLs of one destination, however they are written.
func (e *endpoint) key() string {
	if e.network == "unix" {
		return "unix://" + e.addr
	}
	host := strings.ToLower(e.name)
	if addr, err := netip.ParseAddr(host); err == nil {
		host = addr.String()
	}
	return fmt.Sprintf("%v %v %s%s", e.isHop, e.isTLS, net.JoinHostPort(host, strings.TrimLeft(e.port, "0")), e.prefix)
}

// parseUnix reads unix:///path. A request without a Host gets localhost.
func parseUnix(e endpoint, u *url.URL) (endpoint, error) {
	if u.Host != "" || u.User != nil || u.RawQuery != "" || u.Fragment != "" || !path.IsAbs(u.Path) || u.Path == "/" {
		return e, fmt.Errorf("%q is not unix:///path", balance.Shown(e.url))
	}
	e.network, e.host, e.addr = "unix", "localhost", u.Path
	return e, nil
}

// hopUnsent bounds what waits in the kernel of a hop's socket: no order among
// streams helps what is behind it.
const hopUnsent = 128 << 10

// dialRaw dials a destination; the connection does its I/O raw where it can.
func dialRaw(ctx context.Context, cfg *Config, end endpoint) (net.Conn, error) {
	var nc net.Conn
	var err error
	if cfg.Dial != nil {
		timeout := cfg.ConnectTimeout
		if until, ok := ctx.Deadline(); ok {
			timeout = min(timeout, time.Until(until))
		}
		nc, err = cfg.Dial(end.network, end.addr, timeout)
	} else {
		d := net.Dialer{Timeout: cfg.ConnectTimeout}
		nc, err = d.DialContext(ctx, end.network, end.addr)
	}
	if err != nil {
		return nil, err
	}
	nc = rawconn.Wrap(nc)
	if end.isHop {
		rawconn.LimitUnsent(nc, hopUnsent)
	}
	return nc, nil
}

// dialUpstream dials an upstream, with TLS where its URL says so. socket is what
// the connection runs over, where it can do raw I/O.
func dialUpstream(ctx context.Context, cfg *Config, end endpoint) (nc net.Conn, socket rawconn.Socket, err error) {
	if nc, err = dialRaw(ctx, cfg, end); err != nil {
		return nil, nil, err
	}
	socket, _ = nc.(rawconn.Socket)
	if !end.isTLS {
		return nc, socket, nil
	}
	config := new(tls.Config)
	if cfg.UpstreamTLS != nil {
		config = cfg.UpstreamTLS().Clone()
	}
	if config.ServerName == "" {
		config.ServerName = end.name
	}
	config.NextProtos = []string{"http/1.1"}
	ctx, cancel := context.WithDeadline(ctx, time.Now().Add(cfg.ConnectTimeout))
	defer cancel()
	tc := tls.Client(nc, config)
	if err := tc.HandshakeContext(ctx); err != nil {
		nc.Close()
		return nil, nil, fmt.Errorf("tls to %s: %w", end.addr, err)
	}
	return tc, socket, nil
}
