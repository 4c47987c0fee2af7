// Package admin is the listener of those who operate h2tp: metrics, health and status, and the orders to drain and to
// reload. It has a listener and goroutines of its own, so that it answers while the ends are overloaded.
package admin

import (
	"bytes"
	"encoding/json"
	"errors"
	"io"
	"log/slog"
	"net"
	"net/http"
	"net/http/pprof"
	"strconv"
	"sync"
	"time"

	"golang.org/x/net/netutil"

	"github.com/h2tp/h2tp/proxy"
)

// maxConns bounds the connections; more wait to be accepted.
const maxConns = 256

// Config says what is told, and who does what is ordered. All funcs but State may be nil: what they do is not to be had then.
type Config struct {
	// State is asked for each answer, at most once at a time.
	State func() State
	// Drain begins to drain, and does not wait for its end.
	Drain func()
	// Reload does what SIGHUP does.
	Reload func() error
	// Page answers GET / and what is below /page/.
	Page http.Handler
	// AnyHost takes requests for any host. Else it must be an IP address or localhost, as a page that a browser shows
	// on this machine cannot have it for another name.
	AnyHost bool
	// IsSocket is of a listener on a unix socket: who asks it for some host means none, unless it is a browser, which something
	// such as ssh has brought there from a loopback address of its own.
	IsSocket bool
	// Logger takes the orders. It must be set.
	Logger *slog.Logger
}

// State is what there is to tell.
type State struct {
	Version string
	Started time.Time
	// IsServing is set once all ends accept.
	IsServing bool
	// IsDraining is set once draining has begun.
	IsDraining bool
	Ends       []End
	// Certificates are those shown, by name, with when they end.
	Certificates map[string]time.Time
	// CodecMemory and WindowMemory are what --codec-memory and --window-memory bound.
	CodecMemory, WindowMemory Memory
	// ConfigTaken and ConfigRefused are how often the configuration was read again; IsConfigRefused is what became of the last.
	ConfigTaken, ConfigRefused int64
	IsConfigRefused            bool
	// AccessLogLost are lines that did not fit the access log's queue.
	AccessLogLost int64
}

// End is a front or a back.
type End struct {
	// Name is the scheme and prefix of its listeners: all with the same are one end.
	Name  string
	Kind  string // front or back
	URLs  []string
	Stats proxy.Stats
}

// Memory is what is used of a limit; a negative one is none.
type Memory struct {
	Used    int64 `json:"used"`
	Limit   int64 `json:"limit"`
	Refused int64 `json:"refused"` // how often there was no room; of codecs only
}

// Server answers. Its methods may be called concurrently.
type Server struct {
	cfg     Config
	srv     *http.Server
	mu      sync.Mutex // held while State is asked
	history history

	donec chan struct{}
	once  sync.Once
	wg    sync.WaitGroup // sampleLoop
}

// New makes a Server.
func New(cfg Config) *Server {
	s := &Server{cfg: cfg, donec: make(chan struct{})}
	mux := http.NewServeMux()
	if cfg.Page != nil {
		mux.Handle("GET /{$}", cfg.Page)
		mux.Handle("GET /page/", cfg.Page)
	}
	mux.HandleFunc("GET /metrics", s.metrics)
	mux.HandleFunc("GET /healthz", s.healthz)
	mux.HandleFunc("GET /readyz", s.readyz)
	mux.HandleFunc("GET /status", s.status)
	if cfg.Drain != nil {
		mux.HandleFunc("POST /drain", s.drain)
	}
	if cfg.Reload != nil {
		mux.HandleFunc("POST /reload", s.reload)
	}
	mux.HandleFunc("GET /debug/pprof/", pprof.Index)
	mux.HandleFunc("GET /debug/pprof/cmdline", pprof.Cmdline)
	mux.HandleFunc("GET /debug/pprof/profile", pprof.Profile)
	mux.HandleFunc("GET /debug/pprof/symbol", pprof.Symbol)
	mux.HandleFunc("GET /debug/pprof/trace", pprof.Trace)
	s.srv = &http.Server{
		Handler: s.guard(mux), ErrorLog: slog.NewLogLogger(cfg.Logger.Handler(), slog.LevelDebug),
		ReadTimeout: 5 * time.Second, WriteTimeout: 2 * time.Minute, IdleTimeout: time.Minute, MaxHeaderBytes: 16 << 10,
	}
	return s
}

