package proxy

import (
	"errors"
	"fmt"
	"io"
	"net/url"
	"os"
	"path"
	"strings"
	"time"

	"github.com/h2tp/h2tp/proxy/internal/balance"
)

const (
	// filePeriod is how often a file of destinations is looked at: a stat. One that changed is read at the look after, if it
	// is as it was by then: who writes it may not be done.
	filePeriod = time.Second
	// fileAgain is after how many looks one that was refused is tried again: it may name what DNS does not know yet.
	fileAgain = 10
	// maxToFile bounds a file's size: maxDests lines have room.
	maxToFile = 1 << 20
)

// ReadTo reads the file that file:///path in Config.To names: a destination a line, written as in To, except other
// files; empty lines, and what follows a # at the begin of a line or after a space, are left out. Its errors tell the line.
func ReadTo(to string) ([]string, error) {
	if _, err := pathOfFile(to); err != nil {
		return nil, err
	}
	return new(ToList).Add(to)
}

// toLine is one of Config.To, or a line of a file of it.
type toLine struct {
	text  string
	where string // FILE:LINE: of a file's, else nothing
}

func isFile(to string) bool { return strings.HasPrefix(to, "file://") }

// pathOfFile is the path that file:///path names.
func pathOfFile(to string) (string, error) {
	u, err := url.Parse(to)
	if !isFile(to) || err != nil || u.Host != "" || u.RawQuery != "" || u.Fragment != "" || !path.IsAbs(u.Path) || strings.Contains(to, ";") {
		return "", fmt.Errorf("%q is not file:///path, and no more", balance.Shown(to))
	}
	return u.Path, nil
}

// readTo takes a file apart.
func readTo(to string) (lines []toLine, err error) {
	name, err := pathOfFile(to)
	if err != nil {
		return nil, err
	}
	f, err := os.Open(name)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	b, err := io.ReadAll(io.LimitReader(f, maxToFile+1))
	if err != nil {
		return nil, err
	}
	if len(b) > maxToFile {
		return nil, fmt.Errorf("%s: more than %d bytes", name, maxToFile)
	}
	n := 0
	for line := range strings.Lines(string(b)) {
		n++
		text, _, _ := strings.Cut(" "+line, " #")
		if text = strings.TrimSpace(text); text == "" {
			continue
		}
		where := fmt.Sprintf("%s:%d: ", name, n)
		if isFile(text) {
			return nil, fmt.Errorf("%sa file names no other", where)
		}
		lines = append(lines, toLine{text, where})
	}
	if len(lines) == 0 {
		return nil, fmt.Errorf("%s: no destination", name)
	}
	return lines, nil
}

// toFile is a file of destinations that a route follows.
type toFile struct {
	url, path string // immutable

	// Guarded by route.setting.
	seen, read os.FileInfo // at the last look, and when it was read
	looks      int         // since it was refused

	// Guarded by route.mu.
	lines        int
	err          error // why it was refused
	done, failed int64
}

// stampOf tells one state of a file from another; nil when it cannot be told.
func stampOf(name string) os.FileInfo {
	fi, err := os.Stat(name)
	if err != nil {
		return nil
	}
	return fi
}

// isSame also tells a file from another in its place, by rename or behind a link, that has its size and time.
func isSame(a, b os.FileInfo) bool {
	if a == nil || b == nil {
		return a == nil && b == nil
	}
	return os.SameFile(a, b) && a.Size() == b.Size() && a.ModTime().Equal(b.ModTime())
}

// readFiles puts the lines of files in their place.
func readFiles(to []string) (lines []toLine, files []*toFile, err error) {
	for _, s := range to {
		if !isFile(s) {
			lines = append(lines, toLine{text: s})
			continue
		}
		name, err := pathOfFile(s)
		if err != nil {
			return nil, nil, err
		}
		f := &toFile{url: s, path: name, read: stampOf(name)} // before reading: a change meanwhile is seen by the next look
		f.seen = f.read
		own, err := readTo(s)
		if err != nil {
			return nil, nil, err
		}
		f.lines = len(own)
		lines, files = append(lines, own...), append(files, f)
	}
	return lines, files, nil
}

// followLocked keeps files, whose destinations the route has now, in place of those before. setting is held, and mu.
func (r *route) followLocked(files []*toFile) {
	for _, f := range files {
		f.done = 1
		for _, old := range r.files {
			if old.url == f.url {
				f.done, f.failed = old.done+1, old.failed
			}
		}
	}
	if r.files = files; len(files) > 0 && !r.isFollowing {
		r.isFollowing = true
		r.wg.Go(r.fileLoop)
	}
}

// fileLoop looks for changes of the files that the route's destinations are from.
func (r *route) fileLoop() {
	ticker := time.NewTicker(filePeriod)
	defer ticker.Stop()
	for {
		select {
		case <-ticker.C:
		case <-r.donec:
			return
		}
		r.lookAtFiles()
	}
}

func (r *route) lookAtFiles() {
	r.setting.Lock()
	defer r.setting.Unlock()
	var due []*toFile
	for _, f := range r.files {
		switch now := stampOf(f.path); {
		case !isSame(now, f.seen):
			f.seen = now
		case !isSame(now, f.read):
			due = append(due, f)
		case f.err != nil: // only written here
			if f.looks++; f.looks >= fileAgain {
				due = append(due, f)
			}
		}
	}
	if len(due) == 0 {
		return
	}
	err := r.setNamed(r.to)
	if errors.Is(err, ErrClosed) {
		return
	}
	if err == nil {
		r.log.Info("destinations reloaded", "file", due[0].path, "destinations", len(r.dests()))
		return
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	for _, f := range due {
		if f.err == nil || f.err.Error() != err.Error() {
			r.log.Error("destinations not reloaded, the old ones stay", "err", err)
		}
		f.read, f.looks, f.err = f.seen, 0, err
		f.failed++
	}
}
