package certs

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"log/slog"
	"os"
	"slices"
	"sync"
	"sync/atomic"
	"time"
)

const (
	// lookPeriod is how often files are looked at for a change: a stat each. It works on every file system,
	// and where a whole directory is swapped by a link, as Kubernetes does; notices of the kernel do not.
	lookPeriod = 10 * time.Second
	// warnPeriod is how often a certificate that is about to expire is named.
	warnPeriod = 24 * time.Hour
	// warnBefore is when that begins, at the latest; a third of its life for one that lives shorter.
	warnBefore = 30 * 24 * time.Hour
)

// Live is a TLS configuration that follows its files. Its methods may be called concurrently.
type Live struct {
	// Immutable.
	load      func(before *loaded) (*loaded, error)
	protocols []string // of Config
	isServer  bool
	files     []string
	log       *slog.Logger
	tickets   *tickets // nil without a file

	cur atomic.Pointer[loaded]

	reading sync.Mutex // guards all below; held while files are read, which takes as long as their file system does
	stamps  []os.FileInfo
	warned  time.Time // when certificates were last looked at for expiry

	mu    sync.Mutex // guards all below, and what views have
	views []*view    // of a server
}

// view is a server's configuration with some protocols: one that is for ever the same, and what it comes to by the files.
type view struct {
	protocols []string
	outer     *tls.Config
	inner     atomic.Pointer[tls.Config]
}

// NewServer reads the files of cfg and returns a configuration that follows them. logger may be nil.
func NewServer(cfg ServerConfig, logger *slog.Logger) (*Live, error) {
	l := newLive(cfg.load, cfg.Protocols, logger)
	l.isServer = true
	for _, p := range cfg.Pairs {
		l.files = append(l.files, p.CertFile, p.KeyFile)
	}
	if cfg.ClientCAFile != "" {
		l.files = append(l.files, cfg.ClientCAFile)
	}
	if cfg.TicketKeyFile != "" {
		l.files = append(l.files, cfg.TicketKeyFile)
		l.tickets = &tickets{file: cfg.TicketKeyFile}
	}
	return l, l.Reload()
}

// NewClient reads the files of cfg and returns a configuration that follows them. logger may be nil.
func NewClient(cfg ClientConfig, logger *slog.Logger) (*Live, error) {
	l := newLive(cfg.load, cfg.Protocols, logger)
	for _, f := range []string{cfg.CAFile, cfg.CertFile, cfg.KeyFile} {
		if f != "" {
			l.files = append(l.files, f)
		}
	}
	return l, l.Reload()
}

func newLive(load func(before *loaded) (*loaded, error), protocols []string, logger *slog.Logger) *Live {
	if logger == nil {
		logger = slog.New(slog.DiscardHandler)
	}
	return &Live{load: load, protocols: protocols, log: logger}
}

// Config returns the configuration. A server's is the same each time and follows the files by itself; a
// client's is that of now: ask again for each connection.
func (l *Live) Config() *tls.Config { return l.ConfigFor(l.protocols...) }

