package main

import (
	"errors"
	"fmt"
	"io/fs"
	"slices"
	"strconv"
	"strings"

	"github.com/loopdoctor/loopdoctor/checks/facts"
	"github.com/loopdoctor/loopdoctor/checks/host"
)

// clients finds those whose view is taken, makes sure that loopdoctor can be those
// that were named, and goes to where they live. Only what was named is tried: of
// the others the report says what they met.
func clients(as []string, env func(string) string, euid int) ([]facts.Identity, error) {
	list, err := identities(as, env, euid)
	if err != nil || len(as) == 0 {
		return list, err
	}
	for _, id := range list {
		if err := host.Try(id); err != nil {
			return nil, fmt.Errorf("--as: %w", err)
		}
	}
	if err := host.Enter(list); err != nil {
		return nil, fmt.Errorf("--as: %w", err)
	}
	return list, nil
}

// identities finds the clients that --as names: a user's name, the PID of a
// process, or a uid with a plus sign, as chown(1) has it. Without the flag it is
// whoever runs loopdoctor; under sudo the invoking user too, and first.
func identities(as []string, env func(string) string, euid int) ([]facts.Identity, error) {
	if len(as) == 0 {
		if euid < 0 { // Windows has no uids
			return nil, nil
		}
		list := []facts.Identity{host.UID(uint32(euid))}
		if sudo, err := strconv.ParseUint(env("SUDO_UID"), 10, 32); err == nil && euid == 0 && sudo != 0 {
			list = slices.Insert(list, 0, host.UID(uint32(sudo)))
		}
		return list, nil
	}
	var list []facts.Identity
	for _, s := range as {
		id, err := identity(s)
		if err != nil {
			return nil, fmt.Errorf("--as %s: %w", s, err)
		}
		id.Named = true
		if !slices.ContainsFunc(list, func(o facts.Identity) bool { return o.Is(id.UID, id.PID) }) {
			list = append(list, id)
		}
	}
	return list, nil
}

func identity(s string) (facts.Identity, error) {
	if digits, ok := strings.CutPrefix(s, "+"); ok {
		n, err := strconv.ParseUint(digits, 10, 32)
		if err != nil || n == 1<<32-1 { // (uid_t)-1 means "leave it alone"
			return facts.Identity{}, fmt.Errorf("%q is no uid", digits)
		}
		return host.UID(uint32(n)), nil
	}
	if isNumber(s) {
		pid, err := strconv.Atoi(s)
		if err != nil || pid == 0 {
			return facts.Identity{}, fmt.Errorf("no process has this number (a uid is written +%s)", s)
		}
		id, err := host.Process(pid)
		if errors.Is(err, fs.ErrNotExist) { // it may have ended while it was looked at
			err = fmt.Errorf("no process has this number (a uid is written +%s)", s)
		}
		return id, err
	}
	return host.User(s)
}
