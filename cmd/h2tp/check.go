package main

import (
	"fmt"
	"io"
)

// check validates the flags as serve does, and prints what they come to.
func check(args []string, stdout io.Writer) error {
	o, list, err := parseOptions(args, io.Discard)
	if err != nil {
		return orHelp(err, stdout, checkUsage, list)
	}
	for _, s := range list {
		if o.lacks(s.needs) != "" {
			continue // it would have no effect
		}
		v := s.get()
		if !s.isSet() {
			v = s.def
		}
		fmt.Fprintf(stdout, "%s = %s\n", s.name, v)
	}
	for _, r := range o.routes {
		fmt.Fprintf(stdout, "routes.%s.host = %s\nroutes.%s.path = %s\n", r.name, r.host, r.name, r.path)
		for _, s := range r.list {
			if s.isSet() {
				fmt.Fprintf(stdout, "routes.%s.%s = %s\n", r.name, s.name, s.get())
			}
		}
	}
	return nil
}

const checkUsage = `h2tp check reads the flags of "h2tp serve", and the files they name, and prints one
"flag = value" a line. A mistake is one line on standard error, and exit code 2.

Usage: h2tp check --listen URL[,URL...] --to URL[,URL...] [flags]

Flags:
`
