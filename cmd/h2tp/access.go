package main

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"

	"github.com/h2tp/h2tp/cmd/h2tp/internal/accesslog"
	"github.com/h2tp/h2tp/proxy"
)

// accessOptions are the flags of the access log, and of what marks requests for it.
type accessOptions struct {
	accessLog, accessLogFormat string
	accessLogSample            float64
	accessLogQuery             bool
	requestID                  bool
	traceContext               string

	onExchange func(end string) func(*proxy.Exchange) // nil without a log
}

// checkAccess finds flags without effect.
func (o *options) checkAccess(list []*setting) error {
	for _, s := range list {
		switch s.name {
		case "access-log-format", "access-log-sample", "access-log-query":
			if s.isSet() && o.accessLog == off {
				return about(s.name, fmt.Errorf("flag --%s has no effect: --access-log is off", s.name))
			}
		}
	}
	return nil
}

// checkAccessLog finds a file that is there and cannot be written to. It makes none: where the configuration is checked there may
// not be its directory.
func (o *options) checkAccessLog() error {
	if o.accessLog == off || o.accessLog == "-" {
		return nil
	}
	fi, err := os.Stat(o.accessLog)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return nil
	case err == nil && fi.Mode().IsRegular():
		var f *os.File
		if f, err = os.OpenFile(o.accessLog, os.O_APPEND|os.O_WRONLY, 0); err == nil {
			f.Close()
		}
	case err == nil && fi.IsDir():
		err = fmt.Errorf("%s is a directory", o.accessLog)
	}
	if err != nil {
		return about("access-log", fmt.Errorf("flag --access-log: %w", err))
	}
	return nil
}

// openAccessLog opens the access log; nil when it is off.
func (o *options) openAccessLog(stdout io.Writer) (*accesslog.Log, error) {
	if o.accessLog == off {
		return nil, nil
	}
	cfg := accesslog.Config{File: o.accessLog, Common: o.accessLogFormat == "common", Sample: o.accessLogSample, Query: o.accessLogQuery, Logger: o.log}
	if o.accessLog == "-" {
		cfg.File, cfg.Stdout = "", stdout
	}
	l, err := accesslog.New(cfg)
	if err != nil {
		return nil, about("access-log", fmt.Errorf("flag --access-log: %w", err))
	}
	return l, nil
}

// traceContexts are the values of --trace-context.
var traceContexts = map[string]proxy.TraceContext{"pass": proxy.TracePass, "continue": proxy.TraceContinue, "start": proxy.TraceStart}

// reopen opens the access log's file anew, as SIGHUP asks.
func (s *server) reopen() error {
	if s.access == nil {
		return nil
	}
	if err := s.access.Reopen(); err != nil {
		s.log.Error("access log not opened anew, the old file stays", "err", err)
		return errors.Join(errors.New("access log not opened anew, the old file stays"), err)
	}
	return nil
}
