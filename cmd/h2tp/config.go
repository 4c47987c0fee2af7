package main

import (
	"cmp"
	"crypto/tls"
	"errors"
	"flag"
	"fmt"
	"io"
	"io/fs"
	"log/slog"
	"net"
	"os"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/h2tp/h2tp/compress"
	"github.com/h2tp/h2tp/pool"
	"github.com/h2tp/h2tp/proxy"
)

// options are what the flags of serve and check say.
type options struct {
	proxy.Limits
	proxy.Hop
	proxy.Balance
	proxy.Entry
	tlsOptions
	adminOptions
	accessOptions

	config     string      // the file
	stamp      os.FileInfo // its, as it was read
	listen, to []string
	toList     proxy.ToList   // to, checked
	inherited  []net.Listener // sockets of the service manager that no URL has taken
	redirect   []string
	unixMode   fs.FileMode // of unix sockets
	reusePort  bool
	compress   string // the codec's name
	level      string // its level's

	codecMemory         int64
	windowMemory        int64
	drainTimeout        time.Duration
	logFormat, logLevel string
	trace               bool
	tokenFile           string

	routes []*fileRoute // the file's

	// What the above come to.
	ways                    []proxy.Route // --to and the routes
	isOfOne                 bool          // none of them has several destinations
	hasNames                bool          // of a destination that is looked up, or a file of destinations
	hasFile                 bool          // of destinations, which may come to be of any kind
	listeners, destinations []endpoint
	redirects               []endpoint
	httpsAddr               net.Addr // of the first https listener
	upstreamTLS             func() *tls.Config
	token                   *sharedToken // nil without a file
	log                     *slog.Logger
	leastLevel              slog.LevelVar
}

// setting is a flag, a variable and a file's key: what the help says of it, and its value.
type setting struct {
	value
	name  string
	arg   string // what stands for the value in the help; empty for a bool
	def   string // the default as the help shows it
	needs need
	usage string
	from  origin
}

// need is what a flag has to meet on the command line to have an effect.
type need int

const (
	needsNothing     need = iota
	needsFront            // a --listen URL that is http, https or unix
	needsHop              // either end of a hop
	needsListenTLS        // a --listen URL that is https or h2tp
	needsListenTCP        // a --listen URL that is not unix
	needsListenUnix       // a --listen URL that is unix
	needsListenHTTPS      // a --listen URL that is https
	needsPeer             // a --to URL that is h2tp or h2tpc
	needsToTLS            // a --to URL that is https or h2tp
	needsUpstream         // a --to URL that is http, https or unix
	needsSeveral          // more than one --to URL, or one that is looked up
)

// The setting is a flag.Value.
func (s *setting) String() string   { return s.get() }
func (s *setting) IsBoolFlag() bool { return s.arg == "" }

func (s *setting) Set(v string) error {
	s.from = origin{kind: fromFlag}
	return s.set(v)
}

// setFrom sets the value where it was found elsewhere than among flags.
func (s *setting) setFrom(at origin, v string) error {
	s.from = at
	err := s.set(v)
	if quoted := strconv.Quote(v); err != nil && !strings.HasPrefix(err.Error(), quoted) {
		return fmt.Errorf("invalid value %s: %w", quoted, err)
	}
	return err
}

func (s *setting) isSet() bool  { return s.from.kind != fromDefault }
func (s *setting) isList() bool { return strings.Contains(s.arg, "[,") }