// ConfigFor is Config with other Protocols: the files are read, and what is wrong with them is logged, once for all.
func (l *Live) ConfigFor(protocols ...string) *tls.Config {
	if !l.isServer {
		return l.cur.Load().config(protocols)
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	for _, v := range l.views {
		if slices.Equal(v.protocols, protocols) {
			return v.outer
		}
	}
	v := &view{protocols: protocols, outer: base(protocols)}
	v.outer.GetConfigForClient = v.configFor
	l.setLocked(v, time.Now())
	l.views = append(l.views, v)
	return v.outer
}

// setLocked makes a view what the files say. Ticket keys are set within: who uses the outer configuration may have cloned it.
func (l *Live) setLocked(v *view, now time.Time) {
	c := l.cur.Load().config(v.protocols)
	if l.tickets != nil {
		c.SetSessionTicketKeys(l.tickets.keys(now))
	}
	v.inner.Store(c)
}

// configFor asks the inner configuration too, which crypto/tls does not.
func (v *view) configFor(hello *tls.ClientHelloInfo) (*tls.Config, error) {
	c := v.inner.Load()
	if c.GetConfigForClient != nil {
		if other, err := c.GetConfigForClient(hello); other != nil || err != nil {
			return other, err
		}
	}
	return c, nil
}

// Certificates returns the certificates now shown, leaves only, without those of ACME. They must not be changed.
func (l *Live) Certificates() []*x509.Certificate { return l.cur.Load().certs }

// Reload reads all files. What it finds is used for new connections; when something is wrong with it, what was
// there before stays, whole, and the error says what is wrong.
func (l *Live) Reload() error {
	l.reading.Lock()
	defer l.reading.Unlock()
	l.stamps = stampsOf(l.files) // before reading: a change meanwhile is seen by the next look
	return l.read()
}

// read is Reload while reading is held.
func (l *Live) read() error {
	next, err := l.load(l.cur.Load())
	if err != nil {
		return err
	}
	var secret []byte
	if l.tickets != nil {
		if secret, err = l.tickets.read(); err != nil {
			return err
		}
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.tickets != nil {
		l.tickets.secret = secret
	}
	l.cur.Store(next)
	l.warned = time.Time{}
	for _, v := range l.views {
		l.setLocked(v, time.Now())
	}
	return nil
}

// Follow looks for changes of the files, and warns of certificates that are about to expire, until ctx ends.
func (l *Live) Follow(ctx context.Context) {
	ticker := time.NewTicker(lookPeriod)
	defer ticker.Stop()
	for {
		l.look(time.Now())
		select {
		case <-ticker.C:
		case <-ctx.Done():
			return
		}
	}
}

func (l *Live) look(now time.Time) {
	l.reading.Lock()
	defer l.reading.Unlock()
	if stamps := stampsOf(l.files); !slices.EqualFunc(stamps, l.stamps, isSame) {
		l.stamps = stamps
		if err := l.read(); err != nil {
			l.log.Error("certificates not reloaded, the old ones stay", "err", err)
		} else {
			l.log.Info("certificates reloaded", "names", l.names())
		}
	}
	l.renewTicketKeys(now)
	if now.Sub(l.warned) >= warnPeriod {
		l.warned = now
		cur := l.cur.Load()
		for _, c := range slices.Concat(cur.certs, cur.authorities) {
			warn(l.log, c, now)
		}
	}
}

// warn names a certificate that is about to expire, or has.
func warn(log *slog.Logger, c *x509.Certificate, now time.Time, more ...any) {
	if left := c.NotAfter.Sub(now); left <= 0 {
		log.Error("certificate has expired", append([]any{"names", titleOf(c), "expires", c.NotAfter}, more...)...)
	} else if isDue(c, now) {
		log.Warn("certificate expires soon", append([]any{"names", titleOf(c), "expires", c.NotAfter, "left", left.Round(time.Minute)}, more...)...)
	}
}

func (l *Live) renewTicketKeys(now time.Time) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.tickets != nil && l.tickets.isStale(now) {
		keys := l.tickets.keys(now)
		for _, v := range l.views {
			v.inner.Load().SetSessionTicketKeys(keys)
		}
	}
}

func (l *Live) names() (names []string) {
	for _, c := range l.cur.Load().certs {
		names = append(names, namesOf(c)...)
	}
	return names
}

// stampsOf tells one state of files from another; nil is one that is not there.
func stampsOf(files []string) []os.FileInfo {
	stamps := make([]os.FileInfo, len(files))
	for i, name := range files {
		if fi, err := os.Stat(name); err == nil {
			stamps[i] = fi
		}
	}
	return stamps
}

// isSame also tells a file from another in its place, by rename or behind a link, that has its size and time.
func isSame(a, b os.FileInfo) bool {
	if a == nil || b == nil {
		return a == nil && b == nil
	}
	return os.SameFile(a, b) && a.Size() == b.Size() && a.ModTime().Equal(b.ModTime())
}
