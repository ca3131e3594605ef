package process

import (
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"runtime"
	"slices"
	"strconv"
	"sync"
	"sync/atomic"
	"unsafe"

	"golang.org/x/sys/unix"
)

// scanner looks through the descriptors of processes for sockets. It calls the
// kernel directly: on a machine with thousands of processes os.ReadDir and
// os.Readlink take three times as long.
type scanner struct {
	proc   int             // descriptor of /proc
	wanted map[uint64]bool // inodes; only read while workers run

	known atomic.Pointer[[]sighting] // a holder of each socket, once compare has what it needs

	mu     sync.Mutex             // for what the workers find
	held   map[uint64]map[int]int // by inode, then by PID: the lowest descriptor
	denied []int                  // processes whose descriptors may not be read
	whole  bool                   // no look was cut short
}

// sighting is one descriptor of a wanted socket.
type sighting struct {
	inode   uint64
	pid, fd int
}

// worker is what one goroutine uses: nothing is allocated for a descriptor.
type worker struct {
	*scanner
	dir, link []byte
	seen      []sighting // in the process at hand
}

func (s *scanner) worker() *worker {
	return &worker{scanner: s, dir: make([]byte, 32<<10), link: make([]byte, 40)}
}

// scan looks into the processes; it stops early when ctx ends.
func (s *scanner) scan(ctx context.Context, pids []int) {
	n := max(1, min(runtime.GOMAXPROCS(0), 4, len(pids)/16)) // a goroutine is not worth it for a few
	var next atomic.Int64
	var wg sync.WaitGroup
	for range n {
		wg.Go(func() {
			w := s.worker()
			for k := next.Add(1) - 1; k < int64(len(pids)); k = next.Add(1) - 1 {
				if ctx.Err() != nil {
					s.mu.Lock()
					s.whole = false
					s.mu.Unlock()
					return
				}
				w.process(ctx, pids[k])
			}
		})
	}
	wg.Wait()
}

// scanHeadless looks into those denied whose first thread has ended while others
// live on: their own user may read them only by way of another thread.
func (s *scanner) scanHeadless(ctx context.Context) {
	w := s.worker()
	s.denied = slices.DeleteFunc(s.denied, func(pid int) bool {
		if ctx.Err() != nil {
			return false
		}
		st, err := statOf(pid)
		if err != nil || st.state != 'Z' || st.threads < 2 {
			return false
		}
		_, err = w.tasks(ctx, pid, strconv.Itoa(pid)+"/task")
		return err == nil
	})
	w.note()
}

// note keeps what the worker saw, and lets all compare with it from now on.
func (w *worker) note() {
	if len(w.seen) == 0 {
		return
	}
	s := w.scanner
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, g := range w.seen {
		if s.held[g.inode] == nil {
			s.held[g.inode] = map[int]int{}
		}
		if fd, ok := s.held[g.inode][g.pid]; !ok || g.fd < fd {
			s.held[g.inode][g.pid] = g.fd
		}
	}
	w.seen = w.seen[:0]
	if s.known.Load() == nil && len(s.held) == len(s.wanted) && len(s.wanted) <= maxCompared {
		s.learn()
	}
}

// process looks into one process. One that is gone holds nothing.
func (w *worker) process(ctx context.Context, pid int) {
	defer w.note()
	name := strconv.Itoa(pid)
	rest := w.compare(pid, name+"/fd")
	if rest < 0 {
		return
	}
	n, err := w.descriptors(ctx, pid, name+"/fd", rest)
	if n == 0 && err == nil {
		// The first thread has ended while others live on: theirs are the
		// descriptors. (A kernel thread has none either, and one task.)
		_, err = w.tasks(ctx, pid, name+"/task")
	}
	if errors.Is(err, unix.EACCES) || errors.Is(err, unix.EPERM) {
		w.mu.Lock()
		w.denied = append(w.denied, pid)
		w.mu.Unlock()
	}
}

