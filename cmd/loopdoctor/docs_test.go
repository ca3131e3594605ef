package main

// What the README and the pages of docs say is held against the program. What
// can be made by the program is: UPDATE=1 go test ./cmd/loopdoctor -run TestReadme

import (
	"fmt"
	"go/ast"
	"os"
	"path"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/loopdoctor/loopdoctor/checks"
	"github.com/loopdoctor/loopdoctor/checks/facts"
	"github.com/loopdoctor/loopdoctor/docs"
	"github.com/loopdoctor/loopdoctor/report"
)

const (
	readme      = root + "/README.md"
	tableBegin  = "<!-- table of docs/compared.md -->"
	tableEnd    = "<!-- end of table -->"
	reportBegin = "<!-- report of " + shown + " -->"
	reportEnd   = "<!-- end of report -->"
	shown       = "filter-drops-loopback.stopped-behind.root" // the recorded facts behind the report of the README
)

// pages are the documents by their path from the top.
func pages(t *testing.T) map[string]string {
	t.Helper()
	all := map[string]string{}
	for _, pattern := range []string{"*.md", "docs/*.md", "docs/causes/*.md"} {
		files, err := filepath.Glob(filepath.Join(root, pattern))
		if err != nil || len(files) == 0 {
			t.Fatalf("no %s: %v", pattern, err)
		}
		for _, file := range files {
			name, err := filepath.Rel(root, file)
			if err != nil {
				t.Fatal(err)
			}
			all[filepath.ToSlash(name)] = readText(t, file)
		}
	}
	return all
}

func readText(t *testing.T, file string) string {
	t.Helper()
	data, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	return strings.ReplaceAll(string(data), "\r\n", "\n")
}

// between is what stands between two lines of a page.
func between(t *testing.T, page, begin, end string) string {
	t.Helper()
	_, rest, ok1 := strings.Cut(page, begin+"\n")
	text, _, ok2 := strings.Cut(rest, end+"\n")
	if !ok1 || !ok2 {
		t.Fatalf("the lines %s and %s are missing", begin, end)
	}
	return text
}

func replaceInReadme(t *testing.T, begin, end, with string) {
	t.Helper()
	page := readText(t, readme)
	old := begin + "\n" + between(t, page, begin, end) + end
	if err := os.WriteFile(readme, []byte(strings.Replace(page, old, begin+"\n"+with+end, 1)), 0o644); err != nil {
		t.Fatal(err)
	}
}

var (
	fenced = regexp.MustCompile("(?ms)^```(\\w*)\n(.*?)^```$")
	inline = regexp.MustCompile("`([^`\n]+)`")
	link   = regexp.MustCompile(`\]\(([^)\s]+)\)`)
	title  = regexp.MustCompile(`(?m)^#+ (.+)$`)
)

// prose is a page without its blocks of code.
func prose(page string) string { return fenced.ReplaceAllString(page, "") }

func TestLinksLeadSomewhere(t *testing.T) {
	n := 0
	for name, page := range pages(t) {
		for _, m := range link.FindAllStringSubmatch(inline.ReplaceAllString(prose(page), ""), -1) {
			if strings.Contains(m[1], "://") {
				continue
			}
			n++
			file, anchor, _ := strings.Cut(m[1], "#")
			target := filepath.Join(root, filepath.FromSlash(path.Join(path.Dir(name), file)))
			if file == "" {
				target = filepath.Join(root, filepath.FromSlash(name))
			}
			if _, err := os.Stat(target); err != nil {
				t.Errorf("%s links to %s: %v", name, m[1], err)
			} else if anchor != "" && !slices.Contains(anchors(readText(t, target)), anchor) {
				t.Errorf("%s links to %s, which has no such section", name, m[1])
			}
		}
	}
	if n < 20 {
		t.Errorf("only %d links found", n)
	}
}

