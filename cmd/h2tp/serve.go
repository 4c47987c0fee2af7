package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"log/slog"
	"net"
	"os"
	"os/signal"
	"slices"
	"strings"
	"sync"
	"syscall"

	"github.com/coreos/go-systemd/v22/daemon"

	"github.com/h2tp/h2tp/cmd/h2tp/internal/accesslog"
	"github.com/h2tp/h2tp/proxy"
)

const serveUsage = `h2tp serve accepts exchanges at the --listen URLs and passes them on to the --to URLs.

  a front:       h2tp serve --listen http://:8080 --to h2tp://back:8443
  a back:        h2tp serve --listen h2tp://:8443 --cert c.pem --key k.pem --to http://127.0.0.1:9000
  in the clear:  h2tpc in place of h2tp, and no certificate

Each flag may also be a variable, H2TP_MAX_BODY for --max-body, or a key of --config's file.
Sizes are bytes, or end in KiB, MiB or GiB; durations end in ms, s, m or h. SIGTERM and SIGINT
stop accepting and let what runs finish; a second one stops at once. SIGHUP reads certificates again. The exit code is 0 after a
clean end, 1 when something failed, 2 for a mistake in the flags.

Usage: h2tp serve --listen URL[,URL...] --to URL[,URL...] [flags]

Flags:
`

// orHelp writes the help when that is what was asked for, and returns err.
func orHelp(err error, w io.Writer, usage string, list []*setting) error {
	if errors.Is(err, flag.ErrHelp) {
		io.WriteString(w, usage)
		writeFlags(w, list)
	}
	return err
}

// serve runs the ends that the flags ask for until a signal or the end of ctx.
func serve(ctx context.Context, args []string, stdout, stderr io.Writer) error {
	o, list, err := parseOptions(args, stderr)
	if err != nil {
		return orHelp(err, stdout, serveUsage, list)
	}
	log := o.log
	for _, w := range o.warnings() {
		log.Warn("INSECURE: " + w)
	}
	if o.trace {
		o.Trace = newTrace(log)
	}
	sigc := notify()
	defer signal.Stop(sigc)
	hupc := make(chan os.Signal, 1)
	signal.Notify(hupc, syscall.SIGHUP)
	defer signal.Stop(hupc)
	s := &server{log: log, failc: make(chan error, 1), drainc: make(chan struct{}, 1), manager: manager{log: log}}
	s.reload = func() error {
		s.manager.tell(reloading())
		defer s.manager.tell(daemon.SdNotifyReady)
		o.token.reload()
		return errors.Join(reload(o.live, log), s.reopen())
	}
	if o.inherited, err = inheritListeners(); err != nil {
		return err
	}
	defer func() { closeAll(o.inherited) }()
	if s.access, err = o.openAccessLog(stdout); err != nil {
		return err
	}
	if s.access != nil {
		defer s.access.Close() // after the ends
		o.onExchange = s.access.For
	}
	defer s.admin.close()
	if err := s.startAdmin(ctx, o); err != nil {
		return err
	}
	defer s.close()
	if err := s.start(ctx, o); err != nil {
		return err
	}
	followCtx, stop := context.WithCancel(ctx)
	defer stop()
	s.follow(followCtx, o)
	s.admin.note(true, false)
	log.Info("serving", "to", o.to)
	s.manager.tell(daemon.SdNotifyReady, "STATUS=serving "+strings.Join(o.to, ", "))
	if every := s.manager.every(); every > 0 {
		s.wg.Go(func() { s.watchdogLoop(followCtx, every) })
	}
	return s.wait(ctx, sigc, hupc, o)
}

func newLogger(w io.Writer, format, level string) *slog.Logger {
	var opt slog.HandlerOptions
	var l slog.Level
	if err := l.UnmarshalText([]byte(level)); err != nil {
		panic("h2tp: bug: " + err.Error())
	}
	opt.Level = l
	if format == "json" {
		return slog.New(slog.NewJSONHandler(w, &opt))
	}
	return slog.New(slog.NewTextHandler(w, &opt))
}

// notify takes the signals that end a process; two fit, the second counts.
func notify() chan os.Signal {
	sigc := make(chan os.Signal, 2)
	signal.Notify(sigc, syscall.SIGTERM, syscall.SIGINT)
	return sigc
}

// end is a front or a back.
type end interface {
	Serve(net.Listener) error
	Shutdown(context.Context) error
	Close() error
}

// server runs ends on their listeners.
type server struct {
	log   *slog.Logger
	ends  []end
	failc chan error     // the first end that failed, capacity 1
	wg    sync.WaitGroup // serveLoops, shutdown

	manager manager
	admin   adminServer
	access  *accesslog.Log // nil without
	drainc  chan struct{}  // draining was ordered, capacity 1
	reload  func() error   // logs what it does
}

