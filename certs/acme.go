package certs

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"sync"
	"time"

	"golang.org/x/crypto/acme"
	"golang.org/x/crypto/acme/autocert"
	"golang.org/x/net/idna"
)

// ACMEConfig says for which names certificates are obtained, from whom, and where they are kept.
type ACMEConfig struct {
	// Names are exact names, or *.suffix for every name that ends in .suffix, which needs a budget. Required:
	// any other name a client asks for never causes an order.
	Names []string
	// NewNames bounds the names under a *.suffix for which a certificate is first ordered, in an hour. If
	// zero, 10 is used.
	NewNames int
	// CacheDir keeps the account's key, certificates and their keys, and what failed; several processes may
	// share it. It is made, for its owner alone, when it is missing, by [ACME.MakeCache] or the first write. Required.
	CacheDir string
	// DirectoryURL is the authority's. If empty, Let's Encrypt's is used.
	DirectoryURL string
	// Email is where the authority may write to. May be empty.
	Email string
	// CAFile names a PEM file of the authorities that vouch for the DirectoryURL's server. If empty, the
	// system's are used.
	CAFile string
	// RenewBefore is how long before its end a certificate is renewed, 30 days at most. If zero, 30 days
	// or a third of its life is used, whichever is shorter.
	RenewBefore time.Duration
	// Logger takes a line for each certificate obtained and each failure; with [ACME.Follow] also for those that were renewed
	// and that are not. If nil, none is written.
	Logger *slog.Logger
}

// ACME obtains certificates by RFC 8555, with the challenges tls-alpn-01 (RFC 8737), and http-01 where [ACME.HTTPHandler]
// is served, and renews them. Its methods may be called concurrently.
//
// A name that failed is left alone for a minute, then for twice as long each time, up to 6 hours, by all processes
// that share the cache, restarts included: Let's Encrypt allows 5 failures an hour.
type ACME struct {
	// Immutable.
	cfg     ACMEConfig
	exact   []string
	suffix  []string // with the dot in front
	manager *autocert.Manager
	// challenge is for connections by which the authority verifies a name.
	challenge *tls.Config
	cache     autocert.Cache
	cool      coolDown
	heard     *hearing
	ctx       context.Context // of what is asked of the authority; ends at Close
	cancel    context.CancelFunc
	wg        sync.WaitGroup // orderLoops

	mu      sync.Mutex         // guards all below
	known   map[string]*seen   // names that had a certificate
	flights map[string]*flight // orders under way, by name
	recent  []time.Time        // first orders under a suffix in the last hour
}

const (
	// orderWait bounds how long a handshake waits for an order; the order goes on.
	orderWait = 10 * time.Second
	// askTimeout bounds one request to the authority.
	askTimeout = 30 * time.Second
	// maxFlights bounds the orders under way at once; further names wait for another handshake.
	maxFlights = 16
)

var (
	errNotListed  = errors.New("certs: no certificate is obtained for this name")
	errStillOrder = errors.New("certs: the certificate is still being obtained")
	errBusy       = errors.New("certs: too many certificates are being obtained")
	errClosed     = errors.New("certs: closed")
	errBudget     = errors.New("certs: too many new names this hour")
)

// NewACME checks cfg, and the cache's directory if it is there. It makes nothing and asks the authority nothing yet.
func NewACME(cfg ACMEConfig) (*ACME, error) {
	a := &ACME{cfg: cfg, known: make(map[string]*seen), flights: make(map[string]*flight)}
	if a.cfg.NewNames == 0 {
		a.cfg.NewNames = 10
	}
	if a.cfg.Logger == nil {
		a.cfg.Logger = slog.New(slog.DiscardHandler)
	}
	if err := a.readNames(); err != nil {
		return nil, err
	}
	if u, err := url.Parse(cfg.DirectoryURL); cfg.DirectoryURL != "" && (err != nil || u.Scheme != "https" || u.Host == "") {
		return nil, fmt.Errorf("certs: DirectoryURL %q is not an https URL", cfg.DirectoryURL)
	}
	var roots *x509.CertPool // the system's
	if cfg.CAFile != "" {
		var err error
		if roots, err = pool("CAFile", cfg.CAFile); err != nil {
			return nil, err
		}
	}
	if err := checkCache(cfg.CacheDir); err != nil {
		return nil, err
	}
	a.ctx, a.cancel = context.WithCancel(context.Background())
	transport := http.DefaultTransport.(*http.Transport).Clone()
	transport.TLSClientConfig = &tls.Config{RootCAs: roots}
	a.heard = &hearing{next: ending{transport, a.ctx}, isListed: a.isListed, reasons: make(map[string]reason)}
	client := &acme.Client{
		DirectoryURL: cfg.DirectoryURL, UserAgent: "h2tp",
		HTTPClient:   &http.Client{Transport: a.heard, Timeout: askTimeout},
		RetryBackoff: backoff,
	}
	a.cache = &dirCache{DirCache: autocert.DirCache(cfg.CacheDir), log: a.cfg.Logger}
	a.cool.cache = a.cache
	a.manager = &autocert.Manager{
		Prompt: autocert.AcceptTOS, Cache: a.cache, HostPolicy: a.policy, Client: client,
		Email: cfg.Email, RenewBefore: cfg.RenewBefore,
	}
	a.challenge = &tls.Config{MinVersion: tls.VersionTLS12, NextProtos: []string{acme.ALPNProto}, GetCertificate: a.manager.GetCertificate}
	return a, nil
}