// anchors are the names that headings get on GitHub.
func anchors(page string) []string {
	var list []string
	for _, m := range title.FindAllStringSubmatch(prose(page), -1) {
		list = append(list, strings.Map(func(r rune) rune {
			switch {
			case r == ' ':
				return '-'
			case r == '-' || r == '_' || r >= '0' && r <= '9' || r >= 'a' && r <= 'z':
				return r
			}
			return -1
		}, strings.ToLower(m[1])))
	}
	return list
}

// commands finds the command lines of loopdoctor in a page: in blocks marked
// sh, and in the running text.
func commands(page string) [][]string {
	var lines []string
	for _, m := range fenced.FindAllStringSubmatch(page, -1) {
		if m[1] == "sh" {
			lines = append(lines, strings.Split(m[2], "\n")...)
		}
	}
	for _, m := range inline.FindAllStringSubmatch(prose(page), -1) {
		lines = append(lines, m[1])
	}
	var found [][]string
	for _, line := range lines {
		line, _, _ = strings.Cut(line, " #")
		for _, command := range regexp.MustCompile(`&&|[|;>]`).Split(line, -1) {
			words := shellWords(command)
			if len(words) > 2 && words[0] == "go" && words[1] == "run" && words[2] == "./cmd/loopdoctor" {
				words = words[2:]
			}
			if len(words) > 0 && words[0] == "sudo" {
				words = words[1:]
			}
			if len(words) > 1 && path.Base(words[0]) == "loopdoctor" {
				found = append(found, words[1:])
			}
		}
	}
	return found
}

// shellWords splits a command line as a shell does, as far as documents need it.
func shellWords(line string) (words []string) {
	for _, m := range regexp.MustCompile(`(?:'[^']*'|"[^"]*"|[^\s'"])+`).FindAllString(line, -1) {
		words = append(words, strings.NewReplacer("'", "", `"`, "").Replace(m))
	}
	return words
}

func TestCommandsInDocuments(t *testing.T) {
	n := 0
	for name, page := range pages(t) {
		for _, words := range commands(page) {
			n++
			if err := understood(words); err != nil {
				t.Errorf("%s: loopdoctor %s: %v", name, strings.Join(words, " "), err)
			}
		}
	}
	if n < 20 {
		t.Errorf("only %d commands found", n)
	}
	for _, words := range [][]string{{"--bogus", "80"}, {"--format", "yaml", "80"}, {"explain", "nothing"}, {"0"}} {
		if understood(words) == nil {
			t.Errorf("loopdoctor %v is understood", words)
		}
	}
}

// understood tells why the program would not take a command line. Words in
// capitals stand for something.
func understood(words []string) error {
	top := (&program{env: noEnv}).root()
	top.InitDefaultHelpFlag()
	top.InitDefaultVersionFlag()
	top.InitDefaultCompletionCmd("completion")
	cmd, words, err := top.Find(words)
	if err != nil {
		return err
	}
	if err := cmd.ParseFlags(words); err != nil {
		return err
	}
	args := slices.DeleteFunc(cmd.Flags().Args(), func(w string) bool { return strings.ToUpper(w) == w && strings.ToLower(w) != w })
	switch {
	case len(args) == 0:
		return nil
	case cmd.Name() == "explain":
		if _, ok := docs.Page(args[0]); !ok {
			return unknownCause(args[0])
		}
	case cmd == top:
		text := func(flag string) string { return cmd.Flags().Lookup(flag).Value.String() }
		on := func(flag string) bool { return text(flag) == "true" }
		o := options{timeout: 5 * time.Second, format: text("format"), color: text("color"), bind: on("bind"), quiet: on("quiet"), verbose: on("verbose"),
			output: text("output"), record: text("record"), replay: text("replay"), said: text("error"), speak: text("speak"), patience: time.Second,
			place: place{pid: text("pid"), container: text("container"), netns: text("netns"), pod: text("pod")}}
		_, err = o.check(args, cmd.Flags().Changed)
	}
	return err
}

