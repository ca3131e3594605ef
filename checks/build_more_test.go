package checks

import (
	"fmt"
	"net/netip"
	"slices"
	"strconv"
	"strings"
	"testing"

	"github.com/loopdoctor/loopdoctor/checks/facts"
)

// situation is facts, the check that judges them, and what it says: first how
// sure it is and of which addresses ("proven 127.0.0.1", "remark ::1", with "at
// wire" if it narrows its stage), then names and numbers that its summary has to
// have. One that says nothing is a decoy: facts that look nearly the same.
type situation struct {
	check *Check
	name  string
	facts *facts.Facts
	says  []string
}

func (s situation) String() string { return s.check.Name + ": " + s.name }

// row is a situation of the check that its table is about.
type row struct {
	name  string
	facts *facts.Facts
	says  []string
}

func of(c *Check, rows ...row) []situation {
	var out []situation
	for _, r := range rows {
		out = append(out, situation{c, r.name, r.facts, r.says})
	}
	return out
}

func says(words ...string) []string { return words }

var nothing []string

// situations is every row of every table: the material of the tests that hold
// for all checks alike.
func situations() []situation {
	return slices.Concat(
		listenerSituations(),
		bindAddressSituations(),
		portConflictSituations(),
		portHeldSituations(),
		resolutionSituations(),
		kernelPathSituations(),
		loAddressSituations(),
		ipv6Situations(),
		trafficSituations(),
		exposureSituations(),
		firewallSituations(),
		dataLostSituations(),
		discardSituations(),
		filterSituations(),
		natSituations(),
		vpnSituations(),
		queueSituations(),
		conntrackSituations(),
		processSituations(),
		processBlockedSituations(),
		processLimitsSituations(),
		symptomSituations(),
		startingSituations(),
		configSituations(),
		shadowSituations(),
		nameToolSituations(),
		serviceSituations(),
		clientSituations(),
		insideContainerSituations(),
		speakSituations(),
		httpSituations(),
		browserSituations(),
		proxySituations(),
		forwardSituations(),
		beyondSituations(),
		containerSituations(),
		containerHealthSituations(),
		wslSituations(),
		desktopSituations(),
	)
}

func judge(t *testing.T, table []situation) {
	t.Helper()
	for _, s := range table {
		t.Run(s.String(), func(t *testing.T) {
			found := found(t, s.check, s.facts)
			if len(s.says) == 0 {
				for _, x := range found {
					t.Errorf("it should be silent, and says %s: %s", heading(x), x.Summary)
				}
				return
			}
			if len(found) != 1 {
				t.Fatalf("%d findings, want one: %v", len(found), found)
			}
			if got := heading(found[0]); got != s.says[0] {
				t.Errorf("got %q, want %q", got, s.says[0])
			}
			for _, word := range s.says[1:] {
				if !strings.Contains(found[0].Summary, word) {
					t.Errorf("the summary does not name %q: %s", word, found[0].Summary)
				}
			}
		})
	}
}

// found runs one check as the engine does; without what it needs, it is silent.
func found(t *testing.T, c *Check, f *facts.Facts) []Finding {
	t.Helper()
	if _, missing := lacks(f, c); missing || c.Intent != "" && c.Intent != f.Target.Intent {
		return nil
	}
	fs, err := run(c, f)
	if err != nil {
		t.Fatal(err)
	}
	return fs
}

func heading(x Finding) string {
	words := []string{cond(x.Remark, "remark", x.Certainty.String())}
	for _, a := range x.Affects {
		words = append(words, a.String())
	}
	if x.Stage != x.Check.Stage {
		words = append(words, "at", x.Stage.String())
	}
	return strings.Join(words, " ")
}

// cure is the advice of a check on facts, in the words of spell.
type cure struct {
	name  string
	check *Check
	facts *facts.Facts
	want  []string
}

func prescribe(t *testing.T, table []cure) {
	t.Helper()
	for _, c := range table {
		t.Run(c.check.Name+": "+c.name, func(t *testing.T) {
			var got []string
			for _, x := range found(t, c.check, c.facts) {
				for _, fix := range x.Fixes {
					got = append(got, spell(fix)...)
				}
			}
			if !slices.Equal(got, c.want) {
				t.Errorf("got:\n\t%s\nwant:\n\t%s", strings.Join(got, "\n\t"), strings.Join(c.want, "\n\t"))
			}
		})
	}
}

