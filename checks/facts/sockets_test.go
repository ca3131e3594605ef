package facts

import (
	"net/netip"
	"testing"
)

func TestWhichAddressesAListenerServes(t *testing.T) {
	const v4, v6, odd, lan = "127.0.0.1", "::1", "127.0.0.2", "192.0.2.7"
	for _, test := range []struct {
		listens        string
		v6only         bool
		device         string
		serves         []string
		coversNotServe []string
	}{
		{listens: "127.0.0.1", serves: []string{v4}},
		{listens: "127.0.0.2", serves: []string{odd}},
		{listens: "0.0.0.0", serves: []string{v4, odd, lan}},
		{listens: "::1", serves: []string{v6}},
		{listens: "::1", v6only: true, serves: []string{v6}},
		{listens: "::", serves: []string{v4, v6, odd, lan}},
		{listens: "::", v6only: true, serves: []string{v6}},
		{listens: "::ffff:127.0.0.1", serves: []string{v4}},
		{listens: "192.0.2.7", serves: []string{lan}},
		{listens: "0.0.0.0", device: "lo", serves: []string{v4, odd, lan}},
		{listens: "0.0.0.0", device: "eth0", coversNotServe: []string{v4, odd, lan}},
		{listens: "::", device: "eth0", coversNotServe: []string{v4, v6, odd, lan}},
		{listens: "::1", device: "vrf1", coversNotServe: []string{v6}},
	} {
		s := Socket{Local: netip.AddrPortFrom(netip.MustParseAddr(test.listens), 80), V6Only: test.v6only, Device: test.device}
		for _, a := range []string{v4, v6, odd, lan} {
			serves, covers := has(test.serves, a), has(test.serves, a) || has(test.coversNotServe, a)
			if got := s.Serves(netip.MustParseAddr(a)); got != serves {
				t.Errorf("%+v serves %s: %v, want %v", test, a, got, serves)
			}
			if got := s.Covers(netip.MustParseAddr(a)); got != covers {
				t.Errorf("%+v covers %s: %v, want %v", test, a, got, covers)
			}
		}
	}
}

func has(list []string, a string) bool {
	for _, x := range list {
		if x == a {
			return true
		}
	}
	return false
}

// The kernel lets one more in than the limit says (sk_acceptq_is_full).
func TestWhenAQueueIsFull(t *testing.T) {
	for q, want := range map[*Queue]bool{nil: false, {0, 0}: false, {1, 0}: true, {5, 5}: false, {6, 5}: true, {0, 4096}: false} {
		if q.Full() != want {
			t.Errorf("%+v: full %v", q, q.Full())
		}
	}
}

func TestWhyAProcessCannotRun(t *testing.T) {
	for _, test := range []struct {
		name    string
		process Process
		want    string
	}{
		{"it sleeps", Process{State: "S"}, ""},
		{"it runs", Process{State: "R"}, ""},
		{"it waits for a disk", Process{State: "D"}, ""},
		{"nothing is known", Process{}, ""},
		{"Ctrl-Z", Process{State: "T"}, "stopped"},
		{"a breakpoint", Process{State: "t", Tracer: 7}, "halted by a debugger"},
		{"a debugger that may not be seen", Process{State: "t"}, "halted by a debugger"},
		{"stopped under a debugger", Process{State: "T", Tracer: 7}, "halted by a debugger"},
		{"strace watches it run", Process{State: "S", Tracer: 7}, ""},
		{"a paused container", Process{State: "S", Frozen: true}, "frozen"},
		{"stopped, and frozen too", Process{State: "T", Frozen: true}, "stopped"},
	} {
		if got := test.process.Halted(); got != test.want {
			t.Errorf("%s: got %q, want %q", test.name, got, test.want)
		}
	}
}

