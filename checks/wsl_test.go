package checks

import (
	"net/netip"
	"slices"
	"strings"
	"testing"

	"github.com/loopdoctor/loopdoctor/checks/facts"
)

func inWSL(mode string) change {
	return func(f *facts.Facts) {
		f.Host.Inside = facts.Inside{WSL: strings.TrimSpace("2 " + mode), VM: "wsl", Signs: []string{"kernel 5.15.153.1-microsoft-standard-WSL2"}}
		if mode == "nat" {
			f.Host.Inside.Gateway = netip.MustParseAddr("172.23.64.1")
		}
	}
}

func inVM(product string) change {
	return func(f *facts.Facts) {
		f.Host.Inside = facts.Inside{VM: product, Signs: []string{"kernel 6.10.14-linuxkit"}}
	}
}

func inBox(f *facts.Facts) {
	f.Host.Vantage, f.Host.Inside.Room = "container", facts.Room{Kind: "container", Name: "web"}
}

func noRelay(f *facts.Facts) {
	f.Host.Inside.NoRelay = "/mnt/c/Users/ann/.wslconfig:3: localhostForwarding=false"
}

// windowsSaid is an error in the words of Windows.
func windowsSaid(errno, symptom string) change {
	return clientPrinted(facts.ClientError{Text: "No connection could be made because the target machine actively refused it. (127.0.0.1:62893)", Errno: errno, Symptom: symptom, Means: "the connection is refused"})
}

// byLoopback0 is how mirrored mode routes 127.0.0.1: by a rule before that of table local.
func byLoopback0(f *facts.Facts) {
	routed("127.0.0.1", "unicast", "")(f)
	f.Routes.Lookups[0].Device = "loopback0"
	rule(1, "to 127.0.0.1", "lookup", 127, "127.0.0.1")(f)
	rule(2, "", "lookup", 255, "127.0.0.1")(f)
}

// startsOnWindows is a program of Windows that was started from WSL.
func startsOnWindows(args ...string) change {
	return func(f *facts.Facts) {
		c := facts.Candidate{Process: facts.Process{PID: 77, PPID: 1, Name: "node.exe", UID: 1000, Args: args, Started: morning.Add(-1e9)}, Sockets: true}
		for i, a := range args {
			if strings.Contains(a, "62893") {
				c.Names = append(c.Names, facts.Mention{Where: "argument " + string(rune('0'+i)), Text: a, Sure: true})
			}
		}
		f.Candidates = &facts.Candidates{Found: []facts.Candidate{c}}
	}
}

