package pool

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/netip"
	"sync/atomic"
	"time"
)

// Sizes that belong to the engine rather than to a user's choice.
const (
	// maxReadFrame is what we announce as SETTINGS_MAX_FRAME_SIZE. A batch is
	// closed at 64 KiB, so most fit one frame; the frame buffer of a connection
	// grows to this and no further.
	maxReadFrame = 128 << 10
	// leastWindow is what we announce as SETTINGS_INITIAL_WINDOW_SIZE: what each
	// stream may hold in memory, whatever else is open.
	leastWindow = 64 << 10
	// initialWindow is what a stream read by blocking calls begins with, and
	// maxStreamWindow what it may grow to, while Windows has room.
	initialWindow   = 256 << 10
	maxStreamWindow = 16 << 20
	// receiverWindow is the window of a stream with a Receiver: it consumes each
	// payload at once, so the window holds no memory and only has to cover the
	// path's bandwidth-delay product.
	receiverWindow = 16 << 20
	// connWindow is the connection's receive window. It is returned as soon as a
	// frame is stored or consumed; the streams' windows bound the memory.
	connWindow = 64 << 20
	// outSoftLimit is where Write stops adding DATA to what waits for the socket.
	outSoftLimit = 256 << 10
	// outHardLimit closes the connection: only control frames pass the soft
	// limit, so a peer makes us answer it and does not read the answers.
	outHardLimit = 1 << 20
	// minPeerFrame is the least and the default SETTINGS_MAX_FRAME_SIZE.
	minPeerFrame = 16 << 10
	// maxRefused streams of a connection may be awaited after their refusal, each for
	// up to half a leastWindow; those beyond are reset with it.
	maxRefused = 16
	// maxWindow is the largest flow-control window, RFC 9113 6.9.1.
	maxWindow = 1<<31 - 1
	// maxCount is the largest number of streams, or size of a header list, that is announced.
	maxCount = 1 << 30
)

// Common holds what both ends of a connection are configured with.
type Common struct {
	// TLS is the configuration of the handshake, in version 1.3 unless MinVersion says
	// less; ALPN "h2" is required of the peer. A client verifies the peer: if TLS is
	// nil by the system's authorities, and always unless TLS.InsecureSkipVerify, which
	// is for development, says otherwise. A server needs TLS or Cleartext. For mutual
	// TLS see crypto/tls: ClientCAs and ClientAuth there, Certificates here.
	TLS *tls.Config
	// Cleartext speaks HTTP/2 with prior knowledge over plain connections; TLS must be
	// nil.
	Cleartext bool
	// HandshakeTimeout bounds TLS and the exchange of prefaces. If zero, 10 s is used.
	HandshakeTimeout time.Duration
	// PingPeriod is how long a connection may be silent, without one byte from the peer,
	// before a PING is sent, ahead of what waits for the socket. If zero, 5 s is used. If
	// negative, none is sent, and no connection is closed for what PingTimeout says.
	PingPeriod time.Duration
	// PingTimeout is how long after that PING the connection may stay silent before it is
	// closed. As long as the PING is on its way, on a thin link behind what the socket was
	// given before, that time begins anew with whatever goes of it: on Linux by what the
	// peer's kernel acknowledges, elsewhere by what the socket takes. It is also how long a
	// write to the socket may wait while nothing goes. If zero, 5 s is used.
	PingTimeout time.Duration
	// MaxStreams bounds the streams a peer may have open on one connection. If
	// zero, 1000 is used.
	MaxStreams int
	// MaxHeaderBytes bounds a decoded header list (RFC 9113 6.5.2). If zero,
	// 16 KiB is used.
	MaxHeaderBytes int
	// Windows bounds the windows of all streams read by blocking calls. If nil,
	// one of 64 MiB is made.
	Windows *Windows
	// Mix makes the connections of several Clients or Servers regard each other's
	// batches. If nil, each Client or Server has one of its own.
	Mix *Mix
	// Trace is told of connections and streams as they come and go. If nil, or where
	// its functions are, nothing is called.
	Trace *Trace
	// Logger takes a line for each connection lost. If nil, none is written.
	Logger *slog.Logger
}

