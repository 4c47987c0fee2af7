package proxy

import "testing"

func TestBothEndsTellWhatTCPSent(t *testing.T) {
	up := startUpstream(t, echoHandler)
	p := startPair(t, up, Config{}, Config{})
	dialClient(t, p.addr).post("/", "body").want(t, 200, "a post")
	front, back := p.front.Stats().Destinations[0].Hop, p.back.Stats().Hop
	for name, h := range map[string]*HopStats{"front": front, "back": back} {
		if w := h.Wire; w.BytesOut == 0 || w.BytesIn == 0 || w.PacketsOut == 0 || w.RoundTrip == 0 {
			t.Errorf("%s: got %+v", name, w)
		}
	}
}
