package admin

import (
	"maps"
	"slices"

	"github.com/h2tp/h2tp/proxy"
)

// family is a metric with all its labels' values. Its kind is counter, gauge or histogram.
type family struct {
	name, kind string
	labels     []string
	help       string
	write      func(p *page, st *State)
}

// ends makes a family's write of what is written for each end.
func ends(write func(p *page, e *End, st *proxy.Stats)) func(*page, *State) {
	return func(p *page, st *State) {
		for i := range st.Ends {
			write(p, &st.Ends[i], &st.Ends[i].Stats)
		}
	}
}

// routes is ends for each route.
func routes(write func(p *page, st *proxy.RouteStats, end, route string)) func(*page, *State) {
	return ends(func(p *page, e *End, st *proxy.Stats) {
		for i := range st.Routes {
			write(p, &st.Routes[i], e.Name, st.Routes[i].Name)
		}
	})
}

// destinations is ends for each destination.
func destinations(write func(p *page, d *proxy.DestinationStats, end, route string)) func(*page, *State) {
	return ends(func(p *page, e *End, st *proxy.Stats) {
		for i := range st.Destinations {
			write(p, &st.Destinations[i], e.Name, st.Destinations[i].Route)
		}
	})
}

// hops is ends for each hop: a back's with its fronts, which has no route, and those to peers.
func hops(write func(p *page, h *proxy.HopStats, end, route, peer string)) func(*page, *State) {
	return ends(func(p *page, e *End, st *proxy.Stats) {
		if st.Hop != nil {
			write(p, st.Hop, e.Name, "", "fronts")
		}
		for _, d := range st.Destinations {
			if d.Hop != nil {
				write(p, d.Hop, e.Name, d.Route, d.URL)
			}
		}
	})
}

// batches is hops for each direction.
func batches(write func(p *page, b *proxy.BatchStats, labels ...string)) func(*page, *State) {
	return hops(func(p *page, h *proxy.HopStats, end, route, peer string) {
		write(p, &h.In, end, route, peer, "in")
		write(p, &h.Out, end, route, peer, "out")
	})
}

// runtimeValue is a number of the Go runtime.
func runtimeValue(name string) func(*page, *State) {
	return func(p *page, _ *State) { p.value(readRuntime(name)) }
}

var (
	byEnd         = []string{"end"}
	byRoute       = []string{"end", "route"}
	byDestination = []string{"end", "route", "destination"}
	byHop         = []string{"end", "route", "peer"}
	byDirection   = []string{"end", "route", "peer", "direction"}
)

