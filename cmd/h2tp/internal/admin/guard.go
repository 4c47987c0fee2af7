package admin

import (
	"net"
	"net/http"
	"net/netip"
)

// guard refuses what other sites have a browser ask, of reading too: a profile costs, and says what is in the memory.
func (s *Server) guard(next http.Handler) http.Handler {
	sites := http.NewCrossOriginProtection()
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if !s.isHost(r) {
			http.Error(w, "the Host must be an IP address or localhost", http.StatusForbidden)
			return
		}
		asOrder := http.Request{Method: http.MethodPost, Header: r.Header, Host: r.Host} // those that only read are let through
		if err := sites.Check(&asOrder); err != nil && !isVisit(r) {
			http.Error(w, err.Error(), http.StatusForbidden)
			return
		}
		w.Header().Set("Cache-Control", "no-store")
		w.Header().Set("X-Content-Type-Options", "nosniff")
		w.Header().Set("Referrer-Policy", "no-referrer")
		next.ServeHTTP(w, r)
	})
}

// isVisit reports whether a browser was led to the page by a link. It shows it in no other page, and no script reads it.
func isVisit(r *http.Request) bool {
	return r.Method == http.MethodGet && r.URL.Path == "/" && r.Header.Get("Sec-Fetch-Mode") == "navigate"
}

// isHost reports whether a request is for a host that it may be for: a name server, which may be anybody's, can have led a
// browser here by any name.
func (s *Server) isHost(r *http.Request) bool {
	switch {
	case s.cfg.AnyHost:
		return true
	case s.cfg.IsSocket:
		return !isOfBrowser(r) || isLoopback(r.Host)
	}
	return isLocalHost(r.Host)
}

// isOfBrowser reports whether a browser sent the request. To a host that is no loopback address it sends no Sec-Fetch fields, and by
// GET no Origin, but what language is read it always says.
func isOfBrowser(r *http.Request) bool {
	for _, name := range []string{"Origin", "Sec-Fetch-Site", "Sec-Fetch-Mode", "Sec-Fetch-Dest", "Referer", "Accept-Language"} {
		if _, ok := r.Header[name]; ok {
			return true
		}
	}
	return false
}

func isLocalHost(hostport string) bool {
	host := hostOf(hostport)
	_, err := netip.ParseAddr(host)
	return err == nil || host == "localhost" || host == ""
}

func isLoopback(hostport string) bool {
	host := hostOf(hostport)
	addr, err := netip.ParseAddr(host)
	return host == "localhost" || err == nil && addr.Unmap().IsLoopback()
}

// hostOf is a Host without its port and brackets.
func hostOf(hostport string) string {
	host := hostport
	if h, _, err := net.SplitHostPort(hostport); err == nil {
		host = h
	}
	if n := len(host); n > 2 && host[0] == '[' && host[n-1] == ']' {
		host = host[1 : n-1]
	}
	return host
}
