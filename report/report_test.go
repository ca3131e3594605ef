package report

import (
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"reflect"
	"slices"
	"strconv"
	"strings"
	"testing"

	"github.com/loopdoctor/loopdoctor/checks"
	"github.com/loopdoctor/loopdoctor/checks/facts"
	"github.com/santhosh-tekuri/jsonschema/v6"
)

// formats are the renderers by the last part of a golden file's name.
var formats = map[string]func(io.Writer, *Report) error{
	"text":     func(w io.Writer, r *Report) error { return Text(w, r, TextOptions{Width: 100}) },
	"narrow":   func(w io.Writer, r *Report) error { return Text(w, r, TextOptions{Width: 50}) },
	"verbose":  func(w io.Writer, r *Report) error { return Text(w, r, TextOptions{Width: 100, Verbose: true}) },
	"quiet":    func(w io.Writer, r *Report) error { return Text(w, r, TextOptions{Quiet: true}) },
	"color":    func(w io.Writer, r *Report) error { return Text(w, r, TextOptions{Color: true}) },
	"json":     JSON,
	"markdown": Markdown,
	"html":     HTML,
}

// everywhere is the formats that every case has a golden file of; a file of
// another format is compared when it is there.
var everywhere = []string{"text", "json"}

// TestGolden compares with testdata/<case>.<exit>.<format>. UPDATE=1 rewrites
// what is there; an empty file of a new name is how one asks for another.
func TestGolden(t *testing.T) {
	files, err := filepath.Glob("testdata/*.*.*")
	if err != nil {
		t.Fatal(err)
	}
	for name, run := range cases {
		for _, format := range everywhere {
			file := fmt.Sprintf("testdata/%s.%d.%s", name, New(run).ExitStatus(), format)
			if !slices.Contains(files, file) && os.Getenv("UPDATE") == "" {
				t.Errorf("%s is missing: write it with UPDATE=1 go test", file)
			} else if !slices.Contains(files, file) {
				files = append(files, file)
			}
		}
	}
	for _, file := range files {
		t.Run(filepath.Base(file), func(t *testing.T) {
			part := strings.Split(filepath.Base(file), ".")
			run, ok := cases[part[0]]
			render := formats[part[2]]
			if !ok || render == nil {
				t.Fatalf("no such case or format")
			}
			r := New(run)
			if got := strconv.Itoa(r.ExitStatus()); got != part[1] {
				t.Errorf("exit status %s, want %s", got, part[1])
			}
			var got bytes.Buffer
			if err := render(&got, r); err != nil {
				t.Fatal(err)
			}
			if os.Getenv("UPDATE") != "" {
				if err := os.WriteFile(file, got.Bytes(), 0o644); err != nil {
					t.Fatal(err)
				}
				return
			}
			want, err := os.ReadFile(file)
			if err != nil {
				t.Fatal(err)
			}
			if !bytes.Equal(got.Bytes(), want) {
				t.Errorf("differs (UPDATE=1 rewrites it); got:\n%s", got.Bytes())
			}
		})
	}
}

// schema is the published contract.
func schema(t *testing.T) *jsonschema.Schema {
	t.Helper()
	s, err := jsonschema.NewCompiler().Compile("../docs/report.schema.json")
	if err != nil {
		t.Fatal(err)
	}
	return s
}

func TestJSONKeepsItsContract(t *testing.T) {
	s := schema(t)
	for name, run := range cases {
		var b bytes.Buffer
		if err := JSON(&b, New(run)); err != nil {
			t.Fatal(err)
		}
		v, err := jsonschema.UnmarshalJSON(&b)
		if err != nil {
			t.Fatal(err)
		}
		if err := s.Validate(v); err != nil {
			t.Errorf("%s: %v", name, err)
		}
	}
}

