package checks

import (
	"cmp"
	"fmt"
	"net/netip"
	"slices"
	"strconv"
	"strings"

	"github.com/loopdoctor/loopdoctor/checks/facts"
)

// The cures of a rule: loopback is let through ahead of it, by the command of
// whoever keeps the rules of this machine. Never more than that.

// PrintedHandle stands in an undo for the number that the step printed: nobody
// knows the handle of a rule before it is there. Of several such steps, each one's
// undo stands at the same place in its list.
const PrintedHandle = "HANDLE"

// hurdle is a rule that a packet of the connection has to get past.
type hurdle struct {
	rule   facts.FilterRule
	packet string     // of the handshake: facts.Syn …; empty where any of a direction is meant
	reply  bool       // the packet goes from the server to the client
	port   uint16     // of the server, as the packet carries it there
	from   netip.Addr // who sent it
	doubt  string     // it may stop the packet or not, and why
}

// opening is the way past one hurdle.
type opening struct {
	step, undo []string
	accepts    bool   // and past all that come later in the same base chain
	do         string // where it is something else than to accept, an imperative
	lasts      Lasts
	risk       string
}

// filterFixes are the ways past rules, the least invasive first. The connection
// has to get past all of them, so that each fix is about all. The hurdles come in
// the order in which packets meet them.
func filterFixes(f *facts.Facts, hs ...hurdle) []Fix {
	if len(hs) == 0 {
		return nil
	}
	var out []Fix
	narrow, ok := through(f, hs, false)
	if ok && f.Target.Port != 0 { // without a target the port is one of our own, for a moment
		out = append(out, narrow)
	}
	if wide, ok := through(f, hs, true); ok && (len(out) == 0 || !slices.EqualFunc(wide.Steps, narrow.Steps, slices.Equal)) {
		out = append(out, wide)
	}
	if !ok {
		out = append(out, byHand(f, hs))
	}
	if x, ok := removal(f, hs); ok {
		out = append(out, x)
	}
	return append(append(out, instead(f, hs)...), boot(f, hs)...)
}

// through is the fix that gets the connection past all: with its own port only,
// or with everything on lo.
func through(f *facts.Facts, hs []hurdle, wide bool) (Fix, bool) {
	rules := len(rulesIn(hs))
	what := cond(wide, "everything on lo", fmt.Sprintf("loopback %s port %d", cond(hs[0].reply, "from", "to"), hs[0].port))
	x := Fix{Do: fmt.Sprintf("Accept %s ahead of %s.", what, cond(rules > 1, fmt.Sprintf("those %d rules: each of them would stop it", rules), cond(hs[0].rule.Policy, "that policy", "that rule"))), Elevated: true, Lasts: Persistent}
	accepting := x.Do
	var opened []hurdle // that all packets get past which come there
	var risks []string
	// What is in doubt stands ahead of what is not: who gets past it in the same base
	// chain gets past both.
	order := func(h hurdle) int { return cond(h.doubt != "", 0, 1) }
	for _, h := range slices.SortedStableFunc(slices.Values(hs), func(a, b hurdle) int { return order(a) - order(b) }) {
		if slices.ContainsFunc(opened, func(o hurdle) bool { return h.behind(f, o, wide) }) {
			continue
		}
		o, ok := h.open(f, wide)
		if !ok {
			return Fix{}, false
		}
		if o.accepts {
			opened = append(opened, h)
		}
		if o.do != "" && len(x.Steps) == 0 {
			x.Do = o.do
		}
		if o.lasts == UntilReboot {
			x.Lasts = UntilReboot
		}
		if o.risk != "" && !slices.Contains(risks, o.risk) {
			risks = append(risks, o.risk)
		}
		if !slices.ContainsFunc(x.Steps, func(s []string) bool { return slices.Equal(s, o.step) }) {
			x.Steps, x.Undo = append(x.Steps, o.step), append(x.Undo, o.undo)
		}
	}
	if len(x.Steps) > 1 {
		x.Do = accepting
	}
	if wide && slices.ContainsFunc(x.Steps, func(s []string) bool { return s[0] != "fail2ban-client" && s[len(s)-1] != "--panic-off" }) {
		risks = append(risks, "all programs of this machine can talk to each other over lo then; nothing is opened to other machines")
	}
	if i := slices.IndexFunc(hs, func(h hurdle) bool { return h.holdsAnswers(f) }); i >= 0 && !wide {
		low, high := portsOf(hs[i].rule)
		risks = append(risks, fmt.Sprintf("an answer to a client whose own port is one of %d-%d meets that rule, too: if some connections still fail, accept everything on lo", low, high))
	}
	if slices.ContainsFunc(hs, func(h hurdle) bool { return forSome(h.rule) }) {
		risks = append(risks, "the rule is there to hold back some users or programs, and those get through as well")
	}
	x.Risk = strings.Join(risks, "; ")
	return x, true
}

