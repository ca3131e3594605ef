package process

import (
	"bufio"
	"bytes"
	"fmt"
	"os"
	"strconv"
	"strings"
)

// Pending tells whether a signal has been sent to the process and waits there.
func Pending(pid, signal int) bool {
	data, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", pid))
	return err == nil && parsePending(data, signal)
}

// parsePending reads the lines SigPnd and ShdPnd of /proc/PID/status, masks of
// signals from 1: "ShdPnd:	0000000000000002" is SIGINT.
func parsePending(status []byte, signal int) bool {
	for s := bufio.NewScanner(bytes.NewReader(status)); s.Scan(); {
		name, value, _ := strings.Cut(s.Text(), ":")
		if name != "SigPnd" && name != "ShdPnd" {
			continue
		}
		if mask, err := strconv.ParseUint(strings.TrimSpace(value), 16, 64); err == nil && mask>>(signal-1)&1 == 1 {
			return true
		}
	}
	return false
}
