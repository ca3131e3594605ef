package checks

import (
	"net/netip"
	"testing"
	"time"

	"github.com/loopdoctor/loopdoctor/checks/facts"
)

// The situations in which several things are wrong at once: which is the cause?
func TestMixedSituations(t *testing.T) {
	for _, test := range []struct {
		name  string
		facts *facts.Facts
		want  []string
	}{
		{"a stopped process behind a drop",
			machine("127.0.0.1", listens("127.0.0.1", 50, stopped), dials("127.0.0.1", facts.Timeout), counts("127.0.0.1", 32, diedOnInput)),
			[]string{"broken", "active lost-on-input proven", "latent process-stopped-or-debugged proven"}},

		{"a frozen process behind a drop",
			machine("127.0.0.1", listens("127.0.0.1", 50, frozen), dials("127.0.0.1", facts.Timeout), counts("127.0.0.1", 32, diedOnInput)),
			[]string{"broken", "active lost-on-input proven", "latent container-paused-or-frozen proven"}},
		{"a paused container whose queue is full, behind NAT",
			machine("127.0.0.1", listens("0.0.0.0", 19, named("conmon")), dials("127.0.0.1", facts.Timeout), counts("127.0.0.1", 32, ledOffLo), boxed("shop-web", publishing("0.0.0.0:62893->80"), within("0.0.0.0:80"), queueInside(10, 9), isPaused),
				walks("127.0.0.1", facts.Syn, diverted("dnat", to("172.17.0.2:80"), iptablesNFTRule("NETAVARK-DN-1", "-p tcp --dport 62893 -j DNAT --to-destination 172.17.0.2:80")),
					diverted("masquerade", to("127.0.0.1:40000"), iptablesNFTRule("NETAVARK-HOSTPORT-MASQ", "-j MASQUERADE")))),
			[]string{"broken", "active container-paused-or-frozen proven"}},
		{"packets leave and do not come to lo, and the rules are not seen",
			machine("127.0.0.1", listens("0.0.0.0", 0), dials("127.0.0.1", facts.Timeout), counts("127.0.0.1", 32, ledOffLo), holdsOn("podman0", "10.88.0.1/16")),
			[]string{"broken", "active lost-on-wire inferred"}},

		{"lo down, and a rule drops on the way out",
			machine("127.0.0.1", loIsDown, listens("127.0.0.1", 50), dials("127.0.0.1", facts.Timeout), counts("127.0.0.1", 32, diedOnOutput)),
			[]string{"broken", "active lost-on-output proven", "latent lo-down proven"}},
		{"lo down, and a rule that would drop on the way in: no packet gets so far",
			machine("127.0.0.1", loIsDown, listens("127.0.0.1", 50), dials("127.0.0.1", facts.Timeout), counts("127.0.0.1", 32, diedOnWire)),
			[]string{"broken", "active lo-down proven"}},

		{"one of two SO_REUSEPORT twins is stuck, and the probe met the other",
			machine("127.0.0.1", listens("127.0.0.1", 50), listens("127.0.0.1", 51, stopped), dials("127.0.0.1", facts.Connected)),
			[]string{"partly", "active process-stopped-or-debugged proven"}},
		{"one of two SO_REUSEPORT twins is stuck, and the probe met it",
			machine("127.0.0.1", listens("127.0.0.1", 50), listens("127.0.0.1", 51, stopped), dials("127.0.0.1", facts.Connected, waiting)),
			[]string{"partly", "active process-stopped-or-debugged proven"}},

		{"a redirect to a dead port, with a listener present",
			machine("127.0.0.1", listens("127.0.0.1", 50), dials("127.0.0.1", facts.Refused), counts("127.0.0.1", 1, realReset)),
			[]string{"broken", "active answered-elsewhere inferred"}},
		{"the same, seen by a capture",
			machine("127.0.0.1", listens("127.0.0.1", 50), dials("127.0.0.1", facts.Refused), counts("127.0.0.1", 1, realReset), wentTo(1999)),
			[]string{"broken", "active answered-elsewhere proven"}},

		{"IPv4 dropped, and nothing listens on IPv6",
			machine("62893", listens("127.0.0.1", 50), dials("127.0.0.1", facts.Timeout), dials("::1", facts.Refused), counts("127.0.0.1", 32, diedOnInput)),
			[]string{"broken", "active lost-on-input proven"}},

		{"a forwarder whose far end is dead",
			machine("127.0.0.1", listens("127.0.0.1", 50, named("socat")), dials("127.0.0.1", facts.Connected, closedBy)),
			[]string{"broken", "active forwarder-accepts-backend-dead inferred"}},
		{"a program that is no forwarder closes at once: nobody knows why",
			machine("127.0.0.1", listens("127.0.0.1", 50), dials("127.0.0.1", facts.Connected, closedBy)),
			[]string{"broken", "unexplained closed-at-once"}},

		{"the accept queue is full because the process is stopped",
			machine("127.0.0.1", listens("127.0.0.1", 50, stopped, queue(6, 5)), dials("127.0.0.1", facts.Timeout), counts("127.0.0.1", 1, queueFull)),
			[]string{"broken", "active process-stopped-or-debugged proven"}},
		{"the accept queue is full, and the process runs",
			machine("127.0.0.1", listens("127.0.0.1", 50, queue(6, 5)), dials("127.0.0.1", facts.Timeout), counts("127.0.0.1", 1, queueFull)),
			[]string{"broken", "active accept-queue-full proven"}},

		{"proxy variables set, while the server is down",
			machine("62893", proxies("http_proxy=http://127.0.0.1:3128"), dials("127.0.0.1", facts.Refused), dials("::1", facts.Refused)),
			[]string{"broken", "active no-listener proven"}},

		{"the hosts file lacks localhost, and the server is fine",
			machine("localhost", hosts(), listens("0.0.0.0", 50), dials("127.0.0.1", facts.Connected)),
			[]string{"broken", "active hosts-localhost-missing proven", "remark tools-disagree-on-localhost"}},
		{"the same, asked by port alone",
			machine("62893", hosts(), listens("0.0.0.0", 50), dials("127.0.0.1", facts.Connected)),
			[]string{"works", "remark hosts-localhost-missing", "remark tools-disagree-on-localhost"}},

		{"bound without listen, and connections of the last run in TIME_WAIT",
			machine("127.0.0.1", toBind, holds(facts.Bound, "127.0.0.1", "", 50), holds(facts.TimeWait, "127.0.0.1", "127.0.0.1:40001", 0),
				binds("127.0.0.1", "EADDRINUSE", true), binds("127.0.0.1", "EADDRINUSE", false)),
			[]string{"broken", "active bound-not-listening proven"}},

		{"a unit of this machine died, and an unrelated container listens on the same port elsewhere",
			machine("127.0.0.1", dials("127.0.0.1", facts.Refused), elsewhere(77, "/", 0), elsewhere(78, "/", 0)),
			[]string{"broken", "active no-listener proven"}},
		{"a unit died, and a container holds the port here",
			machine("127.0.0.1", toBind, listens("0.0.0.0", 77, container), binds("127.0.0.1", "EADDRINUSE", true)),
			[]string{"broken", "active port-held-by-other-app proven"}},
		{"the listener in the other namespace is one's own",
			machine("127.0.0.1", dials("127.0.0.1", facts.Refused), elsewhere(77, "/home/ann/shop", 1000), elsewhere(78, "/", 0)),
			[]string{"broken", "active other-network-namespace inferred"}},

		{"a drop, seen without root: no owner, no packets, no namespaces",
			machine("127.0.0.1", listens("127.0.0.1", 0), dials("127.0.0.1", facts.Timeout), counts("127.0.0.1", 32, diedOnInput),
				unseen(facts.GroupOwners, facts.GroupPackets, facts.GroupNamespaces)),
			[]string{"broken", "active lost-on-input proven"}},
	} {
		t.Run(test.name, func(t *testing.T) { expect(t, test.facts, test.want...) })
	}
}

