package main

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"os/signal"
	"sync"
	"sync/atomic"
	"syscall"
	"time"

	"github.com/h2tp/h2tp/certs"
	"github.com/h2tp/h2tp/cmd/h2tp/internal/admin"
	"github.com/h2tp/h2tp/cmd/h2tp/internal/page"
	"github.com/h2tp/h2tp/proxy"
)

const demoUsage = `h2tp demo runs an upstream, a back and a front in one process on loopback, the hop over TLS with a
certificate made on the spot, and prints every second what clients exchanged and what crossed the
hop for it; a page shows more. Ctrl-C ends it.

Usage: h2tp demo [flags]

Flags:
`

// demoOptions are what the flags of demo say.
type demoOptions struct {
	listen, compress string
	load, seconds    int
}

func (o *demoOptions) settings() []*setting {
	*o = demoOptions{listen: "127.0.0.1:8080", compress: "zstd", load: 50}
	list := []*setting{
		{name: "listen", arg: "HOST:PORT", value: text(&o.listen), usage: "where the front accepts clients; another port is used when this one is taken"},
		{name: "compress", arg: "CODEC", value: choice(&o.compress, "zstd", "snappy", "flate", "none"), usage: "codec of the hop: zstd, snappy, flate or none"},
		{name: "load", arg: "N", value: count(&o.load, 0, 1000, false), usage: "requests a second the demo makes itself; 0 makes none"},
		{name: "seconds", arg: "N", value: count(&o.seconds, 0, 1<<20, false), usage: "seconds after which it ends by itself; 0 is never"},
	}
	for _, s := range list {
		s.def = s.get()
	}
	return list
}

// demonstration is the running demo.
type demonstration struct {
	opt      demoOptions
	out      io.Writer
	upstream *http.Server
	back     *proxy.Back
	front    *proxy.Front
	admin    *admin.Server // of the front
	url      string        // of the front
	failed   atomic.Int64
	wg       sync.WaitGroup // the Serve calls, loadLoop
}

// demo runs until a signal, the end of ctx, or --seconds.
func demo(ctx context.Context, args []string, stdout, stderr io.Writer) error {
	d := &demonstration{out: stdout}
	list := d.opt.settings()
	if err := parseFlags(list, args); err != nil {
		return orHelp(err, stdout, demoUsage, list)
	}
	host, _, err := net.SplitHostPort(d.opt.listen)
	if err != nil {
		return usageError{fmt.Errorf("flag --listen: %q is not HOST:PORT", d.opt.listen)}
	}
	ctx, stop := signal.NotifyContext(ctx, syscall.SIGTERM, syscall.SIGINT)
	defer stop()
	if d.opt.seconds > 0 {
		var cancel context.CancelFunc
		ctx, cancel = context.WithTimeout(ctx, time.Duration(d.opt.seconds)*time.Second)
		defer cancel()
	}
	defer d.close()
	if err := d.start(host, newLogger(stderr, "text", slog.LevelWarn)); err != nil {
		return err
	}
	d.introduce()
	d.report(ctx)
	stop() // from here a signal ends the process
	return d.shutdown()
}

// start brings up upstream, back and front, in this order.
func (d *demonstration) start(host string, log *slog.Logger) error {
	codec, err := proxy.ParseCodec(d.opt.compress)
	if err != nil {
		return usageError{fmt.Errorf("flag --compress: %w", err)}
	}
	ln, err := net.Listen("tcp", d.opt.listen)
	if errors.Is(err, syscall.EADDRINUSE) {
		fmt.Fprintf(d.out, "%s is taken, another port is used\n", d.opt.listen)
		ln, err = net.Listen("tcp", net.JoinHostPort(host, "0"))
	}
	if err != nil {
		return fmt.Errorf("flag --listen: %w", err)
	}
	defer func() {
		if d.front == nil {
			ln.Close()
		}
	}()
	upstreamLn, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return err
	}
	d.upstream = &http.Server{Handler: newDemoUpstream(), ReadHeaderTimeout: time.Minute}
	d.wg.Go(func() { d.upstream.Serve(upstreamLn) })
	ca, err := certs.NewDevCA()
	if err != nil {
		return err
	}
	hop, err := d.startBack(ca, upstreamLn.Addr().String(), proxy.Config{Hop: proxy.Hop{Compress: codec}, Logger: log})
	if err != nil {
		return err
	}
	config, err := certs.Client(certs.ClientConfig{RootCAs: ca.Pool()})
	if err != nil {
		return err
	}
	cfg := proxy.Config{Hop: proxy.Hop{Compress: codec, TLS: func() *tls.Config { return config }}, Logger: log, To: []string{hop}}
	if d.front, err = proxy.NewFront(cfg); err != nil {
		return err
	}
	d.wg.Go(func() { d.front.Serve(ln) })
	d.url = "http://" + ln.Addr().String()
	fmt.Fprintf(d.out, "upstream  http://%s\nback      %s\nfront     %s\n", upstreamLn.Addr(), hop, d.url)
	return d.startPage(log)
}

