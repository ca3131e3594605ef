package sockdiag

import (
	"encoding/binary"
	"errors"
	"os"
	"strings"

	"golang.org/x/sys/unix"

	"github.com/loopdoctor/loopdoctor/checks/host/internal/netlink"
)

const (
	unixMessageLen = 16 // struct unix_diag_msg, linux/unix_diag.h
	showName       = 1  // UDIAG_SHOW_NAME
	attrUnixName   = 0  // UNIX_DIAG_NAME
)

// UnixListeners returns the UNIX sockets that listen in this network namespace:
// those of unix_diag, or of /proc/net/unix where the kernel lacks that.
func UnixListeners() ([]UnixListener, error) {
	list, err := unixDump()
	if err == nil {
		return list, nil
	}
	f, openErr := os.Open("/proc/thread-self/net/unix") // of the thread: the process may have begun in another namespace
	if openErr != nil {
		return nil, errors.Join(err, openErr)
	}
	defer f.Close()
	return ParseProcUnix(f)
}

func unixDump() ([]UnixListener, error) {
	c, err := netlink.Open(unix.NETLINK_SOCK_DIAG)
	if err != nil {
		return nil, err
	}
	defer c.Close()
	req := make([]byte, 24) // struct unix_diag_req
	req[0] = unix.AF_UNIX
	binary.NativeEndian.PutUint32(req[4:], 1<<stListen)
	binary.NativeEndian.PutUint32(req[12:], showName)
	list, err := netlink.Dump(c, messageType, req, parseUnix)
	if errors.Is(err, netlink.ErrInterrupted) { // a list of sockets is never still
		err = nil
	}
	return list, err
}

// parseUnix reads one struct unix_diag_msg with its attributes. The name of an
// abstract socket begins with a zero byte, a path ends with one.
func parseUnix(b []byte) (l UnixListener, ok bool) {
	if len(b) < unixMessageLen || b[0] != unix.AF_UNIX || b[2] != stListen {
		return l, false
	}
	l.Inode = uint64(netlink.Uint32(b[4:]))
	for typ, v := range netlink.Attributes(b[unixMessageLen:]) {
		if typ != attrUnixName || len(v) == 0 {
			continue
		}
		name := string(v)
		if name[0] == 0 {
			name = "@" + name[1:]
		} else {
			name, _, _ = strings.Cut(name, "\x00")
		}
		l.Path = strings.ToValidUTF8(strings.ReplaceAll(name, "\x00", "@"), "\uFFFD")
	}
	return l, l.Inode != 0
}
