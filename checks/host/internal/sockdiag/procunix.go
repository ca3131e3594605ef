package sockdiag

import (
	"bufio"
	"fmt"
	"io"
	"strconv"
	"strings"
)

// UnixListener is a UNIX socket that somebody listens on.
type UnixListener struct {
	Path  string // an abstract name begins with @; empty: it has none
	Inode uint64
}

// ParseProcUnix reads the listeners of /proc/net/unix (proc_pid_net(5)), lines
// such as
//
//	0000000000000000: 00000002 00000000 00010000 0001 01 21735 /run/mysqld/mysqld.sock
//
// which are: address, references, protocol, flags, type, state, inode, path. The
// flag 10000 is __SO_ACCEPTCON. The kernel writes a path as it is: one that holds
// a newline makes a line of its own choice, so that what is read here counts only
// together with the process that holds the inode. Lines that do not fit are
// passed over.
func ParseProcUnix(r io.Reader) ([]UnixListener, error) {
	var list []UnixListener
	scan := bufio.NewScanner(r)
	scan.Buffer(nil, 1<<20)
	for scan.Scan() {
		f := strings.SplitN(strings.TrimLeft(scan.Text(), " "), " ", 2)
		if len(f) < 2 || !strings.HasSuffix(f[0], ":") {
			continue
		}
		rest := f[1]
		var fields [6]string
		for i := range fields { // the inode is padded with blanks, the path may hold some
			fields[i], rest, _ = strings.Cut(strings.TrimLeft(rest, " "), " ")
		}
		flags, err := strconv.ParseUint(fields[2], 16, 64)
		inode, err2 := strconv.ParseUint(fields[5], 10, 64)
		if err != nil || err2 != nil || flags&acceptCon == 0 || inode == 0 {
			continue
		}
		list = append(list, UnixListener{Path: strings.ToValidUTF8(rest, "\uFFFD"), Inode: inode})
	}
	if err := scan.Err(); err != nil {
		return list, fmt.Errorf("read unix sockets: %w", err)
	}
	return list, nil
}

// acceptCon is __SO_ACCEPTCON of the kernel's include/linux/net.h.
const acceptCon = 1 << 16
