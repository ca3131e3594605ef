package redact

import (
	"net/netip"
	"slices"
	"strings"
	"unicode"
	"unicode/utf8"

	"golang.org/x/text/unicode/norm"
)

// scan walks over a text once and hands out what may have to be replaced. What a
// handler returns takes its place. A nil handler does not look.
type scan struct {
	addr  func(a netip.Addr, bits int, text string) string // bits -1: no prefix stands behind it
	mac   func(text string) string
	name  func(text string, sure bool) string // a dotted name that domain approves of
	words *needles
	word  func(n *needle, text string) string
	at    *int // told where the scan is; may be nil
}

// needle is a text to find.
type needle struct {
	text    string // in lower case, if fold
	fold    bool
	bounded bool                          // only as a word of its own
	placed  func(s string, i, j int) bool // if not nil: whether the place of s[i:j] says that it is meant
	host    bool                          // a label of a host's name
	short   bool                          // the first label of a domain, for which that of its pseudonym stands
	common  bool                          // a word of reports as well: that it stands in one is no leak
	entry   int
}

// needles finds many texts in one pass.
type needles struct {
	words shelf // needles that are looked for where a word begins
	loose shelf // and those that may stand anywhere
}

// shelf holds needles by how they begin, in lower case, the longest first.
type shelf struct {
	heads  map[string][]needle // by their first word, where they begin with one and may begin nowhere else
	pairs  map[uint16][]needle // else by their first two bytes
	single []needle            // or their only one
	first  [256]bool           // a needle begins with that byte
}

func newNeedles(all []needle) *needles {
	x := &needles{words: shelf{heads: map[string][]needle{}, pairs: map[uint16][]needle{}}, loose: shelf{pairs: map[uint16][]needle{}}}
	for _, n := range all {
		if n.text == "" {
			continue
		}
		to := &x.loose
		if n.bounded {
			to = &x.words
		}
		to.first[lower(n.text[0])] = true
		switch {
		case n.bounded && wordByte(n.text[0]):
			h := string(head(nil, n.text, 0))
			to.heads[h] = append(to.heads[h], n)
		case len(n.text) == 1:
			to.single = append(to.single, n)
		default:
			k := key(n.text, 0)
			to.pairs[k] = append(to.pairs[k], n)
		}
	}
	longer := func(a, b needle) int { return len(b.text) - len(a.text) }
	for _, list := range x.words.heads {
		slices.SortStableFunc(list, longer)
	}
	for _, x := range []*shelf{&x.words, &x.loose} {
		for _, list := range x.pairs {
			slices.SortStableFunc(list, longer)
		}
	}
	return x
}

// longestHead bounds how far a word is read: names are no longer.
const longestHead = 64

// head is the word that begins at s[i], in lower case.
func head(buf []byte, s string, i int) []byte {
	for len(buf) < longestHead {
		n := wordAt(s, i)
		if n == 0 {
			break
		}
		for range n {
			buf = append(buf, lower(s[i]))
			i++
		}
	}
	return buf
}

func key(s string, i int) uint16 { return uint16(lower(s[i]))<<8 | uint16(lower(s[i+1])) }

// at returns the needle that stands at s[i:], of several the longest, and where it ends.
func (x *needles) at(s string, i int) (found *needle, end int) {
	c := lower(s[i])
	if x.loose.first[c] {
		found, end = x.loose.at(s, i)
	}
	if x.words.first[c] && begins(s, i) {
		if n, j := x.words.at(s, i); n != nil && (found == nil || j > end) {
			found, end = n, j
		}
	}
	return found, end
}

func (x *shelf) at(s string, i int) (*needle, int) {
	if len(x.heads) > 0 && wordByte(s[i]) {
		var buf [longestHead + utf8.UTFMax]byte
		if n, j := longest(x.heads[string(head(buf[:0], s, i))], s, i); n != nil {
			return n, j
		}
	}
	if i+1 < len(s) {
		if n, j := longest(x.pairs[key(s, i)], s, i); n != nil {
			return n, j
		}
	}
	return longest(x.single, s, i)
}

// longest returns which of some needles, the longest first, stands at s[i:], and where it ends.
func longest(list []needle, s string, i int) (found *needle, end int) {
	for k := range list {
		n := &list[k]
		if found != nil && i+len(n.text) <= end {
			break
		}
		if j := n.stands(s, i); j > end {
			found, end = n, j
		}
	}
	return found, end
}

