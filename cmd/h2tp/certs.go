package main

import (
	"errors"
	"fmt"
	"io"
	"path/filepath"
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
	case len(args) == 0 || args[0] == "help" || args[0] == "--help" || args[0] == "-h":
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
	if len(args) == 0 || strings.HasPrefix(args[0], "-") {
		return usageError{errors.New("certs init: no directory")}
	}
	dir := args[0]
	if err := certs.WriteDev(dir, args[1:]...); err != nil {
		return err
	}
	file := func(name string) string { return filepath.Join(dir, name) }
	host := "localhost"
	if len(args) > 1 {
		host = args[1]
	}
	fmt.Fprintf(stdout, `made a development CA, a certificate for a back and one for a front in %s, good for a year

at the back:
  h2tp serve --listen h2tp://:8443 --to http://127.0.0.1:9000 --cert %s --key %s --client-ca %s
at the front:
  h2tp serve --listen http://127.0.0.1:8080 --to h2tp://%s:8443 --ca %s --client-cert %s --client-key %s
`, dir, file(certs.DevBackFile), file(certs.DevBackKeyFile), file(certs.DevCAFile),
		host, file(certs.DevCAFile), file(certs.DevFrontFile), file(certs.DevFrontKeyFile))
	return nil
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
