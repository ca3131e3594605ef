package checks

import (
	"cmp"
	"net/netip"
	"slices"
	"strings"

	"github.com/loopdoctor/loopdoctor/checks/facts"
)

// The resolvers of the clients, see clients.go.

// glibc is getaddrinfo without AI_ADDRCONFIG; the look worked it out.
func glibc(f *facts.Facts) resolved {
	n := f.Names
	switch {
	case n.Later != nil:
		return resolved{unknown: "waits for a silent name server"}
	case n.Unknown():
		return resolved{unknown: "not known here"}
	}
	var is resolved
	for _, a := range n.Addresses {
		is.addrs = append(is.addrs, a.Addr.Unmap())
	}
	return is
}

// addrConfig is getaddrinfo with AI_ADDRCONFIG, as Node and nginx call it: on a
// machine that has addresses of one family only, apart from 127.0.0.1 and ::1,
// only that family is asked for. glibc then takes ::1 in the hosts file for
// 127.0.0.1 (nss/nss_files/files-hosts.c).
func addrConfig(f *facts.Facts) resolved {
	is := glibc(f)
	if is.unknown != "" {
		return is
	}
	if f.Interfaces == nil {
		return resolved{unknown: "interfaces not seen"}
	}
	v4, v6 := false, false
	look := func(i facts.Interface) {
		for _, p := range i.Addresses {
			v4 = v4 || p.Addr().Is4() && p.Addr() != v4Loopback
			v6 = v6 || p.Addr().Is6() && p.Addr() != v6Loopback
		}
	}
	if f.Interfaces.Loopback != nil {
		look(*f.Interfaces.Loopback)
	}
	for _, i := range f.Interfaces.Others {
		look(i)
	}
	if v4 == v6 {
		return is
	}
	var asked []netip.Addr
	if n := f.Names; len(n.Addresses) > 0 && strings.HasPrefix(n.Addresses[0].Source, "hosts file") {
		for _, l := range n.Hosts.Lines {
			a := l.Addr.Unmap()
			if v4 && a == v6Loopback {
				a = v4Loopback
			}
			// Without "multi on" in host.conf the first line that fits is all.
			if l.Addr.Zone() == "" && a.Is4() == v4 && (len(asked) == 0 || len(is.addrs) > 1) {
				asked = append(asked, a)
			}
		}
		return resolved{addrs: sorted(f, distinct(asked))}
	}
	for _, a := range is.addrs {
		if a.Is4() == v4 {
			asked = append(asked, a)
		}
	}
	return resolved{addrs: asked}
}

// java is the C library's, IPv4 first; where that knows localhost not, Java does
// (java.net.InetAddress, getAddressesFromNameService).
func java(f *facts.Facts) resolved {
	is := v4First(glibc)(f)
	if len(is.addrs) == 0 && is.unknown == "" && strings.EqualFold(f.Names.Name, "localhost") {
		is.addrs = []netip.Addr{v4Loopback}
	}
	return is
}

// musl reads every line of the hosts file, in which it compares the name letter
// by letter, and otherwise asks every name server at once. It knows neither
// nsswitch.conf nor host.conf (musl 1.2, src/network/lookup_name.c).
func musl(f *facts.Facts) resolved {
	n := f.Names
	var addrs []netip.Addr
	for _, l := range n.Hosts.Lines {
		line, _, _ := strings.Cut(l.Text, "#")
		if slices.Contains(strings.Fields(line), n.Name) {
			addrs = append(addrs, l.Addr.Unmap().WithZone(""))
		}
	}
	if len(addrs) > 0 {
		return resolved{addrs: sorted(f, distinct(addrs))}
	}
	if n.Hosts.Error != "" && n.Hosts.Error != "missing" && n.Hosts.Error != "permission denied" {
		return resolved{unknown: "hosts file not read"}
	}
	for _, s := range n.Servers {
		switch {
		case !s.Asked, strings.HasPrefix(s.Error, "no answer"):
			return resolved{unknown: "name server not asked"}
		case s.Rcode == "NOERROR":
			addrs = append(addrs, s.Answers...)
		}
	}
	return resolved{addrs: sorted(f, distinct(addrs))}
}

// goOrder is in which order Go's own resolver takes the hosts file and the name
// servers (net/conf.go, lookupOrder).
type goOrder struct{ files, dns, dnsFirst, cgo bool }