// sureOf is how much of a needle has to stand in a text for it to be meant. To compare
// all of a long one at each place of a text that resembles it would take the square of
// its length, and what a log has cut off is a secret as well.
const sureOf = 256

// stands tells where the needle ends that stands at s[i:]. 0: it does not.
func (n *needle) stands(s string, i int) int {
	all := min(len(n.text), len(s)-i)
	j := min(len(n.text), sureOf)
	if j > all || !n.same(s, i, 0, j) {
		return 0
	}
	if len(n.text) > sureOf {
		for j < all && n.same(s, i, j, j+1) {
			j++
		}
		for j > 1 && j < len(n.text) && !utf8.RuneStart(n.text[j]) { // no half of a letter
			j--
		}
	} else if n.bounded && wordAt(s, i+j) > 0 {
		return 0
	}
	if n.placed != nil && !n.placed(s, i, i+j) {
		return 0
	}
	return i + j
}

// same tells whether a part of the needle stands in its place behind s[i].
func (n *needle) same(s string, i, from, to int) bool {
	if !n.fold {
		return s[i+from:i+to] == n.text[from:to]
	}
	for k := from; k < to; k++ {
		if lower(s[i+k]) != n.text[k] {
			return false
		}
	}
	return true
}

func lower(c byte) byte {
	if 'A' <= c && c <= 'Z' {
		return c + 'a' - 'A'
	}
	return c
}

// wordByte tells whether a byte belongs to a word: letters, also beyond ASCII, and digits.
func wordByte(c byte) bool {
	return '0' <= c && c <= '9' || 'a' <= lower(c) && lower(c) <= 'z' || c >= utf8.RuneSelf
}

// wordAt is how many bytes the letter or digit at s[i] has; 0: there is none. “ and
// other signs beyond ASCII are none.
func wordAt(s string, i int) int {
	switch {
	case i >= len(s):
		return 0
	case s[i] < utf8.RuneSelf:
		if wordByte(s[i]) {
			return 1
		}
		return 0
	}
	if r, n := utf8.DecodeRuneInString(s[i:]); letter(r) {
		return n
	}
	return 0
}

func letter(r rune) bool {
	return r != utf8.RuneError && (unicode.IsLetter(r) || unicode.IsDigit(r) || unicode.Is(unicode.M, r))
}

// folded are the spellings of a text in lower case that lower makes of it, whatever the
// case of its letters beyond ASCII: Émilie and ÉMILIE.
func folded(s string) []string {
	var all []string
	first, n := utf8.DecodeRuneInString(s)
	for _, x := range []string{s, strings.ToLower(s), strings.ToUpper(s), string(unicode.ToTitle(first)) + strings.ToLower(s[n:])} {
		for _, form := range []norm.Form{norm.NFC, norm.NFD} { // composed or not: macOS writes names of files in parts
			b := form.Bytes([]byte(x))
			for i := range b {
				b[i] = lower(b[i])
			}
			if !slices.Contains(all, string(b)) {
				all = append(all, string(b))
			}
		}
	}
	return all
}

func digit(c byte) bool { return '0' <= c && c <= '9' }

func hexDigit(c byte) bool { return digit(c) || 'a' <= lower(c) && lower(c) <= 'f' }

// begins tells whether a word may begin at s[i]: before it is no letter and no digit,
// or the end of an escape, as URLs (%2F), JSON (\u003c, \n), Go's quotes and terminals
// have them.
func begins(s string, i int) bool {
	if i == 0 || !wordByte(s[i-1]) {
		return true
	}
	if s[i-1] >= utf8.RuneSelf {
		r, _ := utf8.DecodeLastRuneInString(s[:i])
		return !letter(r)
	}
	switch {
	case i >= 3 && s[i-3] == '%' && hexDigit(s[i-2]) && hexDigit(s[i-1]):
	case i >= 2 && s[i-2] == '\\' && strings.IndexByte("nrtbfav", s[i-1]) >= 0:
	case i >= 4 && s[i-4] == '\\' && s[i-3] == 'x' && hexDigit(s[i-2]) && hexDigit(s[i-1]):
	case i >= 6 && s[i-6] == '\\' && s[i-5] == 'u' && hexDigit(s[i-4]) && hexDigit(s[i-3]) && hexDigit(s[i-2]) && hexDigit(s[i-1]):
	case i >= 2 && s[i-2] == '-' && s[i-1] < utf8.RuneSelf && (i == 2 || s[i-3] == ' ' || s[i-3] == '"'): // -lann
	case s[i-1] == 'm' || s[i-1] == 'K': // \x1b[32m, of which reports leave [32m
		k := i - 2
		for k > 0 && i-k < 16 && (digit(s[k]) || s[k] == ';') {
			k--
		}
		return k >= 0 && s[k] == '[' && (k < i-2 || k > 0 && s[k-1] == 0x1b)
	default:
		return false
	}
	return true
}