// settings sets the defaults, and lists the flags that change them.
func (o *options) settings() []*setting {
	*o = options{
		Limits: proxy.Limits{
			MaxExchanges: 10000, MaxBody: -1, BatchLimit: 64 << 10, BodyMemory: 256 << 20, MaxHead: 64 << 10, MaxConns: 50000, MaxConnsPerAddr: -1, MinRate: 240, MaxDestExchanges: -1, MaxQueue: 10000, MaxUpstreamConns: 1024, Pipeline: -1, PipelineConns: 4,
			FirstByteTimeout: -1, StallTimeout: -1, Timeout: time.Minute, ConnectTimeout: 5 * time.Second, QueueTimeout: time.Second,
			ReadTimeout: 30 * time.Second, WriteTimeout: 30 * time.Second,
		},
		Hop: proxy.Hop{
			Conns: 2, PingPeriod: 5 * time.Second, PingTimeout: 5 * time.Second, StreamMaxAge: 30 * time.Minute, MinReady: 4, MaxReady: 64,
		},
		Balance: proxy.Balance{
			Policy: "least", SlowStart: 5 * time.Second, EjectAfter: 5, EjectPercent: 50, EjectTime: time.Second, MaxEjected: 50, PanicBelow: 30, RetryPercent: 20, RetryMin: 10,
			CheckPeriod: 2 * time.Second, CheckTimeout: time.Second, CheckFall: 3, CheckRise: 2, LeaveTimeout: -1,
		},
		Entry:    proxy.Entry{HSTS: -1},
		unixMode: 0o660, tlsOptions: tlsOptions{acmeNewNames: 10}, compress: "zstd", level: "fastest", codecMemory: 256 << 20, windowMemory: 64 << 20, drainTimeout: 10 * time.Second, logFormat: "text", logLevel: "info",
		accessOptions: accessOptions{accessLog: off, accessLogFormat: "json", accessLogSample: 1, traceContext: "pass"},
	}
	const ms, many = time.Millisecond, 1 << 30
	list := []*setting{
		{name: configSetting, arg: "FILE", value: text(&o.config), usage: "YAML with these flags, without dashes, as keys; flags win over variables (H2TP_MAX_BODY is --max-body), variables over the file"},
		{name: "listen", arg: "URL[,URL...]", value: list(&o.listen, o.addListener),
			usage: "where to accept: http://HOST:PORT, https://HOST:PORT or unix:///PATH for clients; h2tp://HOST:PORT[/PREFIX] for fronts, over TLS; h2tpc://HOST:PORT[/PREFIX] for fronts, in the clear; an empty HOST is every address, 0.0.0.0 every IPv4 and [::] every IPv6 one; ;allow=CIDR and ;deny=CIDR, each as often as wanted, may follow and are of this listener in place of --allow and --deny; a semicolon of the URL's own is %3B"},
		{name: "to", arg: "URL[,URL...]", value: list(&o.to, o.addDestination),
			usage: "where exchanges go: http://HOST:PORT, https://HOST:PORT and unix:///PATH are an upstream, h2tp:// and h2tpc:// are a back; ;weight=N (1 to 1000), ;tier=N (0 to 9, the lowest first) and ;max=N (its --max-dest-exchanges) may follow; with ;resolve=30s the name is looked up each 30s and each of its addresses is a destination, with ;srv=30s those of its SRV records; a semicolon of the URL's own is %3B; file:///PATH is a file with one of these a line, and comments after #, which is followed"},
		{name: "allow", arg: "CIDR[,CIDR...]", value: prefixes(&o.Allow), needs: needsListenTCP, usage: "the only addresses or networks, IPv4 or IPv6, that may connect to the --listen URLs; others' connections are closed before a byte is read; unix sockets go by --unix-mode"},
		{name: "deny", arg: "CIDR[,CIDR...]", value: prefixes(&o.Deny), needs: needsListenTCP, usage: "addresses or networks that may not, also of those that --allow has"},
		{name: "trusted-proxies", arg: "CIDR[,CIDR...]", value: orNone(prefixes(&o.TrustedProxies), &o.TrustNobody), needs: needsFront, usage: "the only clients, by address or network, besides those of unix sockets, whose Forwarded, X-Forwarded-* and X-Real-Ip are passed on and appended to; those of others are dropped; none is nobody besides; without it every client's are passed on"},
		{name: "proxy-protocol", value: boolean(&o.ProxyProtocol), needs: needsFront, usage: "connections to http, https and unix listeners begin with a header of the PROXY protocol, version 1 or 2: those of --trusted-proxies and of unix sockets, or all without that flag; --allow, --deny and --max-conns-per-addr then go by whom it names"},
		{name: "forwarded", value: boolean(&o.Forwarded), needs: needsFront, usage: "tell upstreams of clients by Forwarded (RFC 7239) too, besides X-Forwarded-For, X-Forwarded-Proto and X-Forwarded-Host"},
		{name: "redirect", arg: "HOST:PORT[,...]", value: list(&o.redirect, o.checkRedirect), needs: needsListenHTTPS, usage: "where, such as :80, to send clients of plain HTTP to the first https listener, 301 or 308, hosts without a certificate being refused, and to answer http-01 challenges of --acme-names; open to every address"},
		{name: "hsts", arg: "DURATION", value: duration(&o.HSTS, time.Second, 2*365*24*time.Hour, true), needs: needsListenHTTPS, usage: "how long browsers that came by https are to use nothing else: Strict-Transport-Security, where the upstream sends none; off is not said"},
		{name: "get-only", value: boolean(&o.GetOnly), usage: "answer 405 to every method but GET and HEAD"},
		{name: "unix-mode", arg: "MODE", value: mode(&o.unixMode), needs: needsListenUnix, usage: "who may connect to unix sockets, in octal; a socket that nobody listens on any more is replaced"},
		{name: "reuse-port", value: boolean(&o.reusePort), needs: needsListenTCP, usage: "let several processes listen on the same address and port; the kernel spreads the connections"},
		{name: "cert", arg: "FILE[,FILE...]", value: list(&o.cert, checkFile), needs: needsListenTLS, usage: "PEM certificates, each with those between it and the root after it, of the https and h2tp listeners; the first that has the name asked for is shown, else the first; files are read again when they change, and on SIGHUP"},
		{name: "key", arg: "FILE[,FILE...]", value: list(&o.key, checkFile), needs: needsListenTLS, usage: "PEM keys of --cert, in the same order"},
		{name: "client-ca", arg: "FILE", value: text(&o.clientCA), needs: needsListenTLS, usage: "PEM certificates of the authorities, one of them valid now, that must vouch for who comes by https or h2tp; without it any may come"},
		{name: "client-names", arg: "NAME[,NAME...]", value: list(&o.clientNames, checkFile), needs: needsListenTLS, usage: "the only names, of DNS in any case, IP addresses or URIs, that a client's certificate may carry; it needs --client-ca"},
		{name: "ticket-keys", arg: "FILE", value: text(&o.ticketKeys), needs: needsListenTLS, usage: "32 random bytes or more that processes share to resume each other's TLS sessions; the keys made from it change each 12h"},
		{name: "acme-names", arg: "NAME[,NAME...]", value: list(&o.acmeNames, checkFile), needs: needsListenTLS, usage: "names for which certificates are obtained by ACME and renewed; *.SUFFIX is every name below it, see --acme-new-names; no other name a client asks for causes an order"},
		{name: "acme-new-names", arg: "N", value: count(&o.acmeNewNames, 1, 1000, false), needs: needsListenTLS, usage: "new names below the suffixes, in an hour"},
		{name: "acme-cache", arg: "DIR", value: text(&o.acmeCache), needs: needsListenTLS, usage: "where the account, certificates, keys and failures are kept; several processes may share it"},
		{name: "acme-directory", arg: "URL", value: text(&o.acmeURL), needs: needsListenTLS, usage: "the authority's directory; without it Let's Encrypt's"},
		{name: "acme-email", arg: "ADDRESS", value: text(&o.acmeEmail), needs: needsListenTLS, usage: "where the authority may write to"},
		{name: "acme-ca", arg: "FILE", value: text(&o.acmeCA), needs: needsListenTLS, usage: "PEM certificates of the authorities that vouch for the directory's server; without it those of the system"},
		{name: "ca", arg: "FILE", value: text(&o.ca), needs: needsToTLS, usage: "PEM certificates of the authorities that may vouch for an https or h2tp destination; without it those of the system"},
		{name: "server-name", arg: "NAME", value: text(&o.serverName), needs: needsToTLS, usage: "name that its certificate must have, in place of the host in its URL"},
		{name: "client-cert", arg: "FILE", value: text(&o.clientCert), needs: needsToTLS, usage: "PEM certificate shown to an https or h2tp destination that asks for one"},
		{name: "client-key", arg: "FILE", value: text(&o.clientKey), needs: needsToTLS, usage: "PEM key of --client-cert"},
		{name: "insecure-skip-verify", value: boolean(&o.insecureSkipVerify), needs: needsToTLS, usage: "take any certificate of an https or h2tp destination: whoever is on the way reads everything"},
		{name: "token-file", arg: "FILE", value: text(&o.tokenFile), needs: needsHop, usage: "secret that fronts show and backs ask for, besides or in place of client certificates: a front shows the first line, a back takes any line, of 16 bytes at least each; it is read again when it changes, and on SIGHUP"},
		{name: "compress", arg: "CODEC", value: choice(&o.compress, "zstd", "snappy", "flate", "none", "auto"), needs: needsHop, usage: "codec this end sends with on the hop: zstd, snappy, flate or none; it decodes all. auto chooses none, snappy, or zstd and its level up to better, for each hop: more while bytes wait for the link, less while no processor is left, none where the round trip is under a millisecond and nothing waits, or where nothing gets smaller; h2tp_hop_codec_sessions says what, and why"},
		{name: "compress-level", arg: "LEVEL", value: choice(&o.level, "fastest", "default", "better", "best"), needs: needsHop, usage: "how hard zstd and flate try: fastest, default, better or best; an encoder of zstd takes 1.3, 2.9, 5.7 or 36 MiB of --codec-memory, and is of level fastest where too little is left"},
		{name: "batch-delay", arg: "DURATION", value: duration(&o.BatchDelay, 0, time.Second, false), needs: needsHop, usage: "how long a batch waits for more records once it has one; 0s sends as soon as those about to join have joined"},
		{name: "conns", arg: "N", value: count(&o.Conns, 1, 64, false), needs: needsPeer, usage: "connections kept to each back, 1 to 64; above 1, one is for batches alone and the others for streamed bodies"},
		{name: "codec-memory", arg: "SIZE", value: size(&o.codecMemory, 1<<20, 1<<40, true), needs: needsHop, usage: "memory of all codec contexts together; past it a new stream is sent snappy or none"},
		{name: "window-memory", arg: "SIZE", value: size(&o.windowMemory, 1<<20, 1<<40, false), needs: needsHop, usage: "what the receive windows of all streamed bodies may come to, beyond 64KiB each"},
		{name: "ping-period", arg: "DURATION", value: duration(&o.PingPeriod, 100*ms, longest, true), needs: needsHop, usage: "silence after which a hop's connection or stream is pinged; off never pings"},
		{name: "ping-timeout", arg: "DURATION", value: duration(&o.PingTimeout, 100*ms, longest, false), needs: needsHop, usage: "how long after a ping it may stay silent before it is given up; as long as the ping is on its way, that begins anew with all that goes of what is before it"},
		{name: "stream-max-age", arg: "DURATION", value: duration(&o.StreamMaxAge, time.Second, longest, true), needs: needsPeer, usage: "age at which a batched stream is replaced, +-10 %; off never does"},
		{name: "min-ready", arg: "N", value: count(&o.MinReady, 1, 400, false), needs: needsPeer, usage: "ready streams, 1 to 400, kept open on each batched stream, for large responses to begin on without a round trip, while few are used; --max-ready at most"},
		{name: "max-ready", arg: "N", value: count(&o.MaxReady, 1, 400, false), needs: needsHop, usage: "the same, while many are used; an h2tp listener takes twice as many of each batched stream"},
		{name: "secret-fields", arg: "NAME[,NAME...]", value: list(&o.Secrets, checkFieldName), needs: needsHop, usage: "further fields whose values stay out of the shared compression context, besides Authorization, Cookie, Set-Cookie, X-Api-Key, X-Auth-Token, X-Csrf-Token and X-Amz-Security-Token"},
		{name: "trace", value: boolean(&o.trace), needs: needsHop, usage: "log what happens on hops: dials, connections and streams, opened, taken, reset and closed, with the cause"},
		{name: "max-exchanges", arg: "N", value: count(&o.MaxExchanges, 1, many, true), usage: "exchanges in flight for each front or back, by all its listeners together; one more is answered 503; off is no bound"},
		{name: "max-body", arg: "SIZE", value: size(&o.MaxBody, 1, 1<<50, true), usage: "body of a request (413 beyond) and of a response (502 beyond); off is no bound"},
		{name: "batch-limit", arg: "SIZE", value: size(&o.BatchLimit, 1<<10, 1<<20, false), usage: "largest body that travels in a batch, 1KiB to 1MiB; larger ones, and those of unknown length, are streamed"},
		{name: "body-memory", arg: "SIZE", value: size(&o.BodyMemory, 4<<20, 1<<40, false), usage: "what each front or back holds of all messages together, beyond 8KiB each: 503 for those that need more"},
		{name: "max-head", arg: "SIZE", value: size(&o.MaxHead, 1<<10, 128<<10, false), usage: "head of a request (431 beyond) and of a response (502 beyond), 1KiB to 128KiB; over 64KiB, both ends need it"},
		{name: "max-conns", arg: "N", value: count(&o.MaxConns, 1, many, true), needs: needsFront, usage: "connections of clients; one more is answered 503 and closed, over TLS just closed; off is no bound"},
		{name: "max-conns-per-addr", arg: "N", value: count(&o.MaxConnsPerAddr, 1, many, true), usage: "connections of one IPv4 address or one /64 of IPv6, of clients, or of fronts to h2tp and h2tpc listeners, which have --conns each and some more while these change; one more is closed; many behind one NAT or proxy are one address; off is no bound"},
		{name: "max-dest-exchanges", arg: "N", value: count(&o.MaxDestExchanges, 1, many, true), usage: "exchanges in flight at each destination of each route, streamed bodies included; more wait; off is no bound"},
		{name: "adaptive", value: boolean(&o.Adaptive), usage: "find how many exchanges each destination bears, 4 at least, by how the times of its answers grow with them, and let more wait; --max-dest-exchanges bounds what may be found"},
		{name: "max-upstream-conns", arg: "N", value: count(&o.MaxUpstreamConns, 1, many, false), needs: needsUpstream, usage: "connections to each upstream of each route; more exchanges wait for one"},
		{name: "pipeline", arg: "N", value: count(&o.Pipeline, 2, 256, true), needs: needsUpstream, usage: "how many exchanges, 2 to 256, are sent on one connection to an upstream before their responses come, of those that may be repeated (GET, HEAD and OPTIONS without a body); one that is slow delays those behind it; off sends one at a time"},
		{name: "pipeline-conns", arg: "N", value: count(&o.PipelineConns, 1, many, false), needs: needsUpstream, usage: "connections to each upstream that --pipeline uses, fewer than --max-upstream-conns"},
		{name: "max-queue", arg: "N", value: count(&o.MaxQueue, 1, many, true), usage: "exchanges that wait for a destination with --max-dest-exchanges in flight, with --max-upstream-conns in use, or without a connection to a back; one more is answered 503; off lets none wait"},
		{name: "policy", arg: "POLICY", value: choice(&o.Policy, "least", "round-robin", "latency", "hash"), needs: needsSeveral, usage: "how one of several destinations of a tier is chosen: least takes turns by weight, but not to one with clearly more in flight; round-robin takes turns by weight; latency prefers what answers sooner; hash keeps to one for each value of --hash-by, up to 1.25 times its share"},
		{name: "hash-by", arg: "WHAT", value: checked(&o.HashBy, checkHashBy), needs: needsSeveral, usage: "field:NAME, cookie:NAME or target; requests without it go as by least; only with --policy hash"},
		{name: "slow-start", arg: "DURATION", value: duration(&o.SlowStart, 100*ms, time.Hour, true), needs: needsSeveral, usage: "how long the share of a destination that is back, or new, grows from a tenth to the whole; off gives it the whole at once"},
		{name: "eject-after", arg: "N", value: count(&o.EjectAfter, 1, 1000, true), needs: needsSeveral, usage: "exchanges in a row that fail (connection lost, timeout, 502, 503 or 504 of an upstream) before a destination is left out; off is any number"},
		{name: "eject-percent", arg: "N", value: count(&o.EjectPercent, 1, 100, true), needs: needsSeveral, usage: "failures, of 20 exchanges at least within 10s, that do the same; off is any"},
		{name: "eject-time", arg: "DURATION", value: duration(&o.EjectTime, 100*ms, time.Hour, false), needs: needsSeveral, usage: "how long it is left out; twice as long each time, up to 64 times"},
		{name: "max-ejected", arg: "N", value: count(&o.MaxEjected, 1, 100, true), needs: needsSeveral, usage: "percentage of the destinations that may be left out so; off is none"},
		{name: "panic-below", arg: "N", value: count(&o.PanicBelow, 1, 100, true), needs: needsSeveral, usage: "percentage of healthy destinations of a tier below which those left out are used too, when no other tier is to be had; off is none"},
		{name: "check-path", arg: "PATH", value: checked(&o.CheckPath, checkPath), needs: needsUpstream, usage: "ask each upstream for it, by GET on a connection of its own, to find whether it is healthy; without it none is asked"},
		{name: "check-status", arg: "N", def: "200 to 399", value: count(&o.CheckStatus, 100, 999, false), needs: needsUpstream, usage: "the status that says so"},
		{name: "check-period", arg: "DURATION", value: duration(&o.CheckPeriod, 10*ms, time.Hour, false), needs: needsUpstream, usage: "between two checks of an upstream, +-10 %"},
		{name: "check-timeout", arg: "DURATION", value: duration(&o.CheckTimeout, 10*ms, time.Hour, false), needs: needsUpstream, usage: "one check"},
		{name: "check-fall", arg: "N", value: count(&o.CheckFall, 1, 1000, false), needs: needsUpstream, usage: "checks in a row that fail before an upstream is left out"},
		{name: "check-rise", arg: "N", value: count(&o.CheckRise, 1, 1000, false), needs: needsUpstream, usage: "checks in a row that pass before it is used again"},
		{name: "retry-percent", arg: "N", value: count(&o.RetryPercent, 1, 100, true), usage: "exchanges of the last 10s that may be repeated; what reached no destination is not counted; off is no bound"},
		{name: "retry-min", arg: "N", value: count(&o.RetryMin, 1, 1000000, false), usage: "repeats a second besides"},
		{name: "repeat-idempotent", value: boolean(&o.RepeatIdempotent), usage: "repeat PUT and DELETE, too, once when a connection was lost before a response, as GET, HEAD and OPTIONS without a body are"},
		{name: "leave-timeout", arg: "DURATION", value: duration(&o.LeaveTimeout, ms, 24*time.Hour, true), usage: "how long a destination that is one no more may take to finish what it has, streamed bodies and tunnels too; off is as long as that lasts, for the last 256 of them"},
		{name: "timeout", arg: "DURATION", value: duration(&o.Timeout, 100*ms, longest, true), usage: "from the whole request to the whole response: 504 beyond, to within 100ms; off is no bound"},
		{name: "first-byte-timeout", arg: "DURATION", value: duration(&o.FirstByteTimeout, 100*ms, longest, true), needs: needsUpstream, usage: "from the whole request, as an upstream was given it, to the head of the response: 504 beyond, to within 100ms; off leaves it to --timeout"},
		{name: "stall-timeout", arg: "DURATION", value: duration(&o.StallTimeout, 100*ms, longest, true), needs: needsUpstream, usage: "how long an upstream may send nothing in the middle of a streamed body, which is cut off then; tunnels are left alone; off, as server-sent events need it, is no bound"},
		{name: "connect-timeout", arg: "DURATION", value: duration(&o.ConnectTimeout, ms, longest, false), usage: "one dial, TLS included"},
		{name: "queue-timeout", arg: "DURATION", value: duration(&o.QueueTimeout, ms, longest, false), usage: "how long it waits there: 503 beyond, or 502 without a connection to a back, to within 100ms"},
		{name: "idle-timeout", arg: "DURATION", def: "75s for clients, 55s for upstreams", value: duration(&o.IdleTimeout, 100*ms, longest, false), usage: "how long a client's or upstream's connection stays open without an exchange"},
		{name: "read-timeout", arg: "DURATION", value: duration(&o.ReadTimeout, 100*ms, longest, true), needs: needsFront, usage: "how long a client may take to send a request once it began: 408 beyond; off is no bound"},
		{name: "min-rate", arg: "SIZE", value: size(&o.MinRate, 1, 1<<30, true), needs: needsFront, usage: "bytes a second that a client sends of a streamed body before its response begins (408 below) and takes of a response, over each 10s that it is waited for; off is no bound"},
		{name: "write-timeout", arg: "DURATION", value: duration(&o.WriteTimeout, 100*ms, longest, false), usage: "how long a client, an upstream, or a peer of a streamed body, may take nothing of what is written to it"},
		{name: "drain-timeout", arg: "DURATION", value: duration(&o.drainTimeout, ms, longest, false), usage: "how long SIGTERM or SIGINT lets what runs finish; a second signal stops at once"},
		{name: "admin", arg: "URL", value: text(&o.adminURL), usage: "where to answer those who operate this process, http://127.0.0.1:PORT or unix:///PATH: metrics, health, status, pprof, drain and reload; only a loopback address without --admin-public"},
		{name: "admin-public", value: boolean(&o.adminPublic), usage: "let --admin be any address: whoever reaches it can drain this process and read its memory"},
		{name: "access-log", arg: "FILE", value: text(&o.accessLog), usage: "where a line for each exchange goes, once it is over: a file, opened anew on SIGHUP, or - for standard output; off is none. Values of Authorization and Cookie are never in it"},
		{name: "access-log-format", arg: "FORMAT", value: choice(&o.accessLogFormat, "json", "common"), usage: "of --access-log: json, or common for the common log format"},
		{name: "access-log-sample", arg: "SHARE", value: fraction(&o.accessLogSample), usage: "share of the exchanges that --access-log has, 0 to 1"},
		{name: "access-log-query", value: boolean(&o.accessLogQuery), usage: "keep targets' query strings in --access-log"},
		{name: "request-id", value: boolean(&o.requestID), usage: "make an X-Request-Id for requests that have none; one that is there is passed on in any case"},
		{name: "trace-context", arg: "MODE", value: choice(&o.traceContext, "pass", "continue", "start"), usage: "what is done with traceparent: pass it on as it is; continue puts an id of this process in the parent's place; start also begins a trace, sampled, where there is none"},
		{name: "log-format", arg: "FORMAT", value: choice(&o.logFormat, "text", "json"), usage: "of the log on standard error: text or json"},
		{name: "log-level", arg: "LEVEL", value: choice(&o.logLevel, "debug", "info", "warn", "error"), usage: "least level that is logged: debug, info, warn or error"},
	}
	for _, s := range list {
		if s.def == "" {
			s.def = s.get()
		}
	}
	return list
}

