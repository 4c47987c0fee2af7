package certs

import (
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/rsa"
	"crypto/tls"
	"crypto/x509"
	"encoding/pem"
	"errors"
	"fmt"
	"os"
	"time"
)

// Finding is one certificate or key of a PEM file.
type Finding struct {
	// Kind is "certificate", "key", or the PEM type of anything else.
	Kind string
	// Certificate is nil for a key.
	Certificate *x509.Certificate
	// Key names the kind of key: "ECDSA P-256", "RSA 2048", "Ed25519".
	Key string
	// Names are the subject alternative names.
	Names []string
	// Wrong are the reasons why it will not do, or soon will not; empty if there are none.
	Wrong []string
}

// Inspect reads a PEM file and says what is in it and what is wrong with it at the time now.
func Inspect(file string, now time.Time) ([]Finding, error) {
	rest, err := read("file", file)
	if err != nil {
		return nil, err
	}
	all := rest
	var found []Finding
	for {
		var block *pem.Block
		if block, rest = pem.Decode(rest); block == nil {
			break
		}
		found = append(found, inspectBlock(block, now))
	}
	if len(found) == 0 {
		return nil, fmt.Errorf("certs: file %q: nothing in PEM form", file)
	}
	checkChain(found)
	checkKey(found, all)
	if fi, err := os.Stat(file); err == nil && fi.Mode().Perm()&0o004 != 0 {
		for i := range found {
			if found[i].Kind == "key" {
				found[i].Wrong = append(found[i].Wrong, fmt.Sprintf("the file's mode is %04o: everybody on the machine can read the key", fi.Mode().Perm()))
			}
		}
	}
	return found, nil
}

func inspectBlock(block *pem.Block, now time.Time) Finding {
	switch block.Type {
	case "CERTIFICATE":
		c, err := x509.ParseCertificate(block.Bytes)
		if err != nil {
			return Finding{Kind: "certificate", Wrong: []string{err.Error()}}
		}
		return Finding{Kind: "certificate", Certificate: c, Key: keyName(c.PublicKey), Names: namesOf(c), Wrong: wrongOf(c, now)}
	case "PRIVATE KEY", "EC PRIVATE KEY", "RSA PRIVATE KEY":
		key, err := parseKey(block.Bytes)
		if err != nil {
			return Finding{Kind: "key", Wrong: []string{err.Error()}}
		}
		return Finding{Kind: "key", Key: keyName(key)}
	}
	return Finding{Kind: block.Type, Wrong: []string{"neither a certificate nor a key"}}
}

func parseKey(der []byte) (any, error) {
	if key, err := x509.ParsePKCS8PrivateKey(der); err == nil {
		return key, nil
	}
	if key, err := x509.ParseECPrivateKey(der); err == nil {
		return key, nil
	}
	if key, err := x509.ParsePKCS1PrivateKey(der); err == nil {
		return key, nil
	}
	return nil, errors.New("the key cannot be parsed")
}

func keyName(key any) string {
	switch key := key.(type) {
	case *ecdsa.PublicKey:
		return "ECDSA " + key.Curve.Params().Name
	case *ecdsa.PrivateKey:
		return "ECDSA " + key.Curve.Params().Name
	case *rsa.PublicKey:
		return fmt.Sprintf("RSA %d", key.N.BitLen())
	case *rsa.PrivateKey:
		return fmt.Sprintf("RSA %d", key.N.BitLen())
	case ed25519.PublicKey, ed25519.PrivateKey:
		return "Ed25519"
	}
	return "unknown"
}

// wrongOf says what is wrong with one certificate by itself.
func wrongOf(c *x509.Certificate, now time.Time) (wrong []string) {
	if why := datesOf(c, now); why != "" {
		wrong = append(wrong, why)
	} else if isDue(c, now) {
		wrong = append(wrong, fmt.Sprintf("expires in %v", c.NotAfter.Sub(now).Round(time.Minute)))
	}
	if key, ok := c.PublicKey.(*rsa.PublicKey); ok && key.N.BitLen() < 2048 {
		wrong = append(wrong, "RSA key of less than 2048 bits")
	}
	switch c.SignatureAlgorithm {
	case x509.MD5WithRSA, x509.SHA1WithRSA, x509.ECDSAWithSHA1, x509.DSAWithSHA1:
		wrong = append(wrong, "signed with "+c.SignatureAlgorithm.String())
	}
	if !c.IsCA && len(namesOf(c)) == 0 {
		wrong = append(wrong, "no subject alternative name: no client takes it for any host")
	}
	return wrong
}

// checkChain sees that each certificate is vouched for by the next.
func checkChain(found []Finding) {
	var last *Finding
	for i := range found {
		if found[i].Certificate == nil {
			continue
		}
		// A file of authorities has no order.
		if last != nil && !last.Certificate.IsCA {
			if err := last.Certificate.CheckSignatureFrom(found[i].Certificate); err != nil {
				last.Wrong = append(last.Wrong, "the certificate after it did not sign it")
			}
		}
		last = &found[i]
	}
}

// checkKey sees that a key in the file belongs to its first certificate.
func checkKey(found []Finding, all []byte) {
	hasCert := false
	for i := range found {
		hasCert = hasCert || found[i].Certificate != nil
	}
	for i := range found {
		if found[i].Kind == "key" && len(found[i].Wrong) == 0 && hasCert {
			if _, err := tls.X509KeyPair(all, all); err != nil {
				found[i].Wrong = append(found[i].Wrong, "not the key of the first certificate in the file")
			}
		}
	}
}
