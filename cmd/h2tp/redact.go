package main

import "regexp"

// userInfo is what stands before an @ in a value that an error quotes: of a URL, a name and a password.
var userInfo = regexp.MustCompile(`"((?:[a-z0-9+.-]+://)?)(?:\\.|[^"\\])*@`)

// redacted is an error that tells no password.
type redacted struct {
	error
	text string
}

func (e redacted) Error() string { return e.text }
func (e redacted) Unwrap() error { return e.error }

// redact takes passwords out of an error's text: a URL that has one is refused, and what is refused is quoted.
func redact(err error) error {
	if err == nil {
		return nil
	}
	if text := userInfo.ReplaceAllString(err.Error(), `"$1...@`); text != err.Error() {
		return redacted{err, text}
	}
	return err
}
