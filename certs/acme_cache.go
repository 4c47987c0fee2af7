package certs

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"os"
	"path/filepath"
	"sync"

	"golang.org/x/crypto/acme/autocert"
)

// dirCache is a directory. What it does not take is logged: autocert goes on without a word, and what was obtained is lost
// with the process.
type dirCache struct {
	autocert.DirCache
	log *slog.Logger

	mu      sync.Mutex // guards all below
	isStuck bool       // the last write failed
}

func (c *dirCache) Put(ctx context.Context, key string, data []byte) error {
	err := c.DirCache.Put(ctx, key, data)
	c.mu.Lock()
	defer c.mu.Unlock()
	if err != nil && !c.isStuck {
		c.log.Error("the ACME cache takes no writes", "err", err)
	}
	c.isStuck = err != nil
	return err
}

// MakeCache makes the cache's directory, for its owner alone, when it is missing. Without it the first write does.
func (a *ACME) MakeCache() error {
	if err := os.MkdirAll(a.cfg.CacheDir, 0o700); err != nil {
		return fmt.Errorf("certs: CacheDir: %w", err)
	}
	return checkCache(a.cfg.CacheDir)
}

// checkCache sees that a directory can be read and written, or made, and that others cannot write to it: who can, decides
// what is shown.
func checkCache(dir string) error {
	if dir == "" {
		return errors.New("certs: CacheDir is empty")
	}
	fi, err := os.Stat(dir)
	if errors.Is(err, fs.ErrNotExist) {
		return checkParent(dir)
	}
	if err != nil {
		return fmt.Errorf("certs: CacheDir: %w", err)
	}
	if !fi.IsDir() {
		return fmt.Errorf("certs: CacheDir %q is no directory", dir)
	}
	if mode := fi.Mode().Perm(); mode&0o022 != 0 {
		return fmt.Errorf("certs: CacheDir %q: mode is %04o, others may write to it; want 0700", dir, mode)
	}
	if err := access(dir); err != nil {
		return fmt.Errorf("certs: CacheDir %q cannot be read and written: %w", dir, err)
	}
	return nil
}

// checkParent sees that dir can be made: the last that is there of what leads to it is a directory that can be written.
func checkParent(dir string) error {
	for parent := filepath.Dir(dir); ; parent = filepath.Dir(parent) {
		fi, err := os.Stat(parent)
		if errors.Is(err, fs.ErrNotExist) && parent != filepath.Dir(parent) {
			continue
		}
		if err == nil && !fi.IsDir() {
			err = errors.New("no directory")
		}
		if err == nil {
			err = access(parent)
		}
		if err != nil {
			return fmt.Errorf("certs: CacheDir %q cannot be made in %q: %w", dir, parent, err)
		}
		return nil
	}
}
