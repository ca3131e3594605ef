package xt

import (
	"strings"

	"github.com/loopdoctor/loopdoctor/checks/host/internal/netfilter"
)

// Printer is a match or a target: it does to the packet what the kernel would,
// and says how iptables -S prints it.
type Printer interface {
	netfilter.Expr
	// Words is the argument vector that makes it again: "-m", "tcp", "--dport",
	// "62893". It is empty where the kernel does not tell all there is.
	Words() []string
	// Text is the same as iptables -S prints it, with its quotes.
	Text() string
}

// extension is every Printer of this package.
type extension struct {
	phrase
	eval   func(*netfilter.State) netfilter.Effect
	name   string           // as the kernel has it
	family netfilter.Family // of the table
}

// Tracks implements netfilter.Tracker.
func (e *extension) Tracks(packet netfilter.Family) bool {
	return packet == e.family && (e.tracks || netfilter.TracksByName(e.name))
}

func (e *extension) Eval(s *netfilter.State) netfilter.Effect { return e.eval(s) }

// Match decodes the info of a match, as it stands behind its header
// (struct xt_entry_match, linux/netfilter/x_tables.h) or in NFTA_MATCH_INFO. It
// returns false where the name, the revision or the size is not one that it knows.
func Match(name string, rev uint32, info []byte, family netfilter.Family) (Printer, bool) {
	size, decode := matchDecoder(kind{name, rev}, family)
	return decoded(size, decode, data{name, rev, family, info}, "-m")
}

// Target decodes the info of a target in the same way. The standard target, which
// has no name, is not one: its verdict is an offset in its table.
func Target(name string, rev uint32, info []byte, family netfilter.Family) (Printer, bool) {
	size, decode := targetDecoder(kind{name, rev}, family)
	return decoded(size, decode, data{name, rev, family, info}, "-j")
}

// kind is what tells the structs apart.
type kind struct {
	name string
	rev  uint32
}

// decoder makes an extension of an info of the right size. It adds its options to
// the phrase, and returns what it does; nil if it does not understand the info.
type decoder func(d data, w *phrase) func(*netfilter.State) netfilter.Effect

// fits compares a size with that of a struct: XT_ALIGN rounds it up to a multiple
// of 8.
func fits(n, size int) bool { return n >= size && n <= (size+7)&^7 }

// decoded calls a decoder.
func decoded(size int, decode decoder, d data, option string) (Printer, bool) {
	if decode == nil || !fits(len(d.info), size) {
		return nil, false
	}
	if d.family != netfilter.IPv4 && d.family != netfilter.IPv6 {
		return nil, false // bridges and ARP print and mean other things
	}
	e := &extension{name: d.name, family: d.family}
	e.add(option, d.name)
	if e.eval = decode(d, &e.phrase); e.eval == nil {
		return nil, false
	}
	return e, true
}

// phrase is options in two forms: as an argument vector, and as they are printed.
type phrase struct {
	vector  []string
	printed strings.Builder
	partial bool   // the vector does not say all there is
	tracks  bool   // it switches connection tracking on, though its name does not say so
	late    func() // adds the rest, when it is first asked for
}

// finish adds what had to be asked of the kernel, and was not until now.
func (p *phrase) finish() {
	if late := p.late; late != nil {
		p.late = nil
		late()
	}
}

func (p *phrase) Words() []string {
	if p.finish(); p.partial {
		return nil
	}
	return p.vector
}

func (p *phrase) Text() string {
	p.finish()
	return p.printed.String()
}

// print adds one word in both forms.
func (p *phrase) print(word, printed string) {
	p.vector = append(p.vector, word)
	if p.printed.Len() > 0 {
		p.printed.WriteByte(' ')
	}
	p.printed.WriteString(printed)
}

// add adds words that are printed as they are.
func (p *phrase) add(words ...string) {
	for _, w := range words {
		p.print(w, w)
	}
}

// option adds an option that may be inverted, and its values.
func (p *phrase) option(invert bool, words ...string) {
	if invert && len(words) > 0 {
		p.add("!")
	}
	p.add(words...)
}

// quote adds a string of the user's as xtables_save_string prints it: bare if it
// is made of letters, digits, _ and - alone.
func (p *phrase) quote(s string) {
	bare := s != ""
	for i := 0; i < len(s) && bare; i++ {
		c := s[i]
		bare = c == '_' || c == '-' || '0' <= c && c <= '9' || 'a' <= c && c <= 'z' || 'A' <= c && c <= 'Z'
	}
	if bare {
		p.add(s)
		return
	}
	var b strings.Builder
	b.WriteByte('"')
	for i := 0; i < len(s); i++ {
		if c := s[i]; c == '"' || c == '\\' || c == '\'' {
			b.WriteByte('\\')
		}
		b.WriteByte(s[i])
	}
	b.WriteByte('"')
	p.print(s, b.String())
}

// always adds a string that is printed in quotes in any case.
func (p *phrase) always(s string) { p.print(s, `"`+s+`"`) }

// rename begins the phrase anew, under the name by which iptables knows an alias.
func (p *phrase) rename(option, name string) {
	p.vector = nil
	p.printed.Reset()
	p.add(option, name)
}
