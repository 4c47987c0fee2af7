package main

import (
	"bytes"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// A password in a URL is refused, and not said again: errors end in logs.
func TestErrorsTellNoPassword(t *testing.T) {
	const secret = "S3CRET"
	dests := filepath.Join(t.TempDir(), "dests")
	for _, url := range []string{
		"http://user:" + secret + "@x:1", "user:" + secret + "@x:1", "http://user:" + secret + "@x:1;weight=0", "h2tp://" + secret + "@x/%zz", "unix://" + secret + "@/s",
		"ftp://user:" + secret + `"@x`, "file://u:" + secret + "@/x",
	} {
		if err := os.WriteFile(dests, []byte(url+"\n"), 0o600); err != nil {
			t.Fatal(err)
		}
		good := "http://127.0.0.1:1"
		for _, args := range [][]string{
			{"--listen", good, "--to", url}, {"--listen", url, "--to", good}, {"--listen", good, "--to", good, "--admin", url},
			{"--listen", good, "--to", "file://" + dests}, {"--config", writeConfig(t, "listen: "+good+"\nto: ['"+url+"']\n")},
		} {
			var stdout, stderr bytes.Buffer
			code := run(t.Context(), append([]string{"check"}, args...), &stdout, &stderr)
			if code == 0 || strings.Contains(stderr.String(), secret) || strings.Contains(stdout.String(), secret) {
				t.Errorf("%q: code %d, %s%s", args, code, &stderr, &stdout)
			}
		}
	}
}