// parseFlags reads args into the settings. Its errors name the flag.
func parseFlags(list []*setting, args []string) error {
	fs := flag.NewFlagSet("", flag.ContinueOnError)
	fs.SetOutput(io.Discard)
	for _, s := range list {
		fs.Var(s, s.name, s.usage)
	}
	err := fs.Parse(args)
	switch {
	case errors.Is(err, flag.ErrHelp):
		return err
	case err != nil: // flag names it with one dash, the documents with two
		r := strings.NewReplacer("for flag -", "for flag --", "argument: -", "argument: --", "defined: -", "defined: --", "boolean value", "value", "\" for -", "\" for flag --")
		return usageError{errors.New(r.Replace(err.Error()))}
	case fs.NArg() > 0:
		return usageError{fmt.Errorf("unexpected argument %q", fs.Arg(0))}
	}
	return nil
}

// parseOptions reads and checks the flags of serve and check, the variables and the file that stand for them, and
// the files they name.
func parseOptions(args []string, stderr io.Writer) (*options, []*setting, error) {
	o, list, err := parseSettings(args, false)
	if err != nil {
		return o, list, err
	}
	o.log = newLogger(stderr, o.logFormat, &o.leastLevel)
	if err := o.load(); err != nil {
		return o, list, usageError{o.located(list, err)}
	}
	return o, list, nil
}

