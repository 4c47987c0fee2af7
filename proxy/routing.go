package proxy

import (
	"bytes"
	"slices"
	"strings"
)

// routingTable tells which route a request takes: of those whose host and path both match, one with the very host before
// one with the longest suffix of it before one for any; of these the one with the longest path. It is immutable.
type routingTable struct {
	only   *route             // for any host and path, when there is no other
	exact  map[string]*byPath // by host
	suffix map[string]*byPath // by suffix, which begins with a dot
	any    *byPath
	lens   []int // of the suffixes, the longest first

	list []*route // in the order of their configuration
}

// byPath are routes by the prefix of the path that they take; it does not end in a slash.
type byPath struct {
	routes map[string]*route
	lens   []int // of the prefixes, the longest first: what a request may cost is bounded by them
}

func newRoutingTable(list []*route) *routingTable {
	t := &routingTable{exact: make(map[string]*byPath), suffix: make(map[string]*byPath), list: list}
	for _, r := range list {
		host, path := routeHost(r.spec.Host), routePath(r.spec.Path)
		switch {
		case host == "":
			t.any = t.any.with(path, r)
		case strings.HasPrefix(host, "*."):
			t.suffix[host[1:]] = t.suffix[host[1:]].with(path, r)
			t.lens = append(t.lens, len(host)-1)
		default:
			t.exact[host] = t.exact[host].with(path, r)
		}
	}
	t.lens = longestFirst(t.lens)
	if len(list) == 1 && t.any != nil && t.any.routes[""] != nil {
		t.only = list[0]
	}
	return t
}

func (p *byPath) with(path string, r *route) *byPath {
	if p == nil {
		p = &byPath{routes: make(map[string]*route)}
	}
	p.routes[path] = r
	p.lens = longestFirst(append(p.lens, len(path)))
	return p
}

func longestFirst(lens []int) []int {
	slices.Sort(lens)
	lens = slices.Compact(lens)
	slices.Reverse(lens)
	return lens
}

// routeHost is a Route's host as requests' hosts are compared: in lower case, an address of IPv6 without brackets.
func routeHost(host string) string {
	return strings.TrimSuffix(strings.Trim(strings.ToLower(host), "[]"), ".")
}

func routePath(path string) string { return strings.TrimRight(path, "/") }

// maxHost is the longest name there is.
const maxHost = 253

// find returns the route of a request, or nil. It allocates nothing.
func (t *routingTable) find(authority, target []byte) *route {
	if t.only != nil {
		return t.only
	}
	path := pathOf(target)
	if len(t.exact) > 0 || len(t.suffix) > 0 {
		var room [maxHost]byte
		if host, ok := hostOf(room[:0], authority); ok {
			if r := t.exact[string(host)].find(path); r != nil {
				return r
			}
			for _, n := range t.lens {
				if n >= len(host) || host[len(host)-n] != '.' {
					continue
				}
				if r := t.suffix[string(host[len(host)-n:])].find(path); r != nil {
					return r
				}
			}
		}
	}
	return t.any.find(path)
}

func (p *byPath) find(path []byte) *route {
	if p == nil {
		return nil
	}
	for _, n := range p.lens {
		if n == 0 || n == len(path) || n < len(path) && path[n] == '/' {
			if r := p.routes[string(path[:n])]; r != nil {
				return r
			}
		}
	}
	return nil
}

// hostOf appends the host of an authority to dst, in lower case, without port, brackets and a dot at its end; false when
// it is longer than a name may be.
func hostOf(dst, authority []byte) ([]byte, bool) {
	if n := len(authority); n > 0 && authority[0] == '[' {
		if i := bytes.IndexByte(authority, ']'); i > 0 {
			authority = authority[1:i]
		}
	} else if i := bytes.LastIndexByte(authority, ':'); i >= 0 {
		authority = authority[:i]
	}
	authority = bytes.TrimSuffix(authority, []byte("."))
	if len(authority) > cap(dst) {
		return dst, false
	}
	for _, c := range authority {
		if c >= 'A' && c <= 'Z' {
			c += 'a' - 'A'
		}
		dst = append(dst, c)
	}
	return dst, true
}

// pathOf is the path of a target as it came, nothing decoded: what follows the authority in absolute-form, and nothing of "*".
func pathOf(target []byte) []byte {
	if i := bytes.IndexAny(target, "?#"); i >= 0 {
		target = target[:i]
	}
	if len(target) == 0 || target[0] == '/' {
		return target
	}
	_, rest, ok := bytes.Cut(target, []byte("://"))
	if i := bytes.IndexByte(rest, '/'); ok && i >= 0 {
		return rest[i:]
	}
	return nil
}