// notCauses are the other words with a hyphen that stand in backquotes.
var notCauses = []string{"go-internal", "nginx-light"}

var hyphened = regexp.MustCompile(`^[a-z0-9]+(-[a-z0-9]+)+(\.[a-z0-9-]+)?$`)

func TestCausesInDocumentsExist(t *testing.T) {
	known := slices.Clone(notCauses)
	for _, s := range []facts.State{facts.SynSent, facts.SynRecv, facts.FinWait1, facts.FinWait2, facts.TimeWait, facts.CloseWait, facts.LastAck} {
		known = append(known, string(s))
	}
	for _, c := range slices.Concat(checks.Causes(), checks.Symptoms()) {
		known = append(known, c.Name)
	}
	for _, s := range scenarios(t) {
		known = append(known, s.name)
	}
	n := 0
	for name, page := range pages(t) {
		if strings.HasPrefix(name, "docs/causes/") {
			continue // they quote settings of many programs
		}
		for _, m := range inline.FindAllStringSubmatch(prose(page), -1) {
			if !hyphened.MatchString(m[1]) {
				continue
			}
			n++
			if !slices.Contains(known, m[1]) {
				t.Errorf("%s names `%s`: it is no cause, symptom or scenario (if it is something else, add it to notCauses)", name, m[1])
			}
		}
	}
	if n < 20 {
		t.Errorf("only %d names found", n)
	}
}

var goFile = regexp.MustCompile("`([\\w./]+\\.go)`(?:\\s+\\(((?:`\\w+`[, and\n]*)+)\\))?")

// A document that names a file, and in brackets what is declared in it, is right.
func TestCodeInDocumentsExists(t *testing.T) {
	declared := map[string][]string{}
	for _, s := range sources(t) {
		declared[s.path] = []string{}
		for _, d := range s.syntax.Decls {
			switch d := d.(type) {
			case *ast.FuncDecl:
				declared[s.path] = append(declared[s.path], d.Name.Name)
			case *ast.GenDecl:
				for _, spec := range d.Specs {
					switch spec := spec.(type) {
					case *ast.TypeSpec:
						declared[s.path] = append(declared[s.path], spec.Name.Name)
					case *ast.ValueSpec:
						for _, n := range spec.Names {
							declared[s.path] = append(declared[s.path], n.Name)
						}
					}
				}
			}
		}
	}
	n := 0
	for name, page := range pages(t) {
		for _, m := range goFile.FindAllStringSubmatch(page, -1) {
			if !strings.Contains(m[1], "/") {
				continue
			}
			names, ok := declared[m[1]]
			if !ok {
				t.Errorf("%s names %s, which does not exist", name, m[1])
			}
			for _, id := range inline.FindAllStringSubmatch(m[2], -1) {
				if n++; ok && !slices.Contains(names, id[1]) {
					t.Errorf("%s: %s declares no %s", name, m[1], id[1])
				}
			}
		}
	}
	if n < 20 {
		t.Errorf("only %d declarations found", n)
	}
}

// What a document quotes as Go or as a scenario stands in the project, word for
// word; a line with three dots stands for what is left out.
func TestQuotesInDocuments(t *testing.T) {
	var code, lab strings.Builder
	for _, s := range sources(t) {
		code.WriteString(readText(t, filepath.Join(root, s.path)))
	}
	for _, s := range scenarios(t) {
		lab.WriteString(readText(t, s.file))
	}
	n := 0
	for name, page := range pages(t) {
		for _, m := range fenced.FindAllStringSubmatch(page, -1) {
			where := map[string]string{"go": code.String(), "txtar": lab.String()}[m[1]]
			if where == "" {
				continue
			}
			for _, part := range regexp.MustCompile(`(?m)^\s*\.\.\.\n`).Split(m[2], -1) {
				if n++; !strings.Contains(where, part) {
					t.Errorf("%s quotes what is not there:\n%s", name, part)
				}
			}
		}
	}
	if n == 0 {
		t.Error("nothing is quoted")
	}
}

