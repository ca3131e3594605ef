package report

import "strings"

// Sentences of ours put commands and lines of files between backticks, as a terminal shows
// them. This file finds those, for the formats that have something better. What is no
// sentence of ours, as evidence is, never comes here: its backticks are the machine's.

// span is a piece of a sentence.
type span struct {
	Text string
	Code bool
}

// spans takes a sentence apart. Backticks that stand as no pair of ours does stay what they
// are: a machine's word within the sentence may have some.
func spans(s string) []span {
	var out []span
	text := 0 // where what is no code begins
	for i := 0; i < len(s); i++ {
		if s[i] != '`' || !opens(s, i) {
			continue
		}
		end := closing(s, i)
		if end < 0 {
			continue
		}
		if i > text {
			out = append(out, span{Text: s[text:i]})
		}
		out = append(out, span{s[i+1 : end], true})
		i, text = end, end+1
	}
	if text < len(s) {
		out = append(out, span{Text: s[text:]})
	}
	return out
}

// opens tells whether code may begin at the backtick: behind a space or a bracket, and
// before something.
func opens(s string, i int) bool {
	return (i == 0 || strings.IndexByte(" (", s[i-1]) >= 0) && i+1 < len(s) && s[i+1] != ' '
}

// closing is the backtick that ends the code begun at i: the next one, if it does as ours
// do. -1: none.
func closing(s string, i int) int {
	n := strings.IndexByte(s[i+1:], '`')
	end := i + 1 + n
	if n <= 0 || s[end-1] == ' ' || end+1 < len(s) && strings.IndexByte(" ,.;:)", s[end+1]) < 0 {
		return -1
	}
	return end
}
