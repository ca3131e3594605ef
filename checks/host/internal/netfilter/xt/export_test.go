package xt

import "strings"

// RuleOf splits a line of testdata/rules as a shell would.
func RuleOf(line string) (words []string) {
	var w strings.Builder
	open, any := false, false
	for i := 0; i < len(line); i++ {
		switch c := line[i]; {
		case c == '\\' && open && i+1 < len(line):
			i++
			w.WriteByte(line[i])
		case c == '"':
			open, any = !open, true
		case c == ' ' && !open:
			if any || w.Len() > 0 {
				words = append(words, w.String())
			}
			w.Reset()
			any = false
		default:
			w.WriteByte(c)
		}
	}
	if any || w.Len() > 0 {
		words = append(words, w.String())
	}
	return words
}
