package compare

import (
	"cmp"
	"fmt"
	"net/netip"
	"path"
	"slices"
	"strconv"
	"strings"

	"github.com/loopdoctor/loopdoctor/checks/facts"
)

// The topics that only facts tell of. Each leaves out what differs between two
// looks at the same machine.

func filters(f *facts.Facts) topic {
	out := topic{name: "packet filters", unknown: absent(f, facts.GroupFilters)}
	if f.Filters == nil {
		return out
	}
	for _, e := range f.Filters.Engines {
		p := part{text: "has rules"}
		switch {
		case e.NotRead != "":
			p = part{unknown: e.NotRead}
		case e.Rules == 0:
			p.text = "has no rules"
		}
		out.put(e.Name, p)
	}
	for _, w := range f.Filters.Walks {
		if w.Packet == facts.Ack { // it goes the way of the SYN
			continue
		}
		what := fmt.Sprintf("%s of a connection to %s", w.Packet, w.Addr)
		for _, s := range w.Stops {
			out.add(what, s.Verdict+" by "+ruleText(f, s.Rule))
		}
		for _, d := range w.Unsure {
			out.add(what, "perhaps "+d.Verdict+" by "+ruleText(f, d.Rule))
		}
		for _, d := range w.Diverts {
			out.add(what, diverted(d)+" by "+ruleText(f, d.Rule))
		}
	}
	for _, m := range f.Filters.Managers {
		if m.Active {
			out.add(m.Name, "switched on")
		} else {
			out.add(m.Name, "installed")
		}
	}
	for _, b := range f.Filters.Boot {
		out.add(b.Path, b.Text)
	}
	return out
}

// diverted is "dnat to 172.17.0.2:80". The port of a source is another each time; one
// that was asked for is in the rule.
func diverted(d facts.FilterDivert) string {
	switch {
	case !d.To.Addr().IsValid():
		return d.Kind
	case d.Kind == "snat" || d.Kind == "masquerade":
		return d.Kind + " to " + d.To.Addr().String()
	}
	return d.Kind + " to " + d.To.String()
}

// ruleText is where the rule stands and what it says, without its number. The port
// of the target may be another one.
func ruleText(f *facts.Facts, r facts.FilterRule) string {
	text := strings.Join([]string{r.Family, r.Table, r.Chain}, " ") + ": " + uncounted(r.Text)
	if r.Device != "" {
		text = r.Device + " " + text
	}
	return strings.ReplaceAll(text, strconv.Itoa(int(f.Target.Port)), "PORT")
}

func containers(f *facts.Facts) topic {
	out := topic{name: "containers", unknown: absent(f, facts.GroupContainers)}
	if f.Containers == nil {
		return out
	}
	answers := false
	for _, e := range f.Containers.Engines {
		p := part{text: "answers"}
		if e.Error != "" {
			p = part{unknown: e.Error}
			out.unknown = e.Error
		}
		answers = answers || e.Error == ""
		out.put(e.Name, p)
	}
	if answers {
		out.unknown = ""
	} else if out.unknown != "" { // what their processes tell has no names
		return out
	}
	for _, c := range f.Containers.Found {
		ps := []part{{name: "image", text: c.Image}, {name: "health", text: c.Health}, {name: "network", text: c.Network}}
		if c.State == "" {
			ps = append(ps, part{name: "state", unknown: "no engine said so"})
		} else {
			ps = append(ps, part{name: "state", text: c.State})
		}
		if c.State == "exited" {
			ps = append(ps, part{name: "exit", text: fmt.Sprintf("status %d", c.Exit)})
		}
		if c.Publish != "" {
			ps = append(ps, part{name: "ports", text: "publishes " + c.Publish})
		}
		if c.Error != "" {
			ps = append(ps, part{name: "error", text: c.Error})
		}
		if c.Inside != nil {
			ps = append(ps, part{name: "inside", text: inside(c.Inside.Listeners)})
		}
		ps = slices.DeleteFunc(ps, func(p part) bool { return p.text == "" && p.unknown == "" })
		out.put(cmp.Or(c.Name, "a container of "+c.Image), ps...)
	}
	return out
}

// dockerDNS is the name server that Docker puts into its containers, on a port that
// is another each time.
var dockerDNS = netip.MustParseAddr("127.0.0.11")

func inside(ss []facts.Socket) string {
	var where []string
	for _, s := range ss {
		if s.Local.Addr() != dockerDNS {
			where = append(where, s.Local.String())
		}
	}
	if len(where) == 0 {
		return "nothing listens inside"
	}
	slices.Sort(where)
	return "inside listens " + strings.Join(slices.Compact(where), ", ")
}

