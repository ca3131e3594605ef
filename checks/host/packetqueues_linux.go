package host

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"strings"

	"github.com/loopdoctor/loopdoctor/checks/facts"
)

// linuxPacketQueues lists the queues of this network namespace that a program
// reads. Where the kernel has no such file, nobody can read one.
func linuxPacketQueues() (*facts.PacketQueues, error) {
	f, err := os.Open("/proc/thread-self/net/netfilter/nfnetlink_queue")
	if errors.Is(err, fs.ErrNotExist) {
		return &facts.PacketQueues{}, nil
	}
	if err != nil {
		return nil, err
	}
	defer f.Close()
	return packetQueues(f, queueReader)
}

// queueReader names the process whose number a netlink port is, if it lives in
// this network namespace: another process may have that number.
func queueReader(port uint32) string {
	if port == 0 || port > 1<<22 { // PID_MAX_LIMIT in linux/threads.h
		return ""
	}
	theirs, err := os.Stat(fmt.Sprintf("/proc/%d/ns/net", port))
	if err != nil {
		return ""
	}
	ours, err := os.Stat("/proc/thread-self/ns/net")
	if err != nil || !os.SameFile(theirs, ours) {
		return ""
	}
	comm, err := os.ReadFile(fmt.Sprintf("/proc/%d/comm", port))
	if err != nil {
		return ""
	}
	return fmt.Sprintf("%s (pid %d)", strings.TrimSpace(string(comm)), port)
}
