package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"log/slog"
	"os"
	"slices"
	"strings"
	"sync/atomic"
	"time"
)

const (
	// leastToken is the size of a token that cannot be guessed, if it is random.
	leastToken = 16
	// mostToken leaves room for the other fields of a hop's stream.
	mostToken  = 1024
	mostTokens = 16
	// tokenPeriod is how often its file is read: as often as certificates' files are looked at.
	tokenPeriod = 10 * time.Second
)

// sharedToken is the secret that both ends of a hop share, as its file has it.
type sharedToken struct {
	file string
	log  *slog.Logger
	cur  atomic.Pointer[[]string]
	last os.FileInfo // as it was looked at last; owned by follow
}

func newToken(file string, log *slog.Logger) (*sharedToken, error) {
	t := &sharedToken{file: file, log: log, last: stampOf(file)}
	list, err := t.read()
	t.cur.Store(&list)
	return t, err
}

func (t *sharedToken) lines() []string { return *t.cur.Load() }

// read returns the file's lines. Its errors hold none of them.
func (t *sharedToken) read() ([]string, error) {
	f, err := os.Open(t.file)
	if pe, ok := errors.AsType[*fs.PathError](err); ok {
		return nil, fmt.Errorf("%s: %w", t.file, pe.Err)
	}
	defer f.Close()
	b, err := io.ReadAll(io.LimitReader(f, mostTokens*(mostToken+2)+1))
	if pe, ok := errors.AsType[*fs.PathError](err); ok {
		return nil, fmt.Errorf("%s: %w", t.file, pe.Err)
	}
	list := strings.Split(string(bytes.TrimRight(b, "\r\n")), "\n")
	if len(list) > mostTokens {
		return nil, fmt.Errorf("%s: more than %d lines", t.file, mostTokens)
	}
	for i, line := range list {
		line = strings.TrimSuffix(line, "\r")
		list[i] = line
		switch {
		case len(line) < leastToken || len(line) > mostToken:
			return nil, fmt.Errorf("%s: line %d has %d bytes; want %d to %d", t.file, i+1, len(line), leastToken, mostToken)
		case strings.ContainsFunc(line, func(r rune) bool { return r <= ' ' || r > '~' }):
			return nil, fmt.Errorf("%s: line %d has other bytes than visible ASCII", t.file, i+1)
		}
	}
	return list, nil
}

// reload takes what the file has now; when something is wrong with it, what was there before stays. Without a file there is
// nothing to do.
func (t *sharedToken) reload() error {
	if t == nil {
		return nil
	}
	list, err := t.read()
	if err != nil {
		t.log.Error("token not reloaded, the old one stays", "err", err)
		return fmt.Errorf("token not reloaded, the old one stays: %w", err)
	}
	if !slices.Equal(list, t.lines()) {
		t.cur.Store(&list)
		t.log.Info("token reloaded", "file", t.file)
	}
	return nil
}

// follow reads the file from time to time until ctx ends.
func (t *sharedToken) follow(ctx context.Context) {
	ticker := time.NewTicker(tokenPeriod)
	defer ticker.Stop()
	for {
		select {
		case <-ticker.C:
		case <-ctx.Done():
			return
		}
		if now := stampOf(t.file); !isSame(now, t.last) { // what is wrong with it is said once
			t.last = now
			t.reload()
		}
	}
}
