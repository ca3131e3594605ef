package host

import (
	"syscall"
	"testing"
)

// Realtime signals have names, too: a client that one ends did not exit by itself.
func TestSignalName(t *testing.T) {
	for s, want := range map[syscall.Signal]string{9: "SIGKILL", 33: "signal 33", 34: "SIGRTMIN", 36: "SIGRTMIN+2", 64: "SIGRTMIN+30"} {
		if got := signalName(s); got != want {
			t.Errorf("%d: %s", s, got)
		}
	}
	w, err := watchClient([]string{"sh", "-c", "kill -36 $$"})
	if err != nil {
		t.Skip("NOT RUN: ", err)
	}
	if w.Met.Signal != "SIGRTMIN+2" || w.Met.Exit != 128+36 {
		t.Errorf("%q, exit %d", w.Met.Signal, w.Met.Exit)
	}
}