func units(f *facts.Facts) topic {
	out := topic{name: "services", unknown: absent(f, facts.GroupUnits)}
	if f.Units == nil {
		return out
	}
	for _, u := range f.Units.Units {
		words := []string{cmp.Or(u.State, "state not known")}
		for _, w := range []string{u.Sub, u.Result, u.Enabled, u.Because} {
			if w != "" && w != "success" {
				words = append(words, w)
			}
		}
		if u.Exit != 0 && u.Signal {
			words = append(words, fmt.Sprintf("ended by signal %d", u.Exit))
		} else if u.Exit != 0 {
			words = append(words, fmt.Sprintf("exit status %d", u.Exit))
		}
		out.add(u.Name, strings.Join(words, ", "))
	}
	return out
}

// elsewhere is what listens on the port in other network namespaces, on UNIX
// sockets, and who names the port without listening on it.
func elsewhere(f *facts.Facts) topic {
	out := topic{name: "elsewhere", unknown: absent(f, facts.GroupNamespaces)}
	if f.Namespaces != nil {
		for _, n := range f.Namespaces.Found {
			out.add(cmp.Or(n.Room.String(), n.Name, "another network namespace"), inside(n.Listeners))
		}
	}
	if f.UnixSockets != nil {
		for _, u := range f.UnixSockets.Found {
			out.add(u.Path, u.About)
		}
	}
	if f.Candidates != nil {
		for _, c := range f.Candidates.Found {
			for _, m := range c.Names {
				if m.Sure {
					out.add(c.Name, "told "+m.Text+", listens on "+cmp.Or(places(c.Listens), "nothing"))
				}
			}
		}
	}
	return out
}

// places lists addresses, or endpoints, in an order that no look changes.
func places[T fmt.Stringer](as []T) string {
	var out []string
	for _, a := range as {
		out = append(out, a.String())
	}
	slices.Sort(out)
	return strings.Join(out, ", ")
}

func forwards(f *facts.Facts) topic {
	out := topic{name: "forwarders", unknown: absent(f, facts.GroupForwards)}
	if f.Forwards == nil {
		return out
	}
	for _, w := range f.Forwards.Found {
		if w.Own != 0 {
			out.add(w.Kind, fmt.Sprintf("is told to answer %d itself", w.Own))
		}
		if w.To == "" {
			continue
		}
		text := "leads to " + w.To
		if w.Through != "" {
			text += " through " + w.Through
		}
		if w.Dead() {
			text += ", where nothing listens"
		}
		out.add(w.Kind, text)
	}
	return out
}

func names(f *facts.Facts) topic {
	out := topic{name: "names", unknown: absent(f, facts.GroupNames)}
	n := f.Names
	if n == nil {
		return out
	}
	var as []string
	for _, a := range n.Addresses {
		source, _, _ := strings.Cut(a.Source, " line ")
		as = append(as, a.Addr.String()+" ("+source+")")
	}
	text := cmp.Or(strings.Join(as, ", "), n.Error, "nothing")
	if len(n.Later) > 0 {
		text += ", after a wait for a name server"
	}
	out.put(n.Name, part{text: text, same: measured(text)})
	for _, l := range n.Hosts.Lines {
		out.add(cmp.Or(n.Hosts.Path, "hosts file"), strings.Join(strings.Fields(l.Text), " "))
	}
	if n.Hosts.Error != "" {
		out.add(cmp.Or(n.Hosts.Path, "hosts file"), n.Hosts.Error)
	}
	out.add(cmp.Or(n.Switch.Path, "nsswitch.conf"), "hosts: "+cmp.Or(strings.Join(n.Switch.Sources, " "), n.Switch.Error))
	for _, s := range n.Servers {
		p := part{text: cmp.Or(s.Error, strings.TrimSpace(s.Rcode+" "+places(s.Answers)))}
		p.same = measured(p.text)
		if !s.Asked {
			p = part{text: "there, not asked"}
		}
		out.put("name server "+s.Addr.Addr().String(), p)
	}
	return out
}

func loopback(f *facts.Facts) topic {
	out := topic{name: "loopback", unknown: absent(f, facts.GroupInterfaces)}
	i := f.Interfaces
	if i == nil {
		return out
	}
	v := i.IPv6
	text := ipv6(v.Present, v.Disabled)
	switch {
	case v.Module:
		text += ", by ipv6.disable=1"
	case v.All:
		text += ", by net.ipv6.conf.all.disable_ipv6"
	}
	out.add("IPv6", text)
	if v.BindV6Only {
		out.add("net.ipv6.bindv6only", "1")
	}
	lo := i.Loopback
	if lo == nil {
		out.add("lo", "not there")
		return out
	}
	out.add(lo.Name, link(lo.Up, lo.MTU, lo.Qdisc, lo.XDP))
	for _, a := range lo.Addresses {
		out.add(a.String(), "assigned")
	}
	for _, n := range lo.NotReady {
		out.add(n.Addr.String(), n.Why)
	}
	if t := lo.Traffic; t != nil {
		for _, q := range t.Qdiscs {
			out.add("tc qdisc "+q.Parent, strings.TrimSpace(q.Kind+" "+strings.Join(q.Options, " ")))
		}
		for _, x := range t.Filters {
			out.add("tc filter "+x.At, strings.TrimSpace(x.Kind+" "+x.Name+" "+strings.Join(x.Options, " ")))
		}
	}
	return out
}