// families are all metrics, in the order of the page and of the README's table. The values of labels are bounded: ends, routes
// and destinations are those there are now, methods, statuses and reasons are fixed sets.
var families = []family{
	{"h2tp_exchanges_total", "counter", []string{"end", "route", "method", "status"}, "exchanges that are over, by method and class of status; gone: nobody waited any more",
		routes(func(p *page, st *proxy.RouteStats, end, route string) {
			for _, c := range st.Ended {
				p.count(c.N, end, route, c.Method, c.What)
			}
		})},
	{"h2tp_exchange_duration_seconds", "histogram", byRoute, "from the whole request to the last byte of the response handed on",
		routes(func(p *page, st *proxy.RouteStats, end, route string) { p.histogram(st.Took, end, route) })},
	{"h2tp_exchange_failures_total", "counter", []string{"end", "route", "reason"}, "exchanges answered for a destination that gave no response; cut: bodies of responses that ended too soon",
		routes(func(p *page, st *proxy.RouteStats, end, route string) {
			for _, c := range st.Failures {
				p.count(c.N, end, route, c.What)
			}
		})},
	{"h2tp_exchanges_in_flight", "gauge", byRoute, "exchanges that run, bounded for each end by --max-exchanges",
		routes(func(p *page, st *proxy.RouteStats, end, route string) { p.count(st.InFlight, end, route) })},
	{"h2tp_repeats_total", "counter", byRoute, "attempts after an exchange's first",
		routes(func(p *page, st *proxy.RouteStats, end, route string) { p.count(st.Repeats, end, route) })},
	{"h2tp_overloads_total", "counter", byEnd, "exchanges over --max-exchanges, answered 503",
		ends(func(p *page, e *End, st *proxy.Stats) { p.count(st.Overloads, e.Name) })},
	{"h2tp_limit_hits_total", "counter", []string{"end", "limit"}, "how often there was less than was wanted: of body-memory, for a message; of retry-percent, for a repeat",
		ends(func(p *page, e *End, st *proxy.Stats) {
			p.count(st.OverMemory, e.Name, "body-memory")
			p.count(st.OverRepeats, e.Name, "retry-percent")
		})},
	{"h2tp_refused_requests_total", "counter", []string{"end", "status"}, "requests answered with this status for what they were, or how they came",
		ends(func(p *page, e *End, st *proxy.Stats) {
			for _, c := range st.Refusals {
				p.count(c.N, e.Name, c.What)
			}
		})},
	{"h2tp_client_connections", "gauge", byEnd, "connections of clients, bounded by --max-conns",
		ends(func(p *page, e *End, st *proxy.Stats) { p.count(int64(st.Conns), e.Name) })},
	{"h2tp_client_connections_total", "counter", byEnd, "connections of clients that were accepted",
		ends(func(p *page, e *End, st *proxy.Stats) { p.count(st.Accepted, e.Name) })},
	{"h2tp_refused_connections_total", "counter", []string{"end", "reason"}, "connections closed at once: limit is --max-conns, --max-conns-per-addr or a back's 4096, address is --allow or --deny",
		ends(func(p *page, e *End, st *proxy.Stats) {
			p.count(st.Refused, e.Name, "limit")
			p.count(st.Denied, e.Name, "address")
		})},
	{"h2tp_bad_tokens_total", "counter", byEnd, "streams of fronts refused for want of the right token",
		ends(func(p *page, e *End, st *proxy.Stats) { p.count(st.BadTokens, e.Name) })},
	{"h2tp_bad_handshakes_total", "counter", byEnd, "connections that ended in TLS: no certificate, none that is taken, or no TLS",
		ends(func(p *page, e *End, st *proxy.Stats) { p.count(st.BadHandshakes, e.Name) })},
	{"h2tp_client_received_bytes_total", "counter", byEnd, "bytes from clients, without TLS",
		ends(func(p *page, e *End, st *proxy.Stats) { p.count(st.ClientIn, e.Name) })},
	{"h2tp_client_sent_bytes_total", "counter", byEnd, "bytes to clients, without TLS",
		ends(func(p *page, e *End, st *proxy.Stats) { p.count(st.ClientOut, e.Name) })},
	{"h2tp_message_memory_bytes", "gauge", byEnd, "what messages hold, bounded by --body-memory",
		ends(func(p *page, e *End, st *proxy.Stats) { p.count(st.Held, e.Name) })},
	{"h2tp_draining", "gauge", byEnd, "1 while draining",
		ends(func(p *page, e *End, st *proxy.Stats) { p.flag(st.IsDraining, e.Name) })},

	{"h2tp_destination_up", "gauge", byDestination, "1 when a delivery now is likely to work",
		destinations(func(p *page, d *proxy.DestinationStats, end, route string) { p.flag(d.IsUp, end, route, d.URL) })},
	{"h2tp_destination_attempts_total", "counter", []string{"end", "route", "destination", "status"}, "attempts that were answered, by class of status; gone: nobody waited any more",
		destinations(func(p *page, d *proxy.DestinationStats, end, route string) {
			for _, c := range d.Ended {
				p.count(c.N, end, route, d.URL, c.What)
			}
		})},
	{"h2tp_destination_failures_total", "counter", []string{"end", "route", "destination", "reason"}, "attempts that failed",
		destinations(func(p *page, d *proxy.DestinationStats, end, route string) {
			for _, c := range d.Failures {
				p.count(c.N, end, route, d.URL, c.What)
			}
		})},
	{"h2tp_destination_ejections_total", "counter", byDestination, "how often it was left out for its failures, by --eject-after or --eject-percent",
		destinations(func(p *page, d *proxy.DestinationStats, end, route string) { p.count(d.Ejections, end, route, d.URL) })},
	{"h2tp_destination_duration_seconds", "histogram", []string{"end", "route", "destination", "kind"}, "of attempts, to the whole response, or to the head of a streamed one: of kind upstream the upstream's time, of kind peer the hop's and what is behind it",
		destinations(func(p *page, d *proxy.DestinationStats, end, route string) {
			p.histogram(d.Took, end, route, d.URL, d.Kind)
		})},
	{"h2tp_destination_queue_duration_seconds", "histogram", byDestination, "how long exchanges waited for room or a connection; only those that had to, and got it",
		destinations(func(p *page, d *proxy.DestinationStats, end, route string) { p.histogram(d.Queued, end, route, d.URL) })},
	{"h2tp_destination_in_flight", "gauge", byDestination, "exchanges given to it, those that wait too",
		destinations(func(p *page, d *proxy.DestinationStats, end, route string) {
			p.count(int64(d.InFlight), end, route, d.URL)
		})},
	{"h2tp_destination_waiting", "gauge", byDestination, "those of them that wait for room or a connection, bounded by --max-queue",
		destinations(func(p *page, d *proxy.DestinationStats, end, route string) {
			p.count(int64(d.Waiting), end, route, d.URL)
		})},
	{"h2tp_destination_limit", "gauge", byDestination, "how many of them may run, those that wait left out; 0 is any number",
		destinations(func(p *page, d *proxy.DestinationStats, end, route string) {
			p.count(int64(d.Limit), end, route, d.URL)
		})},
	{"h2tp_destination_overloads_total", "counter", []string{"end", "route", "destination", "reason"}, "exchanges that got no room at it: queue, over --max-queue; timeout, waited --queue-timeout",
		destinations(func(p *page, d *proxy.DestinationStats, end, route string) {
			p.count(d.Refused, end, route, d.URL, "queue")
			p.count(d.Late, end, route, d.URL, "timeout")
		})},
	{"h2tp_destination_connections", "gauge", byDestination, "connections to it",
		destinations(func(p *page, d *proxy.DestinationStats, end, route string) {
			p.count(int64(d.Conns), end, route, d.URL)
		})},
	{"h2tp_lookups_total", "counter", []string{"end", "route", "destination", "result"}, "lookups of names, and readings of files, of --to: ok, none that found no address, failed; those found before stay",
		ends(func(p *page, e *End, st *proxy.Stats) {
			for _, l := range st.Lookups {
				p.count(l.Done, e.Name, l.Route, l.URL, "ok")
				p.count(l.None, e.Name, l.Route, l.URL, "none")
				p.count(l.Failed, e.Name, l.Route, l.URL, "failed")
			}
		})},
	{"h2tp_destinations_leaving", "gauge", byEnd, "destinations that are none any more, but have not finished what they had",
		ends(func(p *page, e *End, st *proxy.Stats) { p.count(int64(st.Leaving), e.Name) })},

	{"h2tp_hop_connections", "gauge", byHop, "HTTP/2 connections; of a back those of all its fronts, whose peer is fronts",
		hops(func(p *page, h *proxy.HopStats, end, route, peer string) { p.count(int64(h.Conns), end, route, peer) })},
	{"h2tp_hop_streams", "gauge", byHop, "HTTP/2 streams",
		hops(func(p *page, h *proxy.HopStats, end, route, peer string) { p.count(int64(h.Streams), end, route, peer) })},
	{"h2tp_hop_sessions", "gauge", byHop, "batched streams",
		hops(func(p *page, h *proxy.HopStats, end, route, peer string) {
			p.count(int64(len(h.Sessions)), end, route, peer)
		})},
	{"h2tp_hop_codec_sessions", "gauge", append(slices.Clone(byHop), "codec", "level", "why"), "batched streams by what this end sends with: config says it, or peer, which decodes no other; with auto usual, near, link, cpu, dense or no-gain",
		hops(func(p *page, h *proxy.HopStats, end, route, peer string) {
			counts := make(map[[3]string]int64)
			for _, s := range h.Sessions {
				counts[[3]string{s.Codec, s.Level, s.Why}]++
			}
			for _, key := range slices.SortedFunc(maps.Keys(counts), func(a, b [3]string) int { return slices.Compare(a[:], b[:]) }) {
				p.count(counts[key], end, route, peer, key[0], key[1], key[2])
			}
		})},
	{"h2tp_hop_ready_streams", "gauge", byHop, "streams opened in advance that are not taken",
		hops(func(p *page, h *proxy.HopStats, end, route, peer string) {
			n := 0
			for _, s := range h.Sessions {
				n += s.Ready
			}
			p.count(int64(n), end, route, peer)
		})},
	{"h2tp_hop_received_bytes_total", "counter", byHop, "bytes of HTTP/2 from the peer, without TLS",
		hops(func(p *page, h *proxy.HopStats, end, route, peer string) { p.count(h.BytesIn, end, route, peer) })},
	{"h2tp_hop_sent_bytes_total", "counter", byHop, "bytes of HTTP/2 to the peer, without TLS",
		hops(func(p *page, h *proxy.HopStats, end, route, peer string) { p.count(h.BytesOut, end, route, peer) })},
	{"h2tp_hop_wire_received_bytes_total", "counter", byHop, "bytes that TCP received from the peer, TLS included; by the kernel's count, on Linux alone, as are the next five",
		hops(func(p *page, h *proxy.HopStats, end, route, peer string) { p.count(h.Wire.BytesIn, end, route, peer) })},
	{"h2tp_hop_wire_sent_bytes_total", "counter", byHop, "bytes that TCP sent to the peer, TLS and what was sent again included, headers of packets not",
		hops(func(p *page, h *proxy.HopStats, end, route, peer string) { p.count(h.Wire.BytesOut, end, route, peer) })},
	{"h2tp_hop_wire_resent_bytes_total", "counter", byHop, "those of them that were sent again",
		hops(func(p *page, h *proxy.HopStats, end, route, peer string) {
			p.count(h.Wire.BytesAgain, end, route, peer)
		})},
	{"h2tp_hop_wire_received_packets_total", "counter", byHop, "packets from the peer, those without data too",
		hops(func(p *page, h *proxy.HopStats, end, route, peer string) { p.count(h.Wire.PacketsIn, end, route, peer) })},
	{"h2tp_hop_wire_sent_packets_total", "counter", byHop, "packets to the peer, those without data too",
		hops(func(p *page, h *proxy.HopStats, end, route, peer string) {
			p.count(h.Wire.PacketsOut, end, route, peer)
		})},
	{"h2tp_hop_round_trip_seconds", "gauge", byHop, "the longest smoothed round trip of the connections to the peer",
		hops(func(p *page, h *proxy.HopStats, end, route, peer string) {
			p.value(h.Wire.RoundTrip.Seconds(), end, route, peer)
		})},
	{"h2tp_hop_plain_bytes_total", "counter", byDirection, "bytes of records and streamed bodies before the codec",
		batches(func(p *page, b *proxy.BatchStats, labels ...string) { p.count(b.Plain, labels...) })},
	{"h2tp_hop_coded_bytes_total", "counter", byDirection, "the same after the codec",
		batches(func(p *page, b *proxy.BatchStats, labels ...string) { p.count(b.Coded, labels...) })},
	{"h2tp_batch_records", "histogram", byDirection, "records in a batch",
		batches(func(p *page, b *proxy.BatchStats, labels ...string) { p.histogram(b.Records, labels...) })},
	{"h2tp_batch_size_bytes", "histogram", byDirection, "bytes of a batch before the codec",
		batches(func(p *page, b *proxy.BatchStats, labels ...string) { p.histogram(b.Sizes, labels...) })},
	{"h2tp_batch_wait_seconds", "histogram", byHop, "how long the first record of a batch waited until the batch was sent",
		hops(func(p *page, h *proxy.HopStats, end, route, peer string) { p.histogram(h.Out.Waited, end, route, peer) })},

	{"h2tp_codec_memory_bytes", "gauge", nil, "what codec contexts take of --codec-memory",
		func(p *page, st *State) { p.count(st.CodecMemory.Used) }},
	{"h2tp_codec_memory_refusals_total", "counter", nil, "codec contexts that --codec-memory had no room for; their streams have a lighter codec",
		func(p *page, st *State) { p.count(st.CodecMemory.Refused) }},
	{"h2tp_window_memory_bytes", "gauge", nil, "what receive windows take of --window-memory",
		func(p *page, st *State) { p.count(st.WindowMemory.Used) }},
	{"h2tp_certificate_expiry_timestamp_seconds", "gauge", []string{"name"}, "when the certificate shown for the name ends, in seconds since 1970",
		func(p *page, st *State) {
			for _, name := range slices.Sorted(maps.Keys(st.Certificates)) {
				p.count(st.Certificates[name].Unix(), name)
			}
		}},
	{"h2tp_config_reloads_total", "counter", []string{"result"}, "how often the configuration was read again; refused: something was wrong, and the old one stayed",
		func(p *page, st *State) {
			p.count(st.ConfigTaken, "taken")
			p.count(st.ConfigRefused, "refused")
		}},
	{"h2tp_config_last_reload_success", "gauge", nil, "0 when the configuration read last was refused",
		func(p *page, st *State) { p.flag(!st.IsConfigRefused) }},
	{"h2tp_access_log_lost_total", "counter", nil, "lines that --access-log had no room for",
		func(p *page, st *State) { p.count(st.AccessLogLost) }},
	{"h2tp_build_info", "gauge", []string{"version"}, "1, with what was built",
		func(p *page, st *State) { p.count(1, st.Version) }},
	{"process_start_time_seconds", "gauge", nil, "when the process began, in seconds since 1970",
		func(p *page, st *State) { p.value(float64(st.Started.UnixMilli()) / 1e3) }},
	{"go_goroutines", "gauge", nil, "goroutines", runtimeValue("/sched/goroutines:goroutines")},
	{"go_gomaxprocs", "gauge", nil, "processors in use at most, now", runtimeValue("/sched/gomaxprocs:threads")},
	{"go_heap_objects_bytes", "gauge", nil, "heap in use or not yet freed", runtimeValue("/memory/classes/heap/objects:bytes")},
	{"go_memory_bytes", "gauge", nil, "memory that the runtime has of the system", runtimeValue("/memory/classes/total:bytes")},
	{"go_gc_cycles_total", "counter", nil, "garbage collections", runtimeValue("/gc/cycles/total:gc-cycles")},
	{"go_cpu_seconds_total", "counter", nil, "processor time of Go code and the runtime, estimated at each garbage collection", func(p *page, _ *State) {
		p.value(readRuntime("/cpu/classes/total:cpu-seconds") - readRuntime("/cpu/classes/idle:cpu-seconds"))
	}},
}

// appendMetrics appends the page.
func appendMetrics(dst []byte, st *State) []byte {
	p := page{b: dst}
	for i := range families {
		p.head(&families[i])
		families[i].write(&p, st)
	}
	return p.b
}
