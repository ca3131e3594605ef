package checks

import (
	"net/netip"
	"slices"
	"strings"
	"time"

	"github.com/loopdoctor/loopdoctor/checks/facts"
)

// What the target's name becomes for each kind of client on this machine: the
// rules of their resolvers, worked out on what was seen. Each rule that has a
// program here is compared with it (cmd/loopdoctor/clients_linux_test.go).

// Client is one kind of client and how it fares with the target's name.
type Client struct {
	Name      string
	Rule      string        // how it comes to its addresses, in a few words
	Addresses []netip.Addr  // in the order in which it tries them
	Unknown   string        // why they are not known; empty: they are
	Next      bool          // where one fails it tries the next
	Patience  time.Duration // how long it waits for a silent one before that; 0: as long as its own time limit
	Reaches   []netip.Addr  // those of its addresses at which the service answers
	Works     *bool         // whether it reaches the service; nil: not known
}

// resolver is one way to turn the target's name into addresses.
type resolver func(*facts.Facts) resolved

// resolved is what a resolver gives, or why that is not known.
type resolved struct {
	addrs   []netip.Addr
	unknown string
}

// clientRule is a kind of client: its resolver, and what it does with the result.
type clientRule struct {
	name, rule string
	resolve    resolver
	next       bool
	patience   time.Duration
	cuts       bool // it abandons an attempt once its patience is over, unless it is the last
}

// The times are those of RFC 8305 in each program: Node's
// autoSelectFamilyAttemptTimeout, curl's CURL_HET_DEFAULT, Chromium's
// kIPv6FallbackTime, Firefox's network.http.fast-fallback-to-IPv4, Go's
// net.Dialer.FallbackDelay.
const (
	nodePatience     = 250 * time.Millisecond
	curlPatience     = 200 * time.Millisecond
	chromiumPatience = 300 * time.Millisecond
	firefoxPatience  = 250 * time.Millisecond
	goPatience       = 300 * time.Millisecond
)

const (
	builtIn   = "built in"
	firstOnly = "first address only"
)

// clientRules are in the order of the report. Versions: Node keeps getaddrinfo's
// order since 17 (nodejs/node#39987) and tries every address since 20
// (nodejs/node#46790); curl answers localhost itself since 7.78 (curl/curl#7039)
// and what lies below it since 7.85 (curl/curl#9296).
var clientRules = []clientRule{
	{name: "C library (glibc)", rule: "nsswitch.conf", resolve: glibc, next: true},
	{name: "C library (musl)", rule: "hosts file, then name servers", resolve: musl, next: true},
	{name: "Go", rule: "own resolver", resolve: goOwn, next: true, patience: goPatience},
	{name: "Go with cgo", rule: "own resolver, or the C library's", resolve: goCgo, next: true, patience: goPatience},
	{name: "Node 16 and older", rule: "C library, IPv4 first, " + firstOnly, resolve: v4First(addrConfig)},
	{name: "Node 17 to 19", rule: "C library, " + firstOnly, resolve: addrConfig},
	{name: "Node 20 and newer", rule: "C library, 250 ms for each", resolve: addrConfig, next: true, patience: nodePatience, cuts: true},
	{name: "Python", rule: "C library", resolve: glibc, next: true},
	{name: "Java", rule: "C library, IPv4 first, " + firstOnly, resolve: java},
	{name: ".NET", rule: "C library", resolve: glibc, next: true},
	{name: "curl", rule: builtIn, resolve: hardCoded("127.0.0.1", "::1"), next: true, patience: curlPatience},
	{name: "Chromium", rule: builtIn, resolve: hardCoded("::1", "127.0.0.1"), next: true, patience: chromiumPatience},
	{name: "Firefox", rule: builtIn, resolve: hardCoded("127.0.0.1", "::1"), next: true, patience: firefoxPatience},
	{name: "BusyBox wget", rule: "C library, " + firstOnly, resolve: glibc},
	{name: "nginx proxy_pass", rule: "C library, at start; all in turn", resolve: addrConfig, next: true},
}

