package main

import (
	"bufio"
	"fmt"
	"go/ast"
	"go/parser"
	"go/token"
	"io/fs"
	"os"
	"path"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"

	"github.com/loopdoctor/loopdoctor/checks"
)

// The rules of the project, each with its reason. docs/contributing.md tells
// them to people; this file tells them to the build.

const (
	root   = "../.."
	module = "github.com/loopdoctor/loopdoctor/"
)

// source is one Go file of the project.
type source struct {
	path    string // from the top, with slashes
	syntax  *ast.File
	lines   int
	imports []string
}

func (s source) test() bool { return strings.HasSuffix(s.path, "_test.go") }

func (s source) in(folder string) bool {
	return path.Dir(s.path) == folder || strings.HasPrefix(s.path, folder+"/")
}

func sources(t *testing.T) []source {
	t.Helper()
	var all []source
	files := token.NewFileSet()
	err := filepath.WalkDir(root, func(name string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() && (d.Name() == ".git" || d.Name() == "testdata") {
			return cmpDir(d, err)
		}
		if !strings.HasSuffix(name, ".go") {
			return nil
		}
		f, err := parser.ParseFile(files, name, nil, parser.ParseComments)
		if err != nil {
			return err
		}
		rel, err := filepath.Rel(root, name)
		s := source{path: filepath.ToSlash(rel), syntax: f, lines: files.Position(f.FileEnd).Line}
		for _, i := range f.Imports {
			p, _ := strconv.Unquote(i.Path.Value)
			s.imports = append(s.imports, p)
		}
		all = append(all, s)
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	if len(all) < 50 {
		t.Fatalf("only %d Go files found: the rules would hold for nothing", len(all))
	}
	return all
}

func cmpDir(d fs.DirEntry, err error) error {
	if err != nil {
		return err
	}
	return fs.SkipDir
}

func TestImportsRunOneWay(t *testing.T) {
	for _, rule := range []struct {
		folder, why string
		deny        []string // import paths; with a final slash all below
		except      []string // files
	}{
		{"checks/facts", "facts are plain data: a package that could look would", []string{module, "os", "net", "net/http", "syscall", "os/exec", "golang.org/x/sys/"}, nil},
		{"checks", "judging is arithmetic on facts: only host looks", []string{module + "checks/host", module + "capture", module + "report", "os", "net", "syscall", "os/exec", "golang.org/x/sys/"}, nil},
		{"capture", "a capture tells facts and knows nothing of what they mean", []string{module + "checks", module + "checks/host", module + "report"}, nil},
		{"checks/host", "looking does not judge", []string{module + "checks", module + "report"}, nil},
		{"report", "a report lays out what was found; it does not look", []string{module + "checks/host", module + "capture", "net", "os/exec"}, nil},
		{"report/bundle", "it makes bytes and reads bytes: what it opens never gets to a disk", []string{"os", "io/fs", "path/filepath", module + "checks", module + "checks/facts"}, nil},
		{"report/redact", "who redacts looks at nothing, and knows facts alone", []string{module + "checks", module + "checks/host", module + "capture", module + "report", "os", "net", "net/http", "os/exec", "syscall"}, nil},
		{"", "the list of public suffixes has its home where names are redacted", []string{"golang.org/x/net/publicsuffix"}, []string{"report/redact/"}},
		{"cmd/loopdoctor/internal/errortext", "it reads words: to look is host's", []string{module + "checks/host", module + "checks", module + "report", "os", "net", "syscall", "os/exec", "golang.org/x/sys/"}, nil},
		{"", "gopacket has its home in capture", []string{"github.com/google/gopacket", "github.com/google/gopacket/"}, []string{"capture/"}},
		{"", "miekg/dns has its home in one file", []string{"github.com/miekg/dns"}, []string{"checks/host/dns.go"}},
		{"", "godbus has its home in one file", []string{"github.com/godbus/dbus/v5", "github.com/godbus/dbus/v5/"}, []string{"checks/host/internal/systemd/bus.go"}},
		{"", "the YAML reader has its home in one file", []string{"go.yaml.in/yaml/v3", "gopkg.in/yaml.v3"}, []string{"checks/host/internal/config/yaml.go"}},
		{"", "the codec of HTTP/2 has its home in the package that speaks", []string{"golang.org/x/net/http2", "golang.org/x/net/http2/"}, []string{"checks/host/internal/speak/"}},
		{"", "archives have their home in bundle", []string{"archive/zip", "archive/tar"}, []string{"report/bundle/"}},
		{"", "cobra has its home in cmd", []string{"github.com/spf13/cobra"}, []string{"cmd/"}},
		{"", "the manual is made by a test: here it would slow down every start", []string{"github.com/spf13/cobra/doc", "github.com/cpuguy83/go-md2man/", "github.com/russross/blackfriday/"}, nil},
		{"", "no other program is needed, and none is run", []string{"os/exec"}, nil},
		{"", "these need cgo", []string{"github.com/google/gopacket/pcap", "github.com/google/gopacket/afpacket", "github.com/google/gopacket/bsdbpf", "C"}, nil},
	} {
		for _, s := range sources(t) {
			sub := rule.folder == "checks" && (s.in("checks/host") || s.in("checks/facts"))
			if s.test() || sub || rule.folder != "" && !s.in(rule.folder) || slices.ContainsFunc(rule.except, func(e string) bool { return strings.HasPrefix(s.path, e) }) {
				continue
			}
			for _, i := range s.imports {
				for _, d := range rule.deny {
					if i == d || strings.HasSuffix(d, "/") && strings.HasPrefix(i, d) {
						t.Errorf("%s imports %s: %s", s.path, i, rule.why)
					}
				}
			}
		}
	}
}

// A browser is for tests, and one file knows how to drive it.
func TestBrowserHasOneHome(t *testing.T) {
	for _, s := range sources(t) {
		for _, i := range s.imports {
			if strings.HasPrefix(i, "github.com/chromedp/") && s.path != "cmd/loopdoctor/browser_test.go" {
				t.Errorf("%s imports %s: chromedp has its home in cmd/loopdoctor/browser_test.go", s.path, i)
			}
		}
	}
}

func TestChecksDoNotAskForTheTime(t *testing.T) {
	for _, s := range sources(t) {
		if s.test() || s.in("checks/host") || !s.in("checks") {
			continue
		}
		ast.Inspect(s.syntax, func(n ast.Node) bool {
			if sel, ok := n.(*ast.SelectorExpr); ok && fmt.Sprint(sel.X) == "time" && (sel.Sel.Name == "Now" || sel.Sel.Name == "Since") {
				t.Errorf("%s asks for the time: a recording would be judged by another clock", s.path)
			}
			return true
		})
	}
}

func TestFilesStaySmall(t *testing.T) {
	for _, s := range sources(t) {
		if !s.test() && s.lines > 450 {
			t.Errorf("%s has %d lines: split it by cause or by format", s.path, s.lines)
		}
	}
}

func TestTopLevel(t *testing.T) {
	entries, err := os.ReadDir(root)
	if err != nil {
		t.Fatal(err)
	}
	for _, e := range entries {
		if e.IsDir() && !slices.Contains([]string{"cmd", "checks", "report", "capture", "docs", ".git", ".ci"}, e.Name()) {
			t.Errorf("top-level folder %s: the design has none of that name", e.Name())
		}
	}
}

func TestPackageComments(t *testing.T) {
	comments := map[string]int{}
	for _, s := range sources(t) {
		if s.test() {
			continue
		}
		comments[path.Dir(s.path)] += 0
		if s.syntax.Doc != nil {
			comments[path.Dir(s.path)]++
		}
	}
	for dir, n := range comments {
		if n != 1 {
			t.Errorf("package in %s has %d package comments: one says what it does, and what it refuses to do", dir, n)
		}
	}
}

var (
	kebab        = regexp.MustCompile(`^[a-z0-9]+(-[a-z0-9.]+)*$`)
	pageSections = []string{"## What you see", "## Why it happens", "## How loopdoctor knows", "## What to do"}
)

func TestEveryCheckIsComplete(t *testing.T) {
	seen := map[string]bool{}
	for _, c := range slices.Concat(checks.Causes(), checks.Symptoms()) {
		switch {
		case !kebab.MatchString(c.Name):
			t.Errorf("%q is not kebab-case", c.Name)
		case seen[c.Name]:
			t.Errorf("%s is there twice", c.Name)
		case c.Doc == "" || strings.HasSuffix(c.Doc, ".") || strings.ToLower(c.Doc[:1]) != c.Doc[:1] && !strings.HasPrefix(c.Doc, "IP"):
			t.Errorf("%s: Doc %q is a fragment in lower case without a period", c.Name, c.Doc)
		case c.Stage == checks.StageNone:
			t.Errorf("%s has no stage", c.Name)
		case len(c.Needs) == 0 || c.Run == nil:
			t.Errorf("%s needs nothing or does nothing", c.Name)
		}
		seen[c.Name] = true
	}
	for _, c := range checks.Causes() {
		if c.IsSymptom() {
			t.Errorf("%s explains nothing and refines nothing: it is a symptom", c.Name)
		}
		page, err := os.ReadFile(filepath.Join(root, "docs", "causes", c.Name+".md"))
		if err != nil {
			t.Errorf("%s has no page: %v", c.Name, err)
			continue
		}
		var heads []string
		for line := range strings.Lines(string(page)) {
			if strings.HasPrefix(line, "## ") {
				heads = append(heads, strings.TrimSpace(line))
			}
		}
		if !slices.Equal(heads, pageSections) {
			t.Errorf("the page of %s has the pageSections %q, not %q", c.Name, heads, pageSections)
		}
		if m, _ := filepath.Glob(filepath.Join("testdata", "lab", c.Name+"*.txtar")); len(m) == 0 {
			t.Errorf("%s has no scenario in testdata/lab", c.Name)
		}
	}
	pages, err := filepath.Glob(filepath.Join(root, "docs", "causes", "*.md"))
	if err != nil || len(pages) == 0 {
		t.Fatalf("no pages: %v", err)
	}
	for _, p := range pages {
		if name := strings.TrimSuffix(filepath.Base(p), ".md"); !seen[name] {
			t.Errorf("docs/causes/%s.md is the page of no check", name)
		}
	}
}

// Nothing of a developer's machine stands in the project: a recording would
// carry it to everybody.
func TestNoMachinePaths(t *testing.T) {
	abs, err := filepath.Abs(root)
	if err != nil {
		t.Fatal(err)
	}
	err = filepath.WalkDir(root, func(name string, d fs.DirEntry, err error) error {
		if err != nil || d.Name() == ".git" {
			return cmpDir(d, err)
		}
		if d.IsDir() || !slices.Contains([]string{".go", ".md", ".json", ".txtar", ".text", ".html"}, filepath.Ext(name)) {
			return nil
		}
		f, err := os.Open(name)
		if err != nil {
			return err
		}
		defer f.Close()
		scan := bufio.NewScanner(f)
		scan.Buffer(nil, 16<<20)
		for n := 1; scan.Scan(); n++ {
			if strings.Contains(scan.Text(), abs+"/") {
				t.Errorf("%s:%d names %s", name, n, abs)
			}
		}
		return scan.Err()
	})
	if err != nil {
		t.Fatal(err)
	}
}

func TestModule(t *testing.T) {
	data, err := os.ReadFile(filepath.Join(root, "go.mod"))
	if err != nil {
		t.Fatal(err)
	}
	if strings.Contains(string(data), "replace") {
		t.Error("go.mod has a replace: nobody could install the program with go install")
	}
}