func wslSituations() []situation {
	serves := []change{listens("127.0.0.1", 50), dials("127.0.0.1", facts.Connected)}
	with := func(more ...change) []change { return append(serves[:len(serves):len(serves)], more...) }
	silent := []change{dials("127.0.0.1", facts.Timeout), dials("::1", facts.Refused)}
	refusedAll := []change{dials("127.0.0.1", facts.Refused), dials("::1", facts.Refused)}
	relay := []string{"/init", "/mnt/c/Program Files/nodejs/node.exe", "node.exe", "server.js", "--port=62893"}
	return slices.Concat(
		of(wsl2NATLocalhost,
			row{"it works here, and who knows where the client is", machine("62893", with(inWSL("nat"))...), says("remark 127.0.0.1", "Works from here. If your client is on Windows")},
			row{"a client on Windows is refused", machine("62893", with(inWSL("nat"), windowsSaid("WSAECONNREFUSED", "refused"))...), says("inferred 127.0.0.1", "127.0.0.1:62893 answers here", "localhost:62893 of Windows")},
			row{"a browser is refused", machine("62893", with(inWSL("nat"), clientPrinted(facts.ClientError{Client: "Chrome", Symptom: "refused", Text: "ERR_CONNECTION_REFUSED"}))...), says("inferred 127.0.0.1")},
			row{"Windows does not forward", machine("62893", with(inWSL("nat"), noRelay, windowsSaid("WSAECONNREFUSED", "refused"))...), says("proven 127.0.0.1", "localhostForwarding=false", ".wslconfig:3")},
			row{"Windows does not forward, and nobody asked for it", machine("62893", with(inWSL("nat"), noRelay)...), says("remark 127.0.0.1", "localhostForwarding=false")},
			row{"an address that is not forwarded", machine("127.0.0.2", inWSL("nat"), listens("127.0.0.2", 50), dials("127.0.0.2", facts.Connected), windowsSaid("WSAECONNREFUSED", "refused")), says("proven 127.0.0.2", "server (pid 50) listens on 127.0.0.2:62893")},
			row{"a database: its client is here as a rule", machine("62893", inWSL("nat"), listens("127.0.0.1", 50, named("postgres")), dials("127.0.0.1", facts.Connected)), nothing},
			row{"a client of Linux", machine("62893", with(inWSL("nat"), func(f *facts.Facts) { f.Host.As[0].PID = 60 })...), nothing},
			row{"it does not work here either", machine("62893", inWSL("nat"), dials("127.0.0.1", facts.Refused)), nothing},
			row{"mirrored", machine("62893", with(inWSL("mirrored"), windowsSaid("WSAECONNREFUSED", "refused"))...), nothing},
			row{"the mode is not known", machine("62893", with(inWSL(""))...), nothing},
			row{"in a container in WSL", machine("62893", with(inWSL("nat"), inBox)...), nothing},
			row{"a machine", machine("62893", with(windowsSaid("WSAECONNREFUSED", "refused"))...), nothing},
		),
		of(wsl2ToWindowsLocalhost,
			row{"nothing listens here", machine("62893", append(refusedAll, inWSL("nat"))...), says("remark 127.0.0.1 ::1", "If the service runs on Windows", "172.23.64.1")},
			row{"a program of Windows names the port", machine("62893", append(refusedAll, inWSL("nat"), startsOnWindows(relay...))...), says("inferred 127.0.0.1 ::1", "node.exe runs on Windows", "pid 77", "172.23.64.1")},
			row{"a program of Windows, and no port", machine("62893", append(refusedAll, inWSL("nat"), startsOnWindows(relay[:4]...))...), says("remark 127.0.0.1 ::1", "If the service")},
			row{"a program of Linux names the port", machine("62893", append(refusedAll, inWSL("nat"), startsOnWindows("node", "app.exe", "--port=62893"))...), says("remark 127.0.0.1 ::1", "If the service")},
			row{"something listens", machine("62893", append(refusedAll, inWSL("nat"), listens("192.0.2.1", 50))...), nothing},
			row{"mirrored: there localhost is that of Windows, too", machine("62893", append(refusedAll, inWSL("mirrored"), startsOnWindows(relay...))...), nothing},
			row{"another address", machine("192.0.2.1", inWSL("nat"), dials("192.0.2.1", facts.Refused)), nothing},
			row{"in a container in WSL", machine("62893", append(refusedAll, inWSL("nat"), inBox)...), nothing},
			row{"a machine", machine("62893", append(refusedAll, startsOnWindows(relay...))...), nothing},
		),
		of(wsl2MirroredLoopback,
			row{"a closed port does not refuse", machine("62893", append(silent, inWSL("mirrored"), byLoopback0)...), says("inferred 127.0.0.1", "Nothing listens on 127.0.0.1:62893", "no sign of a firewall")},
			row{"nothing comes back to a server here", machine("62893", inWSL("mirrored"), byLoopback0, listens("127.0.0.1", 50), dials("127.0.0.1", facts.Timeout)), says("inferred 127.0.0.1", "server (pid 50) listens on 127.0.0.1:62893", "through Windows")},
			row{"a server on ::1, and a client on Windows", machine("62893", inWSL("mirrored"), byLoopback0, listens("::1", 50), dials("::1", facts.Connected), windowsSaid("WSAECONNREFUSED", "refused")), says("proven ::1 at listen", "[::1]:62893", "127.0.0.1 only")},
			row{"a server on ::1", machine("62893", inWSL("mirrored"), byLoopback0, listens("::1", 50), dials("::1", facts.Connected)), says("remark ::1 at listen")},
			row{"it works", machine("62893", inWSL("mirrored"), byLoopback0, listens("127.0.0.1", 50), dials("127.0.0.1", facts.Connected)), nothing},
			row{"refused, as it should be", machine("62893", append(refusedAll, inWSL("mirrored"), byLoopback0)...), nothing},
			row{"no answer, and the packets stay in Linux", machine("62893", append(silent, inWSL("mirrored"))...), nothing},
			row{"no answer with NAT", machine("62893", append(silent, inWSL("nat"), byLoopback0)...), nothing},
			row{"a machine with such a device", machine("62893", append(silent, byLoopback0)...), nothing},
		),
		of(wslMirroredBindConflict,
			row{"nobody here has the port", machine("62893", inWSL("mirrored"), toBind, binds("127.0.0.1", "EADDRINUSE", true), binds("::1", "", true)), says("inferred 127.0.0.1", "port 62893", "Windows")},
			row{"somebody here has it", machine("62893", inWSL("mirrored"), toBind, binds("127.0.0.1", "EADDRINUSE", true), listens("127.0.0.1", 50)), nothing},
			row{"a connection here has it", machine("62893", inWSL("mirrored"), toBind, binds("127.0.0.1", "EADDRINUSE", true), holds(facts.Established, "127.0.0.1", "127.0.0.1:80", 50)), nothing},
			row{"another error", machine("62893", inWSL("mirrored"), toBind, binds("127.0.0.1", "EACCES", true)), nothing},
			row{"with NAT", machine("62893", inWSL("nat"), toBind, binds("127.0.0.1", "EADDRINUSE", true)), nothing},
			row{"a machine", machine("62893", toBind, binds("127.0.0.1", "EADDRINUSE", true)), nothing},
		),
		of(policyRuleBeforeLocal,
			row{"the rule that mirrored mode of WSL needs", machine("62893", inWSL("mirrored"), byLoopback0, listens("127.0.0.1", 50), dials("127.0.0.1", facts.Connected)), nothing},
		),
	)
}

