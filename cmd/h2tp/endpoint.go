package main

import (
	"fmt"
	"net"
	"net/url"
	"strconv"
	"strings"
)

// endpoint is a URL of --listen or --to taken apart.
type endpoint struct {
	url        string // as given
	scheme     string // http, h2tp or h2tpc
	host, port string
	addr       string // both
	prefix     string // path of a hop, without a trailing slash
}

// parseEndpoint reads a URL of the flag that has that name.
func parseEndpoint(s, flag string) (endpoint, error) {
	u, err := url.Parse(s)
	if err != nil {
		return endpoint{}, fmt.Errorf("%q is not a URL", s)
	}
	e := endpoint{url: s, scheme: u.Scheme, host: u.Hostname(), port: u.Port(), prefix: strings.TrimRight(u.Path, "/")}
	port := "80"
	switch e.scheme {
	case "http", "h2tpc":
	case "h2tp":
		port = "443"
	case "https", "unix":
		return e, fmt.Errorf("scheme %s: not supported yet as %s", e.scheme, flag)
	default:
		return e, fmt.Errorf("%q does not begin with http://, h2tp:// or h2tpc://", s)
	}
	if e.port == "" {
		e.port = port
	}
	e.addr = net.JoinHostPort(e.host, e.port)
	_, err = strconv.ParseUint(e.port, 10, 16)
	switch {
	case u.Host == "" || u.Opaque != "":
		return e, fmt.Errorf("%q has no host and no port", s)
	case err != nil:
		return e, fmt.Errorf("%q has no port from 0 to 65535", s)
	case u.User != nil || u.RawQuery != "" || u.ForceQuery || u.Fragment != "":
		return e, fmt.Errorf("%q has more than scheme, host, port and path", s)
	case e.scheme == "http" && e.prefix != "":
		return e, fmt.Errorf("%q has a path", s)
	}
	return e, nil
}