func routes(f *facts.Facts) topic {
	out := topic{name: "routes", asked: true, unknown: absent(f, facts.GroupRoutes)}
	if f.Routes == nil {
		return out
	}
	for _, l := range f.Routes.Lookups {
		out.add("route to "+l.To.String(), route(l.Type, l.Device, l.Errno))
	}
	return out
}

// rules are those of policy routing, but for the ones that every system has.
func rules(f *facts.Facts) topic {
	out := topic{name: "routing rules", unknown: absent(f, facts.GroupRoutes)}
	if f.Routes == nil {
		return out
	}
	if len(f.Routes.Rules) == 0 { // there is always one: they were not asked for
		out.unknown = "no connection was lost"
	}
	for _, r := range f.Routes.Rules {
		if r.Selector == "from all" && r.Action == "lookup" && slices.Contains([]uint32{253, 254, 255}, r.Table) {
			continue
		}
		family := "IPv4, "
		if r.IPv6 {
			family = "IPv6, "
		}
		out.add(family+strconv.FormatUint(uint64(r.Priority), 10), strings.TrimSpace(strings.TrimPrefix(r.Text, strconv.Itoa(int(r.Priority))+":")))
	}
	return out
}

func configs(f *facts.Facts) topic {
	out := topic{name: "configuration", unknown: absent(f, facts.GroupConfigs)}
	if f.Configs == nil {
		return out
	}
	for _, l := range f.Configs.Lines {
		out.add(strings.TrimSpace(l.Program+" "+path.Base(l.File)), l.Text)
	}
	return out
}

func proxies(f *facts.Facts) topic {
	out := topic{name: "proxies", unknown: absent(f, facts.GroupProxies)}
	p := f.Proxies
	if p == nil {
		return out
	}
	for _, v := range p.Variables {
		out.add(v.Name, cmp.Or(v.Value, "set to nothing"))
	}
	for _, s := range p.Settings {
		out.add(strings.TrimSpace(s.Program+" "+s.Name), s.Value+in(s))
	}
	if p.Preload != nil {
		out.add("preloaded library", path.Base(p.Preload.Library))
		for _, s := range p.Preload.Settings {
			out.add(strings.TrimSpace(s.Program+" "+s.Name), s.Value+in(s))
		}
	}
	for _, e := range p.Ends {
		text := "nothing listens"
		if e.Listens {
			text = "listens"
		}
		out.add("proxy at "+e.Addr.String(), text)
	}
	return out
}

func in(s facts.ProxySetting) string {
	if s.File == "" {
		return ""
	}
	return " (" + base(s.File) + ")"
}

func environment(f *facts.Facts) topic {
	out := topic{name: "environment", unknown: absent(f, facts.GroupEnvironment)}
	if f.Environment != nil {
		for _, v := range f.Environment.Variables {
			if v.Name != "SSH_CONNECTION" { // its port is another each time, and the background says so
				out.add(v.Name, cmp.Or(v.Value, "set to nothing"))
			}
		}
	}
	return out
}

func limits(f *facts.Facts) topic {
	out := topic{name: "limits", unknown: absent(f, facts.GroupLimits)}
	l := f.Limits
	if l == nil {
		return out
	}
	out.add("ip_unprivileged_port_start", strconv.Itoa(l.UnprivilegedPortStart))
	out.add("ip_local_port_range", fmt.Sprintf("%d to %d", l.EphemeralLow, l.EphemeralHigh))
	out.add("ip_local_reserved_ports", cmp.Or(l.Reserved, "none"))
	if l.NoIPv6 {
		out.add("socket(AF_INET6)", "EAFNOSUPPORT")
	}
	if l.Seccomp {
		out.add("seccomp", "a filter")
	}
	if c := f.Conntrack; c != nil && c.NotRead == "" {
		text := fmt.Sprintf("up to %d connections", c.Max)
		if c.Max > 0 && c.Count >= c.Max {
			text += ", which is full"
		}
		out.add("connection tracking", text)
	} else {
		out.put("connection tracking", part{unknown: cmp.Or(absent(f, facts.GroupConntrack), "not read")})
	}
	return out
}