// Clients tells for each kind of client what becomes of the target's name, and
// whether the service is reached there. There is nothing to tell of a literal
// address, or of a server that wants to bind.
func Clients(f *facts.Facts) []Client {
	if f.Names == nil || f.Target.Literal || f.Target.Intent == facts.ToBind {
		return nil
	}
	var out []Client
	for _, r := range clientRules {
		is := r.resolve(f)
		c := Client{Name: r.name, Rule: r.rule, Addresses: is.addrs, Unknown: is.unknown, Next: r.next, Patience: r.patience}
		if r.rule == builtIn && !knownToCurl(f.Names.Name) {
			c.Rule = "C library"
		}
		if is.unknown == "" {
			c.Reaches, c.Works = r.reach(f, is.addrs)
		}
		out = append(out, c)
	}
	return out
}

// reach lists the addresses at which the client meets the service.
func (r clientRule) reach(f *facts.Facts, addrs []netip.Addr) (reaches []netip.Addr, works *bool) {
	open := false // something that is not known could still make it work
	for i, a := range addrs {
		yes, known := answersAt(f, a)
		if r.cuts && i < len(addrs)-1 && tooSlow(f, a, r.patience) {
			yes = false
		}
		if yes {
			reaches = append(reaches, a)
		}
		if r.next || i == 0 {
			open = open || !known
		}
	}
	ok := len(reaches) > 0 && (r.next || reaches[0] == addrs[0])
	if !ok && open {
		return reaches, nil
	}
	return reaches, &ok
}

// answersAt tells whether the service answers at the address, if that is known:
// somebody tried, or nothing listens there.
func answersAt(f *facts.Facts, a netip.Addr) (yes, known bool) {
	if slices.ContainsFunc(f.Dials, func(d facts.Dial) bool { return d.Addr == a && d.Outcome != facts.Skipped }) {
		return tried(f, a), true
	}
	nothing := f.Sockets != nil && f.Target.Network == "tcp" && f.Target.Port != 0 && len(serving(f, a)) == 0
	return false, nothing && a.IsLoopback()
}

// tooSlow tells whether every connection to the address took longer than that.
func tooSlow(f *facts.Facts, a netip.Addr, patience time.Duration) bool {
	slow := false
	for _, d := range f.Dials {
		if d.Addr == a && d.Outcome.Works() {
			if !d.Late && d.ElapsedMS <= float64(patience.Milliseconds()) {
				return false
			}
			slow = true
		}
	}
	return slow
}

// knownToCurl tells whether curl and the browsers answer the name themselves.
func knownToCurl(name string) bool {
	name = strings.ToLower(name)
	return name == "localhost" || strings.HasSuffix(name, ".localhost")
}

// hardCoded is the resolver of a program that knows the name without asking.
func hardCoded(addrs ...string) resolver {
	return func(f *facts.Facts) resolved {
		if !knownToCurl(f.Names.Name) {
			return glibc(f)
		}
		var is resolved
		for _, s := range addrs {
			if a := netip.MustParseAddr(s); a.Is4() || hasIPv6(f) {
				is.addrs = append(is.addrs, a)
			}
		}
		return is
	}
}

// hasIPv6 tells whether the kernel has an IPv6 socket to give; where nobody
// looked, it has.
func hasIPv6(f *facts.Facts) bool {
	return f.Interfaces == nil || f.Interfaces.IPv6.Present || f.Interfaces.Loopback != nil && f.Interfaces.Loopback.Holds(v6Loopback)
}

// v4First puts the IPv4 addresses first and keeps the order otherwise.
func v4First(r resolver) resolver {
	return func(f *facts.Facts) resolved {
		is := r(f)
		is.addrs = slices.Clone(is.addrs)
		slices.SortStableFunc(is.addrs, func(a, b netip.Addr) int { return a.BitLen() - b.BitLen() })
		return is
	}
}
