package certs

import (
	"testing"
	"time"

	"golang.org/x/crypto/acme/autocert"
)

func TestCoolDownDoublesFromAMinuteToSixHours(t *testing.T) {
	c := coolDown{autocert.DirCache(t.TempDir())}
	now := time.Unix(1e9, 0)
	if err := c.check("a.example", now); err != nil {
		t.Fatal(err)
	}
	for _, want := range []time.Duration{1, 2, 4, 8, 16, 32, 64, 128, 256, 360, 360} {
		want *= time.Minute
		if got := c.failed("a.example", now); got != want {
			t.Fatalf("got %v; want %v", got, want)
		}
		if c.check("a.example", now.Add(want-1)) == nil {
			t.Errorf("tried before %v were over", want)
		}
		now = now.Add(want)
		if err := c.check("a.example", now); err != nil {
			t.Errorf("after %v: %v", want, err)
		}
	}
	if err := c.check("a.example", now.Add(-24*time.Hour)); err != nil {
		t.Errorf("with a clock that was set back a day: %v", err)
	}
	c.worked("a.example")
	if got := c.failed("a.example", now); got != time.Minute {
		t.Errorf("after it worked: got %v; want a minute", got)
	}
}
