package process

import (
	"os"
	"strconv"

	"golang.org/x/sys/unix"
)

const (
	// maxCompared is how many sockets may be wanted for a comparison with each
	// of them to be cheaper than one readlink.
	maxCompared = 3
	// maxGap is how many unused numbers may come between two descriptors of a
	// process before the rest is listed instead of tried.
	maxGap = 8

	kcmpFile = 0 // KCMP_FILE, linux/kcmp.h
)

// compare looks through the descriptors of a process in a third of the time that
// descriptors takes. A socket is one open file, whoever inherited it or was
// passed it, and kcmp(2) tells whether two descriptors are the same one, without
// a path or a link. So once one holder is known the others are found by it.
//
// It returns the number from which on the descriptors have to be listed, since
// the numbers are too far apart to be tried; -1 if all were seen. That is 0 if
// there is no known holder yet, the kernel does not count descriptors (before
// 6.2) or does not compare, or one disappeared.
func (w *worker) compare(pid int, fds string) (rest int) {
	if w.known.Load() == nil {
		return 0
	}
	var st unix.Stat_t
	if unix.Fstatat(w.proc, fds, &st, 0) != nil || st.Size == 0 {
		return 0
	}
	for fd, gap := 0, 0; st.Size > 0; fd++ {
		same, errno := w.same(pid, fd)
		switch {
		case errno == 0:
			st.Size--
			gap = 0
		case errno != unix.EBADF:
			return 0
		case gap == maxGap:
			return fd - gap
		default:
			gap++
		}
		if same {
			w.confirm(fds, pid, fd)
		}
	}
	return -1
}

// same tells whether a descriptor is one of the sockets, by comparison with the
// known holders. EBADF: it is not open, or a known one is not any more.
func (w *worker) same(pid, fd int) (bool, unix.Errno) {
	known := w.known.Load()
	if known == nil {
		return false, unix.ENOENT
	}
	for _, k := range *known {
		if differ, errno := kcmp(k, pid, fd); errno != 0 || !differ {
			return errno == 0, errno
		}
	}
	return false, 0
}

// kcmp tells whether a known descriptor and that of a process differ.
func kcmp(known sighting, pid, fd int) (differ bool, errno unix.Errno) {
	r, _, errno := unix.Syscall6(unix.SYS_KCMP, uintptr(known.pid), uintptr(pid), kcmpFile, uintptr(known.fd), uintptr(fd), 0)
	return r != 0, errno
}

// learn makes one holder of each socket known to all workers, if each can be
// compared: a process whose first thread has ended cannot.
func (s *scanner) learn() {
	var known []sighting
	for inode, holders := range s.held {
		for pid, fd := range holders {
			k := sighting{inode, pid, fd}
			if differ, errno := kcmp(k, pid, fd); differ || errno != 0 {
				return
			}
			known = append(known, k)
			break
		}
	}
	if mayCompare() {
		s.known.Store(&known)
	}
}

// confirm notes a descriptor if its link says the same.
func (w *worker) confirm(fds string, pid, fd int) {
	name, err := unix.BytePtrFromString(fds + "/" + strconv.Itoa(fd))
	if err != nil {
		return
	}
	if inode, _ := w.socket(w.proc, name); w.wanted[inode] {
		w.seen = append(w.seen, sighting{inode, pid, fd})
	}
}

// unchanged tells whether the descriptors that others were compared with are
// still what they were; else something may have been missed.
func (s *scanner) unchanged() bool {
	known := s.known.Load()
	if known == nil {
		return true
	}
	w := s.worker()
	for _, k := range *known {
		w.confirm(strconv.Itoa(k.pid)+"/fd", k.pid, k.fd)
	}
	return len(w.seen) == len(*known)
}

// mayCompare tells whether /proc shows the PIDs of our own PID namespace, which
// are those that kcmp takes.
func mayCompare() bool {
	self, err := os.Readlink("/proc/self")
	return err == nil && self == strconv.Itoa(os.Getpid())
}
