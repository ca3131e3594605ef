package checks

import (
	"fmt"
	"slices"
	"strings"

	"github.com/loopdoctor/loopdoctor/checks/facts"
)

// How a cure is made to last: a person's work, since the file is theirs.

// instead is what to do for good about rules that a program keeps.
func instead(f *facts.Facts, hs []hurdle) []Fix {
	var out []Fix
	add := func(do string) {
		if do != "" && !slices.ContainsFunc(out, func(x Fix) bool { return x.Do == do }) {
			out = append(out, Fix{Do: do})
		}
	}
	for _, h := range hs {
		r := h.rule
		k := keeperOf(f, r)
		_, easy := h.open(f, true)
		switch {
		case k == nil && iptablesRule(r) && manages(f, "firewalld"):
			add("Take the rule away in firewalld, if firewall-cmd --direct --get-all-rules shows it: it is then one of the direct interface and comes back with each reload, until firewall-cmd --permanent --direct --remove-rule with those words.")
		case k == nil:
		case k.kind == byUFW && beforeUFW(r):
			six := cond(r.Family == "ip6", "6", "")
			dir := cond(r.Hook == "output", "output -o", "input -i")
			add(fmt.Sprintf("Write -A ufw%s-before-%s lo -j ACCEPT as the first rule of /etc/ufw/before%s.rules, where ufw itself has it, then ufw reload: that lasts.", six, dir, six))
		case k.kind == byFirewalld && strings.HasSuffix(baseOfKept(r), "_direct"):
			add("Take the rule away for good: it is one of firewalld's direct interface, firewall-cmd --permanent --direct --get-all-rules shows it, and firewall-cmd --permanent --direct --remove-rule takes those words.")
		case k.kind == byFirewalld && easy && r.Table == "firewalld":
			add("Have firewalld write its own rules again, firewall-cmd --reload: they accept lo ahead of all zones. If they do not, put lo into the zone of what is trusted: firewall-cmd --permanent --zone=trusted --add-interface=lo, and reload.")
		case easy:
			add(k.instead)
		}
	}
	return out
}

// baseOfKept is the first chain that is the keeper's own.
func baseOfKept(r facts.FilterRule) string {
	if len(r.Path) > 1 {
		return r.Path[1]
	}
	return r.Chain
}

// boot tells where rules that are restored at boot want the exception: of each
// rule the line that says the same.
func boot(f *facts.Facts, hs []hurdle) []Fix {
	if f.Filters == nil || f.Target.Port == 0 {
		return nil
	}
	var out []Fix
	for _, h := range hs {
		r := h.rule
		if keeperOf(f, r) != nil || !writable(r) {
			continue
		}
		i := slices.IndexFunc(f.Filters.Boot, func(l facts.BootLine) bool { return sameText(l.Text, r) })
		if i < 0 {
			continue
		}
		l := f.Filters.Boot[i]
		line := strings.Join(accept(r, h.reply, h.port, false), " ")
		if iptablesRule(r) {
			line = fmt.Sprintf("-A %s %s", short(r.Chain), line)
		}
		// Of a policy any place in the chain does, and the first one does for sure.
		where := fmt.Sprintf("ahead of line %d of %s (%s)", l.Line, short(l.Path), cut(l.Text, 120))
		if r.Policy {
			where = fmt.Sprintf("as the first rule of that chain in %s, which line %d begins", short(l.Path), l.Line)
		}
		x := Fix{Do: fmt.Sprintf("Write %s %s, to keep it over a reboot", line, where)}
		switch {
		case l.By != "" && l.On:
			x.Do += fmt.Sprintf(": %s loads that file at boot.", short(l.By))
		case l.By != "":
			x.Do += fmt.Sprintf(": %s would load that file at boot, and is switched off.", short(l.By))
		default:
			x.Do += "."
		}
		if len(out) < 3 && !slices.ContainsFunc(out, func(o Fix) bool { return o.Do == x.Do }) {
			out = append(out, x)
		}
	}
	return out
}

// sameText tells whether a line of a file says what the rule says. Files have no
// counts, and policies stand there in other words: ":INPUT DROP [0:0]", "type
// filter hook input priority 0; policy drop;".
func sameText(line string, r facts.FilterRule) bool {
	if r.Policy {
		if iptablesRule(r) {
			return strings.HasPrefix(strings.TrimSpace(line), ":"+r.Chain+" DROP")
		}
		return strings.Contains(line, "policy drop") && (!strings.Contains(line, "hook ") || strings.Contains(line, "hook "+r.Hook))
	}
	plain := func(s string) string {
		w := slices.DeleteFunc(strings.Fields(strings.NewReplacer(`"`, "", ";", " ").Replace(cut(s, 4096))), func(w string) bool { return w == "counter" })
		for i := 0; i+3 < len(w); i++ { // counter packets 3 bytes 180
			if w[i] == "packets" && w[i+2] == "bytes" {
				w = slices.Delete(w, i, i+4)
			}
		}
		return strings.Join(w, " ")
	}
	text := plain(r.Text)
	return text != "" && plain(line) == text
}
