package proxy

import (
	"crypto/tls"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"time"

	"github.com/valyala/fasthttp"

	"github.com/h2tp/h2tp/compress"
	"github.com/h2tp/h2tp/pool"
)

// Limits bounds what one front or back does at once, and for how long.
type Limits struct {
	// MaxExchanges bounds the exchanges in flight; one more is answered 503 with
	// Retry-After. If zero, 10000 is used. If negative, there is no bound.
	MaxExchanges int
	// MaxBody bounds a request's and a response's body in bytes: 413 and 502 beyond.
	// If zero or negative, there is no bound but for those that Go takes whole, by
	// Do, Handle or Config.Handler: they have 4 MiB.
	MaxBody int
	// BatchLimit is the largest body that travels in a batch; larger ones, and those
	// of unknown length, are streamed. If zero, 64 KiB is used.
	BatchLimit int
	// BodyMemory bounds what is held of all messages together, beyond 8 KiB each,
	// in bytes: 503 beyond, for requests and responses that need more. If zero, 256 MiB is used.
	BodyMemory int
	// MaxHead bounds a request's or response's head in bytes: 431 and 502
	// beyond. If zero, 64 KiB is used. A peer takes no larger heads than its own allows, 64 KiB at least.
	MaxHead int
	// Timeout bounds an exchange from the whole request to the whole response:
	// 504 beyond, to within 100 ms. If zero, 60 s is used. If negative, there is
	// no bound.
	Timeout time.Duration
	// FirstByteTimeout bounds the time from the whole request, as it was given to an upstream, to
	// the head of its response: 504 beyond, to within 100 ms. If zero or negative, only Timeout does.
	FirstByteTimeout time.Duration
	// StallTimeout bounds how long an upstream may send nothing in the middle of a streamed body:
	// it is cut off beyond. Tunnels are left alone. If zero or negative, there is no bound.
	StallTimeout time.Duration
	// ConnectTimeout bounds one dial, TLS included. If zero, 5 s is used.
	ConnectTimeout time.Duration
	// MaxDestExchanges bounds the exchanges in flight at one destination, streamed
	// bodies included; more wait. One of To that names a max has that. If zero or
	// negative, there is no bound.
	MaxDestExchanges int
	// Adaptive finds how many exchanges a destination bears, 4 at least, by how its answers' times
	// grow with them, and bounds them by that; MaxDestExchanges then bounds what may be found.
	Adaptive bool
	// MaxQueue bounds the exchanges that wait for one destination; one more is answered
	// 503 with Retry-After. If zero, 10000 is used. If negative, none waits.
	MaxQueue int
	// QueueTimeout bounds how long an exchange waits for a destination, to within 100 ms:
	// 503 beyond, or 502 where there is no connection to a peer. If zero, 1 s is used.
	QueueTimeout time.Duration
	// IdleTimeout bounds how long a connection to a client, or to an upstream, stays open
	// without an exchange. If zero, 75 s is used for clients and 55 s for upstreams.
	IdleTimeout time.Duration
	// ReadTimeout bounds how long a client may take to send one request once it
	// began: 408 beyond. If zero, 30 s is used. If negative, there is no bound.
	ReadTimeout time.Duration
	// WriteTimeout bounds how long a client or an upstream, or a peer of a streamed
	// body, may take nothing of what is written to it. If zero, 30 s is used.
	WriteTimeout time.Duration
	// MinRate is how many bytes a second a client has to send of a streamed body before its response
	// begins, 408 beyond, and to take of a response, while it is waited for, in each 10 s. If
	// zero, 240 is used. If negative, there is no bound.
	MinRate int
	// MaxConns bounds the connections of clients; one more is answered 503 and closed, or just closed where it would
	// take TLS to say so, or where 64 are being told. If zero, 50000 is used. If negative, there is no bound.
	MaxConns int
	// MaxConnsPerAddr bounds the connections of one IPv4 address, or of one /64 of IPv6: of
	// clients to a Front, of fronts to a Back. One more is closed. A front has Hop.Conns, and
	// some more while it changes them; many behind one NAT or proxy have one address. If zero
	// or negative, there is no bound.
	MaxConnsPerAddr int
	// MaxUpstreamConns bounds the connections to one upstream; more exchanges
	// wait for one, as with MaxDestExchanges. If zero, 1024 is used.
	MaxUpstreamConns int
	// Pipeline is how many exchanges are sent on one connection to an upstream before their responses come (RFC 9112
	// 9.3.2); only those that may be repeated, and on PipelineConns of the connections at most: the others have one for
	// themselves. One that is slow delays those behind it. If zero, negative or 1, none is; 256 at most.
	Pipeline int
	// PipelineConns is the number of those connections, less than MaxUpstreamConns. If zero, 4 is used.
	PipelineConns int
	// GetOnly answers 405 to every method but GET and HEAD.
	GetOnly bool
}

