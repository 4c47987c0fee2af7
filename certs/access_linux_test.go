package certs

import (
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"syscall"
	"testing"
)

// asNobody calls f on a thread of its own that has no rights, as root has all.
func asNobody(t *testing.T, f func()) {
	t.Helper()
	if os.Geteuid() != 0 {
		f()
		return
	}
	donec := make(chan syscall.Errno)
	go func() {
		runtime.LockOSThread() // and never let go: the thread ends
		const nobody = 65534
		_, _, errno := syscall.RawSyscall(syscall.SYS_SETRESUID, nobody, nobody, nobody)
		if errno == 0 {
			f()
		}
		donec <- errno
	}()
	if errno := <-donec; errno != 0 {
		t.Skip("setresuid: ", errno)
	}
}

func TestACacheThatCannotBeUsedIsRefused(t *testing.T) {
	root := t.TempDir()
	dir := func(name string, mode os.FileMode) string {
		name = filepath.Join(root, name)
		if err := os.Mkdir(name, 0o700); err != nil {
			t.Fatal(err)
		}
		if err := os.Chmod(name, mode); err != nil {
			t.Fatal(err)
		}
		return name
	}
	if err := os.Chmod(filepath.Dir(root), 0o755); err != nil {
		t.Fatal(err)
	}
	file := filepath.Join(root, "file")
	if err := os.WriteFile(file, nil, 0o644); err != nil {
		t.Fatal(err)
	}
	open := filepath.Join(dir("open", 0o777), "new", "cache")
	all := map[string]string{
		dir("closed", 0o555):                          "cannot be read and written: permission denied",
		filepath.Join(dir("parent", 0o555), "a", "b"): "cannot be made in",
		filepath.Join(dir("hidden", 0o700), "a"):      "permission denied",
		filepath.Join(file, "a"):                      "not a directory",
		file:                                          "is no directory",
		open:                                          "",
	}
	asNobody(t, func() {
		for dir, want := range all {
			err := checkCache(dir)
			if want == "" && err != nil || want != "" && (err == nil || !strings.Contains(err.Error(), want) || !strings.Contains(err.Error(), dir)) {
				t.Errorf("%s: got %v; want %q", dir, err, want)
			}
		}
	})
	if _, err := os.Stat(filepath.Dir(open)); !os.IsNotExist(err) {
		t.Errorf("a look has made the directory: %v", err)
	}
}