// descriptors counts the entries of an fd directory and notes those wanted,
// from that number on.
func (w *worker) descriptors(ctx context.Context, pid int, name string, from int) (n int, err error) {
	dir, err := openDir(w.proc, name)
	if err != nil {
		return 0, err
	}
	defer unix.Close(dir)
	var denied error
	err = entries(dir, w.dir, func(e entry) bool {
		fd, ok := number(e.name)
		if !ok {
			return true // . and ..
		}
		if n++; n%4096 == 0 && ctx.Err() != nil {
			return false
		}
		if fd < uint64(from) {
			return true
		}
		if same, errno := w.same(pid, int(fd)); errno == 0 && !same {
			return true
		}
		// e.name ends in the zero byte that the kernel wrote.
		inode, errno := w.socket(dir, &e.name[0])
		if errno == unix.EACCES || errno == unix.EPERM {
			denied = errno // CAP_DAC_READ_SEARCH without CAP_SYS_PTRACE lists but does not read
			return false
		}
		if w.wanted[inode] {
			w.seen = append(w.seen, sighting{inode, pid, int(fd)})
		}
		return true // also of one that was closed meanwhile
	})
	if denied != nil {
		err = denied
	}
	return n, err
}

// socket reads the link of a descriptor, whose name ends in a zero byte; 0 is
// none.
func (w *worker) socket(dir int, name *byte) (inode uint64, errno unix.Errno) {
	got, _, errno := unix.Syscall6(unix.SYS_READLINKAT, uintptr(dir), uintptr(unsafe.Pointer(name)),
		uintptr(unsafe.Pointer(&w.link[0])), uintptr(len(w.link)), 0, 0)
	if errno == 0 {
		inode, _ = socketInode(w.link[:got])
	}
	return inode, errno
}

// tasks looks into the threads of a process other than the first.
func (w *worker) tasks(ctx context.Context, pid int, name string) (n int, err error) {
	dir, err := openDir(w.proc, name)
	if err != nil {
		return 0, err
	}
	defer unix.Close(dir)
	var tids []uint64
	// A buffer of its own: w.dir serves the descriptors of each thread.
	err = entries(dir, make([]byte, 4<<10), func(e entry) bool {
		if tid, ok := number(e.name); ok && tid != uint64(pid) {
			tids = append(tids, tid)
		}
		return true
	})
	if err != nil {
		return 0, err
	}
	for _, tid := range tids {
		n, err = w.descriptors(ctx, pid, name+"/"+strconv.FormatUint(tid, 10)+"/fd", 0)
		if n > 0 || err != nil {
			return n, err // threads share one table
		}
	}
	return 0, nil
}

func openDir(at int, name string) (int, error) {
	return unix.Openat(at, name, unix.O_RDONLY|unix.O_DIRECTORY|unix.O_CLOEXEC, 0)
}

// entry is one struct linux_dirent64, getdents(2). The name is valid during
// the call only; a zero byte follows it.
type entry struct {
	inode uint64
	kind  byte
	name  []byte
}

// entries reads a directory into buf and hands each entry to visit, until
// visit says false.
func entries(dir int, buf []byte, visit func(entry) bool) error {
	for {
		n, err := unix.Getdents(dir, buf)
		if err != nil || n <= 0 {
			return err
		}
		for b := buf[:n]; len(b) > 19; {
			size := int(binary.NativeEndian.Uint16(b[16:]))
			if size <= 19 || size > len(b) {
				break
			}
			name := b[19:size]
			if end := bytes.IndexByte(name, 0); end > 0 {
				if !visit(entry{binary.NativeEndian.Uint64(b), b[18], name[:end]}) {
					return nil
				}
			}
			b = b[size:]
		}
	}
}

// socketInode reads "socket:[29113]".
func socketInode(link []byte) (uint64, bool) {
	s, ok := bytes.CutPrefix(link, []byte("socket:["))
	if !ok {
		return 0, false
	}
	s, ok = bytes.CutSuffix(s, []byte("]"))
	if !ok {
		return 0, false
	}
	return number(s)
}

// number is strconv.ParseUint without an allocation.
func number(b []byte) (n uint64, ok bool) {
	if len(b) == 0 || len(b) > 19 {
		return 0, false
	}
	for _, c := range b {
		if c < '0' || c > '9' {
			return 0, false
		}
		n = n*10 + uint64(c-'0')
	}
	return n, true
}
