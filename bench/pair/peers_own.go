package main

import "slices"

// startH2TP starts a front and a back. TLS is verified by the front, as it is by
// default, and the back asks for no certificate. flags are those of both, and more of the back's alone.
func (w *world) startH2TP(p *peer, binary string, isTLS bool, flags, more []string) error {
	hop, front := w.onLink(), w.onLoopback()
	url, back, to := "h2tpc://"+hop, []string(nil), []string(nil)
	if isTLS {
		url = "h2tp://" + hop
		back = []string{"--cert", w.path("tls/back.pem"), "--key", w.path("tls/back-key.pem")}
		to = []string{"--ca", w.path("tls/ca.pem")}
	}
	args := slices.Concat([]string{"serve", "--listen", url, "--to", "http://" + w.upAddr}, flags, back, more)
	if err := w.startEnd(p, w.far, "back", hop, binary, args...); err != nil {
		return err
	}
	args = slices.Concat([]string{"serve", "--listen", "http://" + front, "--to", url}, flags, to)
	return w.startEnd(p, w.near, "front", front, binary, args...)
}

// startFlate starts the reference hop.
func (w *world) startFlate(p *peer, isTLS bool) error {
	hop, front := w.onLink(), w.onLoopback()
	back, to := []string{"flate-back", hop, w.upAddr}, []string{"flate-front", front, hop}
	if isTLS {
		back = append(back, w.path("tls/back.pem"), w.path("tls/back-key.pem"))
		to = append(to, w.path("tls/ca.pem"))
	}
	if err := w.startEnd(p, w.far, "back", hop, w.self, back...); err != nil {
		return err
	}
	return w.startEnd(p, w.near, "front", front, w.self, to...)
}
