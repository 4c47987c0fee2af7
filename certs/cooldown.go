package certs

import (
	"context"
	"encoding/json"
	"fmt"
	"sync"
	"time"

	"golang.org/x/crypto/acme/autocert"
)

const (
	coolFirst = time.Minute
	coolMost  = 6 * time.Hour
)

// maxCooling bounds the names that a process remembers by itself; one more takes the place of that which may be tried first.
const maxCooling = 1024

// coolDown remembers which names failed and when they may be tried again: in the cache, which other processes and restarts
// see, and here, since the cache may take nothing.
type coolDown struct {
	cache autocert.Cache

	mu  sync.Mutex // guards all below
	own map[string]cooling
}

// cooling is what is known of one name. Times of the wall: processes and restarts share it.
type cooling struct {
	Until time.Time     `json:"until"`
	Delay time.Duration `json:"delay"`
}

func coolKey(name string) string { return "h2tp+" + name + "+failed" }

// get returns what keeps name waiting for longer.
func (c *coolDown) get(name string) (v cooling) {
	ctx, cancel := context.WithTimeout(context.Background(), orderWait)
	defer cancel()
	if b, err := c.cache.Get(ctx, coolKey(name)); err == nil {
		_ = json.Unmarshal(b, &v) // what cannot be read is as if it were not there
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	if own := c.own[name]; own.Until.After(v.Until) {
		return own
	}
	return v
}

// check returns an error while name is to be left alone. A clock that was set back does not make it longer
// than its delay.
func (c *coolDown) check(name string, now time.Time) error {
	v := c.get(name)
	if now.Before(v.Until) && v.Until.Sub(now) <= v.Delay {
		return fmt.Errorf("certs: %s failed before; it is tried again in %v", name, v.Until.Sub(now).Round(time.Second))
	}
	return nil
}

// failed notes a failure and returns how long name is left alone.
func (c *coolDown) failed(name string, now time.Time) time.Duration {
	v := c.get(name)
	v.Delay = min(max(2*v.Delay, coolFirst), coolMost)
	v.Until = now.Add(v.Delay)
	c.keep(name, v)
	b, err := json.Marshal(v)
	if err != nil {
		panic("h2tp: bug: " + err.Error())
	}
	ctx, cancel := context.WithTimeout(context.Background(), orderWait)
	defer cancel()
	_ = c.cache.Put(ctx, coolKey(name), b) // the cache itself says so
	return v.Delay
}

func (c *coolDown) keep(name string, v cooling) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.own == nil {
		c.own = make(map[string]cooling)
	}
	if _, ok := c.own[name]; !ok && len(c.own) >= maxCooling {
		first := ""
		for other, v := range c.own {
			if first == "" || v.Until.Before(c.own[first].Until) {
				first = other
			}
		}
		delete(c.own, first)
	}
	c.own[name] = v
}

func (c *coolDown) worked(name string) {
	c.mu.Lock()
	delete(c.own, name)
	c.mu.Unlock()
	ctx, cancel := context.WithTimeout(context.Background(), orderWait)
	defer cancel()
	_ = c.cache.Delete(ctx, coolKey(name)) // it may not be there
}
