package checks

import (
	"slices"
	"strings"
	"testing"

	"github.com/loopdoctor/loopdoctor/checks/facts"
)

func listenerSituations() []situation {
	return slices.Concat(
		of(noListener,
			row{"nothing is there", machine("127.0.0.1"), says("proven 127.0.0.1", "127.0.0.1:62893")},
			row{"nothing is there in either family", machine("62893"), says("proven 127.0.0.1 ::1", "127.0.0.1:62893 and [::1]:62893")},
			row{"the listener has another port", machine("127.0.0.1", listens("127.0.0.1", 50, onPort(62894))), says("proven 127.0.0.1")},
			row{"the listener has the other address", machine("127.0.0.1", listens("::1", 50)), says("proven 127.0.0.1")},
			row{"the listener is tied to another device", machine("127.0.0.1", listens("0.0.0.0", 50, device("eth0"))), says("proven 127.0.0.1")},
			row{"only an old connection is left", machine("127.0.0.1", holds(facts.Established, "127.0.0.1", "127.0.0.1:40000", 50)), says("proven 127.0.0.1")},
			row{"UDP is asked for, and TCP listens", machine("127.0.0.1", asksUDP, listens("127.0.0.1", 50)), says("proven 127.0.0.1", "UDP", "127.0.0.1:62893")},
			row{"it listens there", machine("127.0.0.1", listens("127.0.0.1", 50)), nothing},
			row{"it listens on all IPv4 addresses", machine("127.0.0.1", listens("0.0.0.0", 50)), nothing},
			row{"it listens on all addresses of both families", machine("127.0.0.1", listens("::", 50)), nothing},
			row{"it listens on the mapped address", machine("127.0.0.1", listens("::ffff:127.0.0.1", 50)), nothing},
			row{"it is tied to lo, where the client is", machine("127.0.0.1", listens("127.0.0.1", 50, device("lo"))), nothing},
			row{"it listens in one family, and no address was named", machine("62893", listens("127.0.0.1", 50)), nothing},
			row{"UDP is asked for, and there", machine("127.0.0.1", asksUDP, udp(facts.Bound, "0.0.0.0", "", 50)), nothing},
			row{"the question is who can bind", machine("127.0.0.1", toBind), nothing},
			row{"the sockets were not seen", machine("127.0.0.1", unseen(facts.GroupSockets)), nothing},
		),
		of(boundNotListening,
			row{"taken, not opened", machine("127.0.0.1", holds(facts.Bound, "127.0.0.1", "", 50)), says("proven 127.0.0.1", "server (pid 50)", "127.0.0.1:62893")},
			row{"taken on all addresses", machine("62893", holds(facts.Bound, "::", "", 50)), says("proven 127.0.0.1 ::1", "[::]:62893")},
			row{"taken by nobody who can be seen", machine("127.0.0.1", holds(facts.Bound, "127.0.0.1", "", 0)), says("proven 127.0.0.1", "A process of uid 1000")},
			row{"a server cannot have it", machine("127.0.0.1", toBind, holds(facts.Bound, "127.0.0.1", "", 50), binds("127.0.0.1", "EADDRINUSE", true)), says("proven 127.0.0.1")},
			row{"a server can have it all the same (SO_REUSEADDR on both)", machine("127.0.0.1", toBind, holds(facts.Bound, "127.0.0.1", "", 50), binds("127.0.0.1", "", true), binds("127.0.0.1", "EADDRINUSE", false)), nothing},
			row{"it fails for want of a right", machine("127.0.0.1", toBind, holds(facts.Bound, "127.0.0.1", "", 50), binds("127.0.0.1", "EACCES", true)), nothing},
			row{"another socket listens there", machine("127.0.0.1", holds(facts.Bound, "127.0.0.1", "", 50), listens("127.0.0.1", 51)), nothing},
			row{"taken in the other family", machine("127.0.0.1", holds(facts.Bound, "::", "", 50, v6only)), nothing},
			row{"taken on another port", machine("127.0.0.1", holds(facts.Bound, "127.0.0.1", "", 50, onPort(62894))), nothing},
			row{"taken for UDP", machine("127.0.0.1", udp(facts.Bound, "127.0.0.1", "", 50)), nothing},
		),
		of(udpNotTCP,
			row{"open for UDP", machine("127.0.0.1", udp(facts.Bound, "0.0.0.0", "", 50, named("dnsmasq"))), says("proven 127.0.0.1", "62893", "dnsmasq (pid 50)")},
			row{"open for UDP in one family", machine("62893", udp(facts.Bound, "127.0.0.1", "", 50)), says("proven 127.0.0.1 ::1", "62893")},
			row{"a client's UDP socket has the port", machine("127.0.0.1", udp(facts.Established, "127.0.0.1", "127.0.0.53:53", 50)), nothing},
			row{"open for UDP and TCP (HTTP/3)", machine("127.0.0.1", udp(facts.Bound, "0.0.0.0", "", 50), listens("0.0.0.0", 50)), nothing},
			row{"open for TCP at another address", machine("127.0.0.1", udp(facts.Bound, "0.0.0.0", "", 50), listens("::1", 50)), nothing},
			row{"open for UDP at another address", machine("127.0.0.1", udp(facts.Bound, "::1", "", 50)), nothing},
			row{"open for UDP on another port", machine("127.0.0.1", udp(facts.Bound, "0.0.0.0", "", 50, onPort(53))), nothing},
			row{"UDP is what was asked for", machine("127.0.0.1", asksUDP, udp(facts.Bound, "0.0.0.0", "", 50)), nothing},
		),
		of(otherNetworkNamespace,
			row{"it is the only candidate", machine("127.0.0.1", elsewhere(77, "/", 0)), says("inferred 127.0.0.1", "62893", "nginx (pid 77) listens")},
			row{"it is only attributed", machine("127.0.0.1", perhapsElsewhere(77, "blue")), says("inferred 127.0.0.1", "seems to listen")},
			row{"one of two runs in the same directory", machine("127.0.0.1", elsewhere(78, "/", 0), elsewhere(77, "/home/ann/shop", 0)), says("inferred 127.0.0.1", "pid 77")},
			row{"one of two is the client's own", machine("127.0.0.1", elsewhere(78, "/", 0), elsewhere(77, "/x", 1000)), says("inferred 127.0.0.1", "pid 77")},
			row{"two strangers", machine("127.0.0.1", elsewhere(77, "/", 0), elsewhere(78, "/", 0)), nothing},
			row{"root asks, and both are root's: that is no kinship", machine("127.0.0.1", clients(0), elsewhere(77, "/", 0), elsewhere(78, "/", 0)), nothing},
			row{"it is that of a unit", machine("127.0.0.1", elsewhere(77, "/", 33), in(facts.Room{Kind: "unit", Name: "web.service", Manager: "systemd", Setting: "PrivateNetwork=yes"})), says("inferred 127.0.0.1", "nginx (pid 77)", "network namespace of unit web.service (PrivateNetwork=yes)")},
			row{"it is that of the unit that serves the port, and there is a stranger", machine("127.0.0.1", elsewhere(78, "/", 0), elsewhere(77, "/", 33), in(facts.Room{Kind: "unit", Name: "web.service", Manager: "systemd"}), unit("web.service", "active")), says("inferred 127.0.0.1", "pid 77")},
			row{"it is in a container that an engine knows", machine("127.0.0.1", elsewhere(77, "/", 0), in(docked), knows("/srv/blog")), says("inferred 127.0.0.1", "nginx (pid 77) listens on it inside container blog-web (docker, image nginx:1)")},
			row{"it is in the container of this project, and there is a stranger", machine("127.0.0.1", elsewhere(78, "/", 0), elsewhere(77, "/", 0), in(docked), knows("/home/ann")), says("inferred 127.0.0.1", "pid 77")},
			row{"the user of a container's process has the number of the client, which says nothing", machine("127.0.0.1", elsewhere(78, "/", 0), elsewhere(77, "/", 1000), in(docked)), nothing},
			row{"nor does the directory", machine("127.0.0.1", elsewhere(78, "/", 0), elsewhere(77, "/home/ann/shop", 0), in(docked)), nothing},
			row{"a stranger's, and a unit names the port", machine("127.0.0.1", elsewhere(77, "/", 0), unit("shop.service", "failed")), nothing},
			row{"a stranger's, and a container publishes the port", machine("127.0.0.1", elsewhere(77, "/", 0), contains("exited")), nothing},
			row{"a stranger's container, and its engine cannot be asked", machine("127.0.0.1", elsewhere(77, "/", 0), in(docked), silentEngine), nothing},
			row{"a stranger's, and what containers there are is not known", machine("127.0.0.1", elsewhere(77, "/", 0), unseen(facts.GroupContainers)), nothing},
			row{"a stranger's, and a configuration names the port", machine("127.0.0.1", elsewhere(77, "/", 0), func(f *facts.Facts) {
				f.Configs.Lines = append(f.Configs.Lines, facts.ConfigLine{Program: ".env", File: "/home/ann/shop/.env", Line: 1, Text: "PORT=62893", Port: port})
			}), nothing},
			row{"it listens here too", machine("127.0.0.1", listens("127.0.0.1", 50), elsewhere(77, "/", 0)), nothing},
			row{"it listens here, at another address", machine("127.0.0.1", listens("::1", 50), elsewhere(77, "/", 0)), nothing},
			row{"there is none", machine("127.0.0.1"), nothing},
			row{"UDP is asked for", machine("127.0.0.1", asksUDP, elsewhere(77, "/", 0)), nothing},
			row{"the question is who can bind", machine("127.0.0.1", toBind, elsewhere(77, "/", 0)), nothing},
		),
		of(selfConnect,
			row{"a client met itself", machine("127.0.0.1", holds(facts.Established, "127.0.0.1", "127.0.0.1:62893", 50, named("curl"))), says("proven 127.0.0.1", "curl (pid 50)", "127.0.0.1:62893")},
			row{"and keeps the port from a server on all addresses", machine("62893", wildcards, holds(facts.Established, "127.0.0.1", "127.0.0.1:62893", 50), binds("0.0.0.0", "EADDRINUSE", true)), says("proven 0.0.0.0 127.0.0.1", "server (pid 50)")},
			row{"a client of somebody else", machine("127.0.0.1", holds(facts.Established, "127.0.0.1", "127.0.0.1:40000", 50)), nothing},
			row{"in the other family", machine("127.0.0.1", holds(facts.Established, "::1", "[::1]:62893", 50)), nothing},
			row{"something listens there now", machine("127.0.0.1", listens("127.0.0.1", 51), holds(facts.Established, "127.0.0.1", "127.0.0.1:62893", 50)), nothing},
			row{"it is over", machine("127.0.0.1", holds(facts.TimeWait, "127.0.0.1", "127.0.0.1:62893", 0)), nothing},
		),
	)
}

