package certs

import (
	"context"
	"io"
	"math/rand/v2"
	"net/http"
	"strconv"
	"time"
)

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

const (
	// leastBackoff and maxBackoff bound the wait before a request is repeated.
	leastBackoff = 10 * time.Millisecond
	maxBackoff   = 10 * time.Second
)

// backoff is how long a request that the authority did not take waits for its n-th repeat, from 1: as long as the
// answer says, else twice as long each time, and longer by chance, lest many come back at once. Of the requests that
// are called bad only those are repeated whose nonce was refused, which says nothing of the authority's load.
func backoff(n int, _ *http.Request, resp *http.Response) time.Duration {
	jitter := rand.N(time.Second)
	after := resp.Header.Get("Retry-After")
	if s, err := strconv.Atoi(after); err == nil && s >= 0 && s < 1<<30 {
		return time.Duration(s)*time.Second + jitter
	}
	if t, err := http.ParseTime(after); err == nil {
		return max(0, time.Until(t)) + jitter
	}
	least := time.Second + jitter
	if resp.StatusCode == http.StatusBadRequest {
		least = leastBackoff
	}
	return min(least<<min(max(0, n-1), 10), maxBackoff)
}
