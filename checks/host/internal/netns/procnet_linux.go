package netns

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"runtime"
	"strconv"
	"strings"
	"sync"
	"time"

	"golang.org/x/sys/unix"

	"github.com/loopdoctor/loopdoctor/checks/facts"
	"github.com/loopdoctor/loopdoctor/checks/host/internal/sockdiag"
)

// What everybody may read: the files that list the sockets of a process's network.
//
// For each of them the kernel walks the table in which it keeps the connections of all
// namespaces (tcp_seq_start of its net/ipv4/tcp_ipv4.c), some milliseconds where there is
// much memory, also if nothing of this one is in there. It does so once more to say that
// the file has ended. So a file is read only if a socket may be in it, and not to its end.

// readTime is for all of them: a hundred namespaces take 150 ms on a quiet machine with two
// processors, and three times as long on a busy one. Those of containers come first.
const readTime = time.Second

// read looks into the namespaces that could not be entered, by way of one of
// their processes. It tells whether its time ran out.
func read(ctx context.Context, spaces []*space, port uint16) (over bool) {
	ctx, cancel := context.WithTimeout(ctx, readTime)
	defer cancel()
	work := make(chan *space)
	var wg sync.WaitGroup
	for range min(4, runtime.GOMAXPROCS(0)) {
		wg.Go(func() {
			for s := range work {
				s.read(ctx, port)
			}
		})
	}
	for _, s := range spaces {
		if !s.seen && len(s.pids) > 0 && ctx.Err() == nil {
			work <- s
		}
	}
	close(work)
	wg.Wait()
	return ctx.Err() != nil
}

func (s *space) read(ctx context.Context, port uint16) {
	for _, pid := range s.pids {
		if ctx.Err() != nil {
			return
		}
		if all, err := readListeners(ctx, pid, s.id); err == nil {
			s.seen, s.listeners = true, listening(all, port)
			return
		} // gone, or moved elsewhere: another one may still be there
	}
}

// readListeners reads the TCP listeners of the network of a process, which has to be the
// one of that number all the while.
func readListeners(ctx context.Context, pid int, id uint64) ([]facts.Socket, error) {
	return readSockets(ctx, pid, id, readFirst)
}

func readSockets(ctx context.Context, pid int, id uint64, read func(context.Context, string) ([]byte, error)) ([]facts.Socket, error) {
	var all []facts.Socket
	for _, file := range []struct {
		name, counts, protocol string
		v6                     bool
	}{{"net/tcp", "net/sockstat", "TCP:", false}, {"net/tcp6", "net/sockstat6", "TCP6:", true}} {
		if unused(pid, file.counts, file.protocol) {
			continue
		}
		data, err := read(ctx, procPath(pid, file.name))
		if errors.Is(err, fs.ErrNotExist) && file.v6 { // a kernel without IPv6 lacks the file
			continue
		}
		if err != nil {
			return nil, err
		}
		ss, err := sockdiag.ParseProcNet(bytes.NewReader(data), "tcp", file.v6)
		if err != nil {
			return nil, err
		}
		all = append(all, ss...)
	}
	// The counts have no number of the namespace, and the PID may have been given away.
	if now := Of(pid); now != id {
		return nil, fmt.Errorf("read %s: not in that namespace any more", procPath(pid, "net"))
	}
	return all, nil
}

// Connections are the TCP sockets of the network of a process, which has to be the one of
// that number all the while: unlike the look at listeners it reads the files to their end.
func Connections(ctx context.Context, pid int, id uint64) ([]facts.Socket, error) {
	return readSockets(ctx, pid, id, readWhole)
}

// mostOfATable is how much of such a file is read: the lines of some thousand sockets.
const mostOfATable = 1 << 20

// readWhole reads the whole lines of such a file, as far as the limit.
func readWhole(ctx context.Context, name string) ([]byte, error) {
	f, err := os.Open(name)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	if err := ctx.Err(); err != nil {
		return nil, err
	}
	data, err := io.ReadAll(io.LimitReader(f, mostOfATable))
	return data[:bytes.LastIndexByte(data, '\n')+1], err
}

// unused tells whether no socket of that protocol is in use in the network of a process:
//
//	TCP: inuse 4 orphan 0 tw 2 alloc 7 mem 1
func unused(pid int, name, protocol string) bool {
	data, err := os.ReadFile(procPath(pid, name))
	for line := range strings.Lines(string(data)) {
		if f := strings.Fields(line); len(f) > 2 && f[0] == protocol && f[1] == "inuse" {
			return err == nil && f[2] == "0"
		}
	}
	return false
}

// longestLine is more than the kernel writes about one socket.
const longestLine = 512

// readFirst reads the lines of such a file as far as listeners go, which come first, and
// perhaps some more. It has ended where less was read than the kernel's buffer of a page
// would have taken.
func readFirst(ctx context.Context, name string) ([]byte, error) {
	fd, err := unix.Open(name, unix.O_RDONLY|unix.O_CLOEXEC, 0)
	if err != nil {
		return nil, &fs.PathError{Op: "open", Path: name, Err: err}
	}
	defer unix.Close(fd)
	page := os.Getpagesize()
	var all []byte
	for buf := make([]byte, page); ; {
		if err := ctx.Err(); err != nil {
			return nil, err
		}
		n, err := unix.Read(fd, buf)
		switch {
		case errors.Is(err, unix.EINTR):
			continue
		case err != nil:
			return nil, &fs.PathError{Op: "read", Path: name, Err: err}
		}
		all = append(all, buf[:n]...)
		if n < page-longestLine || beyondListeners(all) {
			return all[:bytes.LastIndexByte(all, '\n')+1], nil
		}
	}
}

// beyondListeners tells whether the last whole line is of another socket than a listener.
func beyondListeners(lines []byte) bool {
	end := bytes.LastIndexByte(lines, '\n')
	if end < 0 {
		return false
	}
	f := bytes.Fields(lines[bytes.LastIndexByte(lines[:end], '\n')+1 : end])
	if len(f) < 4 || string(f[0]) == "sl" {
		return false
	}
	state, err := strconv.ParseUint(string(f[3]), 16, 8)
	return err == nil && state != 0x0A // TCP_LISTEN
}
