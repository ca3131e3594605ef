package xt_test

import (
	"fmt"
	"net/netip"
	"os"
	"os/exec"
	"runtime"
	"slices"
	"strings"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/loopdoctor/loopdoctor/checks/facts"
	"github.com/loopdoctor/loopdoctor/checks/host/internal/netfilter"
	"github.com/loopdoctor/loopdoctor/checks/host/internal/netfilter/xt"
)

// Every match of testdata/rules, and these, alone before a DROP, and one real
// connection: what the evaluator decides is what the kernel does.
var moreMatches = []string{
	"filter OUTPUT -m owner --uid-owner 0", "filter OUTPUT -m owner --uid-owner 1-5", "filter OUTPUT -m owner ! --uid-owner 0",
	"filter OUTPUT -m owner --socket-exists", "filter OUTPUT -m owner ! --socket-exists", "filter OUTPUT -m owner --gid-owner 0 --suppl-groups",
	"mangle POSTROUTING -m owner --uid-owner 0", "mangle POSTROUTING -m owner ! --uid-owner 0", "mangle POSTROUTING -m cgroup ! --path /",
	"filter OUTPUT -m cgroup ! --path /", "filter OUTPUT -p tcp -m multiport --dports 62000:65535",
	"filter OUTPUT -p tcp -m multiport --sports 62893", "filter INPUT -p tcp -m multiport --ports 1:65535", "filter OUTPUT -m mark --mark 0",
	"filter OUTPUT -m mark ! --mark 0", "filter INPUT -m conntrack --ctstate ESTABLISHED", "filter INPUT -m conntrack --ctstate NEW",
	"filter OUTPUT -m conntrack --ctstatus CONFIRMED", "filter INPUT -m conntrack --ctstatus CONFIRMED", "filter INPUT -m conntrack --ctstatus ASSURED",
	"raw OUTPUT -m conntrack --ctstate INVALID", "raw OUTPUT -m conntrack --ctstate NEW", "filter INPUT -m connmark --mark 0",
	"filter INPUT -m connmark ! --mark 1", "raw OUTPUT -m connmark ! --mark 1", "filter INPUT -m addrtype --src-type LOCAL --dst-type LOCAL",
	"filter INPUT -m addrtype --dst-type UNICAST", "filter INPUT -m addrtype ! --dst-type LOCAL", "filter INPUT -m addrtype --dst-type LOCAL --limit-iface-in",
	"filter OUTPUT -m addrtype --dst-type LOCAL --limit-iface-out", "filter INPUT -m addrtype --dst-type MULTICAST",
	"filter INPUT -m pkttype --pkt-type broadcast", "filter OUTPUT -m pkttype --pkt-type unicast", "raw PREROUTING -m pkttype --pkt-type unicast",
	"raw PREROUTING -m mac --mac-source 00:00:00:00:00:00", "raw PREROUTING -m mac ! --mac-source 00:11:22:33:44:55",
	"raw PREROUTING -m rpfilter --invert", "raw PREROUTING -m rpfilter", "filter INPUT -m length --length 1000:", "filter INPUT -m length --length 40:100",
	"filter OUTPUT -m tos --tos 0", "filter OUTPUT -m dscp ! --dscp 0", "filter OUTPUT -p tcp -m tcpmss --mss 500:65535", "filter OUTPUT -p tcp -m tcpmss ! --mss 500:65535",
	"filter INPUT -m time --timestart 00:00 --timestop 23:59:59", "filter INPUT -m time --datestop 2001-01-01", "filter INPUT -m recent --set --name x",
	"filter INPUT -m recent ! --set --name y", "filter INPUT -m statistic --mode random --probability 1", "filter INPUT -m helper ! --helper ftp",
	"filter INPUT -m policy --dir in --pol none", "filter OUTPUT -m policy --dir out --pol ipsec", "filter INPUT -p tcp -m tcp --tcp-option 2",
	"filter INPUT -p tcp -m tcp ! --tcp-option 2", "filter INPUT -p tcp -m tcp --tcp-flags ALL SYN", "filter INPUT -p tcp -m tcp --tcp-flags ALL SYN,ACK",
	"filter INPUT -p tcp -m tcp --tcp-flags SYN,ACK ACK", "filter OUTPUT -m string --string a-long-enough-word --algo bm",
	"filter OUTPUT -m string ! --string a-long-enough-word --algo bm", "filter INPUT -p tcp -m socket --nowildcard", "raw PREROUTING -p tcp -m socket",
	"filter FORWARD -m physdev ! --physdev-is-bridged", "filter INPUT -m physdev ! --physdev-in eth0", "filter INPUT -i l+", "filter INPUT ! -i l+", "filter INPUT -i lo+",
	"filter OUTPUT -m set --match-set ports src", "filter OUTPUT -m set --match-set ports dst", "filter OUTPUT -m set --match-set pairs dst,dst",
	"filter OUTPUT -m set --match-set nets src", "filter OUTPUT -m set ! --match-set nets dst", "filter OUTPUT -m set --match-set nets dst,dst",
}

