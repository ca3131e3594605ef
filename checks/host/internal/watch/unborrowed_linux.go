package watch

import (
	"bufio"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"
)

// Some containers permit ptrace(2), and neither pidfd_getfd(2) nor
// process_vm_readv(2); kernels before 5.6 do not have the first. Then /proc tells.

func (k key) proc() string { return fmt.Sprintf("/proc/%d/fd/%d", k.pid, k.fd) }

// protocol is the socket's, such as "TCPv6": sock(7) does not have it, net/socket.c
// (sockfs_xattr_get) does.
func (k key) protocol() string {
	b := make([]byte, 32)
	n, err := unix.Getxattr(k.proc(), "system.sockprotoname", b)
	if err != nil {
		return ""
	}
	return strings.TrimRight(string(b[:n]), "\x00")
}

// maxTable is how much is read of a table of sockets, of which each has 150 bytes.
const maxTable = 4 << 20

// state is that of a TCP socket, 0 if it cannot be told. A socket that is in none of
// the tables is closed.
func (k key) state() uint8 {
	link, err := os.Readlink(k.proc())
	inode, ok := strings.CutPrefix(strings.TrimSuffix(link, "]"), "socket:[")
	if err != nil || !ok {
		return 0
	}
	state := uint8(0)
	for _, table := range []string{"tcp", "tcp6"} {
		f, err := os.Open(fmt.Sprintf("/proc/%d/net/%s", k.pid, table))
		if err != nil {
			continue // without IPv6 there is no tcp6
		}
		found, whole := stateIn(f, inode)
		f.Close()
		switch {
		case found != 0:
			return found
		case !whole:
			return 0
		}
		state = tcpClose
	}
	return state
}

// stateIn finds it in a table: "0: 0100007F:1F90 00000000:0000 0A … 1000 0 40711 1 …".
func stateIn(r io.Reader, inode string) (state uint8, whole bool) {
	limited := &io.LimitedReader{R: r, N: maxTable}
	for s := bufio.NewScanner(limited); s.Scan(); {
		if f := strings.Fields(s.Text()); len(f) > 9 && f[9] == inode {
			n, _ := strconv.ParseUint(f[3], 16, 8)
			return uint8(n), true
		}
	}
	return 0, limited.N > 0
}

// fromMem reads memory as a file: that needs no system call of its own.
func fromMem(tid int, at uint64, b []byte) int {
	f, err := os.Open(filepath.Join("/proc", strconv.Itoa(tid), "mem"))
	if err != nil {
		return 0
	}
	defer f.Close()
	n, _ := f.ReadAt(b, int64(at)) // as much as is mapped
	return n
}
