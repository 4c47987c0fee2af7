package proxy

import (
	"fmt"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

func TestDestinationsAreCheckedAsTheyAreAdded(t *testing.T) {
	for _, tt := range []struct {
		to, want string // in the error; empty is none
	}{
		{"http://[::1]:80", ""}, {"http://a_b.c-d.:8080/", ""}, {"h2tp://A:443/p/", ""}, {"unix:///a", ""}, {"http://[fe80::1%25eth0]", ""},
		{"http://_h._tcp.a;srv=1s", ""}, {"http://a:080", ""},
		{"a", "does not begin with"}, {"ftp://a", "does not begin with"}, {"http:a", "has no host"}, {"http://", "has no host"}, {"http://:80", "has no host"},
		{"http://a:0", "has port 0"}, {"http://a:00", "has port 0"}, {"http://a:65536", "has no port from 1 to 65535"}, {"http://a:x", "is not a URL"},
		{"h2tp://2001:db8::5:8443", "has an address of IPv6 without brackets"}, {"h2tp://::1", "has an address of IPv6 without brackets"},
		{"h2tp://*.foo:8443", "has a host that is no name"}, {"http://a b", "is not a URL"}, {"http://a'b", "has a host that is no name"},
		{"http://a..b", "has a host that is no name"}, {"http://.a", "has a host that is no name"}, {"http://ü", "has a host that is no name"},
		{"http://" + strings.Repeat("a", 254), "has a host that is no name"},
		{"http://a/b", "has a path"}, {"http://a?", "has more than"}, {"http://a#b", "has more than"}, {"http://u@a", "has more than"},
		{"unix://a/b", "is not unix:///path"}, {"file:/a", "does not begin with"}, {"http://a:80;srv=1s", "has a port"}, {"http://[::1];resolve=1s", "has no name"},
	} {
		got, err := new(ToList).Add(tt.to)
		url, _, _ := strings.Cut(strings.Replace(tt.to, "u@", "...@", 1), ";") // no error shows what may be a secret
		switch {
		case tt.want == "" && (err != nil || !slices.Equal(got, []string{tt.to})):
			t.Errorf("%q: got %q, %v", tt.to, got, err)
		case tt.want != "" && (err == nil || !strings.HasPrefix(err.Error(), fmt.Sprintf("%q %s", url, tt.want))):
			t.Errorf("%q: got %v; want %q", tt.to, err, tt.want)
		}
	}
}

// However it is written: its URL is what exchanges go by.
func TestADestinationIsNamedOnce(t *testing.T) {
	for _, same := range [][]string{
		{"http://a", "http://a:80", "http://A:80/", "http://a:080;weight=2"}, {"https://a", "https://a:443"}, {"h2tp://a/p", "h2tp://a:443/p/"},
		{"http://[::1]", "http://[0:0::1]:80"}, {"unix:///a", "unix:///a;max=1"}, {"http://a;resolve=1s", "http://a:80"},
	} {
		var l ToList
		for i, to := range same {
			if _, err := l.Add(to); (err == nil) != (i == 0) {
				t.Errorf("%q beside %q: got %v", to, same[0], err)
			}
		}
	}
	var l ToList
	for _, to := range []string{"http://a", "http://a:81", "https://a:80", "h2tpc://a", "h2tpc://a/p", "h2tpc://a/P", "h2tp://a:80", "unix:///a", "unix:///A", "http://b"} {
		if _, err := l.Add(to); err != nil {
			t.Error(err)
		}
	}
}

func TestDestinationsAreBounded(t *testing.T) {
	var lines []string
	for i := range maxDests + 1 {
		lines = append(lines, fmt.Sprintf("http://a:%d", i+1))
	}
	var l ToList
	for i, to := range lines {
		if _, err := l.Add(to); (err == nil) != (i < maxDests) {
			t.Fatalf("%s: got %v", to, err)
		}
	}
	file := newToFile(t, lines...)
	if _, err := ReadTo(file.to()); err == nil || !strings.HasPrefix(err.Error(), file.path+":1025: ") {
		t.Errorf("of a file: got %v", err)
	}
	if _, err := ReadTo("file://" + filepath.Join(t.TempDir(), "none")); err == nil {
		t.Error("a file that is not there is read")
	}
}
