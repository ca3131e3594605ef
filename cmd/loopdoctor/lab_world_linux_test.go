package main

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"

	"golang.org/x/sys/unix"
)

func init() { stages["init"] = initStage }

// The scenario's own name files, as on a freshly installed machine. There is no
// name server: a question to one is refused at once. The ordinary user of tier R
// has no passwd entry.
var nameFiles = map[string]string{
	"hosts":         "127.0.0.1\tlocalhost\n::1\tlocalhost ip6-localhost ip6-loopback\n127.0.1.1\tlab\n",
	"nsswitch.conf": "passwd: files\ngroup: files\nhosts: files dns\n",
	"resolv.conf":   "nameserver 127.0.0.1\n",
	"passwd":        "root:x:0:0:root:/root:/bin/sh\nnobody:x:65534:65534:nobody:/nonexistent:/bin/false\n",
	"group":         "root:x:0:\nnogroup:x:65534:\n",
}

// initStage is process 1 of a scenario's world: it furnishes the world, starts
// the script and reaps whatever is orphaned there, as init does everywhere.
func initStage() {
	answer := os.NewFile(3, "answer")
	os.WriteFile("/proc/self/comm", []byte("init"), 0) // for the reports; it was started as "exe"
	if err := furnish(); err != nil {
		json.NewEncoder(answer).Encode(outcome{Unavailable: err.Error()})
		os.Exit(1)
	}
	script := exec.Command("/tmp/bin/lab", "-test.run=^TestScenario$", "-test.v", "-test.timeout="+scenarioTime.String())
	script.Dir = "/tmp/lab"
	script.Env = append(os.Environ(), "LOOPDOCTOR_LAB_STAGE=script")
	script.Stdout, script.Stderr, script.ExtraFiles = os.Stdout, os.Stderr, []*os.File{answer}
	if err := script.Start(); err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
	answer.Close()
	for {
		var status unix.WaitStatus
		pid, err := unix.Wait4(-1, &status, 0, nil)
		switch {
		case errors.Is(err, unix.EINTR):
		case err != nil:
			fmt.Fprintln(os.Stderr, err)
			os.Exit(1)
		case pid == script.Process.Pid && (status.Exited() || status.Signaled()):
			if status.Signaled() {
				fmt.Fprintln(os.Stderr, "the script was killed:", status.Signal())
				os.Exit(1)
			}
			os.Exit(status.ExitStatus())
		}
	}
}

// furnish makes the world of a scenario in the namespaces it was started in.
// Nothing of it can be seen from outside.
func furnish() error {
	if err := unix.Mount("", "/", "", unix.MS_REC|unix.MS_PRIVATE, ""); err != nil {
		return fmt.Errorf("make mounts private: %w", err)
	}
	exe, err := os.Open("/proc/self/exe")
	if err != nil {
		return err
	}
	defer exe.Close()
	for _, dir := range []string{"/tmp", "/run"} {
		if err := unix.Mount("tmpfs", dir, "tmpfs", unix.MS_NOSUID|unix.MS_NODEV, "mode=1777"); err != nil {
			return fmt.Errorf("mount %s: %w", dir, err)
		}
	}
	if err := unix.Mount("proc", "/proc", "proc", unix.MS_NOSUID|unix.MS_NODEV|unix.MS_NOEXEC, ""); err != nil {
		return fmt.Errorf("mount /proc: %w", err)
	}
	for _, dir := range []string{"/tmp/bin", "/tmp/lab", "/tmp/etc", "/tmp/etc.outside"} {
		if err := os.Mkdir(dir, 0o755); err != nil {
			return err
		}
	}
	if err := programs(exe); err != nil {
		return err
	}
	if err := privateEtc(); err != nil {
		return err
	}
	script, err := io.ReadAll(os.Stdin)
	if err != nil {
		return err
	}
	if err := os.WriteFile(filepath.Join("/tmp/lab", os.Getenv("LOOPDOCTOR_LAB_NAME")+".txtar"), script, 0o644); err != nil {
		return err
	}
	return loopbackUp()
}

// programs puts the program under test, the lab itself and asuser into
// /tmp/bin. They are copies: the test binary lies where others may not go.
func programs(exe *os.File) error {
	f, err := os.OpenFile("/tmp/bin/loopdoctor", os.O_WRONLY|os.O_CREATE, 0o755)
	if err != nil {
		return err
	}
	_, err = io.Copy(f, exe)
	if err := errors.Join(err, f.Close(), os.Link("/tmp/bin/loopdoctor", "/tmp/bin/lab")); err != nil {
		return err
	}
	asuser := fmt.Sprintf("exec setpriv --reuid=%d --regid=%[1]d --clear-groups --inh-caps=-all --ambient-caps=-all", ordinary)
	if os.Getenv("LOOPDOCTOR_LAB_TIER") == "U" { // no second uid is mapped there: the same one, without any capability
		asuser = "exec setpriv --no-new-privs --inh-caps=-all --ambient-caps=-all --bounding-set=-all"
	}
	return os.WriteFile("/tmp/bin/asuser", []byte("#!/bin/sh\n"+asuser+" -- \"$@\"\n"), 0o755)
}

// privateEtc replaces /etc by a folder of links to the real entries, except
// for the name files. Bind mounts of these would do for reading, but sed -i and
// mv could not replace them.
func privateEtc() error {
	if err := unix.Mount("/etc", "/tmp/etc.outside", "", unix.MS_BIND|unix.MS_REC, ""); err != nil {
		return fmt.Errorf("keep /etc: %w", err)
	}
	entries, err := os.ReadDir("/etc")
	if err != nil {
		return err
	}
	for _, e := range entries {
		if _, own := nameFiles[e.Name()]; own {
			continue
		}
		if err := os.Symlink(filepath.Join("/tmp/etc.outside", e.Name()), filepath.Join("/tmp/etc", e.Name())); err != nil {
			return err
		}
	}
	for name, text := range nameFiles {
		if err := os.WriteFile(filepath.Join("/tmp/etc", name), []byte(text), 0o644); err != nil {
			return err
		}
	}
	if err := unix.Mount("/tmp/etc", "/etc", "", unix.MS_BIND, ""); err != nil {
		return fmt.Errorf("replace /etc: %w", err)
	}
	return nil
}

// loopbackUp is "ip link set lo up".
func loopbackUp() error {
	s, err := unix.Socket(unix.AF_INET, unix.SOCK_DGRAM, 0)
	if err != nil {
		return err
	}
	defer unix.Close(s)
	req, err := unix.NewIfreq("lo")
	if err != nil {
		return err
	}
	req.SetUint16(unix.IFF_UP)
	if err := unix.IoctlIfreq(s, unix.SIOCSIFFLAGS, req); err != nil {
		return fmt.Errorf("set lo up: %w", err)
	}
	return nil
}
