package certs

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
)

// makeCache makes the directory, or sees that others cannot write to it: who can, decides what is shown.
func makeCache(dir string) error {
	if dir == "" {
		return errors.New("certs: CacheDir is empty")
	}
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return fmt.Errorf("certs: CacheDir: %w", err)
	}
	fi, err := os.Stat(dir)
	if err != nil {
		return fmt.Errorf("certs: CacheDir: %w", err)
	}
	if mode := fi.Mode().Perm(); mode&0o022 != 0 {
		return fmt.Errorf("certs: CacheDir %q: mode is %04o, others may write to it; want 0700", dir, mode)
	}
	return nil
}

// ending is a transport whose requests end with ctx: autocert's own contexts cannot be ended.
type ending struct {
	*http.Transport
	ctx context.Context
}

func (e ending) RoundTrip(r *http.Request) (*http.Response, error) {
	if e.ctx.Err() != nil {
		return nil, errClosed
	}
	ctx, cancel := context.WithCancelCause(r.Context())
	stop := context.AfterFunc(e.ctx, func() { cancel(errClosed) })
	resp, err := e.Transport.RoundTrip(r.WithContext(ctx))
	if err != nil {
		stop()
		cancel(nil)
		return nil, err
	}
	resp.Body = endingBody{resp.Body, func() { stop(); cancel(nil) }}
	return resp, nil
}

// endingBody lets go of the contexts when the body is closed.
type endingBody struct {
	io.ReadCloser
	done func()
}

func (b endingBody) Close() error {
	defer b.done()
	return b.ReadCloser.Close()
}