// behind tells whether who is accepted ahead of o gets past h as well. A packet of
// another kind may come by h first, or never by o.
func (h hurdle) behind(f *facts.Facts, o hurdle, wide bool) bool {
	a, b := o.rule, h.rule
	if a.Engine != b.Engine || a.Family != b.Family || a.Table != b.Table || baseChain(a) != baseChain(b) ||
		o.reply != h.reply && !wide || o.from.Is4() != h.from.Is4() {
		return false
	}
	return o.packet == h.packet || a.Policy || keeperOf(f, a) != nil || inOneChain(a, b) && (b.Policy || a.Number <= b.Number)
}

// holdsAnswers tells whether the rule stops answers as well, those to clients of some
// of the ports that the kernel gives them.
func (h hurdle) holdsAnswers(f *facts.Facts) bool {
	low, high := portsOf(h.rule)
	if text := strings.ToLower(h.rule.Text); strings.Contains(text, "syn") || strings.Contains(text, "new") {
		return false // it is about first packets only
	}
	return f.Limits != nil && !h.reply && low < int(h.port) && int(h.port) <= high && low <= f.Limits.EphemeralHigh && high >= f.Limits.EphemeralLow
}

// portsOf is the range of destination ports that a rule asks for, as nft (30000-65535)
// or iptables (30000:65535) prints it: the first one; 0, 0 if there is none.
func portsOf(r facts.FilterRule) (low, high int) {
	words := strings.Fields(r.Text)
	for i, w := range words {
		if i+1 == len(words) || w != "dport" && w != "--dport" && w != "--dports" || i > 0 && words[i-1] == "!" {
			continue
		}
		for _, part := range strings.FieldsFunc(strings.Join(words[i+1:min(i+16, len(words))], " "), func(c rune) bool { return c == ' ' || c == ',' || c == '{' || c == '}' }) {
			from, to, ok := strings.Cut(strings.Replace(part, ":", "-", 1), "-")
			a, err := strconv.ParseUint(from, 10, 16)
			if err != nil {
				break
			}
			if b, err := strconv.ParseUint(to, 10, 16); ok && err == nil && a < b {
				return int(a), int(b)
			}
		}
	}
	return 0, 0
}

// forSome tells whether the rule is about the owner of the socket.
func forSome(r facts.FilterRule) bool {
	return slices.ContainsFunc([]string{"skuid", "skgid", "-owner ", "cgroup"}, func(s string) bool { return strings.Contains(r.Text, s) })
}

// inOneChain tells whether two rules stand in one chain.
func inOneChain(a, b facts.FilterRule) bool {
	return a.Engine == b.Engine && a.Family == b.Family && a.Table == b.Table && a.Chain == b.Chain
}

// sameRule tells whether two are one rule.
func sameRule(a, b facts.FilterRule) bool {
	return inOneChain(a, b) && a.Handle == b.Handle && a.Number == b.Number && a.Policy == b.Policy
}