func TestWSL(t *testing.T) { judge(t, wslSituations()) }

// The words of Windows make a cause of what is a remark without them; whoever is
// refused in Linux itself is told what Linux shows.
func TestWSLHeadsTheReportOnlyThere(t *testing.T) {
	serves := []change{listens("127.0.0.1", 50), dials("127.0.0.1", facts.Connected)}
	with := func(more ...change) []change { return append(serves[:len(serves):len(serves)], more...) }
	for _, test := range []struct {
		name  string
		facts *facts.Facts
		want  []string
	}{
		{"works", machine("62893", with(inWSL("nat"))...), []string{"works", "remark wsl2-nat-localhost"}},
		{"refused on Windows", machine("62893", with(inWSL("nat"), windowsSaid("WSAECONNREFUSED", "refused"))...), []string{"partly", "active wsl2-nat-localhost inferred"}},
		{"refused in Linux, a while ago", machine("62893", with(inWSL("nat"), said("refused", "127.0.0.1"))...), []string{"works", "remark wsl2-nat-localhost"}},
		{"nothing listens", machine("62893", inWSL("nat"), dials("127.0.0.1", facts.Refused), dials("::1", facts.Refused)), []string{"broken", "active no-listener proven", "remark wsl2-to-windows-localhost"}},
		{"a program of Windows", machine("62893", inWSL("nat"), dials("127.0.0.1", facts.Refused), dials("::1", facts.Refused), startsOnWindows("/init", "/mnt/c/node.exe", "node.exe", "--port=62893")), []string{"broken", "active wsl2-to-windows-localhost inferred"}},
		{"mirrored, nothing listens", machine("62893", inWSL("mirrored"), byLoopback0, dials("127.0.0.1", facts.Timeout), dials("::1", facts.Refused)), []string{"broken", "active wsl2-mirrored-loopback inferred", "active no-listener proven"}},
		{"mirrored, it works", machine("62893", with(inWSL("mirrored"), byLoopback0)...), []string{"works"}},
		{"the port is Windows'", machine("62893", inWSL("mirrored"), toBind, binds("127.0.0.1", "EADDRINUSE", true), binds("::1", "", true)), []string{"partly", "active wsl-mirrored-bind-conflict inferred"}},
		{"a virtual machine, and a browser outside", machine("62893", with(inVM("colima"), clientPrinted(facts.ClientError{Client: "Safari", Symptom: "refused"}))...), []string{"partly", "active desktop-vm-forwarder-broken inferred"}},
	} {
		t.Run(test.name, func(t *testing.T) { expect(t, test.facts, test.want...) })
	}
}
