package resolve

import (
	"fmt"
	"slices"
	"strings"
)

// Status is what a source says about a name: enum nss_status of <nss.h>.
type Status int

// The statuses; Unknown is ours: the source was not asked.
const (
	Success Status = iota
	NotFound
	Unavail
	TryAgain
	Unknown
)

var statusNames = []string{"SUCCESS", "NOTFOUND", "UNAVAIL", "TRYAGAIN"}

// Action is what follows from a status.
type Action int

// The actions.
const (
	Continue Action = iota
	Return
	Merge
)

var actionNames = []string{"CONTINUE", "RETURN", "MERGE"}

// Source is one source of names and what is to be done after it.
type Source struct {
	Name string
	On   [4]Action // by Status
}

func newSource(name string) Source { return Source{Name: name, On: [4]Action{Success: Return}} }

// Switch is the "hosts:" line of nsswitch.conf(5).
type Switch struct {
	Line    int // 0: there is none
	Text    string
	Sources []Source
}

// Default is what glibc takes when there is no file, or no such line in it:
// "files dns" since 2.33. Older ones took "dns [!UNAVAIL=return] files".
func Default() Switch { return Switch{Sources: []Source{newSource("files"), newSource("dns")}} }

// databases are those glibc knows. A mistake in the line of one of them makes
// it give up the whole file; the lines of others ("sudoers:") it never parses.
var databases = []string{"aliases", "ethers", "group", "group_compat", "gshadow", "gshadow_compat", "hosts", "initgroups",
	"netgroup", "networks", "passwd", "passwd_compat", "protocols", "publickey", "rpc", "services", "shadow", "shadow_compat"}

// NameSwitch reads nsswitch.conf(5); the last "hosts:" line counts. An error
// names the line that glibc does not understand: every lookup of every kind
// fails then.
func NameSwitch(data []byte) (Switch, error) {
	sw := Default()
	for n, line := range lines(data) {
		// Only a line that begins with # is a comment here: glibc reads one
		// at the end of a line as more sources.
		rest := strings.TrimLeftFunc(line, isSpace)
		end := strings.IndexFunc(rest, func(r rune) bool { return isSpace(r) || r == ':' })
		if end <= 0 || rest[0] == '#' || !slices.Contains(databases, rest[:end]) {
			continue
		}
		name := rest[:end]
		sources, err := parseSources(strings.TrimLeftFunc(rest[end:], func(r rune) bool { return isSpace(r) || r == ':' }))
		if err != nil {
			return Switch{}, fmt.Errorf("line %d, %w", n, err)
		}
		if name == "hosts" {
			sw = Switch{Line: n, Text: shorten(line), Sources: sources}
		}
	}
	return sw, nil
}

// parseSources reads "files mdns4_minimal [NOTFOUND=return] dns" as glibc's
// nss_action_parse does: a bracket that follows no source ends the list.
func parseSources(s string) ([]Source, error) {
	var list []Source
	for {
		s = strings.TrimLeftFunc(s, isSpace)
		name := word(s, "[")
		if name == "" {
			return list, nil
		}
		src := newSource(name)
		s = strings.TrimLeftFunc(s[len(name):], isSpace)
		if strings.HasPrefix(s, "[") {
			var err error
			if s, err = parseActions(s[1:], &src); err != nil {
				return nil, err
			}
		}
		list = append(list, src)
	}
}

// parseActions reads "!UNAVAIL=return TRYAGAIN=continue]" and returns what
// follows the bracket.
func parseActions(s string, src *Source) (string, error) {
	for {
		s = strings.TrimLeftFunc(s, isSpace)
		if s == "" {
			return "", fmt.Errorf("source %s: the bracket is not closed", src.Name)
		}
		rest, not := strings.CutPrefix(s, "!")
		key := word(rest, "=]")
		status := fold(statusNames, key)
		rest = strings.TrimLeftFunc(rest[len(key):], isSpace)
		if status < 0 || !strings.HasPrefix(rest, "=") {
			return "", fmt.Errorf("source %s: %q is no status", src.Name, shorten(key))
		}
		rest = strings.TrimLeftFunc(rest[1:], isSpace)
		value := word(rest, "=]")
		action := fold(actionNames, value)
		if action < 0 {
			return "", fmt.Errorf("source %s: %q is no action", src.Name, shorten(value))
		}
		for st := range src.On {
			if (st == status) != not {
				src.On[st] = Action(action)
			}
		}
		s = strings.TrimLeftFunc(rest[len(value):], isSpace)
		if after, ok := strings.CutPrefix(s, "]"); ok {
			return after, nil
		}
	}
}

// word cuts the word that s begins with; white space or one of stops ends it.
func word(s, stops string) string {
	if i := strings.IndexFunc(s, func(r rune) bool { return isSpace(r) || strings.ContainsRune(stops, r) }); i >= 0 {
		return s[:i]
	}
	return s
}

func fold(names []string, s string) int {
	return slices.IndexFunc(names, func(n string) bool { return strings.EqualFold(n, s) })
}