// open is the way past one rule. There is none by a command where others may not
// change the rules, or their names are no words of a command.
func (h hurdle) open(f *facts.Facts, wide bool) (opening, bool) {
	r := h.rule
	k := keeperOf(f, r)
	head := r.Policy
	if k != nil {
		if o, ok := h.command(f, k, wide); ok {
			return o, true
		}
		// In a table of its own there is no chain that is not the keeper's.
		if k.kind == byFirewalld && !iptablesRule(r) || k.kind == byHead && !iptablesRule(r) && !slices.ContainsFunc(k.chains, func(p string) bool { return strings.HasPrefix(r.Chain, p) }) {
			return opening{}, false
		}
		head = true
	}
	if r.Owner != "" {
		return opening{}, false
	}
	chain := cond(head, baseChain(r), r.Chain)
	if !writable(r) || !isName(chain) {
		return opening{}, false
	}
	match := accept(r, h.reply, h.port, wide)
	o := opening{accepts: true, lasts: UntilReboot, risk: cond(k != nil, fmt.Sprintf("%s may write its rules again ahead of it", deref(k).name), "")}
	if iptablesRule(r) {
		cmd := []string{iptablesCommand(f, r)}
		if r.Table != "filter" {
			cmd = append(cmd, "-t", r.Table)
		}
		o.step = slices.Concat(cmd, []string{"-I", chain, strconv.Itoa(cond(head, 1, max(r.Number, 1)))}, match)
		o.undo = slices.Concat(cmd, []string{"-D", chain}, match)
		return o, true
	}
	where := []string{r.Family, r.Table, chain}
	o.step = slices.Concat([]string{"nft", "-ae", "insert", "rule"}, where)
	if !head {
		if r.Handle == 0 {
			return opening{}, false
		}
		o.step = append(o.step, "handle", strconv.FormatUint(r.Handle, 10))
	}
	o.step = append(o.step, match...)
	o.undo = slices.Concat([]string{"nft", "delete", "rule"}, where, []string{"handle", PrintedHandle})
	return o, true
}

// accept is a rule that lets the packet through, in the words of its engine.
func accept(r facts.FilterRule, reply bool, port uint16, wide bool) []string {
	out := slices.Contains([]string{"output", "postrouting", "egress"}, r.Hook)
	if iptablesRule(r) {
		w := []string{cond(out, "-o", "-i"), "lo"}
		if !wide {
			w = append(w, "-p", "tcp", cond(reply, "--sport", "--dport"), fmt.Sprint(port))
		}
		return append(w, "-j", "ACCEPT")
	}
	w := []string{cond(out, "oif", "iif"), "lo"}
	if !wide {
		w = append(w, "tcp", cond(reply, "sport", "dport"), fmt.Sprint(port))
	}
	return append(w, "accept")
}

// writable tells whether commands can name the rule's place.
func writable(r facts.FilterRule) bool {
	return slices.Contains([]string{"ip", "ip6", "inet", "netdev"}, r.Family) && wayOf(r) >= 0 && isName(r.Table) && isName(r.Chain)
}

// isName tells whether a command takes it for the name of a table or chain and for
// nothing else: nft(8) reads its arguments as one text in its own language, and who
// undoes it, PrintedHandle as a number.
func isName(s string) bool {
	for i, c := range s {
		letter := 'a' <= c && c <= 'z' || 'A' <= c && c <= 'Z' || c == '_'
		if !letter && (i == 0 || !('0' <= c && c <= '9' || strings.ContainsRune("-./", c))) {
			return false
		}
	}
	return s != "" && s != PrintedHandle && len(s) < 256 // NFT_NAME_MAXLEN
}