func wentTo(p uint16) change {
	return func(f *facts.Facts) {
		f.Packets = &facts.Packets{Conversations: []facts.Conversation{{Network: "tcp", Client: netip.MustParseAddrPort("127.0.0.1:40000"),
			Server: netip.AddrPortFrom(v4Loopback, p), Packets: []facts.Packet{{FromClient: true, Flags: "S", Out: true, In: true}}}}}
	}
}

func proxies(kv ...string) change {
	return func(f *facts.Facts) {
		for _, s := range kv {
			f.Proxies.Variables = append(f.Proxies.Variables, facts.Variable{Name: s, Value: s})
		}
	}
}

func elsewhere(pid int, cwd string, uid uint32) change {
	return func(f *facts.Facts) {
		f.Namespaces.Found = append(f.Namespaces.Found, facts.Namespace{ID: uint64(pid), Proven: true,
			Listeners: []facts.Socket{{Network: "tcp", State: facts.Listen, Local: addr("0.0.0.0")}},
			Processes: []facts.Process{{PID: pid, Name: "nginx", UID: uid, Cwd: cwd}}})
		nothingElse(f)
	}
}

// nothingElse has to do with the port: that was looked at.
func nothingElse(f *facts.Facts) {
	if f.Units == nil {
		f.Units = &facts.Units{}
	}
	if f.Containers == nil {
		f.Containers = &facts.Containers{}
	}
	if f.Candidates == nil {
		f.Candidates = &facts.Candidates{Complete: true}
	}
	if f.Configs == nil {
		f.Configs = &facts.Configs{}
	}
}

func unseen(groups ...facts.Group) change {
	return func(f *facts.Facts) {
		for _, g := range groups {
			f.Absent[g] = facts.Absence{Why: facts.CouldNot, Reason: "needs root", Remedy: "run it with sudo"}
		}
		*f = *f.Without(groups...)
	}
}

// Many listeners share a port with SO_REUSEPORT, and somebody may send facts with
// absurdly many. This took a minute, and ten minutes of 10,000.
func TestManyListeners(t *testing.T) {
	if testing.Short() {
		t.Skip("the race detector makes seconds of it")
	}
	for name, pid := range map[string]int{"stopped": 5000, "of nobody": 0} {
		changes := []change{}
		for i := range 3000 {
			changes = append(changes, listens("127.0.0.1", cond(pid == 0, 0, pid+i), stopped, func(s *facts.Socket, _ *facts.Process) { s.Inode = uint64(100000 + i) }))
		}
		f := machine("127.0.0.1", changes...)
		f.Owners.Visible = true
		began := time.Now()
		d := Diagnose(f)
		if took := time.Since(began); took > 30*time.Second || len(d.Passed) == 0 {
			t.Errorf("%s: it took %v, and %d checks passed", name, took, len(d.Passed))
		}
	}
}