func orderOfGo(n *facts.Names) goOrder {
	if n.Switch.Line == 0 || n.Switch.Error != "" {
		return goOrder{files: true, dns: true, cgo: n.Switch.Error != "" && n.Switch.Error != "missing"}
	}
	_, text, _ := strings.Cut(n.Switch.Text, ":")
	o := goOrder{cgo: unusualCriteria(text)}
	first := ""
	for i, s := range n.Switch.Sources {
		switch {
		case s == "files":
			o.files = true
		case s == "dns":
			o.dns = true
		default:
			// The C library is to deal with localhost where myhostname is there,
			// and with sources that Go does not know.
			o.cgo = o.cgo || s != "myhostname" && !strings.HasPrefix(s, "mdns") || s == "myhostname" && facts.IsLocalhost(n.Name)
			if o.dns || slices.Contains(n.Switch.Sources[i+1:], "dns") {
				continue
			}
			o.dns, s = true, "dns"
		}
		first = cmp.Or(first, s)
	}
	if !o.files && !o.dns {
		return goOrder{files: true, dns: true}
	}
	o.dnsFirst = o.dns && first == "dns"
	return o
}

// unusualCriteria tells whether a bracket of the line says something else than
// the defaults: Go then leaves the name to the C library.
func unusualCriteria(text string) bool {
	for {
		_, rest, ok := strings.Cut(text, "[")
		if !ok {
			return false
		}
		inside, behind, _ := strings.Cut(rest, "]")
		words := strings.Fields(strings.ReplaceAll(strings.ToLower(inside), "=", " "))
		for i := 0; i+1 < len(words); i += 2 {
			usual := map[string]string{"success": "return", "notfound": "continue", "unavail": "continue", "tryagain": "continue"}[words[i]]
			last := i+2 >= len(words)
			if usual == "" || words[i+1] != usual && !(last && words[i+1] == "return") {
				return true
			}
		}
		text = behind
	}
}

// goOwn is Go's own resolver, the only one of a static program.
func goOwn(f *facts.Facts) resolved {
	n := f.Names
	o := orderOfGo(n)
	var files []netip.Addr
	for _, l := range n.Hosts.Lines {
		files = append(files, l.Addr.Unmap().WithZone(""))
	}
	files = sorted(f, distinct(files))
	if o.files && !o.dnsFirst && len(files) > 0 || !o.dns {
		return resolved{addrs: files}
	}
	is := askedServers(n)
	is.addrs = sorted(f, distinct(is.addrs))
	if o.files && len(is.addrs) == 0 && is.unknown == "" {
		is.addrs = files
	}
	return is
}

// goCgo is a Go program that is linked with the C library.
func goCgo(f *facts.Facts) resolved {
	if orderOfGo(f.Names).cgo {
		return glibc(f)
	}
	return goOwn(f)
}

// askedServers is what the name servers say, one after the other.
func askedServers(n *facts.Names) resolved {
	for _, s := range n.Servers {
		switch {
		case !s.Asked:
			return resolved{unknown: "name server not asked"}
		case strings.HasPrefix(s.Error, "no answer"):
			return resolved{unknown: "waits for a silent name server"}
		case s.Error != "":
			continue
		case s.Rcode == "NOERROR":
			return resolved{addrs: s.Answers}
		case s.Rcode == "NXDOMAIN":
			return resolved{}
		}
	}
	return resolved{}
}

// sorted is RFC 6724 section 6 as far as addresses of this machine differ in it:
// rules 1 (usable), 6 (precedence) and 8 (scope).
func sorted(f *facts.Facts, addrs []netip.Addr) []netip.Addr {
	key := func(a netip.Addr) []int {
		precedence := 40
		switch {
		case a == v6Loopback:
			precedence = 50
		case a.Is4():
			precedence = 35
		}
		return []int{cond(usable(f, a), 0, 1), -precedence, cond(a.IsLoopback() || a.IsLinkLocalUnicast(), 0, 1)}
	}
	slices.SortStableFunc(addrs, func(a, b netip.Addr) int { return slices.Compare(key(a), key(b)) })
	return addrs
}

// usable tells whether the kernel has a source address for the destination.
func usable(f *facts.Facts, a netip.Addr) bool {
	if f.Routes != nil {
		for _, r := range f.Routes.Lookups {
			if r.To == a {
				return r.Errno == "" && (r.Type == "local" || r.Type == "unicast")
			}
		}
	}
	i := f.Interfaces
	if i == nil {
		return true
	}
	covers := func(p netip.Prefix) bool { return p.Addr() == a || a.Is4() && a.IsLoopback() && p.Contains(a) }
	return i.Loopback != nil && i.Loopback.Up && slices.ContainsFunc(i.Loopback.Addresses, covers) ||
		slices.ContainsFunc(i.Others, func(o facts.Interface) bool { return slices.ContainsFunc(o.Addresses, covers) })
}

// distinct keeps the first of each address.
func distinct(addrs []netip.Addr) []netip.Addr {
	var out []netip.Addr
	for _, a := range addrs {
		if !slices.Contains(out, a) {
			out = append(out, a)
		}
	}
	return out
}
