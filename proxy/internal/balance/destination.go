package balance

import (
	"fmt"
	"strconv"
	"strings"
)

// Destination is what --to names: a URL, and what the balance is to know of it.
type Destination struct {
	URL    string
	Weight int // 1 at least
	Tier   int // 0 is the first
}

// ParseDestination reads URL[;weight=N][;tier=N]. A semicolon of the URL's own is
// written %3B.
func ParseDestination(s string) (Destination, error) {
	url, params, _ := strings.Cut(s, ";")
	d := Destination{URL: url, Weight: 1}
	hasWeight, hasTier := false, false
	if params == "" && len(url) < len(s) {
		return d, fmt.Errorf("%q ends in a semicolon", s)
	}
	for params != "" {
		var param string
		param, params, _ = strings.Cut(params, ";")
		name, value, _ := strings.Cut(param, "=")
		n, err := strconv.ParseUint(value, 10, 16)
		switch {
		case name == "weight" && !hasWeight && err == nil && n >= 1 && n <= 1000:
			d.Weight, hasWeight = int(n), true
		case name == "tier" && !hasTier && err == nil && n <= 9:
			d.Tier, hasTier = int(n), true
		default:
			return d, fmt.Errorf("%q: %q is not weight=1 to 1000, or tier=0 to 9, once", s, param)
		}
	}
	return d, nil
}
