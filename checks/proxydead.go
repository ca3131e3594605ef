package checks

import (
	"fmt"
	"net/netip"
	"slices"
	"strings"

	"github.com/loopdoctor/loopdoctor/checks/facts"
)

// deadLocalProxy is met in two ways: the target is the port of a proxy that does not
// run, as an error of a client names it; or a client asks such a proxy for the target.
var deadLocalProxy = &Check{
	Name:     "dead-local-proxy",
	Doc:      "a setting names a proxy on this machine that does not run",
	Stage:    StageListen,
	Intent:   facts.Connect,
	Needs:    []facts.Group{facts.GroupProxies},
	Uses:     []facts.Group{facts.GroupDials, facts.GroupSockets},
	Explains: []*Check{refused, sentToProxy},
	Refines:  []*Check{noListener, proxyEnvCapturesLocalhost},
	Run: func(f *facts.Facts) []Finding {
		if p := proxied(f); p != nil && p.dead != nil {
			a := p.asking[0]
			x := p.finding(f, fmt.Sprintf("%s %s the proxy %s for %s, and nothing listens there: %s says so.",
				p.names(), p.verb("asks", "ask"), a.use.Proxy.Value, urlOf(p.request), by(a.use.Proxy)))
			x.Stage, x.Brings = StageResolve, []*Check{sentToProxy}
			x.Evidence = append(x.Evidence, Evidence{"sockets", "nothing listens on " + p.dead.Addr.String()})
			x.Fixes = slices.Concat([]Fix{{Do: fmt.Sprintf("Start the proxy at %s, if it is meant to run.", p.dead.Addr)}}, unsetFixes(a.use.Proxy), x.Fixes)
			return []Finding{x}
		}
		return proxyIsTarget(f)
	},
}

// proxyIsTarget: nothing listens on the target, and settings say that a proxy does.
func proxyIsTarget(f *facts.Facts) []Finding {
	if f.Sockets == nil || f.Target.Network != "tcp" {
		return nil
	}
	var settings []facts.ProxySetting
	for _, v := range f.Proxies.Variables {
		if lower := strings.ToLower(v.Name); strings.HasSuffix(lower, "proxy") && !strings.HasSuffix(lower, "no_proxy") {
			settings = append(settings, facts.ProxySetting{Name: v.Name, Value: v.Value})
		}
	}
	settings = append(settings, f.Proxies.Settings...)
	var on []netip.Addr
	var by []facts.ProxySetting
	for _, s := range settings {
		value := s.Value
		if s.File != "" {
			value = s.Proxy(f.Proxies.Settings)
		}
		end := f.Proxies.End(value)
		if value == "" || end == nil || end.Listens || end.Addr.Port() != f.Target.Port {
			continue
		}
		for _, a := range f.Target.Expected() {
			_, host, _ := facts.SplitProxy(value)
			if len(serving(f, a)) == 0 && (a == end.Addr.Addr() || facts.IsLocalhost(host) && a.IsLoopback()) && !slices.Contains(on, a) {
				on = append(on, a)
			}
		}
		by = append(by, s)
	}
	if len(on) == 0 {
		return nil
	}
	x := Finding{Affects: meant(f, on), Certainty: Proven, Brings: []*Check{refused},
		Summary: fmt.Sprintf("Nothing listens on %s, and %s %s clients there: it is their proxy, and does not run.", ats(f, on), settingNames(by), cond(len(by) == 1, "sends", "send")),
		Fixes:   []Fix{{Do: fmt.Sprintf("Start the proxy that is meant to listen on port %d.", f.Target.Port)}}}
	for _, s := range by[:min(len(by), 4)] {
		x.Evidence = append(x.Evidence, settingEvidence(f, s))
		if s.File == "" {
			x.Evidence = append(x.Evidence, setIn(f, s.Name)...)
			continue
		}
		x.Fixes = append(x.Fixes, unsetFixes(s)...)
	}
	var unset []string
	for _, s := range by {
		if s.File == "" {
			unset = append(unset, s.Name)
		}
	}
	if len(unset) > 0 {
		x.Fixes = slices.Insert(x.Fixes, 1, Fix{Do: fmt.Sprintf("Take the %s away, in the shell that starts the client.", cond(len(unset) == 1, "variable", "variables")), Paste: "unset " + strings.Join(unset, " ")})
	}
	return []Finding{x}
}

func settingNames(ss []facts.ProxySetting) string {
	var out []string
	for _, s := range ss {
		out = append(out, by(s))
	}
	out = slices.Compact(out)
	return list(out[:min(len(out), 3)])
}
