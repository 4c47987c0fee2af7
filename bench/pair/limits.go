package main

import (
	"bytes"
	"os/exec"
)

// A limit is what xz -9 makes of a corpus, its requests in one file and its responses
// in another: what no codec of a hop reaches, since it sees everything at once.
type limit struct {
	Corpus string  `json:"corpus"`
	Plain  float64 `json:"plain_bytes_per_exchange"`
	Bytes  float64 `json:"xz_bytes_per_exchange"`
}

func limits(o options) (ls []limit) {
	xz, err := exec.LookPath("xz")
	if err != nil {
		return nil
	}
	for _, name := range list(o.allCorpora()) {
		c := newCorpus(name, corpusBytes)
		l := limit{Corpus: name}
		for _, isRequests := range []bool{true, false} {
			text := c.text(isRequests, len(c.exchanges))
			cmd := exec.Command(xz, "-9", "--stdout", "--threads=1")
			cmd.Stdin = bytes.NewReader(text)
			out, err := cmd.Output()
			if err != nil {
				return nil
			}
			l.Plain += float64(len(text)) / float64(len(c.exchanges))
			l.Bytes += float64(len(out)) / float64(len(c.exchanges))
		}
		ls = append(ls, l)
	}
	return ls
}