// whole is the bound on bodies that Go takes whole.
func (l *Limits) whole() int {
	if l.MaxBody <= 0 {
		return 4 << 20
	}
	return l.MaxBody
}

// isOver reports whether a body of n bytes is over MaxBody.
func (l *Limits) isOver(n int64) bool { return l.MaxBody > 0 && n > int64(l.MaxBody) }

func (l *Limits) complete() error {
	def(&l.MaxExchanges, 10000)
	def(&l.MaxHead, 64<<10)
	def(&l.BodyMemory, 256<<20)
	def(&l.BatchLimit, 64<<10)
	def(&l.Timeout, 60*time.Second)
	def(&l.ConnectTimeout, 5*time.Second)
	def(&l.MaxQueue, 10000)
	def(&l.QueueTimeout, time.Second)
	def(&l.ReadTimeout, 30*time.Second)
	def(&l.WriteTimeout, 30*time.Second)
	def(&l.MinRate, 240)
	def(&l.MaxConns, 50000)
	def(&l.MaxUpstreamConns, 1024)
	def(&l.PipelineConns, 4)
	switch {
	case l.BatchLimit < 1<<10 || l.BatchLimit > 1<<20:
		return fmt.Errorf("proxy: BatchLimit is %d; want 1 KiB to 1 MiB", l.BatchLimit)
	case l.BodyMemory < 4<<20:
		return fmt.Errorf("proxy: BodyMemory is %d; want at least 4 MiB", l.BodyMemory)
	case l.MaxHead < 1<<10 || l.MaxHead > 128<<10: // a batch on a bulk stream has to hold it
		return fmt.Errorf("proxy: MaxHead is %d; want 1 KiB to 128 KiB", l.MaxHead)
	case l.Pipeline > maxPipe:
		return fmt.Errorf("proxy: Pipeline is %d; want %d at most", l.Pipeline, maxPipe)
	case l.Pipeline > 1 && (l.PipelineConns < 1 || l.PipelineConns >= l.MaxUpstreamConns):
		return fmt.Errorf("proxy: PipelineConns is %d; want 1 to %d, less than MaxUpstreamConns", l.PipelineConns, l.MaxUpstreamConns-1)
	}
	return nil
}

