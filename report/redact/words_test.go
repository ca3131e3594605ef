package redact

import (
	"go/ast"
	"go/parser"
	"go/token"
	"io/fs"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"
)

const root = "../.."

var oneWord = regexp.MustCompile(`[A-Za-z][A-Za-z0-9]{2,}`)

// markup is what of a template nobody reads: Leaks passes over it.
var markup = regexp.MustCompile(`<[^<>]*>|\{\{[^{}]*\}\}`)

var (
	action  = regexp.MustCompile(`\{\{[^{}]*\}\}`)
	literal = regexp.MustCompile(`"[^"]*"`)
)

// escape is what of an expression is no word.
var escape = regexp.MustCompile(`\\[A-Za-z]`)

// besides are words that reports have from elsewhere: of times.
var besides = "UTC Mon Tue Wed Thu Fri Sat Sun Jan Feb Mar Apr May Jun Jul Aug Sep Oct Nov Dec"

// invented are names in examples of help pages: of a user who is called so every word
// is to be masked all the same.
var invented = set(`acme alice bob carol dave ann anna john jane doe globex initech`)

// TestWordsAreAll looks for words in the strings of the program: one that is not in the
// list could be the name of a user, and be replaced where a check looks for it.
func TestWordsAreAll(t *testing.T) {
	if testing.Short() {
		t.Skip("parses the whole program")
	}
	all := map[string]bool{}
	take := func(s string) {
		for _, w := range oneWord.FindAllString(s, -1) {
			if w = strings.ToLower(w); !invented[w] {
				all[w] = true
			}
		}
	}
	take(besides)
	for _, top := range []string{"checks", "report", "cmd", "capture"} {
		err := filepath.WalkDir(filepath.Join(root, top), func(name string, d fs.DirEntry, err error) error {
			switch {
			case err != nil:
				return err
			case d.IsDir() && (d.Name() == "testdata" || name == filepath.Join(root, "report", "redact") || name == filepath.Join(root, "checks", "facts", "secret")):
				return fs.SkipDir
			case strings.HasSuffix(name, ".tmpl"):
				data, err := os.ReadFile(name)
				take(markup.ReplaceAllString(string(data), " "))
				for _, action := range action.FindAllString(string(data), -1) {
					take(strings.Join(literal.FindAllString(action, -1), " "))
				}
				return err
			case !strings.HasSuffix(name, ".go") || strings.HasSuffix(name, "_test.go"):
				return nil
			}
			f, err := parser.ParseFile(token.NewFileSet(), name, nil, 0)
			if err != nil {
				return err
			}
			ast.Inspect(f, func(n ast.Node) bool {
				if v, is := n.(*ast.ValueSpec); is && strings.HasSuffix(v.Names[0].Name, "Example") { // commands with invented names
					return false
				}
				if lit, ok := n.(*ast.BasicLit); ok && lit.Kind == token.STRING {
					if s, err := strconv.Unquote(lit.Value); err == nil {
						take(escape.ReplaceAllString(s, " "))
					}
				}
				_, imports := n.(*ast.ImportSpec)
				return !imports
			})
			return nil
		})
		if err != nil {
			t.Fatal(err)
		}
	}
	if len(all) < 2000 {
		t.Fatalf("only %d words found: the list would hold for nothing", len(all))
	}
	if os.Getenv("UPDATE") != "" {
		var out []string
		for w := range all {
			out = append(out, w)
		}
		slices.Sort(out)
		if err := os.WriteFile("words.txt", []byte(strings.Join(out, "\n")+"\n"), 0o644); err != nil {
			t.Fatal(err)
		}
		return
	}
	for w := range invented {
		if ordinary()(w) {
			t.Errorf("words.txt has %q, the name of somebody", w)
		}
	}
	var missing []string
	for w := range all {
		if !ordinary()(w) {
			missing = append(missing, w)
		}
	}
	slices.Sort(missing)
	if len(missing) > 0 {
		t.Errorf("words.txt lacks %q: run UPDATE=1 go test ./report/redact -run TestWordsAreAll", missing)
	}
}
