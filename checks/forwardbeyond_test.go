package checks

import (
	"net/netip"
	"slices"
	"strings"
	"testing"

	"github.com/loopdoctor/loopdoctor/checks/facts"
)

// beyond adds what is at the far ends of the last way: its listener is process 9.
func beyond(state string, queue facts.Queue, changes ...func(*facts.Forwards, *facts.Process)) change {
	return func(f *facts.Facts) {
		p := facts.Process{PID: 9, PPID: 1, Name: "node", UID: 1000, User: "ann", State: state, Started: morning}
		all := f.Forwards
		for i := range all.Found {
			for j, e := range all.Found[i].Far {
				if e.Listens {
					all.Found[i].Far[j].Sockets = []facts.Socket{{Network: "tcp", State: facts.Listen, Local: e.Addr, UID: 1000, Inode: 900, Queue: &queue}}
				}
			}
		}
		for _, c := range changes {
			c(all, &p)
		}
		all.Owners = &facts.Owners{Processes: []facts.Process{p}, Holders: map[uint64][]facts.Holder{900: {{PID: 9, Attribution: facts.ByDescriptor}}}}
	}
}

// unreadThere is a connection to the far end that it has, and has not read.
func unreadThere(n uint32) func(*facts.Forwards, *facts.Process) {
	return func(all *facts.Forwards, _ *facts.Process) {
		e := &all.Found[0].Far[0]
		e.Sockets = append(e.Sockets, facts.Socket{Network: "tcp", State: facts.Established, Local: e.Addr, Remote: netip.MustParseAddrPort("127.0.0.1:40001"), Inode: 901, RecvQ: n})
	}
}

// busyThere is a far end that runs all the time.
func busyThere(all *facts.Forwards, _ *facts.Process) {
	all.Work = &facts.Work{ApartMS: 120, Processes: []facts.Worker{{PID: 9, State: "R", Threads: 1, CPUMS: 119, Busiest: &facts.Thread{TID: 9, Name: "node", CPUMS: 119, Tireless: true}}}}
}

func beyondSituations() []situation {
	const a = "127.0.0.1"
	fine := dials(a, facts.Connected)
	conf := configuredAt("/etc/nginx/nginx.conf:12", "proxy_pass http://127.0.0.1:3000;")
	mute := gets(a, 0, "", endsWith(facts.Silence))
	there := passesOn("nginx", 50, "127.0.0.1:3000", conf, farAt("127.0.0.1:3000", "node (pid 9)"))
	other := passesOn("nginx", 50, "127.0.0.1:3001", conf, farAt("127.0.0.1:3001", "node (pid 9)"))
	proxy := func(cs ...change) *facts.Facts {
		return machine(a, append([]change{listens(a, 50, named("nginx")), fine, atWork(50)}, cs...)...)
	}
	socat := func(cs ...change) *facts.Facts {
		return machine(a, append([]change{listens(a, 50, named("socat")), fine}, cs...)...)
	}
	byUDP := func(w *facts.Forward) { w.UDP = true }
	ended := gets(a, 0, "", endsWith(facts.EndOfFile))
	var one facts.Queue
	one.Length, one.Limit = 1, 5
	return slices.Concat(
		of(processStoppedOrDebugged,
			row{"it is the upstream", proxy(mute, there, beyond("T", one)), says("proven 127.0.0.1 at answer", "nginx (pid 50) waits for 127.0.0.1:3000: node (pid 9) listens there, but is stopped")},
			row{"the proxy has lost patience with it", proxy(gets(a, 504, ""), there, beyond("T", one)), says("proven 127.0.0.1 at answer", "waits for 127.0.0.1:3000")},
			row{"one of two upstreams", proxy(mute, there, beyond("T", one), other), says("inferred 127.0.0.1 at answer", "waits for 127.0.0.1:3000")},
			row{"a plain forwarder's", socat(mute, passesOn("socat", 50, "127.0.0.1:3000", farAt("127.0.0.1:3000", "node (pid 9)")), beyond("T", one)), says("proven 127.0.0.1 at answer", "socat (pid 50) waits for 127.0.0.1:3000")},
			row{"the proxy answers all the same", proxy(gets(a, 200, ""), there, beyond("T", one)), nothing},
			row{"the proxy has not read the question", proxy(gets(a, 0, "", endsWith(facts.Silence), func(x *facts.Answer) { x.Sent, x.Server = 78, &facts.ServerSide{Accepted: true, Unread: 78} }), there, beyond("T", one)), nothing},
			row{"the upstream runs", proxy(mute, there, beyond("S", one)), nothing},
			row{"it is another proxy's", proxy(mute, passesOn("nginx", 51, "127.0.0.1:3000", conf, farAt("127.0.0.1:3000", "node (pid 9)")), beyond("T", one)), nothing},
		),
		of(containerPausedOrFrozen,
			row{"it is the upstream", proxy(mute, there, beyond("S", one, func(_ *facts.Forwards, p *facts.Process) { p.Frozen = true })), says("proven 127.0.0.1 at answer", "nginx (pid 50) waits for 127.0.0.1:3000", "frozen")},
		),
		of(eventLoopOrWorkersBlocked,
			row{"it is the upstream", proxy(mute, there, beyond("R", one, busyThere)), says("proven 127.0.0.1 at answer", "nginx (pid 50) waits for 127.0.0.1:3000", "ran for 119 of 120 ms")},
			row{"the upstream has the request, unread", proxy(mute, there, beyond("R", facts.Queue{Limit: 5}, busyThere, unreadThere(97))), says("proven 127.0.0.1 at answer")},
			row{"the upstream has read the request", proxy(mute, there, beyond("R", facts.Queue{Limit: 5}, busyThere)), says("inferred 127.0.0.1 at answer")},
		),
		of(acceptQueueFull,
			row{"it is the upstream's", proxy(mute, there, beyond("S", facts.Queue{Length: 6, Limit: 5})), says("proven 127.0.0.1 at answer", "nginx (pid 50) waits for 127.0.0.1:3000", "6 waiting, limit 5")},
			row{"the upstream's has room", proxy(mute, there, beyond("S", facts.Queue{Length: 5, Limit: 5})), nothing},
		),
		of(reverseProxyUpstream,
			row{"the upstream does not accept", proxy(mute, there, beyond("S", one)), says("inferred 127.0.0.1", "nginx (pid 50) waits for 127.0.0.1:3000, where node (pid 9) listens and does not accept: 1 connection is in its queue")},
			row{"the upstream does not read", proxy(mute, there, beyond("S", facts.Queue{Limit: 5}, unreadThere(97))), says("inferred 127.0.0.1", "has not read 97 bytes")},
			row{"the upstream says nothing", proxy(mute, there, beyond("S", facts.Queue{Limit: 5})), says("inferred 127.0.0.1", "nginx (pid 50) waits for 127.0.0.1:3000, where node (pid 9) listens, and gets no answer from there")},
		),
		of(forwarderAcceptsBackendDead,
			row{"the far end says nothing", socat(mute, passesOn("socat", 50, "127.0.0.1:3000", farAt("127.0.0.1:3000", "node (pid 9)")), beyond("S", facts.Queue{Limit: 5})), says("inferred 127.0.0.1", "socat (pid 50) waits for 127.0.0.1:3000")},
			row{"nothing comes back from another machine", socat(mute, passesOn("ssh -L", 50, "db:5432", byWay("ann@shop"))), says("inferred 127.0.0.1", "leads to db:5432 by way of ann@shop")},
			row{"by UDP to nobody", socat(ended, passesOn("socat", 50, "127.0.0.1:3000", byUDP, farAt("127.0.0.1:3000", ""))), says("proven 127.0.0.1", "socat (pid 50) forwards 127.0.0.1:62893 to 127.0.0.1:3000 by UDP, and no socket has that port")},
			row{"by UDP to somebody", socat(ended, passesOn("socat", 50, "127.0.0.1:3000", byUDP, farAt("127.0.0.1:3000", "dnsmasq (pid 9)"))), nothing},
			row{"it gets no connection itself", socat(mute, passesOn("docker-proxy", 50, "172.17.0.2:80", func(w *facts.Forward) { w.Dials = 1 })), says("proven 127.0.0.1", "gets none itself to 172.17.0.2:80")},
			row{"it answers", socat(gets(a, 200, ""), passesOn("socat", 50, "127.0.0.1:3000", farAt("127.0.0.1:3000", "node (pid 9)"))), nothing},
		),
		of(serverACLOrAuth,
			row{"PostgreSQL was full, as the client says", machine(a, listens(a, 50, named("postgres")), fine, gets(a, 0, "", protocol("postgresql", "S")), names("server-acl-or-auth", "psql", "FATAL:  sorry, too many clients already")), says("inferred 127.0.0.1", "as many clients as it takes", "max_connections")},
			row{"the words of another server", machine(a, listens(a, 50, named("redis-server")), fine, gets(a, 0, "", protocol("redis", "+PONG")), names("server-acl-or-auth", "psql", "FATAL:  sorry, too many clients already")), nothing},
		),
	)
}

