// Package watch runs a program and sees its connects, the ports that it could not have
// for itself, and those of the processes that it starts, by ptrace(2). It refuses to alter
// them: no system call, argument or signal is changed, what cannot be followed without
// changing it is let go, and nothing stays of the watch when it ends.
package watch

import (
	"bytes"
	"encoding/binary"
	"net/netip"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/loopdoctor/loopdoctor/checks/facts"
)

// Limits of what is kept.
const (
	maxConnects = 64   // different ones
	maxOpen     = 4096 // connections that are followed at the same time
	maxPath     = 108  // of a UNIX socket: struct sockaddr_un, unix(7)
)

// sockaddr reads a struct sockaddr of the machine's byte order: "\x02\x00" and a
// port and an address in network order, as in ip(7). A path stands for a UNIX
// socket; of another family nothing is said.
func sockaddr(b []byte) (to netip.AddrPort, path string) {
	if len(b) < 2 {
		return to, ""
	}
	switch binary.NativeEndian.Uint16(b) {
	case 1: // AF_UNIX
		if len(b) < 3 || b[2] == 0 { // an abstract name is none of the file system
			return to, ""
		}
		path = string(b[2:min(len(b), 2+maxPath)])
		path, _, _ = strings.Cut(path, "\x00")
		return to, strings.ToValidUTF8(path, "?")
	case 2: // AF_INET
		if len(b) < 8 {
			return to, ""
		}
		return netip.AddrPortFrom(netip.AddrFrom4([4]byte(b[4:8])), binary.BigEndian.Uint16(b[2:])), ""
	case 10: // AF_INET6
		if len(b) < 24 {
			return to, ""
		}
		return netip.AddrPortFrom(netip.AddrFrom16([16]byte(b[8:24])).Unmap(), binary.BigEndian.Uint16(b[2:])), ""
	}
	return to, ""
}

// record collects the connects of one run.
type record struct {
	start    time.Time
	connects []facts.Attempt
	binds    []facts.Attempt // that failed
	more     int
	notes    []string
}

// add counts a connect that met the same as another one.
func (r *record) add(c facts.Attempt) {
	i := slices.IndexFunc(r.connects, func(o facts.Attempt) bool {
		return o.To == c.To && o.Network == c.Network && o.Path == c.Path && o.Program == c.Program &&
			o.Outcome == c.Outcome && o.Errno == c.Errno && o.End == c.End && (o.Received == 0) == (c.Received == 0) && (o.Sent == 0) == (c.Sent == 0)
	})
	switch {
	case i >= 0:
		r.connects[i].Count++
		r.connects[i].Looked = r.connects[i].Looked || c.Looked
	case len(r.connects) >= maxConnects:
		r.more++
	default:
		c.Count = 1
		r.connects = append(r.connects, c)
	}
}

// note says a thing once.
func (r *record) note(text string) {
	if !slices.Contains(r.notes, text) && len(r.notes) < 8 {
		r.notes = append(r.notes, text)
	}
}

func millis(d time.Duration) float64 { return float64(d.Microseconds()) / 1000 }

// threadGroup reads the number of its process out of a thread's /proc/TID/status:
// "Tgid:	4121".
func threadGroup(status []byte, tid int) int {
	_, rest, _ := bytes.Cut(status, []byte("\nTgid:"))
	line, _, _ := bytes.Cut(rest, []byte("\n"))
	if n, err := strconv.Atoi(string(bytes.TrimSpace(line))); err == nil && n > 0 {
		return n
	}
	return tid
}