func (c *Common) complete() error {
	if c.TLS != nil && c.Cleartext {
		return errors.New("pool: TLS and Cleartext are both set")
	}
	switch {
	case c.HandshakeTimeout < 0:
		return errors.New("pool: HandshakeTimeout is negative")
	case c.PingTimeout < 0:
		return errors.New("pool: PingTimeout is negative")
	case c.MaxStreams < 0 || c.MaxStreams > maxCount:
		return fmt.Errorf("pool: MaxStreams is %d; want 0 to %d", c.MaxStreams, maxCount)
	case c.MaxHeaderBytes < 0 || c.MaxHeaderBytes > maxCount:
		return fmt.Errorf("pool: MaxHeaderBytes is %d; want 0 to %d", c.MaxHeaderBytes, maxCount)
	}
	if c.TLS != nil {
		c.TLS = hopTLS(c.TLS)
	}
	setDefault(&c.HandshakeTimeout, 10*time.Second)
	setDefault(&c.PingPeriod, 5*time.Second)
	setDefault(&c.PingTimeout, 5*time.Second)
	setDefault(&c.MaxStreams, 1000)
	setDefault(&c.MaxHeaderBytes, 16<<10)
	if c.Windows == nil {
		c.Windows = NewWindows(0)
	}
	if c.Mix == nil {
		c.Mix = NewMix()
	}
	if c.Logger == nil {
		c.Logger = slog.New(slog.DiscardHandler)
	}
	return nil
}

// hopTLS completes a copy of a configuration.
func hopTLS(t *tls.Config) *tls.Config {
	t = t.Clone()
	t.NextProtos = []string{"h2"}
	if t.MinVersion == 0 {
		t.MinVersion = tls.VersionTLS13
	}
	return t
}

func setDefault[T int | time.Duration](v *T, d T) {
	if *v == 0 {
		*v = d
	}
}

// ClientConfig configures a [Client].
type ClientConfig struct {
	Common
	// Addr is the peer's host and port: the name that TLS verifies, that streams
	// carry as :authority and that errors and logs have; and what is dialled, unless
	// Resolve says otherwise. Required; the port too, unless Resolve or Dial is set.
	Addr string
	// CurrentTLS is asked for TLS's value at each dial, so that it may change; TLS is
	// nil then.
	CurrentTLS func() *tls.Config
	// Resolve tells the address to dial, host and port, once for each dial: from
	// discovery, or one of several in turn ([Rotate]). The context ends at
	// DialTimeout. If nil, Addr is used.
	Resolve func(ctx context.Context) (addr string, err error)
	// Dial makes one connection; network is "tcp". The context ends at DialTimeout.
	// If nil, net.Dialer's DialContext is used.
	Dial func(ctx context.Context, network, addr string) (net.Conn, error)
	// DialTimeout bounds one dial, TLS and prefaces included. If zero, 5 s is used.
	DialTimeout time.Duration
	// Conns is the number of connections kept. If zero, 1 is used.
	Conns int
	// MaxConns bounds the connections: those above Conns are opened while the peer
	// takes no more streams on the others, or while these are busy, and include those
	// that drain. If zero, Conns + 8 is used.
	MaxConns int
	// BusyStreams makes a connection busy when at least as many streams have waited
	// for its socket for a second. If zero, 1000 is used. If negative, none is busy.
	BusyStreams int
	// IdleTimeout is how long a connection above Conns stays open without a stream.
	// If zero, 30 s is used. If negative, it stays.
	IdleTimeout time.Duration
	// BackoffMin is the wait after the first failed dial; it doubles with each
	// further one, and each wait is jittered by +-25 %. If zero, 50 ms is used.
	BackoffMin time.Duration
	// BackoffMax bounds the wait while calls to Open wait for a connection. If
	// zero, 500 ms is used.
	BackoffMax time.Duration
	// BackoffIdle bounds the wait while none does. If zero, 5 s is used.
	BackoffIdle time.Duration
}

