package secret

import "strings"

// edit writes a text with some of its parts replaced. Its zero value has to be given
// the text.
type edit struct {
	s    string
	b    strings.Builder
	done int // what of s is written
}

// put writes to in the place of s[from:end].
func (e *edit) put(from, end int, to string) {
	e.b.WriteString(e.s[e.done:from])
	e.b.WriteString(to)
	e.done = end
}

func (e *edit) String() string {
	if e.done == 0 && e.b.Len() == 0 {
		return e.s
	}
	return e.b.String() + e.s[e.done:]
}

func blank(c byte) bool { return c == ' ' || c >= '\t' && c <= '\r' }

func isDigit(c byte) bool { return c >= '0' && c <= '9' }

func isLetter(c byte) bool { return c|0x20 >= 'a' && c|0x20 <= 'z' }

// inName tells whether a name of a flag, variable, field or header may have the byte.
func inName(c byte) bool { return isLetter(c) || isDigit(c) || c == '_' || c == '.' || c == '-' }

// pairs hides the values of names that are secret: name=value, "name": "value",
// name := value, {\"name\": \"value\"} and --name "two words" inside a longer argument, the
// parameters of a URL, and headers, whose value is all that follows.
func (m masker) pairs(s string) string {
	e := edit{s: s}
	for i := 0; i < len(s); i++ {
		var from, end int
		switch s[i] {
		case '=', ':':
			from, end = m.pair(s, i, e.done)
		case '"', '\'':
			from, end = flagged(s, i, e.done)
		}
		if end > from {
			e.put(from, end, m.with(s[from:end]))
			i = end - 1
		}
	}
	return e.String()
}

// pair returns where the secret stands whose name ends before the separator at i. No
// name begins before floor; none of this looks behind the separator before.
func (m masker) pair(s string, i, floor int) (from, end int) {
	j := i
	for j > floor && blank(s[j-1]) {
		j--
	}
	if j > floor && (s[j-1] == '"' || s[j-1] == '\'') {
		for j--; j > floor && s[j-1] == '\\'; {
			j--
		}
	}
	last := j
	for j > floor && inName(s[j-1]) {
		j--
	}
	name := s[j:last]
	if name == "" {
		return 0, 0
	}
	from = i + 1
	if from < len(s) && (s[from] == '=' || s[from] == '>' && s[i] == '=') { // := of Go, => of Ruby and PHP
		from++
	}
	for from < len(s) && blank(s[from]) {
		from++
	}
	switch {
	case from == len(s):
		return 0, 0
	case headerOf(name):
		if authorizes(name) && isScheme(strings.Trim(s[from:], " \t\r\n\"'")) { // what follows may be the next argument
			return 0, 0
		}
		return from, len(s)
	case s[i] == '=' && last == i && from == i+1 && inQuery(s[:j], name):
		name = strings.TrimPrefix(name, ampersand)
		end = from + word(s[from:], inURL)
		if !Named(name) && (!parameter(name) || plainValue(s[from:end])) {
			return 0, 0
		}
		return from, end
	case Named(name):
		if strings.HasPrefix(s[from:], "//") {
			return 0, 0
		}
		if j > 0 && s[j-1] == ';' && s[i] == '=' && s[from] != '"' && s[from] != '\'' { // of a path: its query follows (RFC 3986 section 3.3)
			return from, from + word(s[from:], inURL+"?")
		}
	case sessionLike(name):
		if begin, end := value(s, from); opaque(s[begin:end]) {
			return begin, end
		}
		return 0, 0
	default:
		return 0, 0
	}
	return value(s, from)
}

// ampersand is how Go writes & into JSON, without the backslash.
const ampersand = "u0026"

// inQuery tells whether the name, before which something stands, is that of a parameter
// of a URL, which may stand in HTML (&amp;) or in JSON.
func inQuery(before, name string) bool {
	switch {
	case before == "":
		return false
	case strings.HasPrefix(name, ampersand):
		return strings.HasSuffix(before, `\`)
	}
	return strings.IndexByte("?&#", before[len(before)-1]) >= 0 || strings.HasSuffix(before, "&amp;")
}

// value returns where a value that begins at from begins and ends: its quotes belong to
// it, those of JSON inside of JSON do not.
func value(s string, from int) (begin, end int) {
	if q := s[from]; q == '"' || q == '\'' {
		if n := strings.IndexByte(s[from+1:], q); n >= 0 {
			return from, from + n + 2
		}
		return from, len(s)
	}
	open := from
	for open < len(s) && s[open] == '\\' {
		open++
	}
	if open > from && open < len(s) && (s[open] == '"' || s[open] == '\'') {
		begin = open + 1
		if n := strings.Index(s[begin:], s[from:begin]); n >= 0 {
			return begin, begin + n
		}
		return begin, len(s)
	}
	return from, from + word(s[from:], inText)
}

// What ends an unquoted value besides white space.
const (
	inText = `;&,"'}`
	inURL  = inText + `#<>\`
)

// word is how long the unquoted value is that a text begins with.
func word(s, ends string) int {
	for i := range len(s) {
		if blank(s[i]) || strings.IndexByte(ends, s[i]) >= 0 {
			return i
		}
	}
	return len(s)
}

// plainValue tells whether the value of a parameter is none that anybody would have to
// hide: a number of few digits, yes and no, or the dots
// of a manual.
func plainValue(s string) bool {
	switch strings.ToLower(s) {
	case "true", "false", "yes", "no", "on", "off", "null", "none":
		return true
	}
	return len(s) < 6 && strings.Trim(s, "0123456789.…") == ""
}

// opaque tells whether a value is long and mixed, as what a server makes up is.
func opaque(s string) bool {
	s = strings.Trim(s, `"'`)
	digits, letters := 0, 0
	for i := range len(s) {
		switch {
		case isDigit(s[i]):
			digits++
		case isLetter(s[i]):
			letters++
		case strings.IndexByte("_-+/=%", s[i]) < 0:
			return false
		}
	}
	return len(s) >= 16 && digits > 0 && letters > 0
}

// flagged returns where the quoted value at i stands, if a flag with a secret name
// stands before it, as in the argument of a shell's -c.
func flagged(s string, i, floor int) (from, end int) {
	j := i
	for j > floor && blank(s[j-1]) {
		j--
	}
	last := j
	if last == i {
		return 0, 0
	}
	for j > floor && inName(s[j-1]) {
		j--
	}
	if !strings.HasPrefix(s[j:last], "-") || !Named(s[j:last]) {
		return 0, 0
	}
	return value(s, i)
}
