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
	load  func() (*loaded, error)
	files []string
	log   *slog.Logger
	outer *tls.Config // a server's, for ever the same; nil for a client

	tickets *tickets // nil without a file

	cur atomic.Pointer[loaded]

	mu     sync.Mutex // guards all below
	stamps []os.FileInfo
	warned time.Time // when certificates were last looked at for expiry
}

// NewServer reads the files of cfg and returns a configuration that follows them. logger may be nil.
func NewServer(cfg ServerConfig, logger *slog.Logger) (*Live, error) {
	l := newLive(cfg.load, logger)
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
	l.outer = base(cfg.Protocols)
	l.outer.GetConfigForClient = l.configFor
	return l, l.Reload()
}

// NewClient reads the files of cfg and returns a configuration that follows them. logger may be nil.
func NewClient(cfg ClientConfig, logger *slog.Logger) (*Live, error) {
	l := newLive(cfg.load, logger)
	for _, f := range []string{cfg.CAFile, cfg.CertFile, cfg.KeyFile} {
		if f != "" {
			l.files = append(l.files, f)
		}
	}
	return l, l.Reload()
}

func newLive(load func() (*loaded, error), logger *slog.Logger) *Live {
	if logger == nil {
		logger = slog.New(slog.DiscardHandler)
	}
	return &Live{load: load, log: logger}
}

// Config returns the configuration. A server's is the same each time and follows the files by itself; a
// client's is that of now: ask again for each connection.
func (l *Live) Config() *tls.Config {
	if l.outer != nil {
		return l.outer
	}
	return l.cur.Load().config
}

func (l *Live) configFor(*tls.ClientHelloInfo) (*tls.Config, error) { return l.cur.Load().config, nil }

// Certificates returns the certificates now shown, leaves only, without those of ACME. They must not be changed.
func (l *Live) Certificates() []*x509.Certificate { return l.cur.Load().certs }

// Reload reads all files. What it finds is used for new connections; when something is wrong with it, what was
// there before stays, whole, and the error says what is wrong.
func (l *Live) Reload() error {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.stamps = stampsOf(l.files) // before reading: a change meanwhile is seen by the next look
	return l.reloadLocked()
}

func (l *Live) reloadLocked() error {
	next, err := l.load()
	if err != nil {
		return err
	}
	if l.tickets != nil {
		if err := l.tickets.read(); err != nil {
			return err
		}
		next.config.SetSessionTicketKeys(l.tickets.keys(time.Now()))
	}
	l.cur.Store(next)
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
	l.mu.Lock()
	defer l.mu.Unlock()
	if stamps := stampsOf(l.files); !slices.EqualFunc(stamps, l.stamps, isSame) {
		l.stamps = stamps
		if err := l.reloadLocked(); err != nil {
			l.log.Error("certificates not reloaded, the old ones stay", "err", err)
		} else {
			l.log.Info("certificates reloaded", "names", l.names())
			l.warned = time.Time{}
		}
	}
	if l.tickets != nil && l.tickets.isStale(now) {
		l.cur.Load().config.SetSessionTicketKeys(l.tickets.keys(now))
	}
	if now.Sub(l.warned) >= warnPeriod {
		l.warned = now
		for _, c := range l.cur.Load().certs {
			if left := c.NotAfter.Sub(now); left < min(warnBefore, c.NotAfter.Sub(c.NotBefore)/3) {
				l.log.Warn("certificate expires soon", "names", namesOf(c), "expires", c.NotAfter, "left", left.Round(time.Minute))
			}
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