// TestExampleInDocs: the page of the contract shows what is really written.
func TestExampleInDocs(t *testing.T) {
	const page, begin, end = "../docs/report.md", "\n```json\n", "\n```\n"
	text, err := os.ReadFile(page)
	if err != nil {
		t.Fatal(err)
	}
	before, rest, ok := strings.Cut(string(text), begin)
	got, after, closed := strings.Cut(rest, end)
	if !ok || !closed {
		t.Fatal("no example in " + page)
	}
	var want bytes.Buffer
	r := New(cases["hosts"])
	r.Targets[0].Clients = r.Targets[0].Clients[:1] // the others look alike
	if err := JSON(&want, r); err != nil {
		t.Fatal(err)
	}
	example := strings.TrimSuffix(want.String(), "\n")
	if os.Getenv("UPDATE") != "" {
		if err := os.WriteFile(page, []byte(before+begin+example+end+after), 0o644); err != nil {
			t.Fatal(err)
		}
	} else if got != example {
		t.Error("the example in " + page + " is stale (UPDATE=1 rewrites it)")
	}
}

// TestDocsNameEveryMember: a member that the page does not explain is no part
// of a contract.
func TestDocsNameEveryMember(t *testing.T) {
	text, err := os.ReadFile("../docs/report.md")
	if err != nil {
		t.Fatal(err)
	}
	prose, _, _ := strings.Cut(string(text), "\n```json\n")
	seen := map[reflect.Type]bool{}
	var walk func(reflect.Type)
	walk = func(typ reflect.Type) {
		for typ.Kind() == reflect.Slice || typ.Kind() == reflect.Pointer {
			typ = typ.Elem()
		}
		if typ.Kind() != reflect.Struct || typ.PkgPath() == "time" || seen[typ] {
			return
		}
		seen[typ] = true
		for i := range typ.NumField() {
			tag, _, _ := strings.Cut(typ.Field(i).Tag.Get("json"), ",")
			if tag == "" {
				continue
			}
			if !strings.Contains(prose, "`"+tag+"`") {
				t.Errorf("docs/report.md does not explain %s of %s", tag, typ.Name())
			}
			walk(typ.Field(i).Type)
		}
	}
	walk(reflect.TypeFor[Report]())
}

// TestSchemaCanFail takes each member away, and adds one, at every place of a
// full report: a schema that let that pass would prove nothing.
func TestSchemaCanFail(t *testing.T) {
	s := schema(t)
	var b bytes.Buffer
	if err := JSON(&b, New(filter())); err != nil {
		t.Fatal(err)
	}
	var doc any
	if err := json.Unmarshal(b.Bytes(), &doc); err != nil {
		t.Fatal(err)
	}
	optional := []string{"since", "started"}
	tried := 0
	var walk func(path string, v any)
	walk = func(path string, v any) {
		switch v := v.(type) {
		case []any:
			for i, e := range v {
				walk(fmt.Sprintf("%s[%d]", path, i), e)
			}
		case map[string]any:
			v["surprise"] = 1
			if s.Validate(doc) == nil {
				t.Errorf("%s: an unknown member passes", path)
			}
			delete(v, "surprise")
			for k, e := range v {
				delete(v, k)
				if s.Validate(doc) == nil && !slices.Contains(optional, k) {
					t.Errorf("%s.%s: may be missing", path, k)
				}
				v[k] = e
				tried++
				walk(path+"."+k, e)
			}
		}
	}
	walk("$", doc)
	if tried < 100 {
		t.Errorf("only %d members tried", tried)
	}
	if err := s.Validate(doc); err != nil {
		t.Error(err)
	}
}

func TestExitStatus(t *testing.T) {
	active := []checks.Cause{{State: checks.Active}}
	latent := []checks.Cause{{State: checks.Latent}}
	for _, c := range []struct {
		d    checks.Diagnosis
		want int
	}{
		{checks.Diagnosis{Verdict: checks.Works}, ExitWorks},
		{checks.Diagnosis{Verdict: checks.Works, Causes: latent}, ExitWorks},
		{checks.Diagnosis{Verdict: checks.Works, Remarks: []checks.Finding{{}}}, ExitWorks},
		{checks.Diagnosis{Verdict: checks.Partly, Causes: active}, ExitFault},
		{checks.Diagnosis{Verdict: checks.Broken, Causes: active}, ExitFault},
		{checks.Diagnosis{Verdict: checks.Partly}, ExitUnknown},
		{checks.Diagnosis{Verdict: checks.Broken}, ExitUnknown},
		{checks.Diagnosis{Verdict: checks.Broken, Causes: latent}, ExitUnknown},
		{checks.Diagnosis{Verdict: checks.Broken, Remarks: []checks.Finding{{}}}, ExitUnknown},
		{checks.Diagnosis{Verdict: checks.Unknown}, ExitUnknown},
		{checks.Diagnosis{Verdict: checks.Unknown, Causes: active}, ExitUnknown},
		{checks.Diagnosis{}, ExitUnknown},
	} {
		if got := New(run(seen(), &c.d)).ExitStatus(); got != c.want {
			t.Errorf("%+v: %d, want %d", c.d, got, c.want)
		}
	}
}

