package proxy

import (
	"context"
	"fmt"
	"net"
	"net/url"
	"strings"

	"github.com/h2tp/h2tp/proxy/internal/rawconn"
)

// endpoint is a destination's URL taken apart.
type endpoint struct {
	url    string // as given
	isHop  bool   // a peer, else an upstream
	isTLS  bool
	host   string // host and port as in the URL: the authority
	addr   string // host and port to dial
	prefix string // path of a peer's URL, without a trailing slash
}

// parseEndpoint reads a destination's URL. Its errors name what is wrong in it.
func parseEndpoint(s string) (endpoint, error) {
	e := endpoint{url: s}
	u, err := url.Parse(s)
	if err != nil {
		return e, fmt.Errorf("destination %q: not a URL", s)
	}
	port := "80"
	switch u.Scheme {
	case "http":
	case "h2tp":
		e.isHop, e.isTLS, port = true, true, "443"
	case "h2tpc":
		e.isHop = true
	case "":
		return e, fmt.Errorf("destination %q: no scheme; want http, h2tp or h2tpc", s)
	default:
		return e, fmt.Errorf("destination %q: scheme %q; want http, h2tp or h2tpc", s, u.Scheme)
	}
	switch {
	case u.Hostname() == "":
		return e, fmt.Errorf("destination %q: no host", s)
	case u.User != nil || u.RawQuery != "" || u.Fragment != "":
		return e, fmt.Errorf("destination %q: only scheme, host, port and path are allowed", s)
	case !e.isHop && u.Path != "" && u.Path != "/":
		return e, fmt.Errorf("destination %q: an upstream takes no path", s)
	}
	if u.Port() != "" {
		port = u.Port()
	}
	e.host, e.addr = u.Host, net.JoinHostPort(u.Hostname(), port)
	e.prefix = strings.TrimRight(u.Path, "/")
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
		nc, err = cfg.Dial("tcp", end.addr, cfg.ConnectTimeout)
	} else {
		d := net.Dialer{Timeout: cfg.ConnectTimeout}
		nc, err = d.DialContext(ctx, "tcp", end.addr)
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
