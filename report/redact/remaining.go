package redact

import (
	"bytes"
	"path"
	"strings"
	"unicode"
	"unicode/utf8"

	"golang.org/x/text/unicode/norm"
)

// What is in this file shares nothing with what replaces: a mistake there is to be found
// here.

// ofMachine is an attribute of a page whose value may have come from a machine.
var ofMachine = lazyExp(`\b(?:title|href|aria-label)="([^"#][^"]*)"`)

// unsaid is a file of the same length in which spaces stand for what loopdoctor itself
// says in every such file: markup, style and script of a page, names of fields in JSON.
// What html/template and encoding/json write there cannot come from a machine.
func unsaid(name, text string) string {
	b := []byte(text)
	switch path.Ext(name) {
	case ".html":
		unsaidTags(b)
		unsaidFields(b, "&#34;")
	case ".json":
		unsaidFields(b, `"`)
	default:
		return text
	}
	return string(b)
}

// unsaidTags blanks tags, style and script of a page: in text and in attributes both < and
// > are escaped.
func unsaidTags(b []byte) {
	for at := 0; ; {
		n := bytes.IndexByte(b[at:], '<')
		if n < 0 {
			return
		}
		from := at + n
		end := ">"
		for _, raw := range []string{"style", "script"} {
			if bytes.HasPrefix(b[from+1:], []byte(raw+">")) {
				end = "</" + raw + ">"
			}
		}
		if n = bytes.Index(b[from:], []byte(end)); n < 0 {
			return
		}
		at = from + n + len(end)
		done := from
		if end == ">" && bytes.IndexByte(b[from:at], '"') > 0 {
			for _, keep := range ofMachine().FindAllSubmatchIndex(b[from:at], -1) {
				blankOut(b[done : from+keep[2]])
				done = from + keep[3]
			}
		}
		blankOut(b[done:at])
	}
}

// unsaidFields blanks the names of fields and, as words in Base64 are chance, the headers
// of packets. quote is how the format writes a quotation mark; one within a value has a
// backslash before it.
func unsaidFields(b []byte, quote string) {
	end := []byte(quote + ":")
	for at := 0; ; {
		n := bytes.Index(b[at:], end)
		if n < 0 {
			return
		}
		to := at + n
		at = to + len(end)
		from := to
		for from > 0 && (b[from-1] == '_' || b[from-1] < utf8.RuneSelf && inWord(rune(b[from-1]))) {
			from--
		}
		if !bytes.HasSuffix(b[:from], []byte(quote)) {
			continue
		}
		before := from - len(quote)
		for before > 0 && (b[before-1] == ' ' || b[before-1] == '\n') {
			before--
		}
		if before == 0 || b[before-1] != '{' && b[before-1] != ',' {
			continue
		}
		if string(b[from:to]) == "header" {
			value := bytes.TrimLeft(b[at:], " ")
			if bytes.HasPrefix(value, []byte(quote)) {
				value = value[len(quote):]
				if n := bytes.Index(value, []byte(quote)); n > 0 {
					blankOut(value[:n])
				}
			}
		}
		blankOut(b[from:to])
	}
}

// blankOut leaves ends of lines: they are counted.
func blankOut(b []byte) {
	for i := range b {
		if b[i] != '\n' {
			b[i] = ' '
		}
	}
}

// remains is where an original of the key still stands.
type remains struct {
	at    int
	entry *Entry
}

// Of an original that has more words, or more bytes, its beginning is looked for.
const (
	longestSearch = 12
	widestSearch  = 512
)

// remaining lists where an original of at least four letters stands as a word of its own,
// whatever the case of its letters and however these are composed. Words of loopdoctor
// itself and names that stay are no originals here.
func (k *Key) remaining(text string) []remains {
	originals := map[string]*Entry{}
	longest := map[string]int{} // by its first word: how many words the longest original has
	for i := range k.Entries {
		e := &k.Entries[i]
		if e.Kind == Address || e.Kind == Hardware || k.stays != nil && k.stays(strings.ToLower(e.Original)) || letters(e.Original) < 4 || vague(e.Original) {
			continue
		}
		ends := wordEnds(e.Original, longestSearch)
		if len(ends) == 0 {
			continue
		}
		originals[simple(e.Original[:ends[len(ends)-1]])] = e
		first := simple(e.Original[:ends[0]])
		longest[first] = max(longest[first], len(ends))
	}
	var found []remains
	for i := 0; i < len(text); {
		r, n := utf8.DecodeRuneInString(text[i:])
		if !inWord(r) {
			i += n
			continue
		}
		end := i + wordEnds(text[i:], 1)[0]
		for _, to := range wordEnds(text[i:], longest[simple(text[i:end])]) {
			if e := originals[simple(text[i:i+to])]; e != nil && !ofNumber(text, i, i+to) {
				found = append(found, remains{i, e})
			}
		}
		i = end
	}
	return found
}

// wordEnds is where the first words of a text end that begins with one.
func wordEnds(s string, most int) []int {
	var ends []int
	in := false
	for i, r := range s {
		if i > widestSearch && (len(ends) > 0 || !in) || len(ends) >= most {
			return ends
		}
		switch is := inWord(r); {
		case i == 0 && !is:
			return nil
		case in && !is:
			ends = append(ends, i)
			in = false
		case is:
			in = true
		}
	}
	if in && len(ends) < most {
		ends = append(ends, len(s))
	}
	return ends
}

// ofNumber tells whether a word is part of an address: "cafe" of 2001:db8::cafe.
func ofNumber(text string, i, j int) bool {
	return strings.Trim(strings.ToLower(text[i:j]), "0123456789abcdef") == "" && (i > 0 && text[i-1] == ':' && (i == 1 || text[i-2] == ':' || inWord(rune(text[i-2]))) || j+1 < len(text) && text[j] == ':' && (text[j+1] == ':' || inWord(rune(text[j+1]))))
}

func inWord(r rune) bool {
	return r != utf8.RuneError && (unicode.IsLetter(r) || unicode.IsDigit(r) || unicode.Is(unicode.M, r))
}

func letters(s string) (n int) {
	for _, r := range s {
		if unicode.IsLetter(r) {
			n++
		}
	}
	return n
}

// simple makes one of all spellings of a text that differ in the case of letters alone,
// or in how they are composed.
func simple(s string) string {
	ascii := true
	for i := range len(s) {
		if s[i] >= utf8.RuneSelf {
			ascii = false
			break
		}
	}
	if ascii {
		return strings.ToLower(s)
	}
	return strings.Map(func(r rune) rune {
		least := r
		for x := unicode.SimpleFold(r); x != r; x = unicode.SimpleFold(x) {
			least = min(least, x)
		}
		return unicode.ToLower(least)
	}, norm.NFC.String(s))
}