// in says whose the last namespace is.
func in(room facts.Room) change {
	return func(f *facts.Facts) {
		n := &f.Namespaces.Found[len(f.Namespaces.Found)-1]
		n.Room = room
		if room.Kind == "container" {
			n.Processes[0].Container = room.Engine + " " + room.ID
		}
	}
}

var docked = facts.Room{Kind: "container", Engine: "docker", ID: "3f2a3f2a3f2b"}

// knows is what the engine says of it.
func knows(dir string) change {
	return func(f *facts.Facts) {
		f.Containers.Found = append(f.Containers.Found, facts.Container{Engine: "docker", ID: docked.ID, Name: "blog-web", Image: "nginx:1", State: "running", Dir: dir})
	}
}

func silentEngine(f *facts.Facts) {
	f.Containers.Engines = append(f.Containers.Engines, facts.Engine{Name: "docker", Error: "needs root, or the group docker"})
}

// Whoever sees containers that may not be meant is told of them all the same.
func TestStrangersAreEvidence(t *testing.T) {
	x := found(t, noListener, machine("127.0.0.1", elsewhere(78, "/", 0), elsewhere(77, "/", 0), in(docked), knows("/srv/blog")))[0]
	text := ""
	for _, e := range x.Evidence {
		text += e.Source + ": " + e.Text + "\n"
	}
	for _, want := range []string{"network namespace 78: tcp listen 0.0.0.0:62893, nginx (pid 78)", "nginx (pid 77), container blog-web (docker, image nginx:1)"} {
		if !strings.Contains(text, want) {
			t.Errorf("%q is not in\n%s", want, text)
		}
	}
}

