package checks

import (
	"fmt"
	"net/netip"
	"slices"
	"strconv"
	"strings"

	"github.com/loopdoctor/loopdoctor/checks/facts"
)

// wrapping is a library that takes a program's connections to a proxy.
type wrapping struct {
	*facts.Preload
	to  []netip.Addr // the addresses that it does not leave alone
	who string       // the client, if it is known
}

func (w *wrapping) felt() bool { return w != nil && w.who != "" }

// name is what a person calls it.
func (w *wrapping) name() string {
	base := w.Library[strings.LastIndexByte(w.Library, '/')+1:]
	base, _, _ = strings.Cut(base, ".so")
	return strings.TrimPrefix(base, "lib")
}

// wrapped finds a library that takes connections to the target to a proxy.
func wrapped(f *facts.Facts) *wrapping {
	p := f.Proxies.Preload
	if p == nil || f.Target.Network != "tcp" || f.Target.Port == 0 || f.Target.Intent != facts.Connect {
		return nil
	}
	w := &wrapping{Preload: p}
	for _, a := range f.Target.Expected() {
		if !w.leaves(a, f.Target.Port) {
			w.to = append(w.to, a)
		}
	}
	switch {
	case len(w.to) == 0:
		return nil
	case f.Proxies.Client != "":
		w.who = clientName(f)
	case !worksFor(f):
		return nil
	case f.Target.Error != nil && f.Target.Error.Client != "":
		w.who = f.Target.Error.Client
	case f.Target.URL != "":
		w.who = "curl"
	}
	return w
}

// leaves tells whether the library's configuration leaves an address alone.
func (w *wrapping) leaves(a netip.Addr, port uint16) bool {
	switch w.name() {
	case "proxychains", "proxychains4":
		return slices.ContainsFunc(w.Settings, func(s facts.ProxySetting) bool { return s.Name == "localnet" && inLocalnet(s.Value, a, port) })
	case "torsocks":
		return a.IsLoopback() && slices.ContainsFunc(w.Settings, func(s facts.ProxySetting) bool {
			return s.Name == "allowoutboundlocalhost" && (s.Value == "1" || s.Value == "2")
		})
	case "tsocks": // it knows nothing of IPv6
		return a.Is6() || slices.ContainsFunc(w.Settings, func(s facts.ProxySetting) bool { return s.Name == "local" && inLocalnet(s.Value, a, port) })
	}
	return false
}

// inLocalnet reads address[:port]/mask, the mask as an address or as a number:
// 127.0.0.0/255.0.0.0, 127.0.0.0:62893/8, [::1]:80/128.
func inLocalnet(s string, a netip.Addr, port uint16) bool {
	where, mask, _ := strings.Cut(s, "/")
	if at, err := netip.ParseAddrPort(where); err == nil {
		if at.Port() != port {
			return false
		}
		where = at.Addr().String()
	}
	net, err := netip.ParseAddr(strings.Trim(where, "[]"))
	if err != nil || net.Is4() != a.Is4() {
		return false
	}
	bits, err := strconv.Atoi(mask)
	if err != nil {
		m, err := netip.ParseAddr(mask)
		if err != nil || !m.Is4() || !a.Is4() {
			return false
		}
		x, y, z := net.As4(), a.As4(), m.As4()
		for i := range z {
			if x[i]&z[i] != y[i]&z[i] {
				return false
			}
		}
		return true
	}
	n, err := net.Prefix(bits)
	return err == nil && n.Contains(a)
}

var preloadSOCKSWrapper = &Check{
	Name:     "preload-socks-wrapper",
	Doc:      "a preloaded library sends the client's connections to a SOCKS proxy",
	Stage:    StageResolve,
	Intent:   facts.Connect,
	Needs:    []facts.Group{facts.GroupProxies},
	Uses:     []facts.Group{facts.GroupDials},
	Explains: []*Check{sentToProxy},
	Run: func(f *facts.Facts) []Finding {
		w := wrapped(f)
		if w == nil {
			return nil
		}
		who := w.who
		if who == "" {
			who = "Every program that this shell starts"
		}
		x := Finding{Affects: w.to, Certainty: cond(w.Missing == "", Proven, Inferred), Remark: !w.felt(),
			Summary: fmt.Sprintf("%s connects through %s, which %s.", who, w.name(),
				cond(w.name() == "torsocks", "forbids connections to "+ats(f, w.to), "sends connections to "+ats(f, w.to)+" to its proxy, too")),
			Settle:   cond(w.Missing == "", "", "sudo loopdoctor "+at(f, w.to[0])),
			Evidence: []Evidence{{w.From, w.Library}}}
		for _, s := range w.Settings {
			x.Evidence = append(x.Evidence, Evidence{s.Where(), s.Name + " " + s.Value})
		}
		if len(x.Evidence) > 5 {
			x.Evidence = x.Evidence[:5]
		}
		if w.File != "" && len(w.Settings) == 0 {
			x.Evidence = append(x.Evidence, Evidence{w.File, cond(w.Missing == "", "nothing in it exempts this machine", w.Missing)})
		}
		x.Fixes = w.fixes()
		return []Finding{x}
	},
}

func (w *wrapping) fixes() []Fix {
	without := Fix{Do: "Start the client without the wrapper."}
	if w.From == "LD_PRELOAD" {
		without = Fix{Do: "Take the wrapper away, in the shell that starts the client.", Paste: "unset LD_PRELOAD"}
	}
	file := w.File
	var exempt Fix
	switch w.name() {
	case "torsocks":
		exempt.Do = fmt.Sprintf("Write the line AllowOutboundLocalhost 1 into %s.", cond(file == "", "/etc/tor/torsocks.conf", file))
	case "tsocks":
		exempt.Do = fmt.Sprintf("Write the line local = 127.0.0.0/255.0.0.0 into %s.", cond(file == "", "/etc/tsocks.conf", file))
	default:
		exempt.Do = fmt.Sprintf("Write the lines localnet 127.0.0.0/255.0.0.0 and localnet ::1/128 into %s, above [ProxyList].", cond(file == "", "/etc/proxychains4.conf", file))
	}
	return []Fix{exempt, without}
}
