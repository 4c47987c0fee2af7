package main

import (
	"context"
	"errors"
	"fmt"
	"log/slog"

	"github.com/h2tp/h2tp/certs"
)

// checkTLS finds what is missing and what contradicts among the flags of TLS.
func (o *options) checkTLS() error {
	isBackTLS := o.lacks(needsBackTLS) == ""
	switch {
	case isBackTLS && len(o.cert) == 0:
		return errors.New("flag --cert is missing: a --listen URL has scheme h2tp")
	case isBackTLS && len(o.key) == 0:
		return errors.New("flag --key is missing: --cert has no use without it")
	case len(o.cert) != len(o.key):
		return fmt.Errorf("flags --cert and --key name %d and %d files; each certificate has its key", len(o.cert), len(o.key))
	case len(o.clientNames) > 0 && o.clientCA == "":
		return errors.New("flag --client-names has no effect: --client-ca is missing")
	case (o.clientCert == "") != (o.clientKey == ""):
		return errors.New("flags --client-cert and --client-key are given together or not at all")
	case o.insecureSkipVerify && o.ca != "":
		return errors.New("flags --insecure-skip-verify and --ca contradict each other")
	}
	return nil
}

// loadTLS reads the files, one flag after the other so that an error names it.
func (o *options) loadTLS() error {
	if len(o.cert) > 0 {
		var cfg certs.ServerConfig
		for i := range o.cert {
			cfg.Pairs = append(cfg.Pairs, certs.Pair{CertFile: o.cert[i], KeyFile: o.key[i]})
		}
		if _, err := certs.NewServer(cfg, nil); err != nil {
			return fmt.Errorf("flags --cert and --key: %w", err)
		}
		cfg.ClientCAFile, cfg.ClientNames = o.clientCA, o.clientNames
		if _, err := certs.NewServer(cfg, nil); err != nil {
			return fmt.Errorf("flag --client-ca: %w", err)
		}
		cfg.TicketKeyFile = o.ticketKeys
		live, err := certs.NewServer(cfg, o.log)
		if err != nil {
			return fmt.Errorf("flag --ticket-keys: %w", err)
		}
		o.live = append(o.live, live)
		o.listenTLS = live.Config()
	}
	if o.lacks(needsPeerTLS) == "" {
		cfg := certs.ClientConfig{CAFile: o.ca, InsecureSkipVerify: o.insecureSkipVerify}
		if _, err := certs.NewClient(cfg, nil); err != nil {
			return fmt.Errorf("flag --ca: %w", err)
		}
		cfg.CertFile, cfg.KeyFile = o.clientCert, o.clientKey
		live, err := certs.NewClient(cfg, o.log)
		if err != nil {
			return fmt.Errorf("flags --client-cert and --client-key: %w", err)
		}
		o.live = append(o.live, live)
		o.TLS = live.Config()
	}
	return nil
}

// follow keeps the certificates true to their files until ctx ends.
func (s *server) follow(ctx context.Context, live []*certs.Live) {
	for _, l := range live {
		s.wg.Go(func() { l.Follow(ctx) })
	}
}

// reload reads the certificates anew, as SIGHUP asks.
func reload(live []*certs.Live, log *slog.Logger) {
	for _, l := range live {
		if err := l.Reload(); err != nil {
			log.Error("certificates not reloaded, the old ones stay", "err", err)
			return
		}
	}
	log.Info("reloaded")
}
