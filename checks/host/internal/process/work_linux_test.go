package process

import (
	"os"
	"os/exec"
	"runtime"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/loopdoctor/loopdoctor/checks/facts"
)

// begin runs a program until the test ends, and waits until it has come to.
func begin(t *testing.T, until func(pid int) bool, name string, args ...string) int {
	t.Helper()
	cmd := exec.Command(name, args...)
	if err := cmd.Start(); err != nil {
		t.Skip(err)
	}
	t.Cleanup(func() { cmd.Process.Kill(); cmd.Wait() })
	for end := time.Now().Add(10 * time.Second); !until(cmd.Process.Pid); time.Sleep(5 * time.Millisecond) {
		if time.Now().After(end) {
			t.Fatalf("%s did not come to", name)
		}
	}
	return cmd.Process.Pid
}

func stateIs(letter byte) func(pid int) bool {
	return func(pid int) bool {
		st, err := statOf(pid)
		return err == nil && st.state == letter && st.comm != "exe" && comm(pid) != comm(os.Getpid())
	}
}

func TestWhatProcessesDo(t *testing.T) {
	spins := begin(t, stateIs('R'), "sh", "-c", "while :; do :; done")
	sleeps := begin(t, stateIs('S'), "sleep", "60")
	// On a busy machine they are still starting at the first looks.
	var work facts.Work
	for end := time.Now().Add(10 * time.Second); ; {
		w := NewWatch([]int{spins, sleeps, 1 << 30})
		time.Sleep(150 * time.Millisecond)
		var err error
		if work, err = w.Since(); err != nil {
			t.Fatal(err)
		}
		if len(work.Processes) != 2 || work.ApartMS < 150 {
			t.Fatalf("%+v", work)
		}
		ready := work.Of(spins).CPUMS > 0 && len(work.Of(spins).Waits) == 0 && work.Of(sleeps).CPUMS == 0 &&
			(work.Of(sleeps).WaitsIn != "" || len(work.Of(sleeps).NotSeen) > 0)
		if ready || time.Now().After(end) {
			break
		}
	}
	if p := work.Of(spins); p.Threads != 1 || p.Busiest == nil || !p.Busiest.Tireless || p.Busiest.TID != spins || p.CPUMS <= 0 || len(p.Waits) > 0 {
		t.Errorf("what spins: %+v, %+v", p, p.Busiest)
	}
	p := work.Of(sleeps)
	if p.Threads != 1 || p.Busiest != nil && p.Busiest.Tireless || p.CPUMS > 20 || p.Stuck > 0 || p.State != "S" {
		t.Errorf("what sleeps: %+v", p)
	}
	if len(p.NotSeen) == 0 && (len(p.Waits) != 1 || p.WaitsIn == "") {
		t.Errorf("what sleeps waits in %q, %v", p.WaitsIn, p.Waits)
	}
	if p.Files == nil || p.Files.Open < 3 || p.Files.Limit < p.Files.Open || p.Cgroup == nil || p.Cgroup.Path == "" || p.Cgroup.Frozen {
		t.Errorf("what sleeps has %+v, in %+v", p.Files, p.Cgroup)
	}
}

func TestAFullTableOfDescriptors(t *testing.T) {
	pid := begin(t, stateIs('S'), "sleep", "60")
	limit := unix.Rlimit{Cur: 3, Max: 3}
	if err := unix.Prlimit(pid, unix.RLIMIT_NOFILE, &limit, nil); err != nil {
		t.Skip(err)
	}
	w := Glance([]int{pid})
	o := w.Of(pid).Files
	if !o.Full() || o.Limit != 3 || o.Open != 3 {
		t.Errorf("%+v", o)
	}
}

func TestAStoppedProcessIsLookedAtOnce(t *testing.T) {
	pid := begin(t, stateIs('S'), "sleep", "60")
	if err := unix.Kill(pid, unix.SIGSTOP); err != nil {
		t.Fatal(err)
	}
	for end := time.Now().Add(10 * time.Second); !stateIs('T')(pid) && time.Now().Before(end); {
		runtime.Gosched()
	}
	w := Glance([]int{pid})
	if w.ApartMS != 0 || len(w.Processes) != 1 || w.Processes[0].State != "T" {
		t.Errorf("%+v", w)
	}
}
