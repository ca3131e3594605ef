package resolve

import (
	"fmt"
	"net/netip"
	"slices"
	"strings"

	"github.com/loopdoctor/loopdoctor/checks/facts"
)

// Why a name has no address, as [facts.Names] says it.
const (
	ErrNotFound = "not found"
	ErrUnknown  = facts.UnknownHere // a source that would be asked was not asked
)

// NoAnswer is the error of a name server that said nothing in the time it was
// given. glibc has more patience, so nothing follows from it.
const NoAnswer = "no answer"

// Query is everything that decides what a name resolves to.
type Query struct {
	Name     string // without a final dot
	Sources  []Source
	Hosts    []facts.HostsLine // those that carry the name
	NoHosts  bool              // the hosts file could not be read
	Multi    bool              // of host.conf
	Servers  []facts.NameServer
	Silent   bool // name servers that gave no answer will not give one
	Resolved bool // systemd-resolved takes questions

	// Installed tells whether the C library finds the module of a source that
	// is not built in.
	Installed func(source string) bool
	HostName  string
	Local     []netip.Addr // the addresses of the machine, without loopback

	// Source gives the address from which the kernel would connect, or none:
	// the order depends on it.
	Source     func(netip.Addr) netip.Addr
	Precedence []Precedence // nil means glibc's own
}

// Answer is what the C library gives.
type Answer struct {
	Addresses []facts.NamedAddr
	Error     string // why there is none
	NeedsDNS  bool   // name servers would be asked that have not been
}

// Lookup walks the sources in their order with their actions, as glibc's
// get_nss_addresses does. Each source begins afresh: what an earlier one found
// is lost on [SUCCESS=continue].
func Lookup(q Query) Answer {
	var found []facts.NamedAddr
	for _, s := range q.Sources {
		addrs, status := q.ask(s.Name)
		if status == Unknown {
			return Answer{Error: ErrUnknown, NeedsDNS: s.Name == "dns"}
		}
		found = addrs
		switch s.On[status] {
		case Merge:
			return Answer{Error: fmt.Sprintf("hosts cannot be merged: [SUCCESS=merge] after %s", s.Name)}
		case Continue:
			continue
		}
		break
	}
	if len(found) == 0 {
		return Answer{Error: ErrNotFound}
	}
	return Answer{Addresses: q.order(distinct(found))}
}

func (q *Query) ask(source string) ([]facts.NamedAddr, Status) {
	switch source {
	case "files":
		return q.files()
	case "dns":
		return q.dns()
	}
	if q.Installed == nil || !q.Installed(source) {
		return nil, Unavail
	}
	switch {
	case source == "myhostname":
		return q.myhostname(source)
	case source == "resolve":
		return q.resolve()
	case source == "mymachines": // knows running containers alone
		return nil, NotFound
	case strings.HasPrefix(source, "mdns") && !strings.HasSuffix(strings.ToLower(q.Name), ".local"):
		// nss-mdns calls a name that is not its own unavailable, so that the
		// usual [NOTFOUND=return] behind it does not end the search.
		return nil, Unavail
	}
	return nil, Unknown
}

func (q *Query) files() ([]facts.NamedAddr, Status) {
	if q.NoHosts {
		return nil, Unavail
	}
	var found []facts.NamedAddr
	for _, l := range q.Hosts {
		if l.Addr.Zone() != "" { // inet_pton takes none
			continue
		}
		found = append(found, facts.NamedAddr{Addr: l.Addr, Source: fmt.Sprintf("hosts file line %d", l.Line)})
		if !q.Multi {
			break
		}
	}
	if found == nil {
		return nil, NotFound
	}
	return found, Success
}

// dns asks the servers in their order: the next one is asked only if this one
// fails. The search list is left out: a name server is asked about nothing but
// the name itself.
func (q *Query) dns() ([]facts.NamedAddr, Status) {
	failed := Unavail
	for _, s := range q.Servers {
		switch {
		case s.Asked && s.Error == NoAnswer && q.Silent:
			failed = TryAgain
		case !s.Asked, s.Error == NoAnswer:
			return nil, Unknown
		case s.Error != "":
			continue
		case s.Rcode == "NXDOMAIN", s.Rcode == "NOERROR" && len(s.Answers) == 0:
			return nil, NotFound
		case s.Rcode == "NOERROR":
			var found []facts.NamedAddr
			for _, a := range s.Answers {
				found = append(found, facts.NamedAddr{Addr: a, Source: "name server " + s.Addr.Addr().String()})
			}
			return found, Success
		}
	}
	return nil, failed
}

// myhostname is nss-myhostname(8).
func (q *Query) myhostname(source string) ([]facts.NamedAddr, Status) {
	var addrs []netip.Addr
	switch name := strings.ToLower(q.Name); {
	case facts.IsLocalhost(name):
		addrs = []netip.Addr{netip.IPv6Loopback(), netip.AddrFrom4([4]byte{127, 0, 0, 1})}
	case name == "_gateway", name == "_outbound":
		return nil, Unknown
	case name != strings.ToLower(q.HostName):
		return nil, NotFound
	case len(q.Local) > 0:
		addrs = q.Local
	default:
		addrs = []netip.Addr{netip.IPv6Loopback(), netip.AddrFrom4([4]byte{127, 0, 0, 2})}
	}
	var found []facts.NamedAddr
	for _, a := range addrs {
		found = append(found, facts.NamedAddr{Addr: a, Source: source})
	}
	return found, Success
}

// resolve is nss-resolve(8): systemd-resolved reads the hosts file itself,
// makes up the local names, and asks its servers for the rest.
func (q *Query) resolve() ([]facts.NamedAddr, Status) {
	if !q.Resolved {
		return nil, Unavail
	}
	hosts := Query{Hosts: q.Hosts, NoHosts: q.NoHosts, Multi: true}
	if !facts.IsLocalhost(q.Name) || slices.ContainsFunc(q.Hosts, func(l facts.HostsLine) bool { return !plainLocalhost(l) }) {
		if found, status := hosts.files(); status == Success {
			return found, status
		}
	}
	if found, status := q.myhostname("systemd-resolved"); status == Success {
		return found, status
	}
	return nil, Unknown
}

// plainLocalhost tells whether resolved drops a line when it loads the file,
// because it says no more than what it makes up itself (strip_localhost).
func plainLocalhost(l facts.HostsLine) bool {
	names := hostsFields(l.Text)
	return len(names) > 1 && (l.Addr == netip.IPv6Loopback() || l.Addr.String() == "127.0.0.1") &&
		!slices.ContainsFunc(names[1:], func(n string) bool { return !facts.IsLocalhost(n) })
}

// distinct keeps the first of each address. getaddrinfo gives a doubled line
// twice; nothing is learnt from trying an address again.
func distinct(list []facts.NamedAddr) []facts.NamedAddr {
	seen := map[netip.Addr]bool{}
	return slices.DeleteFunc(list, func(a facts.NamedAddr) bool {
		was := seen[a.Addr]
		seen[a.Addr] = true
		return was
	})
}