func (a *ACME) readNames() error {
	if len(a.cfg.Names) == 0 {
		return errors.New("certs: no names to obtain certificates for")
	}
	for _, name := range a.cfg.Names {
		plain, isSuffix := strings.CutPrefix(name, "*.")
		ascii, err := idna.Lookup.ToASCII(plain)
		if err != nil || !strings.Contains(ascii, ".") && !isSuffix || !isDNSName(ascii) {
			return fmt.Errorf("certs: %q is no DNS name a certificate can be obtained for", name)
		}
		if isSuffix {
			a.suffix = append(a.suffix, "."+ascii)
		} else {
			a.exact = append(a.exact, ascii)
		}
	}
	return nil
}

// join makes c show a's certificates and answer its challenges.
func (a *ACME) join(c *tls.Config) {
	c.GetCertificate = a.GetCertificate
	c.GetConfigForClient = a.configFor
}

// configFor answers the authority by a configuration of its own: it has no certificate to show, whatever clients need,
// offers one protocol alone, and may speak TLS 1.2 to a hop's listener too (RFC 8737 section 4).
func (a *ACME) configFor(hello *tls.ClientHelloInfo) (*tls.Config, error) {
	if !isChallenge(hello) {
		return nil, nil
	}
	return a.challenge, nil
}

// IsChallenge reports whether a connection was the authority's, to verify a name. It carries nothing
// and is to be closed.
func IsChallenge(s tls.ConnectionState) bool { return s.NegotiatedProtocol == acme.ALPNProto }

func isChallenge(hello *tls.ClientHelloInfo) bool {
	return len(hello.SupportedProtos) == 1 && hello.SupportedProtos[0] == acme.ALPNProto
}

// GetCertificate is tls.Config's. For a name that is not listed it returns neither a certificate nor an error, and
// the configuration's own are shown, if it has any.
func (a *ACME) GetCertificate(hello *tls.ClientHelloInfo) (*tls.Certificate, error) {
	if isChallenge(hello) {
		return a.manager.GetCertificate(hello)
	}
	return a.certificate(hello.Context(), hello.ServerName)
}

func (a *ACME) certificate(ctx context.Context, name string) (*tls.Certificate, error) {
	name, err := idna.Lookup.ToASCII(strings.TrimSuffix(name, "."))
	if err != nil || name == "" || !a.isListed(name) {
		return nil, nil
	}
	if a.isKnown(name) {
		return a.obtain(name) // from memory, or from the cache
	}
	f, err := a.orderFor(name)
	if err != nil {
		return nil, err
	}
	timer := time.NewTimer(orderWait)
	defer timer.Stop()
	select {
	case <-f.donec:
		return f.cert, f.err
	case <-timer.C:
		return nil, errStillOrder
	case <-ctx.Done():
		return nil, context.Cause(ctx)
	}
}

// Lists reports whether certificates are obtained for name, which is in lower case.
func (a *ACME) Lists(name string) bool { return a.isListed(name) }

func (a *ACME) isListed(name string) bool {
	return slices.Contains(a.exact, name) || a.isSuffixed(name)
}

func (a *ACME) isSuffixed(name string) bool {
	return slices.ContainsFunc(a.suffix, func(s string) bool { return strings.HasSuffix(name, s) && len(name) > len(s) })
}

// policy is autocert's; names come here by its HTTPHandler too.
func (a *ACME) policy(_ context.Context, host string) error {
	if !a.isListed(strings.ToLower(stripPort(host))) {
		return errNotListed
	}
	return nil
}

// Close ends the orders under way and waits for them. Renewals end with the process.
func (a *ACME) Close() error {
	a.mu.Lock()
	a.cancel()
	a.mu.Unlock()
	a.wg.Wait()
	return nil
}

// HTTPHandler answers http-01 challenges, on port 80, and leaves the rest to next.
func (a *ACME) HTTPHandler(next http.Handler) http.Handler { return a.manager.HTTPHandler(next) }

// Expiries returns when the certificates end that were shown since the start, by name, as they stand in the cache:
// it orders none. Those that are not there are left out.
func (a *ACME) Expiries() map[string]time.Time {
	names := a.names()
	ends := make(map[string]time.Time, len(names))
	for _, name := range names {
		if _, leaf := a.leaf(name); leaf != nil {
			ends[name] = leaf.NotAfter
		}
	}
	return ends
}

func stripPort(hostport string) string {
	if i := strings.LastIndexByte(hostport, ':'); i >= 0 && !strings.HasSuffix(hostport, "]") {
		return hostport[:i]
	}
	return hostport
}
