package main

import (
	"bytes"
	"errors"
	"fmt"
	"math/rand/v2"
	"net"
	"os"
	"os/exec"
	"runtime"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

func init() { stages["killed"] = func() { must(killedStage()) } }

// TestKilledLeavesNothing kills the program at random moments while it diagnoses a
// fault for which it makes a table that traces. Afterwards the rules are what they
// were. LOOPDOCTOR_TEST_KILLS=200 kills it as often as that.
func TestKilledLeavesNothing(t *testing.T) {
	if testing.Short() {
		t.Skip("NOT RUN: it takes ten seconds")
	}
	if _, err := exec.LookPath("nft"); err != nil {
		missing(t, "nft is not installed")
	}
	kills := os.Getenv("LOOPDOCTOR_TEST_KILLS") // read here, so that go test knows of it
	cmd := exec.CommandContext(t.Context(), "/proc/self/exe")
	cmd.Env = append(os.Environ(), "LOOPDOCTOR_LAB_STAGE=killed", "LOOPDOCTOR_TEST_KILLS="+kills)
	cmd.SysProcAttr = &syscall.SysProcAttr{Cloneflags: unix.CLONE_NEWNET, Pdeathsig: unix.SIGKILL}
	if os.Getuid() != 0 {
		cmd.SysProcAttr.Cloneflags |= unix.CLONE_NEWUSER
		cmd.SysProcAttr.UidMappings = []syscall.SysProcIDMap{{ContainerID: 0, HostID: os.Getuid(), Size: 1}}
		cmd.SysProcAttr.GidMappings = []syscall.SysProcIDMap{{ContainerID: 0, HostID: os.Getgid(), Size: 1}}
	}
	// Pdeathsig follows the thread that forked, not the process.
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	out, err := cmd.CombinedOutput()
	switch {
	case errors.Is(err, unix.EPERM), errors.Is(err, unix.ENOSPC):
		missing(t, "no network namespace: "+err.Error())
	case err != nil:
		t.Fatalf("%v\n%s", err, out)
	}
	t.Logf("%s", out)
}

// killedRules drop what a limit does not let pass, and say so nowhere else: only the
// kernel can tell.
const killedRules = `table inet guard {
	chain input {
		type filter hook input priority 0; policy accept;
		tcp dport 62893 limit rate over 1/day burst 1 packets drop
	}
}
`

// killedStage is process 1 of the network namespace.
func killedStage() error {
	kills := 20
	if n, err := strconv.Atoi(os.Getenv("LOOPDOCTOR_TEST_KILLS")); err == nil {
		kills = n
	}
	if err := loopbackUp(); err != nil {
		return err
	}
	l, err := net.Listen("tcp4", "127.0.0.1:62893")
	if err != nil {
		return err
	}
	defer l.Close()
	load := exec.Command("nft", "-f", "-")
	load.Stdin = strings.NewReader(killedRules)
	if out, err := load.CombinedOutput(); err != nil {
		return fmt.Errorf("nft: %w: %s", err, out)
	}
	for range 2 { // uses up what the limit lets pass
		if c, err := net.DialTimeout("tcp4", "127.0.0.1:62893", 50*time.Millisecond); err == nil {
			c.Close()
		}
	}
	before, err := ruleset()
	if err != nil {
		return err
	}
	// It has to be a run that makes the table: else this shows nothing.
	begin := time.Now()
	out, _ := onTheFault().CombinedOutput()
	whole := time.Since(begin)
	if !bytes.Contains(out, []byte("For a moment loopdoctor changed this machine")) {
		return fmt.Errorf("it changed nothing:\n%s", out)
	}
	changes, err := listenForTables()
	if err != nil {
		return err
	}
	defer unix.Close(changes)
	aimed := 0
	for i := range kills {
		cmd := onTheFault()
		if err := cmd.Start(); err != nil {
			return err
		}
		if i%2 == 0 {
			time.Sleep(rand.N(whole))
		} else if nextTable(changes, 2*whole) {
			time.Sleep(rand.N(5 * time.Millisecond)) // while it traces, and while it ends that
			aimed++
		}
		cmd.Process.Kill()
		cmd.Wait()
		after, err := ruleset()
		if err != nil {
			return err
		}
		if after != before {
			return fmt.Errorf("after kill %d the rules are\n%s", i+1, after)
		}
		for nextTable(changes, 0) { // what is left of this one
		}
	}
	if aimed == 0 {
		return errors.New("no kill fell into the time in which it traces")
	}
	fmt.Printf("%d kills, %d of them right after the table was made; a whole run takes %v\n", kills, aimed, whole.Round(time.Millisecond))
	return nil
}

// onTheFault is this binary as the program, on the fault.
func onTheFault() *exec.Cmd {
	cmd := exec.Command("/proc/self/exe", "--no-capture", "127.0.0.1:62893")
	cmd.Args[0] = "loopdoctor"
	return cmd
}

func ruleset() (string, error) {
	out, err := exec.Command("nft", "-s", "list", "ruleset").CombinedOutput()
	if err != nil {
		return "", fmt.Errorf("nft: %w: %s", err, out)
	}
	return string(out), nil
}

// listenForTables hears of what is changed in nf_tables: NFNLGRP_NFTABLES of
// linux/netfilter/nfnetlink.h is group 7.
func listenForTables() (int, error) {
	fd, err := unix.Socket(unix.AF_NETLINK, unix.SOCK_RAW|unix.SOCK_CLOEXEC, unix.NETLINK_NETFILTER)
	if err != nil {
		return -1, err
	}
	return fd, unix.Bind(fd, &unix.SockaddrNetlink{Family: unix.AF_NETLINK, Groups: 1 << 6})
}

// nextTable waits until somebody makes a table (NFT_MSG_NEWTABLE is message 0 of
// subsystem 10).
func nextTable(fd int, limit time.Duration) bool {
	buf := make([]byte, 64<<10)
	for end := time.Now().Add(limit); ; {
		fds := []unix.PollFd{{Fd: int32(fd), Events: unix.POLLIN}}
		n, err := unix.Poll(fds, int(max(0, time.Until(end)).Milliseconds()))
		if errors.Is(err, unix.EINTR) {
			continue
		}
		if err != nil || n == 0 {
			return false
		}
		n, _, err = unix.Recvfrom(fd, buf, unix.MSG_DONTWAIT)
		if err == nil && n >= 6 && buf[4] == 0 && buf[5] == 10 {
			return true
		}
	}
}
