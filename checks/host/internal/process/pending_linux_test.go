package process

import "testing"

func TestPending(t *testing.T) {
	status := []byte("Name:\tsh\nSigQ:\t1/95786\nSigPnd:\t0000000000000200\nShdPnd:\t0000000000000002\nSigBlk:\t0000000000004000\n")
	for signal, want := range map[int]bool{2: true, 10: true, 15: false, 1: false} {
		if got := parsePending(status, signal); got != want {
			t.Errorf("signal %d: %v", signal, got)
		}
	}
	if parsePending(nil, 2) || parsePending([]byte("ShdPnd:\tx\n"), 2) {
		t.Error("nothing is pending where nothing is said")
	}
}
