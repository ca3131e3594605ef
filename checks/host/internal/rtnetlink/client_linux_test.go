package rtnetlink

import (
	"net/netip"
	"os"
	"os/exec"
	"runtime"
	"slices"
	"strconv"
	"strings"
	"testing"

	"github.com/loopdoctor/loopdoctor/checks/facts"
	"golang.org/x/sys/unix"
)

const port = 62893

var (
	v4 = netip.MustParseAddr("127.0.0.1")
	v6 = netip.MustParseAddr("::1")
)

// enterNamespace moves the test into a network namespace of its own with lo
// up. The thread is never unlocked, so that it and the namespace end with the test.
func enterNamespace(t testing.TB) *Client {
	t.Helper()
	if os.Getuid() != 0 {
		t.Skip("needs root for a network namespace")
	}
	if _, err := exec.LookPath("ip"); err != nil {
		t.Skip("needs the ip program")
	}
	runtime.LockOSThread()
	if err := unix.Unshare(unix.CLONE_NEWNET); err != nil {
		t.Skipf("no network namespace: %v", err)
	}
	ip(t, "link set lo up")
	c, err := Open()
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { c.Close() })
	return c
}

func ip(t testing.TB, args string) string {
	t.Helper()
	out, err := exec.Command("ip", strings.Fields(args)...).CombinedOutput()
	if err != nil {
		t.Fatalf("ip %s: %v: %s", args, err, out)
	}
	return string(out)
}