// parseSettings is parseOptions without the files that settings name. A reload reads files alone, no pipe.
func parseSettings(args []string, isReload bool) (o *options, list []*setting, err error) {
	defer func() { err = redact(err) }()
	o = new(options)
	list = o.settings()
	if err := parseFlags(list, args); err != nil {
		return o, list, err
	}
	if err := readEnv(list, os.Environ()); err != nil {
		return o, list, err
	}
	if o.config != "" {
		o.stamp = stampOf(o.config)
		if err := o.readFile(list, o.config, isReload); err != nil {
			return o, list, usageError{err}
		}
	}
	if err := o.validate(list); err != nil {
		return o, list, usageError{o.located(list, err)}
	}
	return o, list, nil
}

// validate finds what is missing and what contradicts, and completes o.
func (o *options) validate(list []*setting) error {
	switch {
	case len(o.listen) == 0:
		return about("listen", errors.New("flag --listen is missing"))
	case len(o.to)+len(o.routes) == 0:
		return about("to", errors.New("flag --to is missing"))
	}
	if err := o.completeRoutes(); err != nil {
		return err
	}
	for _, s := range list {
		if why := o.lacks(s.needs); s.isSet() && why != "" {
			return about(s.name, fmt.Errorf("flag --%s has no effect: %s", s.name, why))
		}
	}
	if err := errors.Join(o.checkPolicy(list), o.checkPipeline(list)); err != nil {
		return err
	}
	if err := cmp.Or(o.checkAdmin(), o.checkAccess(list), o.checkRedirects()); err != nil {
		return err
	}
	if err := o.leastLevel.UnmarshalText([]byte(o.logLevel)); err != nil {
		panic("h2tp: bug: " + err.Error())
	}
	var err error
	if o.Compress, err = proxy.ParseCodec(o.compress); err != nil {
		return about("compress", fmt.Errorf("flag --compress: %w", err))
	}
	if o.CompressLevel, err = compress.ParseLevel(o.level); err != nil {
		return about("compress-level", fmt.Errorf("flag --compress-level: %w", err))
	}
	if name := setOf(list, "compress-level"); name != "" && o.Compress == proxy.Auto {
		return about(name, errors.New("flag --compress-level has no effect with --compress auto"))
	}
	return o.checkTLS(list)
}