// These nobody can foresee.
var chance = []string{"limit", "hashlimit", "connlimit", "quota", "statistic", "recent", "string", "tcpmss --mss 1:536", "dscp", "tos", "ttl", "hl", "cpu", "bpf", "u32", "connbytes", "ecn", "length",
	"--tcp-option 8", "--kerneltz", "--ctexpire", "socket", "--cgroup", "--return-nomatch", "--tcp-option"}

func TestEvalLikeTheKernel(t *testing.T) {
	if os.Getuid() != 0 {
		t.Skip("needs root: the list of legacy tables is root's")
	}
	for _, program := range []string{"iptables-legacy", "ip6tables-legacy", "ipset", "ip"} {
		if _, err := exec.LookPath(program); err != nil {
			t.Skipf("needs %s", program)
		}
	}
	runtime.LockOSThread()
	if err := unix.Unshare(unix.CLONE_NEWNET); err != nil {
		t.Skipf("no network namespace: %v", err)
	}
	run(t, "ip", "link", "set", "lo", "up")
	run(t, "ipset", "create", "ports", "bitmap:port", "range", "0-65535")
	decided := 0
	for _, f := range []struct {
		family           netfilter.Family
		sign, command    string
		address, foreign string
		inet             string
	}{{netfilter.IPv4, "4", "iptables-legacy", "127.0.0.1", "10.0.0.0/8", "inet"}, {netfilter.IPv6, "6", "ip6tables-legacy", "::1", "fd00::/8", "inet6"}} {
		server := listen(t, netip.MustParseAddr(f.address))
		run(t, "ipset", "create", "pairs"+f.sign, "hash:ip,port", "family", f.inet)
		run(t, "ipset", "create", "nets"+f.sign, "hash:net", "family", f.inet)
		run(t, "ipset", "add", "nets"+f.sign, f.foreign)
		run(t, "ipset", "add", "pairs"+f.sign, fmt.Sprintf("%s,tcp:%d", f.address, server.Port()))
		if f.sign == "4" {
			run(t, "ipset", "add", "ports", fmt.Sprint(server.Port()))
		}
		for _, rule := range cases(t, f.sign) {
			if trial(t, f.command, f.family, server, rule) {
				decided++
			}
		}
	}
	if decided < 200 {
		t.Errorf("only %d rules were decided", decided)
	}
	t.Logf("%d rules decided, as the kernel does", decided)
}

// cases is the rules of the corpus without their targets, and more.
func cases(t *testing.T, sign string) (rules [][]string) {
	t.Helper()
	b, err := os.ReadFile("testdata/rules")
	if err != nil {
		t.Fatal(err)
	}
	seen := map[string]bool{}
	for line := range strings.Lines(string(b)) {
		families, rule, _ := strings.Cut(strings.TrimSpace(line), " ")
		words := split(rule)
		for _, end := range []string{"-j", "-g"} {
			if at := slices.Index(words, end); at >= 0 {
				words = words[:at]
			}
		}
		if len(words) < 3 || !strings.Contains(families, sign) || words[0] == "nat" || seen[strings.Join(words, " ")] {
			continue
		}
		seen[strings.Join(words, " ")] = true
		rules = append(rules, words)
	}
	for _, rule := range moreMatches {
		rules = append(rules, split(rule))
	}
	for _, words := range rules {
		for i, w := range words {
			if w == "pairs" || w == "nets" {
				words[i] = w + sign
			}
		}
	}
	return rules
}

