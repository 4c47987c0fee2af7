package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"log/slog"
	"maps"
	"os"
	"os/signal"
	"slices"
	"strings"
	"sync"
	"syscall"
	"time"

	"github.com/coreos/go-systemd/v22/daemon"

	"github.com/h2tp/h2tp/cmd/h2tp/internal/accesslog"
)

const serveUsage = `h2tp serve accepts exchanges at the --listen URLs and passes them on to the --to URLs.

  a front:       h2tp serve --listen http://:8080 --to h2tp://back:8443
  a back:        h2tp serve --listen h2tp://:8443 --cert c.pem --key k.pem --to http://127.0.0.1:9000
  in the clear:  h2tpc in place of h2tp, and no certificate

Each flag may also be a variable, H2TP_MAX_BODY for --max-body, or a key of --config's file.
Sizes are bytes, or end in KiB, MiB or GiB; durations end in ms, s, m or h. SIGTERM and SIGINT
stop accepting and let what runs finish; a second one stops at once. SIGHUP reads certificates and
--config's file again. The exit code is 0 after a
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
	if err := o.makeFiles(); err != nil {
		return usageError{o.located(list, err)}
	}
	log := o.log
	for _, w := range o.warnings(nil) {
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
	s := newServer(args, o, list)
	if o.inherited, err = inheritListeners(); err != nil {
		return err
	}
	defer func() { closeAll(o.inherited) }()
	if s.access, err = o.openAccessLog(stdout); err != nil {
		return usageError{o.located(list, err)}
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
	s.files.Go(func() { s.hupLoop(followCtx, hupc) })
	s.admin.note(true, false)
	log.Info("serving", "to", o.to, "routes", len(o.ways))
	s.manager.tell(daemon.SdNotifyReady, "STATUS=serving "+strings.Join(o.to, ", "))
	if every := s.manager.every(); every > 0 {
		s.wg.Go(func() { s.watchdogLoop(followCtx, every) })
	}
	return s.wait(ctx, sigc)
}

func newLogger(w io.Writer, format string, level slog.Leveler) *slog.Logger {
	opt := slog.HandlerOptions{Level: level}
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

// server runs ends on their listeners.
type server struct {
	// Immutable.
	log     *slog.Logger
	args    []string
	base    *options       // what it began with: what no reload changes is as here
	failc   chan error     // the first end that failed, capacity 1
	wg      sync.WaitGroup // serveLoops, shutdown, ends that are left
	files   sync.WaitGroup // loops that read files
	manager manager
	admin   adminServer
	access  *accesslog.Log // nil without
	drainc  chan struct{}  // draining was ordered, capacity 1
	life    context.Context
	die     context.CancelFunc

	// reloading is held while the configuration is read again, for as long as file systems, names and sockets take; who holds it
	// may read what only it changes, with mu: cur, list, ends, served, refusal.
	reloading sync.Mutex

	mu         sync.Mutex // guards all below
	cur        *options   // as configured now, but for files: those are base's
	list       []*setting // of cur
	ends       map[kind]end
	left       map[end]struct{} // ends without listeners, that finish what they have
	served     []*served
	stamp      os.FileInfo // of the configuration read last
	refusal    string      // what was wrong with the configuration read last, or nothing
	isDraining bool
}

func newServer(args []string, o *options, list []*setting) *server {
	s := &server{
		log: o.log, args: args, base: o, cur: o, list: list, stamp: o.stamp, failc: make(chan error, 1), drainc: make(chan struct{}, 1),
		manager: manager{log: o.log}, ends: make(map[kind]end), left: make(map[end]struct{}),
	}
	s.life, s.die = context.WithCancel(context.Background())
	return s
}

// start listens everywhere before anything is served, so that a taken port ends
// the process before the first client comes.
func (s *server) start(ctx context.Context, o *options) error {
	opened, err := o.openAll(ctx, slices.Concat(o.listeners, o.redirects))
	if err != nil {
		return o.located(s.list, err)
	}
	if len(o.inherited) > 0 {
		closeServed(opened)
		return fmt.Errorf("the service manager's socket %s is no flag's: neither --listen nor --redirect nor --admin names it", o.inherited[0].Addr())
	}
	made, err := s.makeEnds(opened, o.ways)
	if err != nil {
		closeServed(opened)
		for _, e := range made {
			e.Close()
		}
		return err
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.serveLocked(opened, made)
	return nil
}

// wait ends with the first signal or ctx, and then drains.
func (s *server) wait(ctx context.Context, sigc <-chan os.Signal) error {
	var why string
	for why == "" {
		select {
		case err := <-s.failc:
			return err
		case <-s.drainc:
			why = "ordered"
		case sig := <-sigc:
			why = sig.String()
		case <-ctx.Done():
			why = context.Cause(ctx).Error()
		}
	}
	s.admin.note(true, true)
	ends, timeout := s.beginDrain()
	s.manager.tell(daemon.SdNotifyStopping, "STATUS=draining: "+why)
	s.log.Info("draining", "why", why, "timeout", timeout)
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), timeout)
	defer cancel()
	donec := make(chan error, 1)
	s.wg.Go(func() { shutdown(ctx, ends, donec) })
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

// beginDrain refuses reloads from now on.
func (s *server) beginDrain() (ends []end, timeout time.Duration) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.isDraining = true
	return slices.AppendSeq(slices.Collect(maps.Values(s.ends)), maps.Keys(s.left)), s.cur.drainTimeout
}

// shutdown drains all ends at once: none needs another.
func shutdown(ctx context.Context, ends []end, donec chan<- error) {
	errs := make([]error, len(ends))
	var wg sync.WaitGroup
	for i, e := range ends {
		wg.Go(func() { errs[i] = e.Shutdown(ctx) })
	}
	wg.Wait()
	err := errors.Join(errs...)
	if err != nil {
		err = fmt.Errorf("not all exchanges finished within --drain-timeout: %w", err)
	}
	donec <- err
}

func (s *server) isEnding() bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.isDraining
}

// filesWait bounds how long the end waits for what reads files: a file system that answers nothing, or a pipe in the place of a file,
// keeps nobody from stopping the process.
const filesWait = 2 * time.Second

// close stops what still runs, and waits for it.
func (s *server) close() {
	ends, _ := s.beginDrain()
	s.die()
	for _, e := range ends {
		e.Close()
	}
	s.wg.Wait()
	donec := make(chan struct{})
	go s.awaitFiles(donec)
	timer := time.NewTimer(filesWait)
	defer timer.Stop()
	select {
	case <-donec:
	case <-timer.C:
		s.log.Warn("files are still being read, nobody waits for them")
	}
}

func (s *server) awaitFiles(donec chan<- struct{}) {
	s.files.Wait()
	close(donec)
}
