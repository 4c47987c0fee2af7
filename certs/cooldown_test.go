package certs

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"golang.org/x/crypto/acme/autocert"
)

func TestCoolDownDoublesFromAMinuteToSixHours(t *testing.T) {
	c := coolDown{cache: autocert.DirCache(t.TempDir())}
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

// A name that fails is left alone where the disk is full, too.
func TestCoolDownIsKeptWhereTheCacheTakesNothing(t *testing.T) {
	c := coolDown{cache: fullCache{}}
	now := time.Unix(1e9, 0)
	for _, want := range []time.Duration{1, 2, 4} {
		want *= time.Minute
		if got := c.failed("a.example", now); got != want || c.check("a.example", now.Add(want-1)) == nil {
			t.Errorf("left alone for %v, %v before that is over; want %v", got, c.check("a.example", now.Add(want-1)), want)
		}
		now = now.Add(want)
	}
	for i := range maxCooling { // which end later
		c.failed(fmt.Sprintf("n%d.example", i), now.Add(time.Hour))
	}
	if len(c.own) != maxCooling || c.check("n0.example", now.Add(time.Hour)) == nil {
		t.Errorf("%d names are remembered; want the %d that wait longest", len(c.own), maxCooling)
	}
	c.worked("n0.example")
	if err := c.check("n0.example", now); err != nil {
		t.Errorf("after it worked: %v", err)
	}
}

// fullCache has and takes nothing.
type fullCache struct{}

func (fullCache) Get(context.Context, string) ([]byte, error) { return nil, autocert.ErrCacheMiss }
func (fullCache) Put(context.Context, string, []byte) error {
	return errors.New("no space left on device")
}
func (fullCache) Delete(context.Context, string) error { return nil }

func TestACacheThatTakesNoWritesIsLoggedOnce(t *testing.T) {
	var log bytes.Buffer
	dir := write(t, "file", nil) // where a directory should be
	c := &dirCache{DirCache: autocert.DirCache(filepath.Join(dir, "cache")), log: slog.New(slog.NewTextHandler(&log, nil))}
	for range 3 {
		if c.Put(t.Context(), "a", nil) == nil {
			t.Fatal("written")
		}
	}
	if got := log.String(); strings.Count(got, "takes no writes") != 1 || !strings.Contains(got, dir) {
		t.Errorf("got log %q; want one line that says why", got)
	}
}