// trial lets one connection meet one rule.
func trial(t *testing.T, command string, family netfilter.Family, server netip.AddrPort, rule []string) (decided bool) {
	t.Helper()
	name := command + " " + strings.Join(rule, " ")
	table, chain := rule[0], rule[1]
	add := append([]string{command, "-t", table, "-I", chain}, rule[2:]...)
	if out, err := exec.Command(add[0], append(add[1:], "-j", "DROP")...).CombinedOutput(); err != nil {
		t.Errorf("%s: %s", name, out)
		return false
	}
	defer run(t, command, "-t", table, "-D", chain, "1")
	tables, err := xt.Read(family)
	if err != nil {
		t.Fatal(err)
	}
	client, fd := bound(t, server.Addr())
	defer unix.Close(fd)
	conn := netfilter.Connection{From: client, To: server,
		Client: netfilter.Owner{Known: true, Groups: groups(t), Cgroup: "/", PID: os.Getpid()}}
	conn.Server = conn.Client
	rs := &netfilter.Ruleset{Tables: tables}
	stopped, unsure := false, ""
	for _, packet := range []string{facts.Syn, facts.SynAck} {
		w := rs.Walk(conn, packet)
		stopped = stopped || len(w.Stops) > 0
		for _, u := range w.Unsure {
			unsure = u.Why
		}
		if len(w.Stops)+len(w.Unsure) > 0 {
			break
		}
	}
	got := connects(t, fd, server)
	switch {
	case unsure != "":
		if !slices.ContainsFunc(chance, func(c string) bool { return strings.Contains(name, c) }) {
			t.Errorf("%s: cannot tell: %s", name, unsure)
		}
		return false
	case got == stopped:
		t.Errorf("%s: connected %v, stopped by the rule %v", name, got, stopped)
	}
	return true
}

func run(t *testing.T, args ...string) {
	t.Helper()
	if out, err := exec.Command(args[0], args[1:]...).CombinedOutput(); err != nil {
		t.Fatalf("%q: %v\n%s", args, err, out)
	}
}

// split splits words as a shell does, quotes with them.
func split(line string) []string { return xt.RuleOf(line) }

func groups(t *testing.T) (list []uint32) {
	t.Helper()
	ids, err := os.Getgroups()
	if err != nil {
		t.Fatal(err)
	}
	for _, id := range ids {
		list = append(list, uint32(id))
	}
	return list
}

func sockaddr(a netip.AddrPort) (domain int, sa unix.Sockaddr) {
	if a.Addr().Is4() {
		return unix.AF_INET, &unix.SockaddrInet4{Port: int(a.Port()), Addr: a.Addr().As4()}
	}
	return unix.AF_INET6, &unix.SockaddrInet6{Port: int(a.Port()), Addr: a.Addr().As16()}
}

// bound makes a socket with an address and a port of its own.
func bound(t *testing.T, a netip.Addr) (netip.AddrPort, int) {
	t.Helper()
	domain, sa := sockaddr(netip.AddrPortFrom(a, 0))
	fd, err := unix.Socket(domain, unix.SOCK_STREAM|unix.SOCK_NONBLOCK|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		t.Fatal(err)
	}
	if err := unix.Bind(fd, sa); err != nil {
		t.Fatal(err)
	}
	sa, err = unix.Getsockname(fd)
	if err != nil {
		t.Fatal(err)
	}
	switch sa := sa.(type) {
	case *unix.SockaddrInet4:
		return netip.AddrPortFrom(a, uint16(sa.Port)), fd
	case *unix.SockaddrInet6:
		return netip.AddrPortFrom(a, uint16(sa.Port)), fd
	}
	t.Fatalf("%T", sa)
	return netip.AddrPort{}, -1
}

func listen(t *testing.T, a netip.Addr) netip.AddrPort {
	t.Helper()
	at, fd := bound(t, a)
	t.Cleanup(func() { unix.Close(fd) })
	if err := unix.Listen(fd, 4096); err != nil {
		t.Fatal(err)
	}
	return at
}

// connects tells whether a connection comes up: over lo it does within the call.
func connects(t *testing.T, fd int, to netip.AddrPort) bool {
	t.Helper()
	_, sa := sockaddr(to)
	if err := unix.Connect(fd, sa); err != nil && err != unix.EINPROGRESS {
		return false
	}
	p := []unix.PollFd{{Fd: int32(fd), Events: unix.POLLOUT}}
	unix.Poll(p, 20)
	info, err := unix.GetsockoptTCPInfo(fd, unix.IPPROTO_TCP, unix.TCP_INFO)
	return err == nil && info.State == 1 // TCP_ESTABLISHED
}