// Serve accepts on ln, and takes samples for the page, until Close, and then returns nil.
func (s *Server) Serve(ln net.Listener) error {
	s.wg.Go(s.sampleLoop)
	defer s.wg.Wait()
	defer s.stop()
	err := s.srv.Serve(netutil.LimitListener(ln, maxConns))
	if errors.Is(err, http.ErrServerClosed) {
		return nil
	}
	return err
}

// Close ends everything now.
func (s *Server) Close() error {
	s.stop()
	defer s.wg.Wait()
	return s.srv.Close()
}

func (s *Server) stop() { s.once.Do(func() { close(s.donec) }) }

func (s *Server) state() State {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.cfg.State()
}

func (s *Server) metrics(w http.ResponseWriter, _ *http.Request) {
	w.Header().Set("Content-Type", "text/plain; version=0.0.4; charset=utf-8")
	st := s.state()
	w.Write(appendMetrics(nil, &st))
}

// healthz says that the process lives: nothing of the ends is asked.
func (s *Server) healthz(w http.ResponseWriter, _ *http.Request) { io.WriteString(w, "ok\n") }

func (s *Server) readyz(w http.ResponseWriter, _ *http.Request) {
	st := s.state()
	if why := st.unready(); why != "" {
		http.Error(w, why, http.StatusServiceUnavailable)
		return
	}
	io.WriteString(w, "ready\n")
}

// unready says why no exchanges should be sent here, or nothing.
func (st *State) unready() string {
	switch {
	case st.IsDraining:
		return "draining"
	case !st.IsServing:
		return "starting"
	}
	for _, e := range st.Ends {
		isUp := false
		for _, d := range e.Stats.Destinations {
			isUp = isUp || d.IsUp
		}
		if !isUp {
			return "no destination of " + e.Name + " is up"
		}
	}
	return ""
}

// status tells with ?after=MS, of the time in ms since 1970, also the samples after it that are kept.
func (s *Server) status(w http.ResponseWriter, r *http.Request) {
	after, err := int64(-1), error(nil)
	if v := r.FormValue("after"); v != "" {
		if after, err = strconv.ParseInt(v, 10, 64); err != nil || after < 0 {
			http.Error(w, "after is not a time in milliseconds", http.StatusBadRequest)
			return
		}
	}
	st := s.state()
	to := newStatus(&st, time.Now())
	if after >= 0 {
		to.History = s.history.since(after)
		to.forget()
	}
	var b bytes.Buffer
	enc := json.NewEncoder(&b)
	if after < 0 { // a person may read it
		enc.SetIndent("", "  ")
	}
	enc.SetEscapeHTML(false)
	if err := enc.Encode(to); err != nil {
		http.Error(w, err.Error(), http.StatusInternalServerError)
		return
	}
	w.Header().Set("Content-Type", "application/json")
	w.Write(b.Bytes())
}

func (s *Server) drain(w http.ResponseWriter, r *http.Request) {
	s.cfg.Logger.Info("drain ordered", "addr", r.RemoteAddr)
	const answer = "draining\n"
	w.Header().Set("Content-Length", strconv.Itoa(len(answer)))
	w.WriteHeader(http.StatusAccepted)
	io.WriteString(w, answer)
	http.NewResponseController(w).Flush() // where nothing runs, the process ends at once
	s.cfg.Drain()
}

func (s *Server) reload(w http.ResponseWriter, r *http.Request) {
	s.cfg.Logger.Info("reload ordered", "addr", r.RemoteAddr)
	if err := s.cfg.Reload(); err != nil {
		http.Error(w, err.Error(), http.StatusInternalServerError)
		return
	}
	io.WriteString(w, "reloaded\n")
}