// spell is a fix in lines: a person's work is "by hand"; an argument that a
// shell would not take as it stands is quoted.
func spell(fix Fix) []string {
	if len(fix.Steps)+len(fix.Files) == 0 {
		return []string{"by hand"}
	}
	var lines []string
	for _, v := range fix.Steps {
		lines = append(lines, cond(fix.Elevated, "root runs ", "run ")+vector(v))
	}
	for _, file := range fix.Files {
		lines = append(lines, fmt.Sprintf("append %q to %s", file.Append, file.Path))
	}
	if fix.Guard != nil {
		lines = append(lines, fmt.Sprintf("if %d began at %s", fix.Guard.PID, fix.Guard.Started.Format("15:04")))
	}
	for _, v := range fix.Undo {
		lines = append(lines, "undo "+vector(v))
	}
	if fix.Lasts != "" {
		lines = append(lines, "lasts "+string(fix.Lasts))
	}
	return lines
}

func vector(args []string) string {
	const plain = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789-_=+.,:/%"
	words := slices.Clone(args)
	for i, a := range words {
		if a == "" || strings.Trim(a, plain) != "" {
			words[i] = strconv.Quote(a)
		}
	}
	return strings.Join(words, " ")
}

// More words for tables.

type mark = func(*facts.Socket, *facts.Process)

func v6only(s *facts.Socket, _ *facts.Process)   { s.V6Only = true }
func ancestor(_ *facts.Socket, p *facts.Process) { p.Me = true }

func device(name string) mark { return func(s *facts.Socket, _ *facts.Process) { s.Device = name } }
func onPort(n uint16) mark {
	return func(s *facts.Socket, _ *facts.Process) { s.Local = netip.AddrPortFrom(s.Local.Addr(), n) }
}
func uid(n uint32) mark {
	return func(s *facts.Socket, p *facts.Process) { s.UID, p.UID, p.User = n, n, fmt.Sprint("user", n) }
}
func inDirectory(dir string) mark              { return func(_ *facts.Socket, p *facts.Process) { p.Cwd = dir } }
func inUnit(name string) mark                  { return func(_ *facts.Socket, p *facts.Process) { p.Unit = name } }
func childOf(pid int) mark                     { return func(_ *facts.Socket, p *facts.Process) { p.PPID = pid } }
func left(ms int64) mark                       { return func(s *facts.Socket, _ *facts.Process) { s.TimerMS = ms } }
func state(letter string) mark                 { return func(_ *facts.Socket, p *facts.Process) { p.State = letter } }
func frozen(_ *facts.Socket, p *facts.Process) { p.Frozen = true }
func debugged(by string, pid int) mark {
	return func(_ *facts.Socket, p *facts.Process) { p.State, p.Tracer, p.TracedBy = "t", pid, by }
}

// shared gives the last socket a second holder.
func shared(pid int, changes ...mark) change {
	return func(f *facts.Facts) {
		s := f.Sockets.Sockets[len(f.Sockets.Sockets)-1]
		p := facts.Process{PID: pid, Name: "worker", UID: 1000, User: "ann", State: "S", Cwd: "/srv", Started: morning}
		for _, c := range changes {
			c(&s, &p)
		}
		f.Owners.Holders[s.Inode] = append(f.Owners.Holders[s.Inode], facts.Holder{PID: pid, Attribution: facts.ByDescriptor})
		f.Owners.Processes = append(f.Owners.Processes, p)
	}
}

func udp(state facts.State, on, remote string, pid int, changes ...mark) change {
	asUDP := func(s *facts.Socket, _ *facts.Process) { s.Network = "udp" }
	return holds(state, on, remote, pid, append([]mark{asUDP}, changes...)...)
}

func asksUDP(f *facts.Facts) { f.Target.Network = "udp" }

func clients(uids ...uint32) change {
	return func(f *facts.Facts) {
		f.Host.As = nil
		for _, u := range uids {
			f.Host.As = append(f.Host.As, facts.Identity{UID: u})
		}
	}
}

// wildcards asks for every address a server can take.
func wildcards(f *facts.Facts) {
	toBind(f)
	f.Target.Addresses = append(f.Target.Addresses, facts.Address{Addr: netip.IPv4Unspecified()}, facts.Address{Addr: netip.IPv6Unspecified()})
}

func ephemeral(low, high int) change {
	return func(f *facts.Facts) { f.Limits.EphemeralLow, f.Limits.EphemeralHigh = low, high }
}

func reserved(ports string) change { return func(f *facts.Facts) { f.Limits.Reserved = ports } }

func privilegedBelow(start int, mayBind ...uint32) change {
	return func(f *facts.Facts) { f.Limits.UnprivilegedPortStart, f.Limits.MayBindLow = start, mayBind }
}

// bindsAs is binds, by another uid.
func bindsAs(u uint32, to, errno string, reuse bool) change {
	return func(f *facts.Facts) {
		binds(to, errno, reuse)(f)
		f.Binds[len(f.Binds)-1].As = u
	}
}