// startPage shows the front as --admin does.
func (d *demonstration) startPage(log *slog.Logger) error {
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return err
	}
	began := time.Now()
	state := func() admin.State {
		end := admin.End{Name: "http", Kind: "front", URLs: []string{d.url}, Stats: d.front.Stats()}
		return admin.State{Version: version(), Started: began, IsServing: true, Ends: []admin.End{end}}
	}
	d.admin = admin.New(admin.Config{State: state, Page: page.Handler(), Logger: log})
	d.wg.Go(func() { d.admin.Serve(ln) })
	fmt.Fprintf(d.out, "page      http://%s/\n", ln.Addr())
	return nil
}

func (d *demonstration) startBack(ca *certs.DevCA, upstream string, cfg proxy.Config) (hop string, err error) {
	cert, err := ca.Issue("127.0.0.1")
	if err != nil {
		return "", err
	}
	if cfg.ListenTLS, err = certs.Server(certs.ServerConfig{Certificate: &cert}); err != nil {
		return "", err
	}
	cfg.To = []string{"http://" + upstream}
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return "", err
	}
	if d.back, err = proxy.NewBack(cfg); err != nil {
		ln.Close()
		return "", err
	}
	d.wg.Go(func() { d.back.Serve(ln) })
	return "h2tp://" + ln.Addr().String(), nil
}

// introduce says what to try.
func (d *demonstration) introduce() {
	fmt.Fprintf(d.out, `
try   curl -i '%[1]s/items?n=3'
and   for i in $(seq 2000); do curl -s -o /dev/null '%[1]s/items?n=20'; done
or    wrk -c 64 -d 10s '%[1]s/items?n=20'

`, d.url)
	if d.opt.load > 0 {
		fmt.Fprintf(d.out, "%d requests a second are made here; --load 0 makes none.\n", d.opt.load)
	}
	io.WriteString(d.out, "Ctrl-C ends it. The hop's bytes are those of HTTP/2, without TLS.\n\n")
}

// report writes a line every second until ctx ends.
func (d *demonstration) report(ctx context.Context) {
	if d.opt.load > 0 {
		d.wg.Go(func() { d.loadLoop(ctx) })
	}
	fmt.Fprintf(d.out, "%10s %18s %18s %8s\n", "requests", "clients exchanged", "crossed the hop", "saved")
	ticker := time.NewTicker(time.Second)
	defer ticker.Stop()
	before := d.front.Stats()
	for {
		select {
		case <-ticker.C:
		case <-ctx.Done():
			return
		}
		now := d.front.Stats()
		fmt.Fprintln(d.out, reportLine(before, now))
		if n := d.failed.Swap(0); n > 0 {
			fmt.Fprintf(d.out, "%10d failed\n", n)
		}
		before = now
	}
}

// reportLine says what happened between two readings.
func reportLine(before, now proxy.Stats) string {
	clients := now.ClientIn + now.ClientOut - before.ClientIn - before.ClientOut
	hop := now.HopIn + now.HopOut - before.HopIn - before.HopOut
	saved := "-"
	if clients > 0 && now.Exchanges > before.Exchanges {
		saved = fmt.Sprintf("%.1f %%", 100*(1-float64(hop)/float64(clients)))
	}
	return fmt.Sprintf("%10d %16d B %16d B %8s", now.Exchanges-before.Exchanges, clients, hop, saved)
}

// loadLoop makes requests of its own, so that there is something to see.
func (d *demonstration) loadLoop(ctx context.Context) {
	client := &http.Client{Transport: &http.Transport{}, Timeout: 10 * time.Second}
	defer client.CloseIdleConnections()
	ticker := time.NewTicker(time.Second / time.Duration(d.opt.load))
	defer ticker.Stop()
	for {
		select {
		case <-ticker.C:
		case <-ctx.Done():
			return
		}
		if err := fetch(ctx, client, d.url+"/items?n=20"); err != nil && ctx.Err() == nil {
			d.failed.Add(1)
		}
	}
}

func fetch(ctx context.Context, client *http.Client, url string) error {
	req, err := http.NewRequestWithContext(ctx, "GET", url, nil)
	if err != nil {
		return err
	}
	resp, err := client.Do(req)
	if err != nil {
		return err
	}
	defer resp.Body.Close()
	if _, err := io.Copy(io.Discard, resp.Body); err != nil {
		return err
	}
	if resp.StatusCode != http.StatusOK {
		return errors.New(resp.Status)
	}
	return nil
}

// demoDrain bounds the clean end of the demo.
const demoDrain = 5 * time.Second

// shutdown drains the parts, the one that clients see first.
func (d *demonstration) shutdown() error {
	fmt.Fprintln(d.out, "ending")
	ctx, cancel := context.WithTimeout(context.Background(), demoDrain)
	defer cancel()
	return errors.Join(d.front.Shutdown(ctx), d.back.Shutdown(ctx), d.upstream.Shutdown(ctx))
}

// close stops what still runs, and waits for it.
func (d *demonstration) close() {
	if d.front != nil {
		d.front.Close()
	}
	if d.back != nil {
		d.back.Close()
	}
	if d.upstream != nil {
		d.upstream.Close()
	}
	if d.admin != nil {
		d.admin.Close()
	}
	d.wg.Wait()
}
