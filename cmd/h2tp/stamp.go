package main

import "os"

// stampOf tells one state of a file from another: of a link, what it leads to. Nil is one that cannot be told.
func stampOf(file string) os.FileInfo {
	fi, err := os.Stat(file)
	if err != nil {
		return nil
	}
	return fi
}

// isSame also tells a file from another in its place that has its size and time.
func isSame(a, b os.FileInfo) bool {
	if a == nil || b == nil {
		return a == nil && b == nil
	}
	return os.SameFile(a, b) && a.Size() == b.Size() && a.ModTime().Equal(b.ModTime())
}
