package checks

import (
	"fmt"
	"net/netip"

	"github.com/loopdoctor/loopdoctor/checks/facts"
)

// IPv6 as a whole: whether a program may speak it at all, and addresses that may
// not be used yet.

// noFamily is the errno of socket() where there is no such protocol family.
const noFamily = "EAFNOSUPPORT"

var ipv6Off = &Check{
	Name:     "ipv6-off-eafnosupport",
	Doc:      "no socket for IPv6 can be opened here",
	Stage:    StageRoute,
	Needs:    []facts.Group{facts.GroupLimits},
	Uses:     []facts.Group{facts.GroupInterfaces, facts.GroupConfigs},
	Explains: []*Check{unreachable, cannotBind},
	Refines:  []*Check{localhostBindV6Missing},
	Run: func(f *facts.Facts) []Finding {
		var on []netip.Addr
		for _, a := range f.Target.Expected() {
			if a.Is6() {
				on = append(on, a)
			}
		}
		if !f.Limits.NoIPv6 || len(on) == 0 {
			return nil
		}
		x := Finding{Affects: on, Certainty: Proven, Evidence: []Evidence{{"socket(AF_INET6)", noFamily}}}
		use4 := Fix{Do: cond(f.Target.Intent == facts.ToBind, "Listen on 127.0.0.1 (for all addresses 0.0.0.0) instead of ::1 and [::].", "Use 127.0.0.1 instead.")}
		switch i := f.Interfaces; {
		case i != nil && i.IPv6.Module:
			x.Summary = "IPv6 is switched off for the whole kernel (ipv6.disable=1): no program can open a socket for it."
			x.Evidence = append(x.Evidence, Evidence{"/sys/module/ipv6/parameters/disable", "1"})
			x.Fixes = []Fix{use4, {Do: "Take ipv6.disable=1 off the kernel's command line (/proc/cmdline shows it, the boot loader sets it) or out of /etc/modprobe.d, and boot again."}}
		case i != nil && !i.IPv6.Present:
			x.Summary = "This kernel does not speak IPv6: no program can open a socket for it."
			x.Evidence = append(x.Evidence, Evidence{"/proc/net/if_inet6", "missing"})
			x.Fixes = []Fix{use4, {Do: "Load the module: modprobe ipv6."}}
		case i != nil || f.Limits.Seccomp:
			x.Summary = "This process may not open a socket for IPv6, though the kernel speaks it: a sandbox forbids the protocol family."
			if i == nil {
				x.Summary = "This process may not open a socket for IPv6: it is under a seccomp filter, as a sandbox sets one."
			}
			if f.Limits.Seccomp {
				x.Evidence = append(x.Evidence, Evidence{"/proc/self/status", "Seccomp: 2 (a filter)"})
			}
			x.Fixes = []Fix{{Do: "Allow the family where the sandbox is set up: a systemd unit with RestrictAddressFamilies= needs AF_INET6 in that list."}, use4}
		default:
			x.Certainty = Inferred
			x.Summary = "No socket for IPv6 can be opened here: the kernel does not speak it, or a sandbox forbids it."
			x.Fixes = []Fix{use4}
		}
		if f.Configs != nil {
			for _, c := range f.Configs.Lines {
				if c.Addr.Is6() && c.Port == f.Target.Port && !c.Upstr {
					x.Evidence = append(x.Evidence, configEvidence(c))
				}
			}
		}
		return []Finding{x}
	},
}

var addressNotReady = &Check{
	Name:     "ipv6-address-not-ready",
	Doc:      "the IPv6 address is still being checked for duplicates, or is one",
	Stage:    StageRoute,
	Needs:    []facts.Group{facts.GroupInterfaces},
	Uses:     []facts.Group{facts.GroupDials, facts.GroupBinds},
	Explains: []*Check{unreachable, cannotBind, noReply, localTableRouteMissing}, // its route comes once it is ready
	Run: func(f *facts.Facts) []Finding {
		var fs []Finding
		for _, i := range f.Interfaces.Others {
			for _, n := range i.NotReady {
				if !failsAt(f, n.Addr) {
					continue // optimistic addresses (RFC 4429) are used meanwhile
				}
				x := Finding{Affects: []netip.Addr{n.Addr}, Certainty: Proven, Evidence: []Evidence{{"interface " + i.Name, n.Addr.String() + " " + n.Why}}}
				if n.Why == "dadfailed" {
					x.Summary = fmt.Sprintf("Another machine on the link of %s has the address %s too: the kernel does not use it.", i.Name, n.Addr)
					x.Fixes = []Fix{{Do: "Give one of the two machines another address."}}
				} else {
					x.Summary = fmt.Sprintf("The kernel is still asking on %s whether another machine has the address %s: until then nobody can use it.", i.Name, n.Addr)
					x.Fixes = []Fix{{Do: "Wait a second or two, and start the server after the network is up (systemd: After=network-online.target)."}}
				}
				fs = append(fs, x)
			}
		}
		return mergeAddresses(f, fs)
	},
}

// failsAt tells whether a connect or a bind to the address failed.
func failsAt(f *facts.Facts, a netip.Addr) bool {
	for _, d := range f.Dials {
		if d.Addr == a && !d.Outcome.Works() && d.Outcome != facts.Refused {
			return true
		}
	}
	for _, b := range f.Binds {
		if b.Addr == a && b.Errno == "EADDRNOTAVAIL" {
			return true
		}
	}
	return false
}
