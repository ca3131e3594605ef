//go:build unix

package main

import (
	"io/fs"
	"syscall"
)

// owner is the user whose file it is; -1 if that is not known.
func owner(info fs.FileInfo) int {
	if s, ok := info.Sys().(*syscall.Stat_t); ok {
		return int(s.Uid)
	}
	return -1
}
