package process

import (
	"errors"
	"fmt"
	"io"
	"strconv"
	"strings"

	"github.com/loopdoctor/loopdoctor/checks/facts"
)

// capNetBindService is the number of that capability, linux/capability.h.
const capNetBindService = 10

// parseClient reads from /proc/PID/status, proc_pid_status(5), as whom a process
// makes its sockets: by its file system ids. Lines such as
//
//	Uid:	1000	1000	1000	1000
//	Gid:	100	100	100	100
//	Groups:	27 100 1000
//	CapEff:	0000000000000400
func parseClient(r io.Reader) (id facts.Identity, tgid int, err error) {
	number := func(s string) uint32 {
		n, bad := strconv.ParseUint(s, 10, 32)
		if bad != nil && err == nil {
			err = fmt.Errorf("parse status: %w", bad)
		}
		return uint32(n)
	}
	seen := 0
	for line, bad := range lines(r) {
		if bad != nil {
			return id, 0, fmt.Errorf("parse status: %w", bad)
		}
		key, value, _ := strings.Cut(line, ":")
		f := strings.Fields(value)
		switch {
		case key == "Tgid" && len(f) == 1:
			tgid = int(number(f[0]))
			seen++
		case key == "Uid" && len(f) == 4:
			id.UID = number(f[3])
			seen++
		case key == "Gid" && len(f) == 4:
			id.GID = number(f[3])
			seen++
		case key == "Groups":
			for _, g := range f {
				id.Groups = append(id.Groups, number(g))
			}
		case key == "CapEff" && len(f) == 1:
			caps, _ := strconv.ParseUint(f[0], 16, 64)
			id.LowPort = caps&(1<<capNetBindService) != 0
		}
	}
	if err == nil && seen != 3 {
		err = errors.New("parse status: no line Tgid, Uid or Gid")
	}
	return id, tgid, err
}

// cgroupPath is the path of a process in the hierarchy of version 2.
func cgroupPath(r io.Reader) string {
	ms, _ := parseCgroup(r)
	p, _ := pathOf(ms, "")
	return p
}
