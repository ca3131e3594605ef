package report

import (
	"slices"
	"strings"

	"github.com/loopdoctor/loopdoctor/checks"
)

// This file prints a fix as lines to paste into a shell.

// steps is the lines to paste into a shell: the steps, then the files.
func (r *Report) steps(f *Fix) []string {
	lines := r.commands(f.Steps, f.Elevated)
	if f.Paste != "" {
		lines = append(lines, f.Paste)
	}
	for _, file := range f.Files {
		lines = append(lines, r.appending(file, f.Elevated))
	}
	return lines
}

// undo is the lines that put everything back.
func (r *Report) undo(f *Fix) []string { return r.commands(f.Undo, f.Elevated) }

// undoNote explains the word that stands in an undo for what only the step can
// tell; empty where there is none.
func (r *Report) undoNote(f *Fix) string {
	n := 0
	for _, v := range f.Undo {
		if slices.Contains(v, checks.PrintedHandle) {
			n++
		}
	}
	switch n {
	case 0:
		return ""
	case 1:
		return checks.PrintedHandle + " is the number that the step printed behind \"# handle\"."
	}
	return checks.PrintedHandle + " is the number that the step for the same chain printed behind \"# handle\"; steps and undo stand in the same order."
}

func (r *Report) commands(vectors [][]string, elevated bool) []string {
	var lines []string
	for _, v := range vectors {
		words := make([]string, len(v))
		for i, a := range v {
			words[i] = r.quote(a)
		}
		line := strings.Join(words, " ")
		if elevated && r.Host.OS != "windows" {
			line = "sudo " + line
		}
		lines = append(lines, line)
	}
	return lines
}

// appending adds lines to a file. printf gets the text as arguments, never as
// its format: a % in it stays a %.
func (r *Report) appending(f File, elevated bool) string {
	body, ended := strings.CutSuffix(f.Append, "\n")
	if r.Host.OS == "windows" {
		return "Add-Content -Path " + r.quote(f.Path) + " -Value " + r.quote(body)
	}
	format := `printf '%s'`
	if ended {
		format = `printf '%s\n'`
	}
	words := []string{format}
	if !ended {
		words = append(words, quote(body))
	} else {
		for line := range strings.SplitSeq(body, "\n") {
			words = append(words, quote(line))
		}
	}
	if elevated {
		return strings.Join(words, " ") + " | sudo tee -a " + quote(f.Path)
	}
	return strings.Join(words, " ") + " >> " + quote(f.Path)
}

func (r *Report) quote(a string) string {
	if r.Host.OS == "windows" && !plain(a) {
		return "'" + strings.ReplaceAll(a, "'", "''") + "'" // PowerShell, about_Quoting_Rules
	}
	return quote(a)
}

// quote makes one word of a POSIX shell (XCU 2.2.2: between single quotes every
// character stands for itself).
func quote(a string) string {
	if plain(a) {
		return a
	}
	return "'" + strings.ReplaceAll(a, "'", `'\''`) + "'"
}

func plain(a string) bool {
	return a != "" && !strings.ContainsFunc(a, func(c rune) bool {
		return !('a' <= c && c <= 'z' || 'A' <= c && c <= 'Z' || '0' <= c && c <= '9' || strings.ContainsRune("_@%+=:,./-", c))
	})
}

// Command is the words as they are typed into a shell.
func Command(words []string) string {
	var out []string
	for _, w := range words {
		out = append(out, quote(w))
	}
	return strings.Join(out, " ")
}
