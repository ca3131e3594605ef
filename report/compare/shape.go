package compare

import (
	"slices"
	"strconv"
	"strings"

	"github.com/loopdoctor/loopdoctor/report"
)

// A duration is noise where loopdoctor measured it. In a setting it is what was set.
const duration = `\b(?:\d+(?:\.\d+)? ?(?:µs|ms|s|min|h)|less than a second)\b`

var durations = lazy(duration)

// measured is a text of what loopdoctor met, without how long it took.
func measured(s string) string { return durations().ReplaceAllString(s, "DURATION") }

const (
	dotted = `\b\d{1,3}(?:\.\d{1,3}){3}\b`

	// An endpoint is an address or a name with a port, or a port alone.
	endpoints = `(?:(?:(?:\bports? )?` + dotted + `|\[[^\]\s]*\]|(?:^|://|[\s(])[A-Za-z][\w.-]*):|\bports? )(\d{1,5})\b`
)

var (
	endpoint = lazy(endpoints)

	// numbers finds them, and what they are a part of: a quotation, an endpoint, an
	// address, a duration, a pseudonym.
	numbers = lazy(`"[^"]*"|` + endpoints + `|` + dotted + `|` + duration + `|` + pseudonyms + `|\d+`)

	// digits finds what is left of them in the words of one.
	digits = lazy(dotted + `|` + pseudonyms + `|\d+`)
)

// shape is what a sentence is about: without its numbers and foreign addresses, and
// without what comes behind a colon, where it goes into what was measured. Where
// something leads stays, of either half, as does what is quoted: it was set.
func shape(s string, t *report.Target) string {
	head, tail, _ := strings.Cut(maskAddresses(normal(ends().ReplaceAllString(s, ""))), ": ")
	head = numbers().ReplaceAllStringFunc(head, func(n string) string {
		if n[0] == '"' {
			return strings.ReplaceAll(n, strconv.Itoa(int(t.Port)), "PORT")
		}
		if m := endpoint().FindStringSubmatch(n); m != nil {
			return numberless(strings.TrimSuffix(n, m[1])) + port(m[1], t)
		}
		return numberless(measured(n))
	})
	for _, m := range endpoint().FindAllStringSubmatch(tail, -1) {
		if n, _ := strconv.Atoi(m[1]); n < temporary || n == int(t.Port) { // else it may be a client in a line of somebody's log
			head += "; " + strings.TrimSpace(numberless(strings.TrimSuffix(m[0], m[1]))) + " " + port(m[1], t)
		}
	}
	return head
}

// numberless leaves IPv4 addresses as they are: those of others are masked before.
func numberless(s string) string {
	return digits().ReplaceAllStringFunc(s, func(n string) string {
		switch name := strings.TrimRight(n, "0123456789"); {
		case strings.Contains(n, "."):
			return n
		case name != "":
			return name + "1"
		}
		return "N"
	})
}

// temporary is the lowest port that kernels give to clients, unless they are told
// otherwise.
const temporary = 32768

// port is the number, but for the target's, which may be another one there, and for
// those of its clients, which are others each time.
func port(text string, t *report.Target) string {
	n, _ := strconv.Atoi(text)
	switch {
	case n == int(t.Port):
		return "PORT"
	case n >= temporary && slices.ContainsFunc(t.Sockets, func(s report.Socket) bool { return strings.HasSuffix(s.Remote, ":"+text) }):
		return "N"
	}
	return text
}
