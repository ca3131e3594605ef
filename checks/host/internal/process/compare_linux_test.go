package process

import (
	"math"
	"os"
	"os/exec"
	"slices"
	"strconv"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/loopdoctor/loopdoctor/checks/facts"
)

// heirs starts processes that hold the socket of f at those numbers, and some
// that do not hold it at all.
func heirs(t *testing.T, f *os.File, numbers ...int) (pids []int) {
	t.Helper()
	for _, n := range append(numbers, 0) {
		c := exec.Command("/proc/self/exe")
		c.Env = append(os.Environ(), helperVariable+"=wait")
		in, err := c.StdinPipe()
		if err != nil {
			t.Fatal(err)
		}
		if n > 0 {
			c.ExtraFiles = make([]*os.File, n-3) // the numbers below stay unused
			c.ExtraFiles = append(c.ExtraFiles, f)
		}
		if err := c.Start(); err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { in.Close(); _ = c.Process.Kill(); _ = c.Wait() })
		if n > 0 {
			pids = append(pids, c.Process.Pid)
		}
	}
	return pids
}

// TestCompare finds by comparison exactly whom readlink finds, whatever the
// descriptors are called.
func TestCompare(t *testing.T) {
	// What we inherited ourselves is not to spread: it would be in the way.
	if err := unix.CloseRange(3, math.MaxInt32, unix.CLOSE_RANGE_CLOEXEC); err != nil {
		t.Skip("close_range: ", err)
	}
	c := start(t, "listen", nil)
	s := listener(t, c.number(t))
	proc, err := unix.Open("/proc", unix.O_RDONLY|unix.O_DIRECTORY|unix.O_CLOEXEC, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer unix.Close(proc)
	f := fileOf(t, c.pid, s)
	holders := heirs(t, f, 3, 9, 3+maxGap, 40*maxGap)
	f.Close()
	holders = append(holders, c.pid)

	pids, err := PIDs()
	if err != nil {
		t.Fatal(err)
	}
	look := func(compare bool) *scanner {
		sc := &scanner{proc: proc, wanted: map[uint64]bool{s.Inode: true}, held: map[uint64]map[int]int{}, whole: true}
		if sc.scan(t.Context(), []int{c.pid}); sc.known.Load() == nil {
			t.Skip("this kernel does not compare: CONFIG_KCMP")
		}
		if !compare {
			sc.wanted[1<<62], sc.wanted[1<<62+1], sc.wanted[1<<62+2] = true, true, true
			sc.known.Store(nil)
		}
		sc.scan(t.Context(), pids)
		if !sc.unchanged() || !sc.whole || (sc.known.Load() != nil) != compare {
			t.Fatalf("compare %v: %+v", compare, sc)
		}
		return sc
	}
	slow, quick := look(false), look(true)
	for _, pid := range holders {
		fd, ok := quick.held[s.Inode][pid]
		if was, found := slow.held[s.Inode][pid]; !ok || !found || fd != was {
			t.Errorf("process %d: descriptor %d (%v) by comparison, %d (%v) by readlink", pid, fd, ok, was, found)
		}
	}
	if len(quick.held[s.Inode]) != len(holders) {
		t.Errorf("found %v, want %v", quick.held[s.Inode], holders)
	}
	w := quick.worker()
	var compared []int
	for _, pid := range holders {
		if w.compare(pid, strconv.Itoa(pid)+"/fd") < 0 {
			compared = append(compared, pid)
		}
	}
	// The last heir's number is beyond the gap: it was found the slow way.
	if want := slices.Delete(slices.Clone(holders), 3, 4); !slices.Equal(compared, want) && counts(t) {
		t.Errorf("compared %v, want %v", compared, want)
	}

	// A known holder that has gone leads back to readlink, and is noticed.
	_ = c.Process.Kill()
	_, _ = c.Process.Wait()
	if quick.unchanged() {
		t.Error("the process that all were compared with is gone, and nobody noticed")
	}
	if rest := w.compare(holders[0], strconv.Itoa(holders[0])+"/fd"); rest != 0 {
		t.Errorf("compared with nothing: up to %d", rest)
	}
}

// counts tells whether the kernel counts descriptors: 6.2.
func counts(t *testing.T) bool {
	fi, err := os.Stat("/proc/self/fd")
	if err != nil {
		t.Fatal(err)
	}
	return fi.Size() > 0
}

// fileOf takes a copy of the descriptor of the socket from a child of ours.
func fileOf(t *testing.T, pid int, s facts.Socket) *os.File {
	t.Helper()
	fd := owners(t, s).Holders[s.Inode][0].FD
	p, err := unix.PidfdOpen(pid, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer unix.Close(p)
	copied, err := unix.PidfdGetfd(p, fd, 0)
	if err != nil {
		t.Skip("pidfd_getfd: ", err)
	}
	return os.NewFile(uintptr(copied), "listener")
}
