package main

import (
	"net/netip"
	"slices"
)

// warnings says what the flags give up of security: each is logged at every start, and at a reload what is new to who was
// before.
func (o *options) warnings(before *options) (list []string) {
	ends := slices.Concat(o.listeners, o.destinations)
	if before != nil {
		known := slices.Concat(before.listeners, before.destinations)
		ends = slices.DeleteFunc(ends, func(e endpoint) bool {
			return slices.ContainsFunc(known, func(k endpoint) bool { return k.scheme == e.scheme && k.addr == e.addr })
		})
	}
	if o.insecureSkipVerify && before == nil {
		list = append(list, "--insecure-skip-verify is set, certificates of backs and upstreams are not verified, whoever is on the way can read and change everything")
	}
	i := slices.IndexFunc(ends, func(e endpoint) bool { return e.scheme == "h2tpc" && !e.isLoopback() })
	if i >= 0 {
		list = append(list, "the hop of "+ends[i].url+" is in the clear, whoever is on the way can read and change everything; h2tp:// is the hop over TLS")
	}
	if o.tokenFile != "" && slices.ContainsFunc(ends, func(e endpoint) bool { return e.scheme == "h2tpc" }) {
		list = append(list, "--token-file is set and a hop is in the clear, whoever is on the way can read the token and use it")
	}
	return list
}

// isLoopback reports whether only this machine is meant.
func (e *endpoint) isLoopback() bool {
	addr, err := netip.ParseAddr(e.host)
	return e.host == "localhost" || err == nil && addr.Unmap().IsLoopback()
}
