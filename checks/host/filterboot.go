package host

import (
	"slices"
	"strings"

	"github.com/loopdoctor/loopdoctor/checks/facts"
	"github.com/loopdoctor/loopdoctor/checks/host/internal/netfilter"
)

// What restores rules at boot is a text, in one of two languages. A line of it is of
// interest if it says what a rule says that decides.

// bootFormat is the language of a file.
type bootFormat int

const (
	nftScript bootFormat = iota // nft -f
	savedIPv4                   // iptables-restore
	savedIPv6                   // ip6tables-restore
)

// How long a line may be that is compared, and how much of it is kept.
const (
	maxBootLine = 4096
	maxBootText = 2048
)

// bootLinesIn returns the lines that say what one of the rules says, and what the
// file includes.
func bootLinesIn(data []byte, format bootFormat, rules []facts.FilterRule) (lines []facts.BootLine, include []string) {
	var at bootPlace
	n := 0
	for line := range strings.Lines(string(data)) {
		n++
		text := strings.TrimSpace(line)
		if len(text) > maxBootLine || text == "" || text[0] == '#' {
			continue
		}
		if format != nftScript {
			if table, ok := strings.CutPrefix(text, "*"); ok {
				at.table = table
			}
			text = withoutCounts(text)
			if slices.ContainsFunc(rules, func(r facts.FilterRule) bool { return saysSaved(text, at.table, format, r) }) {
				lines = append(lines, facts.BootLine{Line: n, Text: netfilter.Cut(text, maxBootText)})
			}
			continue
		}
		if rest, ok := strings.CutPrefix(text, "include "); ok {
			include = append(include, strings.Trim(strings.TrimSpace(rest), `"'`))
			continue
		}
		here := at.follow(text)
		if slices.ContainsFunc(rules, func(r facts.FilterRule) bool { return here.says(r) }) {
			lines = append(lines, facts.BootLine{Line: n, Text: netfilter.Cut(here.text, maxBootText)})
		}
	}
	return lines, include
}

// bootPlace is where a line of an nft script stands, and what it says there.
type bootPlace struct {
	family, table, chain string
	text                 string
	depth                int
}

// follow reads one line such as
//
//	table inet guard {
//		chain input {
//			type filter hook input priority 0; policy drop;
//			tcp dport 62893 drop
//	add rule inet guard input tcp dport 62893 drop
//
// and returns what it says, at its place.
func (p *bootPlace) follow(text string) bootPlace {
	words := strings.Fields(text)
	if len(words) >= 2 && (words[0] == "add" || words[0] == "insert") && words[1] == "rule" {
		one := bootPlace{family: "ip"}
		rest := words[2:]
		if len(rest) > 0 && slices.Contains([]string{"ip", "ip6", "inet", "netdev", "arp", "bridge"}, rest[0]) {
			one.family, rest = rest[0], rest[1:]
		}
		if len(rest) > 2 {
			one.table, one.chain, one.text = rest[0], rest[1], strings.Join(rest[2:], " ")
		}
		return one
	}
	opens := strings.HasSuffix(text, "{")
	switch {
	case opens && words[0] == "table" && len(words) == 4:
		p.family, p.table, p.chain, p.depth = words[1], words[2], "", 0
	case opens && words[0] == "table" && len(words) == 3:
		p.family, p.table, p.chain, p.depth = "ip", words[1], "", 0
	case opens && words[0] == "chain" && len(words) == 3:
		p.chain, p.depth = words[1], 0
	case opens:
		p.depth++ // a set
	case text == "}" && p.depth > 0:
		p.depth--
	case text == "}" && p.chain != "":
		p.chain = ""
	case text == "}":
		p.table = ""
	}
	here := *p
	here.text = text
	if opens || text == "}" {
		here.text = ""
	}
	return here
}

// says tells whether the line says what the rule says.
func (p bootPlace) says(r facts.FilterRule) bool {
	if p.text == "" || r.Engine != facts.NFTables || r.IPTables || p.family != r.Family || p.table != r.Table || p.chain != r.Chain {
		return false
	}
	if r.Policy {
		return strings.Contains(p.text, "policy drop") && (!strings.Contains(p.text, "hook ") || strings.Contains(p.text, "hook "+r.Hook))
	}
	return plainRule(p.text) == plainRule(r.Text) && r.Text != ""
}

// saysSaved does the same for a line of iptables-save.
func saysSaved(text, table string, format bootFormat, r facts.FilterRule) bool {
	if r.Engine == facts.NFTables && !r.IPTables || table != r.Table || (r.Family == "ip6" || r.Engine == facts.IP6Tables) != (format == savedIPv6) {
		return false
	}
	if r.Policy {
		return strings.HasPrefix(text, ":"+r.Chain+" DROP")
	}
	return plainRule(text) == plainRule(r.Text) && r.Text != ""
}

// withoutCounts takes away what iptables-save -c writes ahead of a rule:
//
//	[12:720] -A INPUT -p tcp -j DROP
func withoutCounts(text string) string {
	if counts, rest, ok := strings.Cut(text, "] "); ok && strings.HasPrefix(counts, "[") {
		return rest
	}
	return text
}

// plainRule is a rule without what may differ: blanks, quotes and counts.
func plainRule(s string) string {
	w := strings.Fields(strings.Map(func(r rune) rune {
		switch r {
		case '"':
			return -1
		case ';':
			return ' '
		}
		return r
	}, s))
	w = slices.DeleteFunc(w, func(s string) bool { return s == "counter" })
	for i := 0; i+3 < len(w); i++ { // counter packets 3 bytes 180
		if w[i] == "packets" && w[i+2] == "bytes" {
			w = slices.Delete(w, i, i+4)
		}
	}
	return strings.Join(w, " ")
}
