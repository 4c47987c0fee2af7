package main

import (
	"errors"
	"fmt"
	"regexp"
	"slices"
	"strings"
)

const envPrefix = "H2TP_"

// envName is the variable of a setting.
func envName(name string) string {
	return envPrefix + strings.ToUpper(strings.ReplaceAll(name, "-", "_"))
}

// serviceLink matches what Kubernetes tells each pod of services in its namespace: one named h2tp, or h2tp-back, is no
// mistake of who runs this.
var serviceLink = regexp.MustCompile(`_(SERVICE_HOST|SERVICE_PORT(_[A-Z0-9_]+)?|PORT|PORT_[0-9]+_(TCP|UDP|SCTP)(_(PROTO|PORT|ADDR))?)$`)

// readEnv takes the variables of the settings that no flag has set. An empty one is none.
func readEnv(list []*setting, environ []string) error {
	for _, kv := range slices.Sorted(slices.Values(environ)) {
		name, v, _ := strings.Cut(kv, "=")
		if !strings.HasPrefix(name, envPrefix) || v == "" {
			continue
		}
		i := slices.IndexFunc(list, func(s *setting) bool { return envName(s.name) == name })
		switch {
		case i < 0 && serviceLink.MatchString(strings.TrimPrefix(name, "H2TP")):
			continue
		case i < 0:
			return usageError{fmt.Errorf("variable %s: there is no such setting", name)}
		case list[i].isSet():
			continue
		}
		if err := list[i].setFrom(origin{kind: fromEnv}, v); err != nil {
			return usageError{fmt.Errorf("variable %s: %w", name, err)}
		}
	}
	return nil
}

// origin is where a setting's value was found; the first of these that has one wins.
type origin struct {
	kind originKind
	file string
	line int
}

type originKind int

const (
	fromDefault originKind = iota
	fromFlag
	fromEnv
	fromFile
)

// mistake is what is wrong with a setting's value, by itself or beside others. Its text is as for the command line.
type mistake struct {
	name string // of the setting
	error
}

func (m mistake) Unwrap() error { return m.error }

// about says which setting an error is about.
func about(name string, err error) error {
	if err == nil {
		return nil
	}
	return mistake{name, err}
}

// anotherFlag is how a text for the command line names a setting.
var anotherFlag = regexp.MustCompile(`(flags? )?--([a-z])`)

// located says where the value was found that an error is about, when that is not the command line.
func (o *options) located(list []*setting, err error) error {
	m, ok := errors.AsType[mistake](err)
	if !ok {
		return err
	}
	i := slices.IndexFunc(list, func(s *setting) bool { return s.name == m.name })
	at := list[i].from
	if at.kind == fromDefault && o.config != "" { // it is missing
		at = origin{fromFile, o.config, 1}
	}
	text := err.Error()
	if rest, ok := strings.CutPrefix(text, "flag --"+m.name); ok {
		text = strings.TrimLeft(rest, ": ")
	}
	text = anotherFlag.ReplaceAllString(text, "$2")
	switch at.kind {
	case fromEnv:
		return fmt.Errorf("variable %s: %s", envName(m.name), text)
	case fromFile:
		return fmt.Errorf("%s:%d: %s: %s", at.file, at.line, m.name, text)
	}
	return err
}
