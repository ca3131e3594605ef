package main

import (
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"testing"
)

// complete asks as a shell does: what may stand in the place of the last word, and
// the directive.
func complete(t *testing.T, words ...string) (list []string, directive string) {
	t.Helper()
	status, out, _ := do("", append([]string{"__complete"}, words...)...)
	if status != 0 {
		t.Fatalf("%q: exit status %d", words, status)
	}
	for line := range strings.Lines(out) {
		line = strings.TrimSpace(line)
		if d, ok := strings.CutPrefix(line, ":"); ok {
			return list, d
		}
		word, _, _ := strings.Cut(line, "\t")
		list = append(list, word)
	}
	t.Fatalf("%q: no directive in %q", words, out)
	return nil, ""
}

// The directives of cobra, as they are printed.
const (
	noFiles   = "4"
	filterExt = "8"
	filterDir = "16"
)

func TestCompletion(t *testing.T) {
	for _, c := range []struct {
		words     []string
		directive string
		has       []string
	}{
		{[]string{""}, noFiles, []string{"run", "diff", "triage", "explain", "checks", "man", "version", "completion"}},
		{[]string{"--format", ""}, noFiles, formats},
		{[]string{"--color", ""}, noFiles, colors},
		{[]string{"--speak="}, noFiles, []string{"http", "redis"}},
		{[]string{"--replay", ""}, filterExt, []string{"json"}},
		{[]string{"explain", ""}, noFiles, []string{"no-listener", "filter-drops-loopback"}},
		{[]string{"diff", ""}, filterExt, []string{"zip", "json"}},
		{[]string{"diff", "a.zip", ""}, filterExt, []string{"zip", "json"}},
		{[]string{"diff", "a.zip", "b.zip", ""}, noFiles, nil},
		{[]string{"diff", "--format", ""}, noFiles, formats},
		{[]string{"triage", "a.zip", "b.zip", "c.zip", ""}, filterExt, []string{"zip", "json"}},
		{[]string{"man", ""}, filterDir, nil},
		{[]string{"completion", ""}, noFiles, []string{"bash", "zsh", "fish", "powershell"}},
	} {
		list, directive := complete(t, c.words...)
		missing := slices.DeleteFunc(slices.Clone(c.has), func(w string) bool { return slices.Contains(list, w) })
		if len(missing) > 0 || directive != c.directive {
			t.Errorf("%q: directive %s, want %s; not offered: %q of %q", c.words, directive, c.directive, missing, list)
		}
	}
}

// The scripts are read by the shells that they are for, where these are installed.
func TestCompletionScripts(t *testing.T) {
	for shell, check := range map[string][]string{"bash": {"-n"}, "zsh": {"-n"}, "fish": {"--no-execute"}, "powershell": nil} {
		t.Run(shell, func(t *testing.T) {
			status, script, stderr := do("", "completion", shell)
			if status != 0 || stderr != "" || !strings.Contains(script, "loopdoctor") {
				t.Fatalf("exit status %d, %s, %.80q", status, stderr, script)
			}
			path, err := exec.LookPath(shell)
			if err != nil || check == nil {
				t.Skip(shell + " is not installed, or has no mode that only reads")
			}
			file := filepath.Join(t.TempDir(), "script")
			if err := os.WriteFile(file, []byte(script), 0o644); err != nil {
				t.Fatal(err)
			}
			if out, err := exec.Command(path, append(check, file)...).CombinedOutput(); err != nil || len(out) > 0 {
				t.Errorf("%v, %s", err, out)
			}
		})
	}
}

// bash itself completes, with the script and the program.
func TestBashCompletes(t *testing.T) {
	bash, err := exec.LookPath("bash")
	if err != nil || runtime.GOOS == "windows" { // there it may be that of WSL
		t.Skip("bash is not installed")
	}
	exe, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	dir := t.TempDir()
	if err := os.Symlink(exe, filepath.Join(dir, "loopdoctor")); err != nil {
		t.Skip(err)
	}
	for _, file := range []string{"ticket.zip", "facts.json", "notes.txt"} {
		if err := os.WriteFile(filepath.Join(dir, file), nil, 0o644); err != nil {
			t.Fatal(err)
		}
	}
	// What bash-completion gives to the script, as far as it asks for it.
	const harness = `
_get_comp_words_by_ref() { cur=${COMP_WORDS[COMP_CWORD]}; prev=${COMP_WORDS[COMP_CWORD-1]}; words=("${COMP_WORDS[@]}"); cword=$COMP_CWORD; }
_init_completion() { _get_comp_words_by_ref; }
__ltrim_colon_completions() { :; }
_filedir() { local f; for f in "$cur"*; do [[ -d $f || -z $1 || $f =~ \.($1)$ ]] && COMPREPLY+=("$f"); done; }
compopt() { :; }
source <(loopdoctor completion bash)
COMP_WORDS=(loopdoctor "$@") COMP_CWORD=$# COMP_TYPE=9 COMP_KEY=9 COMP_LINE="loopdoctor $*" COMP_POINT=$((11+${#*}))
__start_loopdoctor
printf '%s\n' "${COMPREPLY[@]}"
`
	for words, want := range map[string][]string{
		"tri":              {"triage"},
		"explain no-liste": {"no-listener"},
		"diff t":           {"ticket.zip"},
		"diff ":            {"facts.json", "ticket.zip"},
		"--replay f":       {"facts.json"},
		"--format js":      {"json"},
	} {
		cmd := exec.Command(bash, append([]string{"--norc", "-c", harness, "bash"}, strings.Split(words, " ")...)...)
		cmd.Dir = dir
		cmd.Env = append(os.Environ(), "PATH="+dir+":"+os.Getenv("PATH"))
		out, err := cmd.CombinedOutput()
		got := slices.Sorted(slices.Values(strings.Fields(string(out))))
		if err != nil || !slices.Equal(got, want) {
			t.Errorf("loopdoctor %s: %v, got %q, want %q", words, err, got, want)
		}
	}
}