// command is what the keeper's own program does about it.
func (h hurdle) command(f *facts.Facts, k *keeper, wide bool) (opening, bool) {
	r := h.rule
	switch k.kind {
	case byUFW:
		// What stands in before.rules comes before all that ufw takes as a rule.
		if r.Table != "filter" || r.Hook != "input" && r.Hook != "output" || inactive(f, "ufw") || beforeUFW(r) {
			return opening{}, false
		}
		words := []string{"allow", cond(r.Hook == "input", "in", "out"), "on", "lo"}
		if !wide {
			words = append(words, cond(h.reply, "from", "to"), "any", "port", fmt.Sprint(h.port), "proto", "tcp")
		}
		// Not "insert 1": that fails where ufw has no rule yet.
		return opening{step: append([]string{"ufw", "prepend"}, words...), undo: append([]string{"ufw", "delete"}, words...), accepts: true, lasts: Persistent}, true
	case byFirewalld:
		switch {
		case r.Table == "firewalld_policy_drop" && strings.HasPrefix(r.Chain, "raw_"): // FIREWALLD/core/nftables.py, build_set_policy_rules
			return opening{step: []string{"firewall-cmd", "--panic-off"}, undo: []string{"firewall-cmd", "--panic-on"}, lasts: UntilReboot, do: "Switch off the panic mode of firewalld.",
				risk: "the panic mode keeps out everything, from other machines too, and somebody switched it on"}, true
		case r.Table == "firewalld" && r.Hook == "input" && zoneOf(r) != "" && h.from.IsValid():
			// Not lo as an interface of the zone "trusted": when that is taken back, chains
			// of the zone stay behind.
			rich := fmt.Sprintf("rule family=%s source address=%s accept", cond(h.from.Is4(), "ipv4", "ipv6"), netip.PrefixFrom(h.from, cond(h.from.IsLoopback() && h.from.Is4(), 8, h.from.BitLen())).Masked())
			if !wide {
				rich = fmt.Sprintf("rule family=%s source address=%s port port=%d protocol=tcp accept", cond(h.from.Is4(), "ipv4", "ipv6"), h.from, h.port)
			}
			zone := "--zone=" + zoneOf(r)
			return opening{step: []string{"firewall-cmd", zone, "--add-rich-rule=" + rich}, undo: []string{"firewall-cmd", zone, "--remove-rich-rule=" + rich}, accepts: true, lasts: UntilReboot}, true
		}
	case byUnban:
		if jail := jailOf(r); jail != "" && h.from.IsValid() && manages(f, "fail2ban") {
			return opening{step: []string{"fail2ban-client", "set", jail, "unbanip", h.from.String()}, undo: []string{"fail2ban-client", "set", jail, "banip", h.from.String()}, lasts: UntilReboot,
				do: fmt.Sprintf("Let fail2ban lift its ban of %s, in the jail %s.", h.from, jail), risk: "it is banned again when the log shows the same"}, true
		}
	}
	return opening{}, false
}

// zoneOf is the zone of firewalld that a rule belongs to, by its chain or one on the
// way there: filter_IN_public, filter_IN_public_deny.
func zoneOf(r facts.FilterRule) string {
	for _, c := range append(slices.Clone(r.Path), r.Chain) {
		zone, ok := strings.CutPrefix(c, "filter_IN_")
		if !ok || strings.HasPrefix(zone, "policy_") {
			continue
		}
		for _, part := range []string{"_pre", "_log", "_deny", "_allow", "_post"} {
			zone = strings.TrimSuffix(zone, part)
		}
		if isName(zone) {
			return zone
		}
	}
	return ""
}

// beforeUFW tells whether the rule is of before.rules: there is a chain on the way to
// it that comes before ufw's own rules, and not those.
func beforeUFW(r facts.FilterRule) bool {
	chains := strings.Join(append(slices.Clone(r.Path), r.Chain), " ")
	return strings.Contains(chains, "-before-") && !strings.Contains(chains, "-user-")
}

// inactive tells whether the program is known to be installed and switched off.
func inactive(f *facts.Facts, name string) bool {
	return f.Filters != nil && slices.ContainsFunc(f.Filters.Managers, func(m facts.FilterManager) bool { return m.Name == name && !m.Active })
}

// jailOf is the jail of fail2ban that a rule belongs to: by its chain, f2b-sshd,
// or by its set, @addr-set-sshd and @addr6-set-sshd.
func jailOf(r facts.FilterRule) string {
	jail, ok := strings.CutPrefix(r.Chain, "f2b-")
	if !ok || jail == "chain" {
		jail = ""
		for _, w := range strings.Fields(r.Text) {
			for _, p := range []string{"@addr-set-", "@addr6-set-"} {
				if s, ok := strings.CutPrefix(w, p); ok {
					jail = s
				}
			}
		}
	}
	return cond(isName(jail), jail, "")
}