// connect is what a real client meets: "" if the SYN went out. A bound one has
// its source address from the start.
func connect(t testing.TB, to netip.Addr, bound bool) string {
	t.Helper()
	var sa, from unix.Sockaddr
	family := unix.AF_INET
	if to.Is4() {
		sa, from = &unix.SockaddrInet4{Port: port, Addr: to.As4()}, &unix.SockaddrInet4{Addr: to.As4()}
	} else {
		sa, from = &unix.SockaddrInet6{Port: port, Addr: to.As16()}, &unix.SockaddrInet6{Addr: to.As16()}
		family = unix.AF_INET6
	}
	fd, err := unix.Socket(family, unix.SOCK_STREAM|unix.SOCK_CLOEXEC|unix.SOCK_NONBLOCK, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer unix.Close(fd)
	if bound {
		if err := unix.Bind(fd, from); err != nil {
			t.Fatal(err)
		}
	}
	switch err := unix.Connect(fd, sa); err {
	case unix.EINPROGRESS, unix.ECONNREFUSED:
		return ""
	default:
		return unix.ErrnoName(err.(unix.Errno))
	}
}

func rules(t testing.TB, c *Client, uids ...uint32) []facts.Rule {
	t.Helper()
	list, err := c.Rules([]netip.Addr{v4, v6}, unix.IPPROTO_TCP, port, uids...)
	if err != nil {
		t.Fatal(err)
	}
	return list
}

func TestInterfaces(t *testing.T) {
	c := enterNamespace(t)
	ip(t, "link add out0 type veth peer name out1")
	ip(t, "link set out0 mtu 1400 up")
	ip(t, "addr add 10.1.2.3/24 dev out0")
	ip(t, "addr add 10.9.0.1 peer 10.9.0.2/32 dev out0")
	ip(t, "addr add fd00::1/64 dev out1")
	got, err := c.Interfaces()
	if err != nil {
		t.Fatal(err)
	}
	lo := got.Loopback
	if lo == nil || lo.Name != "lo" || lo.Index != 1 || !lo.Up || lo.MTU != 65536 || lo.Qdisc != "noqueue" || lo.XDP || !lo.Holds(v4) || !lo.Holds(v6) {
		t.Errorf("lo: %+v", lo)
	}
	find := func(name string) facts.Interface {
		i := slices.IndexFunc(got.Others, func(i facts.Interface) bool { return i.Name == name })
		if i < 0 {
			t.Fatalf("no %s in %+v", name, got.Others)
		}
		return got.Others[i]
	}
	out0 := find("out0")
	if !out0.Up || out0.MTU != 1400 || !slices.Contains(out0.Addresses, netip.MustParsePrefix("10.1.2.3/24")) ||
		!out0.Holds(netip.MustParseAddr("10.9.0.1")) || out0.Holds(netip.MustParseAddr("10.9.0.2")) {
		t.Errorf("out0: %+v", out0)
	}
	if out1 := find("out1"); out1.Up || !slices.Equal(out1.Addresses, []netip.Prefix{netip.MustParsePrefix("fd00::1/64")}) {
		t.Errorf("out1: %+v", out1)
	}
	ip(t, "link set lo down")
	ip(t, "addr del 127.0.0.1/8 dev lo")
	if got, err = c.Interfaces(); err != nil || got.Loopback.Up || got.Loopback.Holds(v4) {
		t.Errorf("lo is down and has lost its address: %+v, %v", got.Loopback, err)
	}
}

func TestRouteIsLocal(t *testing.T) {
	c := enterNamespace(t)
	for _, to := range []netip.Addr{v4, v6} {
		r := c.Route(to, 1000, unix.IPPROTO_TCP, port)
		if r.Type != "local" || r.Device != "lo" || r.Source != to || r.Errno != "" || r.Table != nil {
			t.Errorf("%s: %+v", to, r)
		}
	}
	if r := c.Route(netip.Addr{}, 0, 0, 0); r.Errno != "EINVAL" {
		t.Errorf("no address: %+v", r)
	}
}

// TestRouteMeetsWhatConnectMeets breaks the way to loopback in every manner
// and compares the answer with a real connect().
func TestRouteMeetsWhatConnectMeets(t *testing.T) {
	tests := []struct{ name, how string }{
		{"blackhole rule for the port", "rule add pref 10 ipproto tcp dport 62893 blackhole"},
		{"unreachable rule", "rule add pref 10 unreachable"},
		{"prohibit rule", "rule add pref 10 prohibit"},
		{"rule for our user", "rule add pref 10 uidrange 0-0 prohibit"},
		{"rule for another user", "rule add pref 10 uidrange 1000-1000 prohibit"},
		{"rule for another port", "rule add pref 10 ipproto tcp dport 62894 prohibit"},
		{"blackhole route", "route add blackhole LOOPBACK table 77"},
		{"unreachable route", "route add unreachable LOOPBACK table 77"},
		{"prohibit route", "route add prohibit LOOPBACK table 77"},
		{"local rule gone", "rule del pref 100"},
	}
	for _, tt := range tests {
		for _, to := range []netip.Addr{v4, v6} {
			t.Run(tt.name+" "+to.String(), func(t *testing.T) {
				c := enterNamespace(t)
				fam := "-4 "
				if to.Is6() {
					fam = "-6 "
				}
				ip(t, fam+"rule add pref 100 lookup local")
				ip(t, fam+"rule add pref 50 lookup 77")
				ip(t, fam+"rule del pref 0")
				ip(t, fam+strings.Replace(tt.how, "LOOPBACK", to.String(), 1))
				want := connect(t, to, false)
				r := c.Route(to, 0, unix.IPPROTO_TCP, port)
				if r.Errno != want {
					t.Errorf("connect met %q, the look-up %+v", want, r)
				}
				if want == "" {
					if r.Type != "local" {
						t.Errorf("got %+v", r)
					}
					return
				}
				if !slices.ContainsFunc(r.Table, func(row facts.TableRow) bool {
					return row.Prefix == netip.PrefixFrom(to, to.BitLen()) && row.Type == "local" && row.Device == "lo"
				}) {
					t.Errorf("table local holds the address, but the answer has %+v", r.Table)
				}
			})
		}
	}
}

func TestRouteShowsTableLocal(t *testing.T) {
	c := enterNamespace(t)
	ip(t, "route del local 127.0.0.1 dev lo table local")
	ip(t, "route add prohibit 127.0.0.1 table local")
	r := c.Route(v4, 0, unix.IPPROTO_TCP, port)
	if r.Errno != "EACCES" || len(r.Table) != 2 {
		t.Fatalf("got %+v", r)
	}
	for _, want := range []facts.TableRow{
		{Prefix: netip.MustParsePrefix("127.0.0.1/32"), Type: "prohibit"},
		{Prefix: netip.MustParsePrefix("127.0.0.0/8"), Type: "local", Device: "lo"},
	} {
		if !slices.Contains(r.Table, want) {
			t.Errorf("no %+v in %+v", want, r.Table)
		}
	}
}

// variety is rules of every kind, as "ip rule add" takes them.
var variety = []string{
	"from 10.0.0.0/8 to 127.0.0.0/8 fwmark 0x1/0xff iif lo uidrange 0-1000 ipproto tcp sport 1-2 dport 80 lookup 100 suppress_prefixlength 0",
	"not from 10.0.0.1 blackhole",
	"not from all unreachable",
	"l3mdev lookup 0",
	"goto 32766",
	"goto 40000",
	"nop",
	"oif nowhere0 tos 0x10 protocol static realms 1/2 prohibit",
	"iif lo oif lo lookup main suppress_prefixlength 0",
	"tun_id 5 lookup main",
	"ipproto 132 lookup 5000 suppress_ifgroup 7",
	"ipproto icmp realms 9 lookup default",
	"fwmark 0/0xff lookup local",
	"fwmark 0x5 lookup main",
	"to 127.0.0.1 ipproto udp dport 62893-62900 prohibit",
	"protocol dhcp unreachable",
}

// nameless has numbers for which /etc has names that are not read here.
var nameless = []string{"ipproto 47 prohibit", "protocol 186 unreachable"}

func TestRulesReadLikeIPRule(t *testing.T) {
	c := enterNamespace(t)
	for i, spec := range variety {
		ip(t, "rule add pref "+strconv.Itoa(10+i)+" "+spec)
	}
	ip(t, "-6 rule add pref 10 from fd00::/8 to ::1 ipproto ipv6-icmp unreachable")
	var got []string
	for _, r := range rules(t, c) {
		got = append(got, r.Text)
	}
	var want []string
	for line := range strings.Lines(ip(t, "-4 rule") + ip(t, "-6 rule")) {
		want = append(want, strings.Join(strings.Fields(line), " "))
	}
	for i := range max(len(got), len(want)) {
		if i >= len(got) || i >= len(want) || got[i] != want[i] {
			t.Fatalf("got:\n%s\nwant:\n%s", strings.Join(got, "\n"), strings.Join(want, "\n"))
		}
	}
}

// TestSelectorRoundTrips deletes every rule by what the facts say, and adds it
// again by the same words: the list must first lack it and then be as before.
func TestSelectorRoundTrips(t *testing.T) {
	c := enterNamespace(t)
	for i, spec := range append(nameless, variety...) {
		ip(t, "rule add pref "+strconv.Itoa(10+i)+" "+spec)
	}
	ip(t, "-6 rule add pref 10 from fd00::/8 to ::1 fwmark 0x10/0xf0 unreachable")
	before := rules(t, c)
	for _, r := range before {
		action := r.Action
		if action == "lookup" {
			action += " " + strconv.Itoa(int(r.Table))
		}
		fam := "-4"
		if r.IPv6 {
			fam = "-6"
		}
		spec := " pref " + strconv.Itoa(int(r.Priority)) + " " + r.Selector + " " + action
		ip(t, fam+" rule del"+spec)
		if now := rules(t, c); len(now) != len(before)-1 || slices.ContainsFunc(now, func(n facts.Rule) bool { return n.Text == r.Text && n.IPv6 == r.IPv6 }) {
			t.Errorf("del%s: it is still there", spec)
		}
		ip(t, fam+" rule add"+spec)
		after := rules(t, c)
		if !slices.EqualFunc(before, after, func(a, b facts.Rule) bool { return a.Text == b.Text && a.Selector == b.Selector }) {
			t.Fatalf("add%s: before\n%+v\nafter\n%+v", spec, before, after)
		}
	}
}

// TestMatchesWhatTheKernelMatches puts each selector before table local with
// the action prohibit and compares with a real connect().
func TestMatchesWhatTheKernelMatches(t *testing.T) {
	both := []string{
		"from all", "not from all", "iif lo", "iif other0", "oif lo", "oif other0", "tos 0x10", "fwmark 0x1", "fwmark 0/0xff",
		"fwmark 0x1/0xff", "fwmark 0x100/0xff", "uidrange 0-0", "uidrange 1000-2000", "ipproto tcp", "ipproto udp", "dport 62893", "dport 62000-63000",
		"dport 1-100", "ipproto udp dport 62893", "not dport 62893", "not dport 80", "sport 1-2", "sport 1-65534", "tun_id 5",
		"ipproto tcp dport 62893 uidrange 0-1000 iif lo",
	}
	specs := map[netip.Addr][]string{
		v4: append([]string{"from 127.0.0.0/8", "to 127.0.0.1", "from 10.0.0.0/8 to 127.0.0.1", "to 127.0.0.2", "not to 127.0.0.0/8", "not from 10.0.0.0/8"}, both...),
		v6: append([]string{"from ::1", "to ::1", "from fd00::/8 to ::1", "to fd00::/8", "not to ::1"}, both...),
	}
	for to, list := range specs {
		t.Run(to.String(), func(t *testing.T) {
			c := enterNamespace(t)
			fam := "-4 "
			if to.Is6() {
				fam = "-6 "
			}
			ip(t, fam+"rule add pref 100 lookup local")
			ip(t, fam+"rule del pref 0")
			for _, spec := range list {
				ip(t, fam+"rule add pref 10 "+spec+" prohibit")
				// Bound, since an unbound IPv6 client is routed without its
				// source address; a rule "from ::1" then takes only the reply.
				met := connect(t, to, true)
				all := rules(t, c, 0)
				i := slices.IndexFunc(all, func(r facts.Rule) bool { return r.Priority == 10 })
				if i < 0 {
					t.Fatalf("%s: no such rule in %+v", spec, all)
				}
				if got := slices.Equal(all[i].Matches, []netip.Addr{to}); got != (met == "EACCES") || !got && all[i].Matches != nil {
					t.Errorf("%s: connect met %q, matches are %v", spec, met, all[i].Matches)
				}
				ip(t, fam+"rule del pref 10")
			}
		})
	}
}

func TestRulesOfUsersApplyWithoutUsers(t *testing.T) {
	c := enterNamespace(t)
	ip(t, "rule add pref 10 uidrange 1000-2000 prohibit")
	for _, tt := range []struct {
		uids []uint32
		want bool
	}{{nil, true}, {[]uint32{0}, false}, {[]uint32{0, 1500}, true}} {
		for _, r := range rules(t, c, tt.uids...) {
			if r.Priority == 10 && (r.Matches != nil) != tt.want {
				t.Errorf("as %v: %+v", tt.uids, r)
			}
		}
	}
}

func TestUnprivilegedSeesTheSame(t *testing.T) {
	c := enterNamespace(t)
	ip(t, "rule add pref 10 ipproto tcp dport 62893 uidrange 1000-1000 blackhole")
	ip(t, "rule add pref 20 lookup local")
	ip(t, "rule del pref 0")
	want := rules(t, c)
	// Raw, so that only this thread changes; it ends with the test.
	if _, _, e := unix.RawSyscall(unix.SYS_SETRESUID, 65534, 65534, 65534); e != 0 {
		t.Fatal(e)
	}
	c, err := Open()
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	if got := rules(t, c); len(got) != len(want) || len(got) < 4 {
		t.Errorf("got %+v, want %+v", got, want)
	}
	if i, err := c.Interfaces(); err != nil || i.Loopback == nil || !i.Loopback.Holds(v4) {
		t.Errorf("interfaces: %+v, %v", i, err)
	}
	// Asking for another user is allowed to anyone.
	for uid, errno := range map[uint32]string{1000: "EINVAL", 65534: ""} {
		if r := c.Route(v4, uid, unix.IPPROTO_TCP, port); r.Errno != errno {
			t.Errorf("as %d: %+v", uid, r)
		}
	}
}

func BenchmarkRoute(b *testing.B) {
	c := enterNamespace(b)
	for b.Loop() {
		if r := c.Route(v4, 0, unix.IPPROTO_TCP, port); r.Type != "local" {
			b.Fatal(r)
		}
	}
}
