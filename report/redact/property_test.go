package redact

import (
	"bytes"
	"encoding/json"
	"flag"
	"fmt"
	"net/netip"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/loopdoctor/loopdoctor/checks"
	"github.com/loopdoctor/loopdoctor/checks/facts"
	"github.com/loopdoctor/loopdoctor/report"
)

const replays = root + "/cmd/loopdoctor/testdata/replay"

// recordings are those of every scenario of the lab.
func recordings(t testing.TB) []string {
	t.Helper()
	files, err := filepath.Glob(filepath.Join(replays, "*.json"))
	if err != nil || len(files) < 1000 {
		t.Fatalf("%d recordings (%v): the property would hold for nothing", len(files), err)
	}
	if testing.Short() { // the race detector runs with it
		few := files[:0]
		for i := 0; i < len(files); i += 20 {
			few = append(few, files[i])
		}
		return few
	}
	return files
}

func parse(t testing.TB, data []byte) *facts.Recording {
	t.Helper()
	var r facts.Recording
	if err := json.Unmarshal(data, &r); err != nil {
		t.Fatal(err)
	}
	return &r
}

func slurp(t testing.TB, file string) []byte {
	t.Helper()
	data, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	return data
}

func read(t testing.TB, file string) *facts.Recording { return parse(t, slurp(t, file)) }

// thorough sows every recording, not each sixth.
var thorough = flag.Bool("thorough", false, "sow every recording")

func write(t testing.TB, r *facts.Recording) string {
	t.Helper()
	data, err := json.Marshal(r)
	if err != nil {
		t.Fatal(err)
	}
	return string(data)
}

// judgement is what has to be the same: everything but the texts.
func judgement(r *facts.Recording, to func(netip.Addr) netip.Addr) string {
	var b strings.Builder
	addrs := func(as []netip.Addr) string {
		var out []string
		for _, a := range as {
			out = append(out, to(a).String())
		}
		slices.Sort(out)
		return strings.Join(out, ",")
	}
	finding := func(kind string, x checks.Finding) {
		steps, files := 0, 0
		for _, f := range x.Fixes {
			steps += len(f.Steps) + len(f.Undo)
			files += len(f.Files)
		}
		fmt.Fprintf(&b, "%s %s %v [%s] evidence %d fixes %d steps %d files %d\n", kind, x.Check.Name, x.Certainty, addrs(x.Affects), len(x.Evidence), len(x.Fixes), steps, files)
	}
	run := report.Run{}
	for _, f := range r.Facts {
		d := checks.Diagnose(f)
		run.Facts, run.Diagnoses = append(run.Facts, f), append(run.Diagnoses, d)
		fmt.Fprintln(&b, d.Verdict)
		for _, s := range d.Symptoms {
			finding("symptom", s.Finding)
			fmt.Fprintln(&b, "  by", s.ExplainedBy)
		}
		for _, c := range d.Causes {
			finding("cause", c.Finding)
			fmt.Fprintln(&b, " ", c.State, c.Candidates)
			for _, q := range c.Consequences {
				fmt.Fprintln(&b, "  then", q.Name, addrs(q.Affects))
			}
		}
		for _, x := range d.Remarks {
			finding("remark", x)
		}
		for _, n := range d.NotChecked {
			fmt.Fprintln(&b, "not checked", n.Name, n.Remedy)
		}
		fmt.Fprintln(&b, "passed", d.Passed)
	}
	fmt.Fprintln(&b, "exit", report.New(run).ExitStatus())
	return b.String()
}

func same(a netip.Addr) netip.Addr { return a }

// reports lays a recording out in every format.
func reports(t testing.TB, r *facts.Recording) map[string][]byte {
	t.Helper()
	run := report.Run{Version: "devel"}
	for _, f := range r.Facts {
		run.Facts, run.Diagnoses = append(run.Facts, f), append(run.Diagnoses, checks.Diagnose(f))
	}
	rep := report.New(run)
	out := map[string][]byte{"facts.json": []byte(write(t, r))}
	var text, md, html, js bytes.Buffer
	for err := range slices.Values([]error{report.Text(&text, rep, report.TextOptions{Verbose: true}), report.Markdown(&md, rep), report.HTML(&html, rep), report.JSON(&js, rep)}) {
		if err != nil {
			t.Fatal(err)
		}
	}
	out["report.txt"], out["report.md"], out["report.html"], out["report.json"] = text.Bytes(), md.Bytes(), html.Bytes(), js.Bytes()
	return out
}

// holds checks the property for one recording.
func holds(t *testing.T, r *facts.Recording, words ...string) (*facts.Recording, *Key) {
	t.Helper()
	before := write(t, r)
	to, key := Redact(r, words...)
	after := write(t, to)
	if write(t, r) != before {
		t.Fatal("the recording itself was changed")
	}
	if len(before)%4 == 0 || *thorough { // of each fourth
		if again, _ := Redact(r, words...); write(t, again) != after {
			t.Fatal("another run gave something else")
		}
	}
	twice, more := Redact(to)
	if got := write(t, twice); got != after {
		t.Errorf("what was redacted does not stay as it is: %v\n%s", more.Entries, diff(after, got))
	}
	addr := map[netip.Addr]netip.Addr{}
	for _, e := range key.Of(Address) {
		if a, err := netip.ParseAddr(e.Original); err == nil {
			addr[a] = netip.MustParseAddr(e.Pseudonym)
		}
	}
	mapped := func(a netip.Addr) netip.Addr {
		if to, ok := addr[a.WithZone("")]; ok {
			return to.WithZone(a.Zone())
		}
		return a
	}
	if was, is := judgement(r, mapped), judgement(to, same); was != is {
		t.Errorf("the diagnosis changed:\n%s%v", diff(was, is), key.Entries)
	}
	for name, data := range reports(t, to) {
		for _, l := range key.Leaks(name, data) {
			from := max(l.Offset-60, 0)
			t.Errorf("%s:%d: %v (%v) still stands there: …%s…", name, l.Line, l.Kind, l.Entry, data[from:min(l.Offset+60, len(data))])
		}
	}
	return to, key
}

// diff shows the first lines that are not the same.
func diff(was, is string) string {
	a, b := strings.Split(strings.ReplaceAll(was, `,"`, "\n\""), "\n"), strings.Split(strings.ReplaceAll(is, `,"`, "\n\""), "\n")
	var out strings.Builder
	for i := range max(len(a), len(b)) {
		x, y := "", ""
		if i < len(a) {
			x = a[i]
		}
		if i < len(b) {
			y = b[i]
		}
		if x != y {
			fmt.Fprintf(&out, "- %.300s\n+ %.300s\n", x, y)
			if out.Len() > 2000 {
				break
			}
		}
	}
	return out.String()
}

// TestEveryScenarioKeepsItsDiagnosis is the promise of the package, for what was
// recorded on real machines.
func TestEveryScenarioKeepsItsDiagnosis(t *testing.T) {
	for _, file := range recordings(t) {
		t.Run(strings.TrimSuffix(filepath.Base(file), ".json"), func(t *testing.T) {
			t.Parallel()
			holds(t, read(t, file))
		})
	}
}

// TestMaskedWordsKeepTheDiagnosis: also if they are the names of containers and folders.
func TestMaskedWordsKeepTheDiagnosis(t *testing.T) {
	for i, file := range recordings(t) {
		if i%8 != 0 && !*thorough {
			continue
		}
		t.Run(strings.TrimSuffix(filepath.Base(file), ".json"), func(t *testing.T) {
			t.Parallel()
			holds(t, read(t, file), "shop", "lab", "far")
		})
	}
}
