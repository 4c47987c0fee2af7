package certs

import (
	"net/http"
	"testing"
	"time"
)

func TestBackoffIsAsTheAuthoritySays(t *testing.T) {
	for _, test := range []struct {
		name        string
		n, status   int
		after       string
		least, most time.Duration
	}{
		{"a nonce refused", 1, 400, "", 10 * time.Millisecond, 10 * time.Millisecond},
		{"and again", 3, 400, "", 40 * time.Millisecond, 40 * time.Millisecond},
		{"and always", 1000, 400, "", 10 * time.Second, 10 * time.Second},
		{"broken", 1, 500, "", time.Second, 2 * time.Second},
		{"still", 2, 500, "", 2 * time.Second, 4 * time.Second},
		{"for long", 30, 503, "", 10 * time.Second, 10 * time.Second},
		{"asked to wait", 1, 429, "30", 30 * time.Second, 31 * time.Second},
		{"until then", 1, 503, time.Now().Add(time.Minute).UTC().Format(http.TimeFormat), 50 * time.Second, 61 * time.Second},
		{"nonsense", 1, 503, "-5", time.Second, 2 * time.Second},
	} {
		h := http.Header{}
		if test.after != "" {
			h.Set("Retry-After", test.after)
		}
		if d := backoff(test.n, nil, &http.Response{StatusCode: test.status, Header: h}); d < test.least || d > test.most {
			t.Errorf("%s: got %v; want %v to %v", test.name, d, test.least, test.most)
		}
	}
}