// found in another namespace: unlike elsewhere, by attribution alone.
func perhapsElsewhere(pid int, name string) change {
	return func(f *facts.Facts) {
		elsewhere(pid, "/", 0)(f)
		n := &f.Namespaces.Found[len(f.Namespaces.Found)-1]
		n.Name, n.Proven = name, false
	}
}

// holdsOn is the addresses of lo; on any other device, a device is added.
func holdsOn(device string, prefixes ...string) change {
	return func(f *facts.Facts) {
		i := facts.Interface{Name: device, Up: true}
		if device == "podman0" || device == "docker0" {
			i.Kind = "bridge"
		}
		if device == "lo" {
			i = *f.Interfaces.Loopback
			i.Addresses = nil
		}
		for _, p := range prefixes {
			i.Addresses = append(i.Addresses, netip.MustParsePrefix(p))
		}
		if device == "lo" {
			f.Interfaces.Loopback = &i
		} else {
			f.Interfaces.Others = append(f.Interfaces.Others, i)
		}
	}
}

func noLoopbackDevice(f *facts.Facts) { f.Interfaces.Loopback = nil }

// routed replaces the answer of the route lookup; table holds "type prefix".
func routed(to, kind, errno string, table ...string) change {
	return func(f *facts.Facts) {
		r := facts.Route{To: netip.MustParseAddr(to), Type: kind, Errno: errno, Table: []facts.TableRow{}}
		for _, t := range table {
			kind, prefix, _ := strings.Cut(t, " ")
			r.Table = append(r.Table, facts.TableRow{Type: kind, Prefix: netip.MustParsePrefix(prefix)})
		}
		i := slices.IndexFunc(f.Routes.Lookups, func(x facts.Route) bool { return x.To == r.To })
		if i < 0 {
			f.Routes.Lookups = append(f.Routes.Lookups, r)
		} else {
			f.Routes.Lookups[i] = r
		}
	}
}

// rules adds one routing policy rule; it covers the addresses.
func rule(priority uint32, selector, action string, table uint32, covers ...string) change {
	return func(f *facts.Facts) {
		r := facts.Rule{Priority: priority, Selector: selector, Action: action, Table: table, Text: fmt.Sprintf("%d: from all %s %s", priority, selector, action)}
		for _, a := range covers {
			r.Matches = append(r.Matches, netip.MustParseAddr(a))
			r.IPv6 = r.Matches[0].Is6()
		}
		f.Routes.Rules = append(f.Routes.Rules, r)
	}
}

// nsswitch is the hosts line, on line 7.
func nsswitch(text string, sources ...string) change {
	return func(f *facts.Facts) {
		f.Names.Switch.Line, f.Names.Switch.Text, f.Names.Switch.Sources = 7, text, sources
	}
}

func resolvesTo(source string, addrs ...string) change {
	return func(f *facts.Facts) {
		f.Names.Addresses, f.Names.Error = nil, ""
		for _, a := range addrs {
			f.Names.Addresses = append(f.Names.Addresses, facts.NamedAddr{Addr: netip.MustParseAddr(a), Source: source})
		}
	}
}

func unreadable(why string, mode uint32) change {
	return func(f *facts.Facts) { f.Names.Hosts.Error, f.Names.Hosts.Mode = why, mode }
}

// asksPort asks for another port.
func asksPort(p uint16) change { return func(f *facts.Facts) { f.Target.Port = p } }

// clientPrinted is what the client or the server printed.
func clientPrinted(e facts.ClientError) change {
	return func(f *facts.Facts) { f.Target.Error = &e }
}

func asksFor(name string) change {
	return func(f *facts.Facts) { f.Target.Host, f.Names.Name, f.Target.Raw = name, name, name }
}

func late(d *facts.Dial)               { d.Late = true }
func icmp(s string) func(*facts.Dial)  { return func(d *facts.Dial) { d.ICMP = s } }
func errno(s string) func(*facts.Dial) { return func(d *facts.Dial) { d.Errno = s } }
func as(u uint32) func(*facts.Dial)    { return func(d *facts.Dial) { d.As = u } }
func arrivesAt(p string) func(*facts.Dial) {
	return func(d *facts.Dial) {
		d.Server = &facts.ServerSide{Local: netip.MustParseAddrPort(p), Accepted: true, State: "established"}
	}
}

// without lists counters that this kernel does not have, in the last ledger.
func without(counters ...string) change {
	return func(f *facts.Facts) { f.Ledger[len(f.Ledger)-1].Missing = counters }
}

// halfOpen: the SYNs of the last ledger left sockets on the server's side.
func halfOpen(n int) change {
	return func(f *facts.Facts) { f.Ledger[len(f.Ledger)-1].HalfOpen = n }
}