func TestBeyond(t *testing.T) { judge(t, beyondSituations()) }

// Who sees the far end gets its fault, and who does not the broader one.
func TestBeyondInRank(t *testing.T) {
	const a = "127.0.0.1"
	there := passesOn("nginx", 50, "127.0.0.1:3000", configuredAt("/c:1", "x"), farAt("127.0.0.1:3000", "node (pid 9)"))
	mute := gets(a, 0, "", endsWith(facts.Silence))
	asked := func(f *facts.Facts) {
		f.Answers[0].Sent = 78
		f.Answers[0].Server = &facts.ServerSide{Local: addr(a), Accepted: true, State: "established"}
	}
	base := []change{listens(a, 50, named("nginx")), dials(a, facts.Connected), mute, asked}
	expect(t, machine(a, append(base, there, beyond("T", facts.Queue{Length: 1, Limit: 5}))...), "broken", "active process-stopped-or-debugged proven")
	expect(t, machine(a, append(base, there, beyond("T", facts.Queue{Length: 6, Limit: 5}))...), "broken", "active process-stopped-or-debugged proven")
	expect(t, machine(a, append(base, there)...), "broken", "active reverse-proxy-upstream-localhost inferred")
	expect(t, machine(a, base...), "broken", "active reads-never-answers inferred")
}

// What is to be copied leads to the far end, for the path that was asked for; a path that a
// shell would read is left out.
func TestAskThere(t *testing.T) {
	w := facts.Forward{To: "127.0.0.1:3000", Proxies: true, Far: []facts.FarEnd{{}}}
	for u, want := range map[string]string{"http://localhost/a/b": "loopdoctor http://127.0.0.1:3000/a/b", "http://localhost/$(reboot)": "loopdoctor http://127.0.0.1:3000/", "": "loopdoctor http://127.0.0.1:3000/"} {
		if got := askThere(&facts.Facts{Target: facts.Target{URL: u}}, w); got != want {
			t.Errorf("%s: %s", u, got)
		}
	}
	for _, to := range []string{"/run/app.sock", "@app", "$(reboot):80", "-x:80"} {
		if got := askThere(&facts.Facts{}, facts.Forward{To: to, Proxies: strings.HasPrefix(to, "/"), Far: []facts.FarEnd{{}}}); got != "" {
			t.Errorf("%s: %s", to, got)
		}
	}
}
