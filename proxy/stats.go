package proxy

import "sync/atomic"

type stats struct {
	exchanges, repeats, overloads atomic.Int64
	refused, denied, badTokens    atomic.Int64
	clientIn, clientOut           atomic.Int64
}

// Stats are counts of a [Front] or [Back] since it was made.
type Stats struct {
	// Exchanges were begun; Repeats of them sent again; Overloads refused.
	Exchanges, Repeats, Overloads int64
	// InFlight are running now.
	InFlight int64
	// Refused are clients' connections closed over MaxConns or MaxConnsPerAddr.
	Refused int64
	// Denied are connections closed because their address may not come, or for want of a PROXY header.
	Denied int64
	// BadTokens are streams of fronts refused for want of the right token.
	BadTokens int64
	// ClientIn and ClientOut are bytes of HTTP/1.1 read from and written to clients.
	ClientIn, ClientOut int64
	// HopIn and HopOut are bytes of HTTP/2 read from and written to peers, without TLS.
	HopIn, HopOut int64
}

func (r *route) snapshot() Stats {
	st := Stats{
		Exchanges: r.stats.exchanges.Load(), Repeats: r.stats.repeats.Load(), Overloads: r.stats.overloads.Load(),
		InFlight: r.inflight.Load(), Refused: r.stats.refused.Load(), Denied: r.stats.denied.Load(), BadTokens: r.stats.badTokens.Load(),
		ClientIn: r.stats.clientIn.Load(), ClientOut: r.stats.clientOut.Load(),
	}
	for _, d := range r.dests {
		if p, ok := d.(*peer); ok {
			in, out := p.bytes()
			st.HopIn += in
			st.HopOut += out
		}
	}
	return st
}