// run hands out what stands in the text, and returns it with the answers in place.
func (sc *scan) run(s string) string {
	var b strings.Builder
	done := 0 // up to here b is written
	put := func(i, j int, with string) {
		if with != s[i:j] {
			b.WriteString(s[done:i])
			b.WriteString(with)
			done = j
		}
	}
	for i := 0; i < len(s); {
		c := s[i]
		if sc.at != nil {
			*sc.at = i
		}
		if sc.words != nil {
			if n, j := sc.words.at(s, i); n != nil && !sc.inAddress(s, i, n) {
				if n.host && sc.name != nil && j+1 < len(s) && s[j] == '.' { // the first label of a name
					if to, sure := dotted(s, i); to > j {
						if _, _, _, ok := domain(s[i:to], sure); ok {
							put(i, to, sc.name(s[i:to], sure))
							i = to
							continue
						}
					}
				}
				put(i, j, sc.word(n, s[i:j]))
				i = j
				continue
			}
		}
		if i > 0 && s[i-1] == '%' && i+1 < len(s) && hexDigit(c) && hexDigit(s[i+1]) { // %40acme.com
			i += 2
			continue
		}
		if !hexDigit(c) && c != ':' && !wordByte(c) || !begins(s, i) {
			i++
			continue
		}
		if hexDigit(c) || c == ':' {
			if j := sc.address(s, i, put); j > i {
				i = j
				continue
			}
		}
		if sc.name != nil && wordByte(c) {
			if j, sure := dotted(s, i); j > i {
				if _, _, _, ok := domain(s[i:j], sure); ok {
					put(i, j, sc.name(s[i:j], sure))
					i = j
					continue
				}
			}
		}
		i++
	}
	if done == 0 {
		return s
	}
	b.WriteString(s[done:])
	return b.String()
}

// inAddress tells whether a word is part of a number or address: "bea" of 2001:db8::bea.
func (sc *scan) inAddress(s string, i int, n *needle) bool {
	if !n.bounded || strings.ContainsFunc(n.text, func(r rune) bool { return r >= utf8.RuneSelf || !hexDigit(byte(r)) }) {
		return false
	}
	from, to := i, i+len(n.text)
	for from > max(i-48, 0) && (hexDigit(s[from-1]) || s[from-1] == ':' || s[from-1] == '.') {
		from--
	}
	for to < min(i+48, len(s)) && (hexDigit(s[to]) || s[to] == ':' || s[to] == '.') {
		to++
	}
	t := strings.Trim(s[from:to], ".")
	if isMAC(t) {
		return true
	}
	_, ok := address6(t)
	return ok
}

// dotted finds the end of a run of labels with dots between them, and whether its place
// makes it the name of a host: behind // or an @.
func dotted(s string, i int) (end int, sure bool) {
	if b := len(strings.TrimRight(s[:i], "_-.")); b < i && !begins(s, b) { // it is the middle of one
		return i, false
	}
	j, dots := i, 0
	for j < len(s) {
		if n := wordAt(s, j); n > 0 {
			j += n
			continue
		}
		if s[j] == '.' && (wordAt(s, j+1) > 0 || j+1 < len(s) && s[j+1] == '_') {
			dots++
		} else if s[j] != '-' && s[j] != '_' {
			break
		}
		j++
	}
	for j > i && (s[j-1] == '-' || s[j-1] == '_') {
		j--
	}
	if dots == 0 {
		return i, false
	}
	sure = strings.HasSuffix(s[:i], "//") || strings.HasSuffix(s[:i], "%40") || i > 1 && s[i-1] == '@' && wordByte(s[i-2])
	return j, sure
}