// load reads the files that settings name, and makes what all ends share.
func (o *options) load() (err error) {
	if err := cmp.Or(o.checkAccessLog(), o.checkSockets()); err != nil {
		return err
	}
	o.Memory = compress.NewMemory(o.codecMemory)
	o.Windows = pool.NewWindows(o.windowMemory)
	if o.tokenFile != "" {
		if o.token, err = newToken(o.tokenFile, o.log); err != nil {
			return about("token-file", fmt.Errorf("flag --token-file: %w", err))
		}
		o.Tokens = o.token.lines
	}
	return o.loadTLS()
}

// setOf is the first of the names that is set, or none.
func setOf(list []*setting, names ...string) string {
	for _, name := range names {
		if slices.ContainsFunc(list, func(s *setting) bool { return s.name == name && s.isSet() }) {
			return name
		}
	}
	return ""
}

// lacks says what is not there of what a flag needs, or nothing.
func (o *options) lacks(n need) string {
	find := func(ends []endpoint, schemes ...string) bool {
		return slices.ContainsFunc(ends, func(e endpoint) bool { return slices.Contains(schemes, e.scheme) })
	}
	var ok bool
	var why string
	switch n {
	case needsNothing:
		ok = true
	case needsFront:
		ok, why = find(o.listeners, "http", "https", "unix"), "no --listen URL has scheme http, https or unix"
	case needsListenTCP:
		ok, why = find(o.listeners, "http", "https", "h2tp", "h2tpc"), "every --listen URL has scheme unix"
	case needsListenUnix:
		ok, why = find(o.listeners, "unix") || strings.HasPrefix(o.adminURL, "unix:"), "no --listen URL has scheme unix"
	case needsHop:
		ok = o.hasFile || find(o.listeners, "h2tp", "h2tpc") || find(o.destinations, "h2tp", "h2tpc")
		why = "no --listen or --to URL has scheme h2tp or h2tpc"
	case needsListenTLS:
		ok, why = find(o.listeners, "h2tp", "https"), "no --listen URL has scheme https or h2tp"
	case needsListenHTTPS:
		ok, why = find(o.listeners, "https"), "no --listen URL has scheme https"
	case needsPeer:
		ok, why = o.hasFile || find(o.destinations, "h2tp", "h2tpc"), "no --to URL has scheme h2tp or h2tpc"
	case needsToTLS:
		ok, why = o.hasFile || find(o.destinations, "h2tp", "https"), "no --to URL has scheme https or h2tp"
	case needsSeveral:
		ok, why = !o.isOfOne && (len(o.destinations) > 1 || o.hasNames), "there is one --to URL"
	case needsUpstream:
		ok, why = o.hasFile || find(o.destinations, "http", "https", "unix"), "no --to URL has scheme http, https or unix"
	}
	if ok {
		return ""
	}
	return why
}