// What to do depends on what made the namespace; names that could be more than a name
// are in no command.
func TestRoomFixes(t *testing.T) {
	for room, want := range map[facts.Room]string{
		{Kind: "ip netns", Name: "blue"}:                                                       "sudo ip netns exec blue COMMAND",
		{Kind: "ip netns", Name: "a;reboot"}:                                                   "sudo nsenter --target 77 --net COMMAND",
		{Kind: "pod", Pod: "shop/web-1"}:                                                       "kubectl -n shop port-forward pod/web-1 62893:62893",
		{Kind: "pod", Pod: "1b4e28ba-2fa1-11d2-883f-0016d3cca427"}:                             "kubectl port-forward pod/NAME 62893:62893",
		{Kind: "sandbox", Engine: "firejail", Name: "shop"}:                                    "--join-network=shop",
		{Kind: "sandbox", Engine: "firejail", Name: "$(reboot)"}:                               "without --net= of firejail (and of its profile)",
		{Kind: "sandbox", Engine: "flatpak", Name: "org.shop.App"}:                             "--share=network org.shop.App",
		{Kind: "sandbox", Engine: "bwrap"}:                                                     "--unshare-net",
		{Kind: "unit", Name: "web.service", Manager: "systemd"}:                                "systemctl cat web.service",
		{Kind: "unit", Name: "web.service", Manager: "systemd", Setting: "PrivateNetwork=yes"}: "systemctl daemon-reload && systemctl restart web.service",
		{Kind: "unit", Name: "web.service", Setting: "NetworkNamespacePath=/run/netns/blue"}:   "Take NetworkNamespacePath=/run/netns/blue back",
		{Kind: "container", Engine: "docker", ID: "3f2a3f2a3f2b"}:                              "docker run -p 127.0.0.1:62893:62893",
		{Kind: "container", Engine: "nspawn", Name: "box"}:                                     "--private-network",
		{Kind: "host"}: "on the host",
	} {
		x := found(t, otherNetworkNamespace, machine("127.0.0.1", elsewhere(77, "/", 0), in(room)))[0]
		text := ""
		for _, fix := range x.Fixes {
			text += fix.Do + "\n"
		}
		if !strings.Contains(text, want) || strings.Contains(text, "reboot") {
			t.Errorf("%+v: %q is not in\n%s", room, want, text)
		}
	}
}