// rows are those of the first table after a heading.
func rows(t *testing.T, page, heading string) []string {
	t.Helper()
	_, rest, ok := strings.Cut(page, heading+"\n")
	if !ok {
		t.Fatalf("no heading %q", heading)
	}
	var list []string
	for line := range strings.Lines(rest) {
		switch cells := strings.Trim(line, "|-: \n"); {
		case cells == "" && strings.HasPrefix(line, "|"): // below the head
		case strings.HasPrefix(line, "|"):
			list = append(list, strings.TrimSpace(line))
		case len(list) > 0:
			return list
		}
	}
	return list
}

func TestReadmeExitStatuses(t *testing.T) {
	got := rows(t, readText(t, readme), "## Exit status")
	want := rows(t, readText(t, root+"/docs/report.md"), "## Exit status")
	if !slices.Equal(got[1:], want[1:]) {
		t.Errorf("the README and docs/report.md differ:\n%s\n%s", strings.Join(got, "\n"), strings.Join(want, "\n"))
	}
	said := map[int]string{report.ExitWorks: "works", report.ExitFault: "a cause is named", exitUsage: "bad usage", report.ExitUnknown: "unexplained", report.ExitFailed: "itself failed"}
	if len(got) != len(said)+1 {
		t.Errorf("%d statuses in the README, %d in the program", len(got)-1, len(said))
	}
	for status, words := range said {
		if !slices.ContainsFunc(got, func(r string) bool {
			return strings.HasPrefix(r, fmt.Sprintf("| %d |", status)) && strings.Contains(r, words)
		}) {
			t.Errorf("the README does not say that %d means: %s", status, words)
		}
	}
}

// The README says how to use and how to test the program, in these words.
func TestReadmeCommands(t *testing.T) {
	for _, command := range []string{"go run ./cmd/loopdoctor 62893", "go test ./...", "go install " + module + "cmd/loopdoctor@latest"} {
		if !strings.Contains(readText(t, readme), "\n"+command+"\n") {
			t.Errorf("%s is missing", command)
		}
	}
}

var runOfDigits = regexp.MustCompile(`\d+`)

// shape takes out what differs between two recordings of one fault.
func shape(text string) string {
	text = strings.ReplaceAll(text, "62893", "PORT")
	text = regexp.MustCompile(`(?m)^Looked from .*$`).ReplaceAllString(text, "")
	return strings.Join(strings.Fields(runOfDigits.ReplaceAllString(text, "N")), " ")
}

// The report of the README is what the program says of a recorded fault.
func TestReadmeReport(t *testing.T) {
	status, out, stderr := do("", "--replay", filepath.Join(replayDir, shown+".json"))
	if status != report.ExitFault {
		t.Fatalf("exit status %d: %s", status, stderr)
	}
	want := "```text\n$ loopdoctor 127.0.0.1:62893\n" + out + "```\n"
	if updating() {
		replaceInReadme(t, reportBegin, reportEnd, want)
	}
	if got := between(t, readText(t, readme), reportBegin, reportEnd); shape(got) != shape(want) {
		t.Errorf("stale: run UPDATE=1 go test ./cmd/loopdoctor -run TestReadme\ngot\n%swant\n%s", got, want)
	}
}

func TestReadmeTable(t *testing.T) {
	want := between(t, readText(t, root+"/docs/compared.md"), tableBegin, tableEnd)
	if got := between(t, readText(t, readme), tableBegin, tableEnd); got != want {
		t.Errorf("the tables differ: run UPDATE=1 go test ./cmd/loopdoctor -run TestCompared")
	}
	for _, row := range strings.Split(strings.TrimSpace(want), "\n")[2:] {
		if m := inline.FindStringSubmatch(row); m == nil || checks.ByName(m[1]) == nil {
			t.Errorf("no cause is named in %s", row)
		}
	}
}
