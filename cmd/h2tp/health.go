package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"os"
	"strings"
	"time"
)

const healthUsage = `h2tp health asks the admin listener of a process on this machine, or where URL says, whether it is ready; with a
path in the URL, such as http://127.0.0.1:9901/healthz, that. The exit code is 0 for yes and 1 for no. It is what a
container's health check or probe runs.

Usage: h2tp health [URL]     (without it, the variable H2TP_ADMIN)
`

const healthTimeout = 5 * time.Second

// health asks an admin listener how its process is.
func health(ctx context.Context, args []string, stdout io.Writer) error {
	target := os.Getenv("H2TP_ADMIN")
	if len(args) > 0 {
		target, args = args[0], args[1:]
	}
	if target == "--help" || target == "-h" {
		io.WriteString(stdout, healthUsage)
		return flag.ErrHelp
	}
	if err := noMore(args); err != nil {
		return err
	}
	if target == "" {
		return usageError{errors.New("no URL, and no variable H2TP_ADMIN")}
	}
	u, err := url.Parse(target)
	if err != nil || u.Scheme != "unix" && (u.Scheme != "http" || u.Host == "") {
		return usageError{fmt.Errorf("%q is not http://HOST:PORT or unix:///PATH", target)}
	}
	if strings.TrimSuffix(u.Path, "/") == "" {
		u.Path = "/readyz"
	}
	var tr http.Transport // no proxy of the environment's
	if u.Scheme == "unix" {
		path := u.Path
		tr.DialContext = func(ctx context.Context, _, _ string) (net.Conn, error) {
			return new(net.Dialer).DialContext(ctx, "unix", path)
		}
		u = &url.URL{Scheme: "http", Host: "localhost", Path: "/readyz"}
	}
	ctx, cancel := context.WithTimeout(ctx, healthTimeout)
	defer cancel()
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, u.String(), nil)
	if err != nil {
		return usageError{err}
	}
	resp, err := tr.RoundTrip(req)
	if err != nil {
		return err
	}
	defer tr.CloseIdleConnections()
	defer resp.Body.Close()
	why, _ := io.ReadAll(io.LimitReader(resp.Body, 1000))
	if resp.StatusCode != http.StatusOK {
		return fmt.Errorf("%s: %s: %s", u, resp.Status, why)
	}
	stdout.Write(why)
	return nil
}