func TestListener(t *testing.T) { judge(t, listenerSituations()) }

// Whoever is told to stop something is told what, how, and that the number
// still has to mean the same process.
func TestStoppingAHolder(t *testing.T) {
	bound := func(changes ...mark) *facts.Facts {
		return machine("127.0.0.1", holds(facts.Bound, "127.0.0.1", "", 50, changes...))
	}
	prescribe(t, []cure{
		{"one's own", boundNotListening, bound(), []string{"run kill -TERM 50", "if 50 began at 08:00"}},
		{"somebody else's", boundNotListening, bound(uid(1001)), []string{"root runs kill -TERM 50", "if 50 began at 08:00"}},
		{"root's", boundNotListening, bound(uid(0)), []string{"root runs kill -TERM 50", "if 50 began at 08:00"}},
		{"root's, and root asks", boundNotListening, machine("127.0.0.1", clients(0), holds(facts.Bound, "127.0.0.1", "", 50, uid(0))), []string{"root runs kill -TERM 50", "if 50 began at 08:00"}},
		{"of two", boundNotListening, machine("127.0.0.1", holds(facts.Bound, "127.0.0.1", "", 50), shared(51)), []string{"run kill -TERM 50", "if 50 began at 08:00", "run kill -TERM 51", "if 51 began at 09:00"}},
		{"of nobody who can be seen", boundNotListening, machine("127.0.0.1", holds(facts.Bound, "127.0.0.1", "", 0)), []string{"by hand"}},
		{"the shell loopdoctor runs in", boundNotListening, bound(ancestor), []string{"by hand"}},
		{"that shell and a worker", boundNotListening, machine("127.0.0.1", holds(facts.Bound, "127.0.0.1", "", 50, ancestor), shared(51)), []string{"run kill -TERM 51", "if 51 began at 09:00"}},
		{"a worker, which goes with its parent", boundNotListening, machine("127.0.0.1", holds(facts.Bound, "127.0.0.1", "", 50), shared(51, childOf(50))), []string{"run kill -TERM 50", "if 50 began at 08:00"}},
		{"in a container, whose engine would start it again", boundNotListening, bound(container), []string{"by hand"}},
		{"in a unit, which would start it again", boundNotListening, bound(inUnit("nginx.service")), []string{"by hand"}},
		{"in a session, which would not", boundNotListening, bound(inUnit("user@1000.service")), []string{"run kill -TERM 50", "if 50 began at 08:00"}},
		{"named by an enemy", boundNotListening, bound(named("$(reboot); rm -rf /\n%s'`\x1b[2J")), []string{"run kill -TERM 50", "if 50 began at 08:00"}},
		{"connected to itself, the port outside the temporary ones", selfConnect, machine("127.0.0.1", holds(facts.Established, "127.0.0.1", "127.0.0.1:62893", 50)), []string{`root runs ss -K -t -n "sport = :62893"`, "root runs kill -TERM 50", "if 50 began at 08:00"}},
		{"connected to itself, the port among the temporary ones", selfConnect, machine("127.0.0.1", ephemeral(32768, 65535), holds(facts.Established, "127.0.0.1", "127.0.0.1:62893", 50)),
			[]string{`root runs ss -K -t -n "sport = :62893"`, "root runs kill -TERM 50", "if 50 began at 08:00", "root runs sysctl -w net.ipv4.ip_local_reserved_ports=62893", "undo sysctl -w net.ipv4.ip_local_reserved_ports=", "lasts until reboot"}},
		{"nothing listens", noListener, machine("127.0.0.1"), []string{"by hand"}},
		{"open for UDP", udpNotTCP, machine("127.0.0.1", udp(facts.Bound, "0.0.0.0", "", 50)), []string{"by hand"}},
		{"in another namespace", otherNetworkNamespace, machine("127.0.0.1", elsewhere(77, "/", 0)), []string{"by hand"}},
	})
}

// A person is warned whose process it is, and where it runs.
func TestStoppingSaysWhatItInterrupts(t *testing.T) {
	fix := found(t, boundNotListening, machine("127.0.0.1", holds(facts.Bound, "127.0.0.1", "", 50, uid(1001), named("vite"), inDirectory("/home/bob/shop"))))[0].Fixes[0]
	for _, word := range []string{"user1001", "/home/bob/shop"} {
		if !strings.Contains(fix.Risk, word) {
			t.Errorf("the risk does not name %q: %s", word, fix.Risk)
		}
	}
	if !strings.Contains(fix.Interrupts, "vite (pid 50)") || !strings.Contains(fix.Do, "vite (pid 50)") {
		t.Errorf("interrupts %q, do %q: neither may leave the process out", fix.Interrupts, fix.Do)
	}
}

func TestOtherNamespaceTellsHowToGetThere(t *testing.T) {
	x := found(t, otherNetworkNamespace, machine("127.0.0.1", elsewhere(77, "/", 0)))[0]
	if want := "sudo nsenter --target 77 --net ss -tlnp 'sport = :62893'"; x.Settle != want {
		t.Errorf("got %q, want %q", x.Settle, want)
	}
}
