package certs

import (
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"encoding/pem"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
)

// The files that [WriteDev] makes.
const (
	DevCAFile       = "ca.pem"
	DevBackFile     = "back.pem"
	DevBackKeyFile  = "back-key.pem"
	DevFrontFile    = "front.pem"
	DevFrontKeyFile = "front-key.pem"
	DevTicketFile   = "tickets.key"
)

// WriteDev makes a development authority, a certificate for a back with those names and localhost's, one for a
// front, named front.h2tp.internal, and a secret for session tickets, and writes them to dir, which it makes when it is missing. Keys
// are readable by their owner only; the authority's own is thrown away, so nothing else can be issued by it. A file that
// exists is never replaced: then nothing is written.
func WriteDev(dir string, names ...string) error {
	ca, err := NewDevCA()
	if err != nil {
		return err
	}
	for _, name := range []string{"localhost", "127.0.0.1", "::1"} {
		if !slices.Contains(names, name) {
			names = append(names, name)
		}
	}
	back, err := ca.Issue(names...)
	if err != nil {
		return err
	}
	front, err := ca.Issue("front.h2tp.internal")
	if err != nil {
		return err
	}
	secret := make([]byte, leastTicketSecret)
	rand.Read(secret)
	files := []devFile{{DevCAFile, ca.PEM(), 0o644}, {DevTicketFile, secret, 0o600}}
	for _, f := range []struct {
		cert      tls.Certificate
		name, key string
	}{{back, DevBackFile, DevBackKeyFile}, {front, DevFrontFile, DevFrontKeyFile}} {
		key, err := x509.MarshalPKCS8PrivateKey(f.cert.PrivateKey)
		if err != nil {
			return fmt.Errorf("certs: development key: %w", err)
		}
		files = append(files,
			devFile{f.name, pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: f.cert.Certificate[0]}), 0o644},
			devFile{f.key, pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: key}), 0o600})
	}
	return writeAll(dir, files)
}

type devFile struct {
	name string
	data []byte
	mode fs.FileMode
}

// writeAll writes all files, or none that was not there.
func writeAll(dir string, files []devFile) (err error) {
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return fmt.Errorf("certs: %w", err)
	}
	var made []string
	defer func() {
		if err != nil {
			for _, name := range made {
				os.Remove(name)
			}
		}
	}()
	for _, f := range files {
		name := filepath.Join(dir, f.name)
		w, err := os.OpenFile(name, os.O_WRONLY|os.O_CREATE|os.O_EXCL, f.mode)
		if errors.Is(err, fs.ErrExist) {
			return fmt.Errorf("certs: %s is there already", name)
		}
		if err != nil {
			return fmt.Errorf("certs: %w", err)
		}
		made = append(made, name)
		_, err = w.Write(f.data)
		if err = errors.Join(err, w.Close()); err != nil {
			return fmt.Errorf("certs: %s: %w", name, err)
		}
	}
	return nil
}
