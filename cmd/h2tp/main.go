// Command h2tp carries HTTP/1.1 exchanges between two of its own ends, batched and compressed over
// pooled HTTP/2.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"runtime"
	"runtime/debug"
	"strings"
	"sync"
)

// Exit codes.
const (
	exitOK     = 0
	exitFailed = 1 // it began, and something failed
	exitUsage  = 2 // the command line cannot be right
)

const usage = `h2tp carries HTTP/1.1 exchanges, batched and compressed, over pooled HTTP/2.

Usage:

  h2tp serve --listen URL[,URL...] --to URL[,URL...] [flags]   accept exchanges and pass them on
  h2tp serve --config FILE                                     the same, and more, from a file
  h2tp check --listen URL[,URL...] --to URL[,URL...] [flags]   check the flags, print what they come to
  h2tp health [URL]                                            ask the admin listener: exit code 0 when ready
  h2tp demo [flags]                                            an upstream, a back and a front in one process
  h2tp certs init DIR [NAME...] | inspect FILE...              development certificates; what is in a file
  h2tp version                                                 print the version
  h2tp help                                                    print this

"h2tp serve --help" and "h2tp demo --help" list the flags.
`

func main() {
	stopc := make(chan struct{})
	var wg sync.WaitGroup
	if os.Getenv("GOMAXPROCS") == "" { // else the user has decided
		wg.Go(func() { adaptProcs(stopc) })
	}
	code := run(context.Background(), os.Args[1:], os.Stdout, os.Stderr)
	close(stopc)
	wg.Wait()
	os.Exit(code)
}

// run is main without the process around it. The end of ctx is as a first SIGTERM.
func run(ctx context.Context, args []string, stdout, stderr io.Writer) int {
	if len(args) == 0 {
		io.WriteString(stdout, usage)
		return exitOK
	}
	name, args := args[0], args[1:]
	var err error
	switch name {
	case "serve":
		err = serve(ctx, args, stdout, stderr)
	case "check":
		err = check(args, stdout)
	case "health":
		err = health(ctx, args, stdout)
	case "demo":
		err = demo(ctx, args, stdout, stderr)
	case "certs":
		err = certsCommand(args, stdout)
	case "version", "--version":
		if err = noMore(args); err == nil {
			fmt.Fprintln(stdout, version())
		}
	case "help", "--help", "-h":
		if err = noMore(args); err == nil {
			io.WriteString(stdout, usage)
		}
	default:
		err = usageError{fmt.Errorf("unknown command %q; want serve, check, health, demo, certs, version or help", name)}
	}
	if err == nil || errors.Is(err, flag.ErrHelp) {
		return exitOK
	}
	fmt.Fprintln(stderr, "h2tp: "+strings.Join(strings.Fields(err.Error()), " ")) // one line, whatever it quotes
	if _, ok := errors.AsType[usageError](err); ok {
		return exitUsage
	}
	return exitFailed
}

func noMore(args []string) error {
	if len(args) > 0 {
		return usageError{fmt.Errorf("unexpected argument %q", args[0])}
	}
	return nil
}

// usageError is a mistake on the command line.
type usageError struct{ error }

func (e usageError) Unwrap() error { return e.error }

// version tells what was built: the module's version, and the commit when it is known.
func version() string {
	v, commit := "(unknown)", ""
	if info, ok := debug.ReadBuildInfo(); ok {
		v = info.Main.Version
		for _, s := range info.Settings {
			if s.Key == "vcs.revision" {
				commit = " commit " + s.Value
			}
		}
	}
	return fmt.Sprintf("h2tp %s%s %s %s/%s", v, commit, runtime.Version(), runtime.GOOS, runtime.GOARCH)
}