func TestWhoForwards(t *testing.T) {
	for _, test := range []struct {
		process Process
		want    bool
	}{
		{Process{Name: "docker-proxy"}, true},
		{Process{Name: "ssh"}, true},
		{Process{Name: "MainThread", Exe: "/usr/bin/socat"}, true},
		{Process{Name: "systemd-socket-", Exe: "/usr/lib/systemd/systemd-socket-proxyd"}, true}, // comm ends after 15 bytes
		{Process{Name: "sshd"}, false},
		{Process{Name: "node", Exe: "/usr/bin/node"}, false},
		{Process{Name: "mysocat"}, false},
		{Process{}, false},
	} {
		if got := test.process.Forwards(); got != test.want {
			t.Errorf("%+v: got %v", test.process, got)
		}
	}
}

func TestOwnersOfASocket(t *testing.T) {
	o := &Owners{Processes: []Process{{PID: 7, Name: "master"}, {PID: 8, Name: "worker"}}, Holders: map[uint64][]Holder{5: {{PID: 7}, {PID: 8}, {PID: 9}}}}
	if got := o.Of(Socket{Inode: 5}); len(got) != 2 || got[0].Name != "master" || got[1].Name != "worker" {
		t.Errorf("got %v, want both that are known, the oldest first", got)
	}
	for name, got := range map[string][]Process{
		"another socket":           o.Of(Socket{Inode: 6}),
		"a socket that nobody has": o.Of(Socket{}),
		"owners were not seen":     (*Owners)(nil).Of(Socket{Inode: 5}),
	} {
		if len(got) != 0 {
			t.Errorf("%s: got %v", name, got)
		}
	}
	if o.Process(8) == nil || o.Process(9) != nil || (*Owners)(nil).Process(8) != nil {
		t.Error("Process finds what is there, and nothing else")
	}
}

func TestWhichOutcomesWork(t *testing.T) {
	for _, o := range []Outcome{Connected, Deferred} {
		if !o.Works() {
			t.Errorf("%s: the kernel completed the handshake", o)
		}
	}
	for _, o := range []Outcome{Refused, Timeout, Unreachable, Denied, Failed, Skipped, ""} {
		if o.Works() {
			t.Errorf("%s: it did not", o)
		}
	}
}

func TestTemporaryPorts(t *testing.T) {
	l := &Limits{EphemeralLow: 32768, EphemeralHigh: 60999}
	for port, want := range map[uint16]bool{32767: false, 32768: true, 60999: true, 61000: false, 0: false} {
		if got := l.Ephemeral(port); got != want {
			t.Errorf("%d: got %v", port, got)
		}
	}
}

func TestAddressesOfAnInterface(t *testing.T) {
	lo := &Interface{Addresses: []netip.Prefix{netip.MustParsePrefix("127.0.0.1/8"), netip.MustParsePrefix("::1/128")}}
	for a, want := range map[string]bool{"127.0.0.1": true, "::1": true, "127.0.0.2": false, "10.0.0.1": false} {
		if got := lo.Holds(netip.MustParseAddr(a)); got != want {
			t.Errorf("%s: got %v", a, got)
		}
	}
}

// A process may call itself what it likes; its executable tells.
func TestWhoHoldsForContainers(t *testing.T) {
	for _, test := range []struct {
		p    Process
		want bool
	}{
		{Process{Name: "docker-proxy"}, true}, // another user's: its executable is not seen
		{Process{Name: "docker-proxy", Exe: "/usr/bin/docker-proxy"}, true},
		{Process{Name: "docker-proxy", Exe: "/tmp/sleep"}, false},
		{Process{Name: "exe", Exe: "/usr/bin/rootlesskit", Args: []string{"/proc/self/exe"}}, true},
		{Process{Name: "rootlessport-ch", Exe: "/usr/lib/podman/rootlessport"}, true},
		{Process{Name: "exe", Args: []string{"containers-rootlessport"}}, true},
		{Process{Name: "conmon", Exe: "/nix/store/x/bin/.conmon-wrapped"}, true},
		{Process{Name: "passt.avx2", Exe: "/usr/bin/passt.avx2"}, true},
		{Process{Name: "node", Exe: "/usr/bin/node", Args: []string{"docker-proxy"}}, false},
		{Process{Name: "node"}, false},
	} {
		if got := test.p.HoldsForContainers(); got != test.want {
			t.Errorf("%+v: %v", test.p, got)
		}
	}
}
