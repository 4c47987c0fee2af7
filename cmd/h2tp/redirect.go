package main

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/http"
	"net/netip"
	"slices"
	"strings"
	"time"

	"golang.org/x/net/netutil"

	"github.com/h2tp/h2tp/proxy"
)

const (
	// redirectTimeout bounds each connection's one request, its head and its answer.
	redirectTimeout = 10 * time.Second
	// redirectConns bounds the connections of a listener; more wait in the kernel.
	redirectConns = 1000
)

// redirector answers the challenges of an ACME authority, and sends everybody else to https. It is an end.
type redirector struct {
	srv   http.Server
	port  string                 // of https, as the URL says it: empty or with a colon in front
	knows func(host string) bool // whether https has a certificate for it
}

// newRedirector makes one for an https listener with that address.
func (o *options) newRedirector(https net.Addr) *redirector {
	r := &redirector{knows: o.hasCertificate}
	if _, port, err := net.SplitHostPort(https.String()); err == nil && port != "443" {
		r.port = ":" + port
	}
	r.srv = http.Server{Handler: r, ReadTimeout: redirectTimeout, WriteTimeout: redirectTimeout, MaxHeaderBytes: 16 << 10}
	if o.acme != nil {
		r.srv.Handler = o.acme.HTTPHandler(r)
	}
	r.srv.SetKeepAlivesEnabled(false)
	return r
}

// hasCertificate reports whether an https listener may show a certificate for host.
func (o *options) hasCertificate(host string) bool {
	if o.acme != nil && o.acme.Lists(host) {
		return true
	}
	if o.listenTLS != nil {
		for _, c := range o.listenTLS.Certificates() {
			if c.VerifyHostname(host) == nil {
				return true
			}
		}
	}
	return false
}

// ServeHTTP redirects to the same host and target. A host that https has no certificate for is refused, so that nobody is sent
// to where another wants him.
func (r *redirector) ServeHTTP(w http.ResponseWriter, req *http.Request) {
	host, ok := hostOf(req.Host)
	target := req.RequestURI
	if req.URL.IsAbs() { // absolute-form
		target = req.URL.RequestURI()
	}
	if !ok || !strings.HasPrefix(target, "/") || !r.knows(host) {
		http.Error(w, "no such host", http.StatusBadRequest)
		return
	}
	status := http.StatusPermanentRedirect
	if req.Method == http.MethodGet || req.Method == http.MethodHead {
		status = http.StatusMovedPermanently
	}
	if strings.Contains(host, ":") {
		host = "[" + host + "]"
	}
	w.Header()["Location"] = []string{"https://" + host + r.port + target}
	w.WriteHeader(status)
}

// hostOf is a Host without its port, in lower case and without a dot at its end, if it is a name or an address.
func hostOf(hostport string) (string, bool) {
	host := hostport
	if h, _, err := net.SplitHostPort(hostport); err == nil {
		host = h
	} else if strings.HasPrefix(host, "[") && strings.HasSuffix(host, "]") {
		host = host[1 : len(host)-1]
	}
	host = strings.ToLower(strings.TrimSuffix(host, "."))
	if addr, err := netip.ParseAddr(host); err == nil {
		return host, addr.Zone() == ""
	}
	isOther := func(r rune) bool {
		return !(r >= 'a' && r <= 'z' || r >= '0' && r <= '9' || r == '-' || r == '.' || r == '_')
	}
	return host, host != "" && len(host) <= 253 && !strings.ContainsFunc(host, isOther)
}

// checkRedirect takes HOST:PORT, HOST may be empty.
func (o *options) checkRedirect(s string) error {
	host, port, err := net.SplitHostPort(s)
	if err != nil || port == "" {
		return fmt.Errorf("%q is not HOST:PORT, such as :80", s)
	}
	e, err := parseEndpoint("http://" + s)
	if err != nil {
		return fmt.Errorf("%q is not HOST:PORT, such as :80", s)
	}
	e.scheme, e.host, e.url = "redirect", host, s
	o.redirects = append(o.redirects, e)
	return nil
}

// checkRedirects finds an address that is another listener's, too.
func (o *options) checkRedirects() error {
	others := slices.Clone(o.listeners)
	if o.adminURL != "" {
		others = append(others, o.admin)
	}
	for _, e := range o.redirects {
		if i := slices.IndexFunc(others, e.hasAddressOf); i >= 0 {
			return about("redirect", fmt.Errorf("flag --redirect: %q and %q are the same address", others[i].url, e.url))
		}
		others = append(others, e)
	}
	return nil
}

func (r *redirector) Serve(ln net.Listener) error {
	if err := r.srv.Serve(netutil.LimitListener(ln, redirectConns)); !errors.Is(err, http.ErrServerClosed) {
		return err
	}
	return proxy.ErrClosed
}

func (r *redirector) Shutdown(ctx context.Context) error { return r.srv.Shutdown(ctx) }
func (r *redirector) Close() error                       { return r.srv.Close() }
