package process

import "testing"

// Anybody can name a program conmon and write what he likes into its arguments.
func TestCredible(t *testing.T) {
	for _, c := range []struct {
		p    Program
		want bool
	}{
		{Program{UID: 0, Name: "conmon", Exe: "conmon"}, true},
		{Program{UID: 0, Name: "docker-proxy"}, true}, // its executable may not be seen
		{Program{UID: 1000, Name: "conmon", Exe: "conmon"}, true},
		{Program{UID: 1000, Name: "rootlesskit-doc", Exe: "rootlesskit-docker-proxy"}, true},
		{Program{UID: 0, Name: "containerd-shim", Exe: "containerd-shim-runc-v2"}, true},
		{Program{UID: 0, Name: "conmon", Exe: ".conmon-wrapped"}, true},
		{Program{UID: 1001, Name: "conmon", Exe: "conmon"}, false}, // somebody else's
		{Program{UID: 1001, Name: "docker-proxy"}, false},
		{Program{UID: 1000, Name: "conmon", Exe: "python3.11"}, false},
		{Program{UID: 0, Name: "docker-proxy", Exe: "sleep"}, false},
	} {
		if got := c.p.Credible([]uint32{1000}); got != c.want {
			t.Errorf("%+v: %v", c.p, got)
		}
	}
}