// TestExitStatusOfSeveral tries every pair, in both orders: 4 over 1 over 3
// over 0.
func TestExitStatusOfSeveral(t *testing.T) {
	order := []int{ExitWorks, ExitUnknown, ExitFault, ExitFailed}
	for i, a := range order {
		for j, b := range order {
			want := order[max(i, j)]
			if got := worst([]Target{{status: a}, {status: b}}); got != want {
				t.Errorf("%d and %d: %d, want %d", a, b, got, want)
			}
		}
	}
	if got := New(Run{}).ExitStatus(); got != ExitFailed {
		t.Errorf("no target at all: %d", got)
	}
}

// TestMissingHalves: facts and diagnoses of different number lose nothing.
func TestMissingHalves(t *testing.T) {
	w := works()
	r := New(Run{Facts: w.Facts, Diagnoses: append(w.Diagnoses, w.Diagnoses...)})
	if len(r.Targets) != 2 || r.ExitStatus() != ExitFailed {
		t.Errorf("%d targets, status %d", len(r.Targets), r.ExitStatus())
	}
}

// TestNewLeavesFactsAlone: cleaning the report must not reach through a shared
// slice into what was recorded.
func TestNewLeavesFactsAlone(t *testing.T) {
	h, same := hostile(), hostile()
	h.Facts[0].Host.LookedWith = []string{evil}
	same.Facts[0].Host.LookedWith = []string{evil}
	r := New(h)
	*r.Targets[0].Addresses[0].Accepted = false
	if !reflect.DeepEqual(h, same) {
		t.Error("New changed what it was given")
	}
}

// TestLinesToPasteStayWhole: no width breaks a command.
func TestLinesToPasteStayWhole(t *testing.T) {
	for name, run := range cases {
		r := New(run)
		var b bytes.Buffer
		if err := Text(&b, r, TextOptions{Width: 1}); err != nil {
			t.Fatal(err)
		}
		for _, c := range r.Targets[len(r.Targets)-1].Causes {
			for _, f := range c.Fixes {
				for _, l := range slices.Concat(r.steps(&f), r.undo(&f)) {
					if !strings.Contains(b.String(), l+"\n") {
						t.Errorf("%s: not on one line: %s", name, l)
					}
				}
			}
		}
	}
}

// Free for some and not for others is not simply free.
func TestFreeWithReuseAddrOnly(t *testing.T) {
	for _, test := range []struct {
		plain, network, want string
	}{{"", "tcp", "localhost:62893 is free."}, {"EADDRINUSE", "tcp", "localhost:62893 is free for a server that sets SO_REUSEADDR."}, {"EADDRINUSE", "udp", "localhost:62893/udp is free."}} {
		f := seen()
		f.Target.Intent, f.Target.Network = facts.ToBind, test.network
		f.Binds = []facts.Bind{{Addr: v4, As: 1000, ReuseAddr: true}, {Addr: v4, As: 1000, Errno: test.plain}}
		if got := New(run(f, &checks.Diagnosis{Verdict: checks.Works})).Targets[0].Summary; got != test.want {
			t.Errorf("got %q, want %q", got, test.want)
		}
	}
}

// With sudo two ask: that root can take port 80 does not help the user.
func TestWhoCanTakeThePort(t *testing.T) {
	f := seen()
	f.Target.Intent = facts.ToBind
	f.Host.As = []facts.Identity{{UID: 1000, User: "ann"}, {User: "root"}}
	f.Binds = []facts.Bind{{Addr: v4, As: 1000, ReuseAddr: true, Errno: "EACCES"}, {Addr: v4, ReuseAddr: true}}
	const want = "localhost:62893: a server of root can take it, one of ann cannot."
	if got := New(run(f, &checks.Diagnosis{Verdict: checks.Partly})).Targets[0].Summary; got != want {
		t.Errorf("got %q, want %q", got, want)
	}
}
