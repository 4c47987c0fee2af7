package main

import (
	"errors"
	"fmt"
	"io"
	"net"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/h2tp/h2tp/certs"
)

const certsUsage = `h2tp certs makes certificates for development, and says what is in certificate files.

  h2tp certs init DIR [NAME...]   make a development CA, a certificate for a back with these names and
                                  localhost's, and one for a front, in DIR
  h2tp certs inspect FILE...      print names, dates and what is wrong; exit code 1 when something is
`

// certsCommand makes and inspects certificates.
func certsCommand(args []string, stdout io.Writer) error {
	switch {
	case len(args) == 0 || args[0] == "help" || isHelp(args[0]):
		io.WriteString(stdout, certsUsage)
		return nil
	case args[0] == "init":
		return certsInit(args[1:], stdout)
	case args[0] == "inspect":
		return certsInspect(args[1:], stdout, time.Now())
	}
	return usageError{fmt.Errorf("unknown command %q; want certs init or certs inspect", "certs "+args[0])}
}

func certsInit(args []string, stdout io.Writer) error {
	if slices.ContainsFunc(args, isHelp) {
		io.WriteString(stdout, certsUsage)
		return nil
	}
	if len(args) == 0 || args[0] == "" || strings.HasPrefix(args[0], "-") {
		return usageError{errors.New("certs init: no directory")}
	}
	dir, names, host := args[0], args[1:], "localhost"
	for _, name := range slices.Backward(names) {
		if err := checkHost(name); err != nil || strings.HasPrefix(name, "-") || strings.HasPrefix(name, "[") {
			return usageError{fmt.Errorf("certs init: %q is no name and no address", name)}
		}
		if !strings.HasPrefix(name, "*.") { // the first that can be dialled
			host = name
		}
	}
	if err := certs.WriteDev(dir, names...); err != nil {
		return err
	}
	file := func(name string) string { return quoted(filepath.Join(dir, name)) }
	fmt.Fprintf(stdout, `made a development CA, a certificate for a back and one for a front in %s, good for a year

at the back:
  h2tp serve --listen h2tp://:8443 --to http://127.0.0.1:9000 --cert %s --key %s --client-ca %s
at the front:
  h2tp serve --listen http://127.0.0.1:8081 --to h2tp://%s --ca %s --client-cert %s --client-key %s
`, dir, file(certs.DevBackFile), file(certs.DevBackKeyFile), file(certs.DevCAFile),
		net.JoinHostPort(host, "8443"), file(certs.DevCAFile), file(certs.DevFrontFile), file(certs.DevFrontKeyFile))
	return nil
}

func isHelp(arg string) bool { return arg == "--help" || arg == "-h" }

// quoted is s as a shell takes it for one word.
func quoted(s string) string {
	isPlain := func(r rune) bool {
		return r >= 'a' && r <= 'z' || r >= 'A' && r <= 'Z' || r >= '0' && r <= '9' || strings.ContainsRune("/._-+:@%=,", r)
	}
	if !strings.ContainsFunc(s, func(r rune) bool { return !isPlain(r) }) {
		return s
	}
	return "'" + strings.ReplaceAll(s, "'", `'\''`) + "'"
}

func certsInspect(files []string, stdout io.Writer, now time.Time) error {
	if len(files) == 0 {
		return usageError{errors.New("certs inspect: no file")}
	}
	isWrong := false
	for _, file := range files {
		found, err := certs.Inspect(file, now)
		if err != nil {
			return err
		}
		for _, f := range found {
			fmt.Fprintf(stdout, "%s: %s", file, f.Kind)
			if f.Key != "" {
				fmt.Fprintf(stdout, ", %s", f.Key)
			}
			fmt.Fprintln(stdout)
			if c := f.Certificate; c != nil {
				fmt.Fprintf(stdout, "  subject  %s\n  issuer   %s\n  names    %s\n  from     %s\n  to       %s\n", c.Subject, c.Issuer,
					strings.Join(f.Names, ", "), c.NotBefore.UTC().Format(time.RFC3339), c.NotAfter.UTC().Format(time.RFC3339))
			}
			for _, wrong := range f.Wrong {
				isWrong = true
				fmt.Fprintf(stdout, "  WRONG    %s\n", wrong)
			}
		}
	}
	if isWrong {
		return errors.New("certs inspect: something is wrong, see above")
	}
	return nil
}