// Hop says how one end of a hop sends, and over what.
type Hop struct {
	// Compress is the codec this end sends with; it decodes all. The zero value
	// is zstd. A peer that cannot hold its context is sent snappy, or none.
	Compress Codec
	// CompressLevel is how hard it tries, at the cost of CPU and memory: an encoder of zstd
	// takes 1.3 MiB at compress.Fastest, the zero value, and 36 at compress.Best.
	// Where Memory has too little left for it, Fastest is used.
	CompressLevel compress.Level
	// BatchDelay is how long a batch waits for more records once it has one. If
	// zero, a batch leaves as soon as those about to send have joined it.
	BatchDelay time.Duration
	// Conns is the number of connections kept to each peer; only a front's. Above 1,
	// one is for batches alone and the others for streamed bodies. If zero, 2 is used.
	Conns int
	// TLS is asked at each dial for the configuration of connections to h2tp://
	// peers; the ServerName is set to the peer's host when empty.
	TLS func() *tls.Config
	// Tokens returns the secrets that both ends share, in place of or besides certificates: a front shows the first
	// on each stream that it opens, and a back refuses a stream that shows none of them, 403. Each is of visible ASCII.
	// It is asked each time. If nil, none is shown and none asked for.
	Tokens func() []string
	// Memory bounds the codec contexts of all fronts and backs that share it. If
	// nil, one of 256 MiB is made.
	Memory *compress.Memory
	// Windows bounds the receive windows of streamed bodies of all fronts and backs
	// that share it. If nil, one of 64 MiB is made.
	Windows *pool.Windows
	// Trace is told of the hop's connections and streams as they come and go. If nil,
	// nothing is.
	Trace *pool.Trace
	// PingPeriod and PingTimeout find dead connections and streams; see
	// pool.Common. If zero, 5 s is used for each.
	PingPeriod, PingTimeout time.Duration
	// StreamMaxAge is when a front replaces a batched stream, +-10 %. If zero,
	// 30 min is used. If negative, it is not.
	StreamMaxAge time.Duration
	// MinReady and MaxReady bound the ready streams that a front keeps open on each
	// batched stream, for large responses that begin without a round trip; how many
	// they are follows what is used. If zero, 4 and 64 are used; MinReady is MaxReady at
	// most. A back takes twice MaxReady.
	MinReady, MaxReady int
	// Secrets names further fields whose values stay out of the shared
	// compression context.
	Secrets []string
}

// maxReady keeps the ready streams, twice over, within the streams of a connection.
const maxReady = 400

// Codec names how a batch is compressed.
type Codec uint8

const (
	Zstd Codec = iota
	Snappy
	Flate
	None
	// Auto chooses None, Snappy, or Zstd and its level, for each direction of each hop, by the link and the processors as it finds
	// them: more where bytes wait for the link, less where no processor is left, None where the round trip is under a
	// millisecond and nothing waits, or where nothing gets smaller. SessionStats says what and why.
	Auto
)

var codecIDs = [...]compress.ID{Zstd: compress.Zstd, Snappy: compress.Snappy, Flate: compress.Flate, None: compress.None, Auto: compress.Zstd}

// ParseCodec returns the codec with that name: zstd, snappy, flate, none or auto.
func ParseCodec(name string) (Codec, error) {
	for c := range codecIDs {
		if Codec(c).String() == name {
			return Codec(c), nil
		}
	}
	return 0, fmt.Errorf("unknown codec %q; want zstd, snappy, flate, none or auto", name)
}

func (c Codec) String() string {
	if int(c) >= len(codecIDs) {
		return "unknown"
	}
	if c == Auto {
		return "auto"
	}
	return codecIDs[c].String()
}

func (h *Hop) complete() error {
	def(&h.Conns, 2)
	def(&h.PingPeriod, 5*time.Second)
	def(&h.PingTimeout, 5*time.Second)
	def(&h.StreamMaxAge, 30*time.Minute)
	def(&h.MinReady, 4)
	def(&h.MaxReady, 64)
	if h.Memory == nil {
		h.Memory = compress.NewMemory(256 << 20)
	}
	if h.Windows == nil {
		h.Windows = pool.NewWindows(0)
	}
	switch {
	case int(h.Compress) >= len(codecIDs):
		return errors.New("proxy: Compress is not a codec")
	case h.CompressLevel > compress.Best:
		return errors.New("proxy: CompressLevel is not a level")
	case h.Compress == Auto && h.CompressLevel != compress.Fastest:
		return errors.New("proxy: CompressLevel is set beside Auto, which chooses it")
	case h.BatchDelay < 0 || h.BatchDelay > time.Second:
		return fmt.Errorf("proxy: BatchDelay is %v; want 0 to 1s", h.BatchDelay)
	case h.Conns < 1 || h.Conns > 64:
		return fmt.Errorf("proxy: Conns is %d; want 1 to 64", h.Conns)
	case h.MinReady < 1 || h.MaxReady < 1 || max(h.MinReady, h.MaxReady) > maxReady:
		return fmt.Errorf("proxy: MinReady is %d and MaxReady %d; want 1 to %d", h.MinReady, h.MaxReady, maxReady)
	}
	return nil
}

