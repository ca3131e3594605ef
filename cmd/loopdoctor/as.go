package main

import (
	"fmt"
	"os"
	"os/user"
	"slices"
	"strconv"
	"strings"
)

// identities turns --as into uids: a user's name, the PID of a process, or a
// uid with a plus sign, as chown(1) has it. Without the flag it is whoever runs
// loopdoctor; under sudo the invoking user too, and first.
func identities(as []string, env func(string) string, euid int) ([]uint32, error) {
	if len(as) == 0 {
		if euid < 0 { // Windows has no uids
			return nil, nil
		}
		list := []uint32{uint32(euid)}
		if sudo, err := strconv.ParseUint(env("SUDO_UID"), 10, 32); err == nil && euid == 0 && sudo != 0 {
			list = []uint32{uint32(sudo), 0}
		}
		return list, nil
	}
	var list []uint32
	for _, s := range as {
		uid, err := identity(s)
		if err != nil {
			return nil, fmt.Errorf("--as %s: %w", s, err)
		}
		if !slices.Contains(list, uid) {
			list = append(list, uid)
		}
	}
	return list, nil
}

func identity(s string) (uint32, error) {
	if digits, ok := strings.CutPrefix(s, "+"); ok {
		return parseUID(digits)
	}
	if isNumber(s) {
		status, err := os.ReadFile("/proc/" + s + "/status")
		if err != nil {
			return 0, fmt.Errorf("no process has this number (a uid is written +%s)", s)
		}
		return statusUID(string(status))
	}
	u, err := user.Lookup(s)
	if err != nil {
		return 0, fmt.Errorf("no user has this name")
	}
	return parseUID(u.Uid)
}

func parseUID(s string) (uint32, error) {
	n, err := strconv.ParseUint(s, 10, 32)
	if err != nil || n == 1<<32-1 { // (uid_t)-1 means "leave it alone"
		return 0, fmt.Errorf("%q is no uid", s)
	}
	return uint32(n), nil
}

// statusUID finds the file system uid in /proc/PID/status, which sockets of
// that process carry: "Uid:	1000	1000	1000	1000".
func statusUID(status string) (uint32, error) {
	for line := range strings.Lines(status) {
		if f := strings.Fields(line); len(f) == 5 && f[0] == "Uid:" {
			return parseUID(f[4])
		}
	}
	return 0, fmt.Errorf("its status names no uid")
}
