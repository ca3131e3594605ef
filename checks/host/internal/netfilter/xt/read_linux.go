package xt

import (
	"bufio"
	"errors"
	"fmt"
	"os"
	"strings"
	"unsafe"

	"golang.org/x/sys/unix"

	"github.com/loopdoctor/loopdoctor/checks/host/internal/netfilter"
)

// The questions (IPT_SO_GET_INFO, IPT_SO_GET_ENTRIES; those of IPv6 have the same
// numbers, on their own level).
const (
	getInfo    = 64
	getEntries = 65
)

// maxTable bounds the size of a table that is believed. A rule takes 150 to 250
// bytes.
const maxTable = 256 << 20

// Read reads the legacy tables of a family that exist in this network namespace.
// It needs CAP_NET_ADMIN there, and the list of tables is for root alone
// (/proc/net/ip_tables_names): the error is then EPERM or EACCES. No list means
// that the kernel has no legacy tables of that family.
func Read(family netfilter.Family) ([]*netfilter.Table, error) {
	names, err := tableNames(family)
	if err != nil || len(names) == 0 {
		return nil, err
	}
	domain, level := unix.AF_INET, unix.IPPROTO_IP
	if family == netfilter.IPv6 {
		domain, level = unix.AF_INET6, unix.IPPROTO_IPV6
	}
	// Any socket of the family will do (ip_getsockopt); a raw one, which iptables takes,
	// needs CAP_NET_RAW as well.
	fd, err := unix.Socket(domain, unix.SOCK_DGRAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return nil, fmt.Errorf("open a socket: %w", err)
	}
	defer unix.Close(fd)
	var tables []*netfilter.Table
	for _, name := range names {
		i, blob, err := fetch(fd, level, name)
		if err != nil {
			return tables, fmt.Errorf("read table %s: %w", name, err)
		}
		t, err := parse(i, blob, family)
		if err != nil {
			return tables, err
		}
		tables = append(tables, t)
	}
	return tables, nil
}

// tableNames lists the tables that exist.
func tableNames(family netfilter.Family) ([]string, error) {
	// Of this thread: a process may have threads in several namespaces.
	path := "/proc/thread-self/net/ip_tables_names"
	if family == netfilter.IPv6 {
		path = "/proc/thread-self/net/ip6_tables_names"
	}
	f, err := os.Open(path)
	if errors.Is(err, os.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, fmt.Errorf("list the tables: %w", err)
	}
	defer f.Close()
	var names []string
	for lines := bufio.NewScanner(f); lines.Scan() && len(names) < 64; {
		// XT_TABLE_MAXNAMELEN is 32, with the closing NUL.
		if name := strings.TrimSpace(lines.Text()); name != "" && len(name) < 32 {
			names = append(names, name)
		}
	}
	return names, nil
}

// fetch asks for one table. Another program may change it between the two
// questions, which the kernel answers with EAGAIN.
func fetch(fd, level int, name string) (i info, blob []byte, err error) {
	for range 5 {
		b := make([]byte, infoSize)
		copy(b, name)
		if _, err = getsockopt(fd, level, getInfo, b); err != nil {
			return i, nil, err
		}
		var ok bool
		if i, ok = infoOf(b); !ok || i.size > maxTable {
			return i, nil, unix.EMSGSIZE
		}
		// struct ipt_get_entries: the name, the size, and the entries, aligned to 8.
		const head = 40
		blob = make([]byte, head+int(i.size))
		copy(blob, name)
		*(*uint32)(unsafe.Pointer(&blob[32])) = i.size
		var n int
		if n, err = getsockopt(fd, level, getEntries, blob); err == nil {
			return i, blob[min(head, n):min(n, len(blob))], nil
		}
		if err != unix.EAGAIN {
			break
		}
	}
	return i, nil, err
}

// getsockopt fills b, which holds the question, and returns how much of it.
func getsockopt(fd, level, option int, b []byte) (int, error) {
	size := uint32(len(b))
	_, _, errno := unix.Syscall6(unix.SYS_GETSOCKOPT, uintptr(fd), uintptr(level), uintptr(option),
		uintptr(unsafe.Pointer(&b[0])), uintptr(unsafe.Pointer(&size)), 0)
	if errno != 0 {
		return 0, errno
	}
	return int(size), nil
}