// Config configures a [Front] or a [Back]: where its exchanges go, and within
// what bounds.
type Config struct {
	Limits
	Hop
	Balance
	Entry
	// To names the destinations: http://host:port, https://host:port or
	// unix:///path for an upstream, h2tp://host:port[/prefix] for a peer over TLS,
	// h2tpc://host:port[/prefix] for one in the clear. ;weight=N, ;tier=N and ;max=N may follow:
	// of the lowest tier with healthy members one is chosen, as Balance says. With ;resolve=D
	// the host is looked up each D, and each of its addresses is a destination; ;srv=D does
	// so with SRV records, whose priorities are tiers. NewFront and NewBack wait for the
	// first answers, 5 s at most. An answer without addresses, or none, leaves what is.
	// file:///path is a file with a destination a line, as ReadTo reads it; it is looked at each
	// second, and read again when it was changed.
	To []string
	// Resolver is asked for those; nil is Go's own.
	Resolver *net.Resolver
	// Routes lead requests for some hosts and paths elsewhere than To.
	Routes []Route
	// UpstreamTLS is asked at each dial for the configuration of connections to
	// https:// upstreams; the ServerName is set to the upstream's host when empty. If
	// nil, the system's authorities are asked.
	UpstreamTLS func() *tls.Config
	// Handler answers exchanges in this process, in place of To. Bodies come and go whole, of 4 MiB at most. RequestCtx.Hijack
	// is for requests that ask for an Upgrade, and a panic of the function it is given ends the process, as with fasthttp.Server.
	Handler fasthttp.RequestHandler
	// Serial has a Handler take what comes by one session, or by one HTTP/1.1 connection, one after another, in the
	// order in which it was sent; requests whose bodies are streamed are sessions of their own. Without it those of an
	// HTTP/1.1 connection alone come so.
	Serial bool
	// ListenTLS is the configuration for those who come: to a back by h2tp, to a
	// front by https, whose ALPN protocols may be h2 and http/1.1.
	ListenTLS *tls.Config
	// Cleartext lets a back without ListenTLS serve h2tpc.
	Cleartext bool
	// Prefix is the path of a back's own h2tp URL.
	Prefix string
	// Dial makes the connections to destinations, within timeout. If nil, TCP is
	// used, and Close does not wait for a dial.
	Dial func(network, addr string, timeout time.Duration) (net.Conn, error)
	// RequestID adds an X-Request-Id to requests that have none. One that is there is passed on as any field.
	RequestID bool
	// TraceContext says what is done with traceparent. The zero value passes it on.
	TraceContext TraceContext
	// OnExchange is told of each exchange that is over, for an access log. It is called by the goroutine that ends the
	// exchange and others wait for: it must not wait, and keep nothing of what it is given. Requests that were refused before
	// they became exchanges are not told. If nil, nobody is.
	OnExchange func(*Exchange)
	// Logger takes what an operator should know. If nil, nothing is written.
	Logger *slog.Logger
}

func (c Config) withDefaults() (Config, error) {
	if err := c.Limits.complete(); err != nil {
		return c, err
	}
	if err := c.Hop.complete(); err != nil {
		return c, err
	}
	if err := c.Balance.complete(); err != nil {
		return c, err
	}
	if err := c.Entry.complete(); err != nil {
		return c, err
	}
	if c.Logger == nil {
		c.Logger = slog.New(slog.DiscardHandler)
	}
	switch {
	case len(c.To) == 0 && c.Handler == nil && len(c.Routes) == 0:
		return c, errors.New("proxy: To is empty")
	case len(c.To) > 0 && c.Handler != nil:
		return c, errors.New("proxy: To and Handler are both set")
	case c.Serial && c.Handler == nil:
		return c, errors.New("proxy: Serial is set without a Handler")
	}
	return c, nil
}

func def[T int | time.Duration](v *T, d T) {
	if *v == 0 {
		*v = d
	}
}
