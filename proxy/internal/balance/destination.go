package balance

import (
	"fmt"
	"strconv"
	"strings"
	"time"
)

// Destination is what --to names: a URL, and what the balance is to know of it.
type Destination struct {
	URL    string
	Weight int // 1 at least
	Tier   int // 0 is the first
	Max    int // exchanges in flight at most; 0 is not said
	// Every is how often the URL's host is looked up, each address being a destination of
	// its own; 0 leaves that to who dials. IsSRV says that it names SRV records.
	Every time.Duration
	IsSRV bool
	// Addr is one of these, host and port; empty for the URL's own.
	Addr string
}

// Name tells a destination from all others.
func (d *Destination) Name() string {
	if d.Addr == "" {
		return d.URL
	}
	return d.URL + ";addr=" + d.Addr
}

// ParseDestination reads URL[;weight=N][;tier=N][;max=N][;resolve=D], or URL;srv=D. A
// semicolon of the URL's own is written %3B.
func ParseDestination(s string) (Destination, error) {
	url, params, hasParams := strings.Cut(s, ";")
	d := Destination{URL: url, Weight: 1}
	if hasParams && params == "" {
		return d, fmt.Errorf("%q ends in a semicolon", Shown(s))
	}
	seen := make(map[string]bool)
	for params != "" {
		var param string
		param, params, _ = strings.Cut(params, ";")
		name, value, _ := strings.Cut(param, "=")
		if seen[name] || !d.set(name, value) {
			return d, fmt.Errorf("%q: %q is not weight=1 to 1000, tier=0 to 9, max=1 to 1073741824, resolve=100ms to 24h or srv=100ms to 24h, once", Shown(s), Shown(param))
		}
		seen[name] = true
	}
	if seen["srv"] && len(seen) > 1 {
		return d, fmt.Errorf("%q: srv stands alone: weights and tiers are those of the records", Shown(s))
	}
	return d, nil
}

// Shown is what an error may tell of a destination that is no good: all but a name and a password before an @.
func Shown(s string) string {
	at := strings.LastIndexByte(s, '@')
	if at < 0 {
		return s
	}
	scheme, _, ok := strings.Cut(s[:at], "://")
	if !ok {
		return "..." + s[at:]
	}
	return scheme + "://..." + s[at:]
}

// set sets what a parameter says, if it is one.
func (d *Destination) set(name, value string) bool {
	switch name {
	case "weight", "tier":
		n, err := strconv.ParseUint(value, 10, 16)
		if name == "tier" {
			d.Tier = int(n)
			return err == nil && n <= 9
		}
		d.Weight = int(n)
		return err == nil && n >= 1 && n <= 1000
	case "max":
		n, err := strconv.ParseUint(value, 10, 31)
		d.Max = int(n)
		return err == nil && n >= 1 && n <= 1<<30
	case "resolve", "srv":
		var err error
		d.Every, err = time.ParseDuration(value)
		d.IsSRV = name == "srv"
		return err == nil && d.Every >= 100*time.Millisecond && d.Every <= 24*time.Hour
	}
	return false
}