func (c ClientConfig) withDefaults() (ClientConfig, error) {
	switch {
	case c.CurrentTLS != nil && (c.TLS != nil || c.Cleartext):
		return c, errors.New("pool: CurrentTLS is set, and TLS or Cleartext too")
	case c.CurrentTLS == nil && c.TLS == nil && !c.Cleartext:
		c.TLS = new(tls.Config)
	}
	if err := c.complete(); err != nil {
		return c, err
	}
	if c.Addr == "" {
		return c, errors.New("pool: Addr is empty")
	}
	if _, _, err := net.SplitHostPort(c.Addr); err != nil && c.Resolve == nil && c.Dial == nil {
		return c, fmt.Errorf("pool: Addr %q has no port", c.Addr)
	}
	if c.TLS != nil {
		c.nameServer(c.TLS)
	}
	if c.Resolve == nil {
		c.Resolve = Rotate(c.Addr)
	}
	if c.Dial == nil {
		c.Dial = new(net.Dialer).DialContext
	}
	setDefault(&c.DialTimeout, 5*time.Second)
	setDefault(&c.Conns, 1)
	setDefault(&c.MaxConns, c.Conns+8)
	setDefault(&c.BusyStreams, 1000)
	setDefault(&c.IdleTimeout, 30*time.Second)
	setDefault(&c.BackoffMin, 50*time.Millisecond)
	setDefault(&c.BackoffMax, 500*time.Millisecond)
	setDefault(&c.BackoffIdle, 5*time.Second)
	switch {
	case c.DialTimeout < 0:
		return c, errors.New("pool: DialTimeout is negative")
	case min(c.BackoffMin, c.BackoffMax, c.BackoffIdle) < 0:
		return c, errors.New("pool: BackoffMin, BackoffMax or BackoffIdle is negative")
	case c.Conns < 0:
		return c, errors.New("pool: Conns is negative")
	case c.MaxConns < c.Conns:
		return c, errors.New("pool: MaxConns is less than Conns")
	}
	return c, nil
}

// Rotate returns a [ClientConfig.Resolve] that tells one address after the other.
func Rotate(addrs ...string) func(context.Context) (string, error) {
	var next atomic.Uint64
	return func(context.Context) (string, error) {
		if len(addrs) == 0 {
			return "", errors.New("no address")
		}
		return addrs[(next.Add(1)-1)%uint64(len(addrs))], nil
	}
}

// nameServer sets the name that the server's certificate must have.
func (c *ClientConfig) nameServer(t *tls.Config) {
	if t.ServerName != "" || t.InsecureSkipVerify {
		return
	}
	host, _, err := net.SplitHostPort(c.Addr)
	if err != nil {
		host = c.Addr
	}
	t.ServerName = host
}

// common is what the next dial uses.
func (c *ClientConfig) common() *Common {
	if c.CurrentTLS == nil {
		return &c.Common
	}
	common := c.Common
	common.TLS = hopTLS(c.CurrentTLS())
	c.nameServer(common.TLS)
	return &common
}

// ServerConfig configures a [Server].
type ServerConfig struct {
	Common
	// Accept is called with each stream a peer opens, on the connection's
	// reading goroutine: it must not block. It answers with [Stream.Respond] or
	// [Stream.Refuse], now or later, and sets a [Receiver] before it returns if
	// the stream is to have one. If nil, streams wait for [Server.Accept].
	Accept func(*Stream)
	// Backlog bounds the streams that wait for [Server.Accept]; one more is reset with
	// REFUSED_STREAM, which is ErrNotStarted to the peer. If zero, 128 is used.
	Backlog int
	// Allow are the addresses that may connect; the others' connections are closed
	// before TLS. If empty, all may. A prefix is of IPv4 or IPv6; an IPv4 address
	// that comes mapped into IPv6 is IPv4.
	Allow []netip.Prefix
	// Deny are addresses that may not connect, also of those that Allow has.
	Deny []netip.Prefix
	// MaxConns bounds the connections served at once; above it new ones are
	// closed. If zero, 4096 is used. If negative, there is no bound.
	MaxConns int
	// MaxConnsPerAddr bounds those of one IPv4 address, or of one /64 of IPv6; one more is
	// closed before TLS. A [Client] has Conns of them and up to MaxConns; and clients behind
	// one NAT or proxy have one address. If zero or negative, there is no bound.
	MaxConnsPerAddr int
}

func (c ServerConfig) withDefaults() (ServerConfig, error) {
	if err := c.complete(); err != nil {
		return c, err
	}
	switch {
	case c.TLS == nil && !c.Cleartext:
		return c, errors.New("pool: TLS is nil and Cleartext is not set")
	case c.TLS != nil && len(c.TLS.Certificates) == 0 && c.TLS.GetCertificate == nil && c.TLS.GetConfigForClient == nil:
		return c, errors.New("pool: TLS has no certificate")
	case c.Backlog < 0:
		return c, errors.New("pool: Backlog is negative")
	}
	setDefault(&c.Backlog, 128)
	setDefault(&c.MaxConns, 4096)
	return c, nil
}