// byHand is what is left where no command helps.
func byHand(f *facts.Facts, hs []hurdle) Fix {
	for _, h := range hs {
		if _, ok := h.open(f, true); ok {
			continue
		}
		k, r := keeperOf(f, h.rule), h.rule
		switch {
		case k != nil && k.kind == byFirewalld:
			return Fix{Do: "Have firewalld write its own rules again, firewall-cmd --reload: they accept lo, and what was put into its table by others goes."}
		case r.Owner != "":
			return Fix{Do: fmt.Sprintf("Have %s accept loopback there, or end it, and the table goes with it: nobody else may change %s.", short(r.Owner), tableOf(f, r))}
		case k != nil && k.instead != "":
			return Fix{Do: k.instead}
		}
	}
	return acceptAhead(stageOf(facts.FilterStop{Where: whereOf(hs[0].rule)}.Where))
}

// removal takes the rules away. Only what can be put back is, and never what a
// program keeps, a policy, or a rule that is only suspected.
func removal(f *facts.Facts, hs []hurdle) (Fix, bool) {
	for _, h := range hs {
		r := h.rule
		if r.Policy || len(r.Words) == 0 || h.doubt != "" || r.Owner != "" || keeperOf(f, r) != nil || !writable(r) || !sayable(r.Words) {
			return Fix{}, false
		}
	}
	rules := rulesIn(hs)
	// Of one chain the first comes back first: then each finds its number again.
	chain := func(r facts.FilterRule) int {
		return slices.IndexFunc(hs, func(h hurdle) bool { return inOneChain(h.rule, r) })
	}
	slices.SortStableFunc(rules, func(a, b facts.FilterRule) int { return cmp.Or(chain(a)-chain(b), a.Number-b.Number) })
	n := len(rules)
	x := Fix{Do: cond(n == 1, "Remove the rule.", fmt.Sprintf("Remove those %d rules.", n)), Elevated: true, Lasts: UntilReboot,
		Risk: cond(n == 1, "what else the rule keeps out is let in, from other machines too if it is about them", "what else the rules keep out is let in, from other machines too if they are about them")}
	for _, r := range rules {
		if iptablesRule(r) {
			cmd := []string{iptablesCommand(f, r)}
			if r.Table != "filter" {
				cmd = append(cmd, "-t", r.Table)
			}
			x.Steps = append(x.Steps, slices.Concat(cmd, []string{"-D", r.Chain}, r.Words))
			x.Undo = append(x.Undo, slices.Concat(cmd, []string{"-I", r.Chain, strconv.Itoa(max(r.Number, 1))}, r.Words))
			continue
		}
		// A neighbour that goes too comes back with another handle.
		if r.Handle == 0 || slices.ContainsFunc(rules, func(o facts.FilterRule) bool {
			return r.Next != 0 && o.Engine == r.Engine && o.Family == r.Family && o.Table == r.Table && o.Handle == r.Next
		}) {
			return Fix{}, false
		}
		where := []string{r.Family, r.Table, r.Chain}
		x.Steps = append(x.Steps, slices.Concat([]string{"nft", "delete", "rule"}, where, []string{"handle", strconv.FormatUint(r.Handle, 10)}))
		if r.Next != 0 {
			x.Undo = append(x.Undo, slices.Concat([]string{"nft", "insert", "rule"}, where, []string{"handle", strconv.FormatUint(r.Next, 10)}, r.Words))
		} else {
			x.Undo = append(x.Undo, slices.Concat([]string{"nft", "add", "rule"}, where, r.Words))
		}
	}
	return x, true
}

// sayable tells whether nft(8) would take the words for one rule: a semicolon or a
// line's end begins another command, and quotes have to close.
func sayable(words []string) bool {
	all := strings.Join(words, " ")
	return len(all) < 4096 && strings.Count(all, `"`)%2 == 0 && !strings.ContainsFunc(all, func(c rune) bool { return c < ' ' || c == 0x7f || strings.ContainsRune(";#$\\`", c) })
}
