package checks

import (
	"fmt"
	"slices"
	"strings"

	"github.com/loopdoctor/loopdoctor/checks/facts"
)

// desktop is a proxy in the settings of a desktop. Chromium since 72 and Firefox since
// 67 never ask one for localhost or a loopback address, unless they are told to
// (<-loopback>, network.proxy.allow_hijacking_localhost); what uses GLib or KIO does.
type desktop struct {
	mode  facts.ProxySetting   // that switches it on
	about []facts.ProxySetting // the proxy, or the PAC file, and the exemptions
	pac   string               // why the PAC file is of no use; empty: it is not known what it says
	felt  bool                 // a browser says that it asks a proxy
}

var spokenBrowsers = []string{"Chrome", "Firefox", "Safari"}

// desktopProxy finds it; nil: there is none, or it exempts this machine.
func desktopProxy(f *facts.Facts) *desktop {
	r, ok := requestOf(f)
	if !ok {
		return nil
	}
	for _, program := range []string{"GNOME", "KDE"} {
		get := func(name string) (facts.ProxySetting, bool) {
			for _, s := range slices.Backward(f.Proxies.Settings) {
				if s.Program == program && s.Name == name {
					return s, true
				}
			}
			return facts.ProxySetting{}, false
		}
		d := &desktop{}
		d.mode, _ = get("mode")
		e := f.Target.Error
		d.felt = e != nil && slices.Contains(spokenBrowsers, e.Client) && e.Fits(toProxy)
		switch d.mode.Value {
		case "manual", "1":
			ignored, set := get("ignore-hosts")
			if program == "GNOME" && !set { // its default exempts localhost, 127.0.0.0/8 and ::1
				continue
			}
			for _, name := range []string{r.Scheme + "-host", r.Scheme, "socks-host", "socks"} {
				if s, ok := get(name); ok && s.Value != "" {
					s.Value = s.Proxy(f.Proxies.Settings)
					d.about = append(d.about, s)
					break
				}
			}
			if len(d.about) == 0 || exemptsDesktop(ignored.Value, r.Host) && !d.felt {
				continue
			}
			if set {
				d.about = append(d.about, ignored)
			}
		case "auto", "2":
			pac, ok := get("autoconfig-url")
			if !ok || pac.Value == "" {
				continue
			}
			d.about, d.pac = []facts.ProxySetting{pac}, pac.Missing
			if end := f.Proxies.End(pac.Value); end != nil && !end.Listens {
				d.pac = "nothing listens on " + end.Addr.String()
			}
			// What a PAC file says is not read: without a browser's error it is no news.
			if d.pac == "" && !d.felt {
				continue
			}
		default:
			continue
		}
		if d.felt || worksFor(f) {
			return d
		}
	}
	return nil
}

// exemptsDesktop reads ignore-hosts and NoProxyFor: names, *.names, addresses and
// networks.
func exemptsDesktop(list, host string) bool {
	for _, e := range strings.FieldsFunc(strings.ToLower(list), func(c rune) bool { return strings.ContainsRune(", []'\"", c) }) {
		switch {
		case e == host, strings.HasSuffix(host, strings.TrimPrefix(e, "*")) && strings.HasPrefix(e, "*"), e == "<local>" && !strings.Contains(host, "."),
			e == "127.0.0.0/8" && strings.HasPrefix(host, "127."), e == "::1" && host == "::1":
			return true
		}
	}
	return false
}

var systemProxyOrPAC = &Check{
	Name:     "system-proxy-or-pac",
	Doc:      "the desktop's proxy settings are in force for this machine too",
	Stage:    StageResolve,
	Intent:   facts.Connect,
	Needs:    []facts.Group{facts.GroupProxies},
	Uses:     []facts.Group{facts.GroupDials},
	Explains: []*Check{sentToProxy},
	Run: func(f *facts.Facts) []Finding {
		d := desktopProxy(f)
		if d == nil {
			return nil
		}
		r, _ := requestOf(f)
		about := d.about[0]
		x := Finding{Certainty: Inferred, Remark: !d.felt, Settle: "Open the target in a private window with extensions off, then look at the browser's proxy settings.",
			Evidence: []Evidence{{d.mode.Where(), d.mode.Name + " = " + d.mode.Value}},
			Fixes:    []Fix{{Do: fmt.Sprintf("Add localhost, 127.0.0.0/8 and ::1 to the exceptions of the proxy settings of %s.", d.mode.Program)}}}
		for _, s := range d.about {
			x.Evidence = append(x.Evidence, Evidence{s.Where(), s.Name + " = " + s.Value})
		}
		switch {
		case d.pac != "":
			x.Summary = fmt.Sprintf("The desktop's PAC file %s cannot be read (%s): programs that ask it wait or go elsewhere.", about.Value, d.pac)
			x.Fixes = []Fix{{Do: fmt.Sprintf("Put the PAC file back, or switch the automatic proxy off in the settings of %s.", d.mode.Program)}}
		case about.Name == "autoconfig-url":
			x.Summary = fmt.Sprintf("The desktop takes its proxies from the PAC file %s, which may name one for %s.", about.Value, r.Host)
			x.Fixes = []Fix{{Do: "Let the PAC file return DIRECT for localhost and 127.*, ahead of everything else."}}
		default:
			x.Summary = fmt.Sprintf("The desktop's settings (%s) name the proxy %s, and do not exempt %s; what uses them asks it.", d.mode.Program, about.Value, r.Host)
		}
		return []Finding{x}
	},
}
