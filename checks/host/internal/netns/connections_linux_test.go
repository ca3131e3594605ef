package netns

import (
	"testing"

	"github.com/loopdoctor/loopdoctor/checks/facts"
)

// Both ends of each connection of another namespace are read, also those that nobody has
// accepted, and none of it once another process has its number.
func TestConnections(t *testing.T) {
	needRoot(t)
	pid, port := elsewhere(t, "talk", nil)
	id := Of(pid)
	ss, err := Connections(t.Context(), pid, id)
	if err != nil {
		t.Fatal(err)
	}
	n := 0
	for _, s := range ss {
		if s.Local.Port() == port && s.State == facts.Established && s.Remote.Port() != 0 {
			n++
		}
	}
	if n != talks {
		t.Errorf("%d of %d connections: %+v", n, talks, ss)
	}
	if ss, err := Connections(t.Context(), pid, id+1); err == nil {
		t.Errorf("of another namespace: %+v", ss)
	}
}
