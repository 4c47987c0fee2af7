package certs

import (
	"context"
	"encoding/json"
	"fmt"
	"time"

	"golang.org/x/crypto/acme/autocert"
)

const (
	coolFirst = time.Minute
	coolMost  = 6 * time.Hour
)

// coolDown remembers, in the cache, which names failed and when they may be tried again.
type coolDown struct {
	cache autocert.Cache
}

// cooling is what the cache holds of one name. Times of the wall: processes and restarts share it.
type cooling struct {
	Until time.Time     `json:"until"`
	Delay time.Duration `json:"delay"`
}

func coolKey(name string) string { return "h2tp+" + name + "+failed" }

func (c coolDown) get(name string) (v cooling) {
	ctx, cancel := context.WithTimeout(context.Background(), orderWait)
	defer cancel()
	if b, err := c.cache.Get(ctx, coolKey(name)); err == nil {
		_ = json.Unmarshal(b, &v) // what cannot be read is as if it were not there
	}
	return v
}

// check returns an error while name is to be left alone. A clock that was set back does not make it longer
// than its delay.
func (c coolDown) check(name string, now time.Time) error {
	v := c.get(name)
	if now.Before(v.Until) && v.Until.Sub(now) <= v.Delay {
		return fmt.Errorf("certs: %s failed before; it is tried again in %v", name, v.Until.Sub(now).Round(time.Second))
	}
	return nil
}

// failed notes a failure and returns how long name is left alone.
func (c coolDown) failed(name string, now time.Time) time.Duration {
	v := c.get(name)
	v.Delay = min(max(2*v.Delay, coolFirst), coolMost)
	v.Until = now.Add(v.Delay)
	b, err := json.Marshal(v)
	if err != nil {
		panic("h2tp: bug: " + err.Error())
	}
	ctx, cancel := context.WithTimeout(context.Background(), orderWait)
	defer cancel()
	_ = c.cache.Put(ctx, coolKey(name), b) // a cache that takes nothing fails the order itself
	return v.Delay
}

func (c coolDown) worked(name string) {
	ctx, cancel := context.WithTimeout(context.Background(), orderWait)
	defer cancel()
	_ = c.cache.Delete(ctx, coolKey(name)) // it may not be there
}
