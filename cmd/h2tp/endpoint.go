package main

import (
	"fmt"
	"net"
	"net/netip"
	"net/url"
	"path"
	"strconv"
	"strings"
)

// endpoint is a URL of --listen or --to taken apart.
type endpoint struct {
	url        string // as given
	scheme     string // http, https, unix, h2tp or h2tpc
	host, port string
	addr       string // both, or a unix socket's path
	prefix     string // path of a hop, without a trailing slash

	allow, deny []netip.Prefix // a listener's own, in place of --allow and --deny
}

// parseListener reads a URL of --listen, with what may follow it.
func parseListener(s string) (endpoint, error) {
	url, params, hasParams := strings.Cut(s, ";")
	e, err := parseEndpoint(url)
	switch {
	case err != nil || !hasParams:
		return e, err
	case e.scheme == "unix":
		return e, fmt.Errorf("%q has no clients with addresses: --unix-mode says who may come", s)
	}
	for param := range strings.SplitSeq(params, ";") {
		name, value, _ := strings.Cut(param, "=")
		list := &e.allow
		switch name {
		case "allow":
		case "deny":
			list = &e.deny
		default:
			return e, fmt.Errorf("%q: %q is neither allow=CIDR nor deny=CIDR", s, param)
		}
		prefix, err := parsePrefix(value)
		if err != nil {
			return e, fmt.Errorf("%q: %s: %w", s, name, err)
		}
		*list = append(*list, prefix)
	}
	return e, nil
}

// parseEndpoint reads a URL.
func parseEndpoint(s string) (endpoint, error) {
	u, err := url.Parse(s)
	if err != nil {
		return endpoint{}, fmt.Errorf("%q is not a URL such as http://host:port", s)
	}
	e := endpoint{url: s, scheme: u.Scheme, host: u.Hostname(), port: u.Port(), prefix: strings.TrimRight(u.Path, "/")}
	port := "80"
	switch e.scheme {
	case "http", "h2tpc":
	case "https", "h2tp":
		port = "443"
	case "unix":
		e.addr, e.prefix = u.Path, ""
		if u.Host != "" || u.User != nil || u.RawQuery != "" || u.Fragment != "" || !path.IsAbs(u.Path) || u.Path == "/" {
			return e, fmt.Errorf("%q is not unix:///path", s)
		}
		return e, nil
	default:
		return e, fmt.Errorf("%q does not begin with http://, https://, unix://, h2tp:// or h2tpc://", s)
	}
	if e.port == "" {
		e.port = port
	}
	e.addr = net.JoinHostPort(e.host, e.port)
	_, err = strconv.ParseUint(e.port, 10, 16)
	switch {
	case u.Host == "" || u.Opaque != "":
		return e, fmt.Errorf("%q has no host and no port", s)
	case strings.Contains(e.host, ":") && u.Host[0] != '[':
		return e, fmt.Errorf("%q has an address of IPv6 without brackets", s)
	case !isHost(e.host):
		return e, fmt.Errorf("%q has a host that is no name and no address", s)
	case err != nil:
		return e, fmt.Errorf("%q has no port from 0 to 65535", s)
	case u.User != nil || u.RawQuery != "" || u.ForceQuery || u.Fragment != "":
		return e, fmt.Errorf("%q has more than scheme, host, port and path", s)
	case e.prefix != "" && !e.isHop():
		return e, fmt.Errorf("%q has a path", s)
	}
	return e, nil
}

// isHost takes a name, an address, or nothing, which is every address.
func isHost(host string) bool {
	if _, err := netip.ParseAddr(host); err == nil || host == "" {
		return true
	}
	_, ok := hostOf(host)
	return ok
}

func (e *endpoint) isHop() bool { return e.scheme == "h2tp" || e.scheme == "h2tpc" }

func (e *endpoint) network() string {
	if e.scheme == "unix" {
		return "unix"
	}
	return "tcp"
}

// hasAddressOf reports whether both cannot be listened on.
func (e *endpoint) hasAddressOf(other endpoint) bool {
	return e.addr == other.addr && e.network() == other.network() && e.port != "0"
}