// addListener checks one URL of --listen.
func (o *options) addListener(s string) error {
	e, err := parseListener(s)
	if err != nil {
		return err
	}
	for _, other := range o.listeners {
		if e.hasAddressOf(other) {
			return fmt.Errorf("%q and %q are the same address", other.url, s)
		}
	}
	o.listeners = append(o.listeners, e)
	return nil
}

// addDestination checks one URL of --to.
func (o *options) addDestination(s string) error {
	lines, err := o.toList.Add(s)
	if err != nil {
		return err
	}
	for _, line := range lines {
		url, _, _ := strings.Cut(line, ";")
		e, err := parseEndpoint(url)
		if err != nil {
			return err
		}
		o.destinations = append(o.destinations, e)
		o.hasNames = o.hasNames || strings.Contains(line, ";resolve=") || strings.Contains(line, ";srv=")
	}
	if strings.HasPrefix(s, "file://") {
		o.hasNames, o.hasFile = true, true
	}
	return nil
}

// checkFile takes any name but the empty one.
func checkFile(s string) error {
	if s == "" {
		return errors.New("empty")
	}
	return nil
}

// checkFieldName takes a token of RFC 9110 5.6.2.
func checkFieldName(s string) error {
	isToken := func(r rune) bool {
		return r >= '0' && r <= '9' || r >= 'a' && r <= 'z' || r >= 'A' && r <= 'Z' || strings.ContainsRune("!#$%&'*+-.^_`|~", r)
	}
	if s == "" || strings.ContainsFunc(s, func(r rune) bool { return !isToken(r) }) {
		return fmt.Errorf("%q is no field's name", s)
	}
	return nil
}

// writeFlags writes what the help says of each flag.
func writeFlags(w io.Writer, list []*setting) {
	for _, s := range list {
		head := "  --" + s.name
		if s.arg != "" {
			head += " " + s.arg
		}
		if s.def != "" {
			head += "   (default " + s.def + ")"
		}
		fmt.Fprintln(w, head)
		line := "       "
		for word := range strings.FieldsSeq(s.usage) {
			if len(line)+1+len(word) > 100 {
				fmt.Fprintln(w, line)
				line = "       "
			}
			line += " " + word
		}
		fmt.Fprintln(w, line)
	}
}