// kind tells which listeners share an end: all fronts do, and backs with the
// same prefix and the same way in.
type kind struct {
	scheme, prefix string
}

// start listens everywhere before anything is served, so that a taken port ends
// the process before the first client comes.
func (s *server) start(ctx context.Context, o *options) error {
	listeners := slices.Concat(o.listeners, o.redirects)
	lns := make([]net.Listener, 0, len(listeners))
	for _, e := range listeners {
		ln, err := o.open(ctx, e)
		if err != nil {
			closeAll(lns)
			return fmt.Errorf("flag --%s: %s: %w", flagOf(e), e.url, err)
		}
		if e.scheme == "https" && o.httpsAddr == nil {
			o.httpsAddr = ln.Addr()
		}
		lns = append(lns, ln)
	}
	if len(o.inherited) > 0 {
		closeAll(lns)
		return fmt.Errorf("the service manager's socket %s is no flag's: neither --listen nor --redirect nor --admin names it", o.inherited[0].Addr())
	}
	ends := make(map[kind]end)
	for i, e := range listeners {
		k := kind{e.scheme, e.prefix}
		if k.scheme == "unix" {
			k.scheme = "http"
		}
		if ends[k] == nil {
			end, err := o.newEnd(k, s.log)
			if err != nil {
				closeAll(lns[i:])
				return err
			}
			ends[k] = end
			s.ends = append(s.ends, end)
		}
		url := e.scheme + "://" + lns[i].Addr().String() + e.prefix
		s.log.Info("listening", "url", url)
		s.admin.add(ends[k], k, url)
		s.serve(ends[k], lns[i])
	}
	return nil
}

// flagOf is the flag that asked for a listener.
func flagOf(e endpoint) string {
	if e.scheme == "redirect" {
		return "redirect"
	}
	return "listen"
}

func (o *options) newEnd(k kind, log *slog.Logger) (end, error) {
	cfg := proxy.Config{Limits: o.Limits, Hop: o.Hop, Balance: o.Balance, Entry: o.Entry, Routes: o.ways, UpstreamTLS: o.upstreamTLS, Prefix: k.prefix, Logger: log}
	cfg.RequestID, cfg.TraceContext = o.requestID, traceContexts[o.traceContext]
	if o.onExchange != nil {
		cfg.OnExchange = o.onExchange(k.scheme + k.prefix)
	}
	switch k.scheme {
	case "http":
		return proxy.NewFront(cfg)
	case "https":
		cfg.ListenTLS = o.webTLS.Config()
		return proxy.NewFront(cfg)
	case "redirect":
		return o.newRedirector(o.httpsAddr), nil
	case "h2tp":
		cfg.ListenTLS = o.hopTLS.Config()
	default:
		cfg.Cleartext = true
	}
	return proxy.NewBack(cfg)
}

func (s *server) serve(e end, ln net.Listener) {
	s.wg.Go(func() { s.serveLoop(e, ln) })
}

func (s *server) serveLoop(e end, ln net.Listener) {
	if err := e.Serve(ln); !errors.Is(err, proxy.ErrClosed) {
		select {
		case s.failc <- err:
		default:
		}
	}
}

// wait ends with the first signal or ctx, and then drains.
func (s *server) wait(ctx context.Context, sigc, hupc <-chan os.Signal, o *options) error {
	var why string
	for why == "" {
		select {
		case err := <-s.failc:
			return err
		case <-hupc:
			s.reload()
		case <-s.drainc:
			why = "ordered"
		case sig := <-sigc:
			why = sig.String()
		case <-ctx.Done():
			why = context.Cause(ctx).Error()
		}
	}
	s.admin.note(true, true)
	s.manager.tell(daemon.SdNotifyStopping, "STATUS=draining: "+why)
	s.log.Info("draining", "why", why, "timeout", o.drainTimeout)
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), o.drainTimeout)
	defer cancel()
	donec := make(chan error, 1)
	s.wg.Go(func() { s.shutdown(ctx, donec) })
	select {
	case err := <-donec:
		if err == nil {
			s.log.Info("drained")
		}
		return err
	case sig := <-sigc:
		return fmt.Errorf("stopped before the drain was over: %s", sig)
	}
}

// shutdown drains all ends at once: none needs another.
func (s *server) shutdown(ctx context.Context, donec chan<- error) {
	errs := make([]error, len(s.ends))
	var wg sync.WaitGroup
	for i, e := range s.ends {
		wg.Go(func() { errs[i] = e.Shutdown(ctx) })
	}
	wg.Wait()
	err := errors.Join(errs...)
	if err != nil {
		err = fmt.Errorf("not all exchanges finished within --drain-timeout: %w", err)
	}
	donec <- err
}

// close stops what still runs, and waits for it.
func (s *server) close() {
	for _, e := range s.ends {
		e.Close()
	}
	s.wg.Wait()
}
