package proxy

import (
	"net"
	"testing"
)

// A listener's own rules stand in the place of all listeners', as long as it has some; connections that are there stay.
func TestListenerHasRulesOfItsOwn(t *testing.T) {
	for _, who := range []string{"front", "back"} {
		t.Run(who, func(t *testing.T) {
			cfg := Config{Entry: Entry{Deny: nets("127.0.0.0/8")}, Handler: okHandler, Cleartext: true}
			var serve func(net.Listener) error
			var counts func() Stats
			if who == "front" {
				f, err := NewFront(cfg)
				if err != nil {
					t.Fatal(err)
				}
				defer f.Close()
				serve, counts = f.Serve, f.Stats
			} else {
				b, err := NewBack(cfg)
				if err != nil {
					t.Fatal(err)
				}
				defer b.Close()
				serve, counts = b.Serve, b.Stats
			}
			ask := func(addr string) { // by a front of its own, where addr is a back's
				t.Helper()
				if who == "back" {
					_, addr = startFront(t, Config{To: []string{"h2tpc://" + addr}})
				}
				dialClient(t, addr).get("/").want(t, 200, "one who may come")
			}
			plain, own := listenTCP(t), NewListener(listenTCP(t))
			own.Restrict(nets("127.0.0.0/8"), nets("127.0.0.2/32"))
			go serve(plain)
			go serve(own)
			at := own.Addr().String()
			wantClosed(t, plain.Addr().String())
			ask(at)
			own.Restrict(nets("192.0.2.0/24"), nil)
			wantClosed(t, at)
			own.Restrict(nil, nets("192.0.2.0/24"))
			ask(at)
			own.Restrict(nil, nil)
			wantClosed(t, at)
			if got := counts().Denied; got != 3 {
				t.Errorf("%d denied; want 3", got)
			}
		})
	}
}

// Whom a PROXY header names goes by the rules of the listener that took the connection.
func TestListenerRulesAreForWhomAProxyHeaderNames(t *testing.T) {
	f, err := NewFront(Config{Handler: okHandler, Entry: Entry{ProxyProtocol: true, TrustedProxies: nets("127.0.0.0/8"), Deny: nets("0.0.0.0/0")}})
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	own := NewListener(listenTCP(t))
	own.Restrict(nets("192.0.2.0/24"), nil)
	go f.Serve(own)
	const request = " 10.0.0.1 1234 443\r\nGET / HTTP/1.1\r\nHost: x\r\n\r\n"
	c := dialClient(t, own.Addr().String())
	c.send("PROXY TCP4 192.0.2.1" + request)
	c.read("GET").want(t, 200, "one who may come")
	c = dialClient(t, own.Addr().String())
	c.send("PROXY TCP4 198.51.100.1" + request)
	c.wantEnd("one who may not")
}
