package main

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"strings"

	"github.com/h2tp/h2tp/certs"
)

// tlsOptions are the flags of TLS, and what they come to.
type tlsOptions struct {
	cert, key, clientNames []string // of the listeners
	clientCA, ticketKeys   string
	acmeNames              []string
	acmeNewNames           int
	acmeCache, acmeURL     string
	acmeEmail, acmeCA      string

	ca, clientCert, clientKey, serverName string // of the destinations
	insecureSkipVerify                    bool

	listenTLS *certs.Live   // of https and h2tp listeners; nil without such
	live      []*certs.Live // all that follow files
	acme      *certs.ACME   // nil without names
}

// checkTLS finds what is missing and what contradicts among the flags of TLS.
func (o *options) checkTLS(list []*setting) error {
	isListening := o.lacks(needsListenTLS) == ""
	acme := setOf(list, "acme-cache", "acme-directory", "acme-email", "acme-ca", "acme-new-names")
	switch {
	case isListening && len(o.cert) == 0 && len(o.key) > 0:
		return about("key", errors.New("flag --cert is missing: --key has no use without it"))
	case isListening && len(o.cert) == 0 && len(o.acmeNames) == 0:
		return about("listen", errors.New("flag --cert is missing, or --acme-names: a --listen URL has scheme https or h2tp"))
	case isListening && len(o.key) == 0 && len(o.cert) > 0:
		return about("cert", errors.New("flag --key is missing: --cert has no use without it"))
	case len(o.cert) != len(o.key):
		return about("key", fmt.Errorf("flags --cert and --key name %d and %d files; each certificate has its key", len(o.cert), len(o.key)))
	case len(o.clientNames) > 0 && o.clientCA == "":
		return about("client-names", errors.New("flag --client-names has no effect: --client-ca is missing"))
	case len(o.acmeNames) > 0 && o.acmeCache == "":
		return about("acme-names", errors.New("flag --acme-cache is missing: --acme-names has no use without it"))
	case len(o.acmeNames) == 0 && acme != "":
		return about(acme, errors.New("flag --acme-names is missing: the other --acme flags have no effect without it"))
	case setOf(list, "acme-new-names") != "" && !slices.ContainsFunc(o.acmeNames, func(name string) bool { return strings.HasPrefix(name, "*.") }):
		return about("acme-new-names", errors.New("flag --acme-new-names has no effect: no name of --acme-names is *.SUFFIX"))
	case (o.clientCert == "") != (o.clientKey == ""):
		return about(setOf(list, "client-cert", "client-key"), errors.New("flags --client-cert and --client-key are given together or not at all"))
	case o.insecureSkipVerify && o.ca != "":
		return about("insecure-skip-verify", errors.New("flags --insecure-skip-verify and --ca contradict each other"))
	}
	return nil
}

// loadTLS reads the files.
func (o *options) loadTLS() error {
	if o.lacks(needsListenTLS) == "" {
		if err := o.loadListenTLS(); err != nil {
			return err
		}
	}
	if o.lacks(needsToTLS) == "" || o.config != "" { // a file may name such a destination later
		return o.loadToTLS()
	}
	return nil
}

// step names the flags of an error.
func step(flags string, err error) error {
	if err != nil {
		name, _, _ := strings.Cut(flags[strings.Index(flags, "--")+2:], " ")
		if name == "acme-*" {
			name = "acme-names"
		}
		return about(name, fmt.Errorf("%s: %w", flags, err))
	}
	return nil
}

// loadListenTLS reads the listeners' files, those of one flag after the other, so that an error names it.
func (o *options) loadListenTLS() (err error) {
	var cfg certs.ServerConfig
	if len(o.acmeNames) > 0 {
		if cfg.ACME, err = certs.NewACME(certs.ACMEConfig{
			Names: o.acmeNames, NewNames: o.acmeNewNames, CacheDir: o.acmeCache, DirectoryURL: o.acmeURL,
			Email: o.acmeEmail, CAFile: o.acmeCA, Logger: o.log,
		}); err != nil {
			return step("flags --acme-*", err)
		}
		o.acme = cfg.ACME
	}
	for i := range o.cert {
		cfg.Pairs = append(cfg.Pairs, certs.Pair{CertFile: o.cert[i], KeyFile: o.key[i]})
	}
	if _, err := certs.Server(cfg); err != nil {
		return step("flags --cert and --key", err)
	}
	cfg.ClientCAFile = o.clientCA
	if _, err := certs.Server(cfg); err != nil {
		return step("flag --client-ca", err)
	}
	cfg.ClientNames = o.clientNames
	if _, err := certs.Server(cfg); err != nil {
		return step("flag --client-names", err)
	}
	cfg.TicketKeyFile = o.ticketKeys
	if o.listenTLS, err = certs.NewServer(cfg, o.log); err != nil {
		return step("flag --ticket-keys", err)
	}
	o.live = append(o.live, o.listenTLS)
	return o.checkListenNames(o.listenTLS.Certificates())
}

// makeFiles makes what is kept beside the configuration, as nobody does who only checks it.
func (o *options) makeFiles() error {
	if o.acme != nil {
		return step("flags --acme-*", o.acme.MakeCache())
	}
	return nil
}

// checkListenNames sees that a listener whose URL has a name can show a certificate for it: clients will ask for that.
func (o *options) checkListenNames(certs []*x509.Certificate) error {
	for _, e := range o.listeners {
		if e.scheme != "https" && e.scheme != "h2tp" || e.host == "" || networkOf(e.host) != "tcp" || len(o.acmeNames) > 0 {
			continue
		}
		isNamed := func(c *x509.Certificate) bool { return c.VerifyHostname(e.host) == nil }
		if !slices.ContainsFunc(certs, isNamed) {
			return about("cert", fmt.Errorf("flag --cert: no certificate has the name %s of %s", e.host, e.url))
		}
	}
	return nil
}

// loadToTLS reads the destinations' files.
func (o *options) loadToTLS() error {
	cfg := certs.ClientConfig{CAFile: o.ca, ServerName: o.serverName, InsecureSkipVerify: o.insecureSkipVerify}
	if _, err := certs.Client(cfg); err != nil {
		return step("flag --ca", err)
	}
	cfg.CertFile, cfg.KeyFile = o.clientCert, o.clientKey
	l, err := certs.NewClient(cfg, o.log)
	if err != nil {
		return step("flags --client-cert and --client-key", err)
	}
	o.live = append(o.live, l)
	o.TLS, o.upstreamTLS = l.Config, func() *tls.Config { return l.ConfigFor("http/1.1") }
	return nil
}

// follow keeps the certificates true to their files until ctx ends.
func (s *server) follow(ctx context.Context, o *options) {
	for _, l := range o.live {
		s.files.Go(func() { l.Follow(ctx) })
	}
	if o.config != "" {
		s.files.Go(func() { s.followConfig(ctx) })
	}
	if o.token != nil {
		s.files.Go(func() { o.token.follow(ctx) })
	}
	if o.acme != nil {
		s.files.Go(func() { o.acme.ObtainAll(ctx) })
		s.files.Go(func() { o.acme.Follow(ctx) })
	}
}

// reload reads the certificates anew, as SIGHUP asks.
func reload(live []*certs.Live, log *slog.Logger) error {
	var errs []error
	for _, l := range live {
		if err := l.Reload(); err != nil {
			log.Error("certificates not reloaded, the old ones stay", "err", err)
			errs = append(errs, fmt.Errorf("certificates not reloaded, the old ones stay: %w", err))
		}
	}
	return errors.Join(errs...)
}
