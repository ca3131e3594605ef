package main

import (
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"reflect"
	"slices"
	"strings"
	"testing"

	"github.com/loopdoctor/loopdoctor/checks/facts"
	"github.com/loopdoctor/loopdoctor/report"
)

// The HTML report in a real browser: what people see has to be what the JSON report says.

// reported are recorded reports of every kind: each stage, works, partly, latent, inferred,
// candidates, remarks, bind, answers, a client that was run, containers.
var reported = []string{
	"hosts-localhost-missing.root", "dead-local-proxy.url.root", "lo-down.fresh.root", "policy-rule-before-local.mark.root",
	"conntrack-full.root", "nat-hijacks-loopback.iptables.root", "tc-or-xdp-drops-on-lo.workstation-ruleset.root",
	"filter-drops-loopback.root", "filter-rejects-loopback.root", "filter-one-family-only.address.root", "filter-drops-loopback.stopped-behind.root",
	"filter-drops-loopback.user", "no-listener.udp.root", "v6-first-v4-only-server.root", "bound-not-listening.bare-port.root",
	"filter-drops-replies.ct-direction.root", "accept-queue-full.run.root", "process-stopped-or-debugged.two-users.root",
	"application-error.root", "untrusted-localhost-cert.root", "hsts-or-https-upgrade.root", "container-binds-loopback.root", "v6only-wildcard.nginx.root",
	"browser-local-network-access.root", "port-held-by-other-app.root", "port-held-by-other-app.v6-alone.root", "ipv6-address-not-ready.root",
	"healthy-free-port.root", "healthy-dual-stack.root", "no-listener.wsl.root", "filter-rejects-loopback.busy-loopback.root",
}

// seenPage is what page.js reads from a page.
type seenPage struct {
	Title, Lang, Facts string
	Landmarks          []string
	Headings           []int
	SameIDs, DeadLinks []string
	Foreign            []string
	Scripts            int
	Marks              [][]any
	Ladders            []struct {
		Title, Desc, AsText string
		Arrows, Lost        int
	}
	Targets []seenTarget
}

type seenTarget struct {
	H1    []string
	Lanes []struct {
		Name   string
		Broken []string
	}
	Stations  [][2]string
	Causes    []seenCause
	Unchecked string
}

type seenCause struct {
	Name, Title string
	Rows        [][2]string
	Settle      [][]string
	Fixes       []struct {
		Title    string
		Code     []string // of the title
		Terms    [][2]string
		Commands [][]string
	}
}

func TestReportInBrowser(t *testing.T) {
	if testing.Short() {
		t.Skip("a browser for each kind of report takes its time")
	}
	c := newChromium(t)
	t.Run("pages", func(t *testing.T) {
		for _, name := range reported {
			t.Run(name, func(t *testing.T) {
				t.Parallel()
				c.reportIsRight(t, filepath.Join(replayDir, name+".json"))
			})
		}
		t.Run("several targets", func(t *testing.T) {
			t.Parallel()
			c.reportIsRight(t, joined(t, "filter-drops-loopback.root", "healthy-dual-stack.root", "port-held-by-other-app.root"))
		})
		t.Run("loopback", func(t *testing.T) { // nothing is recorded of it: it is about this machine
			t.Parallel()
			file := filepath.Join(t.TempDir(), "facts.json")
			if exit, _, stderr := do("", "--record", file, "--format", "json"); exit > 3 {
				t.Fatal(stderr)
			}
			c.reportIsRight(t, file)
		})
		for _, evil := range []string{`</script><img src=x onerror=alert(1)>`, `"'><svg onload=alert(1)><a href="javascript:alert(1)">x</a>`, "`</code><img src=x onerror=alert(1)>` ``x` `", "</title></style><script>alert(1)</script><!-- ",
			"\u202e{{.}}\u2066\x1b[31m\u200b", strings.Repeat("w", 10000)} {
			t.Run("hostile "+evil[:min(len(evil), 12)], func(t *testing.T) {
				t.Parallel()
				c.staysText(t, evil)
			})
		}
	})
	t.Run("copies", func(t *testing.T) { // one after the other: there is one clipboard
		for _, name := range []string{"filter-drops-loopback.root", "hosts-localhost-missing.root", "process-stopped-or-debugged.two-users.root"} {
			c.copies(t, filepath.Join(replayDir, name+".json"))
		}
	})
	t.Run("golden", func(t *testing.T) {
		data, err := os.ReadFile("../../report/testdata/hostile.1.html")
		if err != nil {
			t.Fatal(err)
		}
		b := c.open(t, string(data))
		b.wellMade(b.read())
		b.fits()
	})
}

// replayed is a recording as the HTML page and as the report.
func replayed(t *testing.T, file string) (page string, r *report.Report) {
	t.Helper()
	exit, page, stderr := do("", "--replay", file, "--format", "html")
	if stderr != "" {
		t.Fatalf("exit status %d: %s", exit, stderr)
	}
	_, out, _ := do("", "--replay", file, "--format", "json")
	r, err := report.Parse([]byte(out))
	if err != nil {
		t.Fatal(err)
	}
	return page, r
}

// read installs page.js and reads the page.
func (b *tab) read() seenPage {
	b.t.Helper()
	b.install()
	return eval[seenPage](b, "see.page()")
}

func (b *tab) install() {
	b.t.Helper()
	js, err := os.ReadFile("testdata/page.js")
	if err != nil {
		b.t.Fatal(err)
	}
	eval[bool](b, "globalThis.see = "+string(js)+", true")
}

func (c *chromium) reportIsRight(t *testing.T, file string) {
	page, r := replayed(t, file)
	b := c.open(t, page)
	got := b.read()
	b.wellMade(got)
	b.fits()
	if len(got.Targets) != len(r.Targets) {
		t.Fatalf("%d targets, want %d", len(got.Targets), len(r.Targets))
	}
	for i := range r.Targets {
		says(t, got.Targets[i], &r.Targets[i])
	}
	if !strings.Contains(got.Facts, `"target"`) {
		t.Error("the facts are not on the page")
	}
	if !eval[bool](b, "see.toggles()") {
		t.Error("something does not open and close")
	}
	key := got.Targets[0].Stations[1][0]
	if !eval[bool](b, "see.fold(), see.follow("+quoted(key)+")") {
		t.Errorf("the link to the station %s does not open it", key)
	}
}

func quoted(s string) string {
	js, _ := json.Marshal(s)
	return string(js)
}

// says compares a target's part of the page with the report.
func says(t *testing.T, got seenTarget, want *report.Target) {
	t.Helper()
	if !slices.Equal(got.H1, []string{want.Summary}) {
		t.Errorf("h1 %q, want %q", got.H1, want.Summary)
	}
	active := slices.IndexFunc(want.Causes, func(c report.Cause) bool { return c.State == "active" })
	broken := 0
	for _, l := range got.Lanes {
		broken += len(l.Broken)
		address, _, _ := strings.Cut(l.Name, " ")
		if len(l.Broken) > 1 {
			t.Errorf("%s is broken at %v", l.Name, l.Broken)
		}
		if active < 0 || len(l.Broken) == 0 {
			continue
		}
		first := slices.IndexFunc(want.Causes, func(c report.Cause) bool {
			return c.State == "active" && (slices.Contains(c.Affects, address) || want.Intent == facts.ToBind)
		})
		if first < 0 {
			t.Errorf("%s is broken at %v, and no cause is about it", l.Name, l.Broken)
		} else if key := stationOf(want, &want.Causes[first], address); l.Broken[0] != key {
			t.Errorf("%s is broken at %v, and %s is about %s", l.Name, l.Broken, want.Causes[first].Name, key)
		}
	}
	if (len(want.Symptoms) > 0) != (broken > 0) {
		t.Errorf("%d symptoms, and %d broken stations", len(want.Symptoms), broken)
	}
	all := slices.Concat(want.Causes, want.Remarks)
	if len(got.Causes) != len(all) {
		t.Fatalf("%d cards, want %d", len(got.Causes), len(all))
	}
	for i, c := range all {
		g := got.Causes[i]
		if g.Name != c.Name || !strings.Contains(g.Title, strings.Join(strings.Fields(c.Summary), " ")) {
			t.Errorf("card %d is %s: %s", i, g.Name, g.Title)
		}
		for j, e := range c.Evidence {
			if j >= len(g.Rows) || g.Rows[j] != [2]string{e.Source, e.Text} {
				t.Errorf("%s: the evidence is %q, want %+v", c.Name, g.Rows, c.Evidence)
				break
			}
		}
		if len(c.Candidates) > 0 && !strings.Contains(fmt.Sprint(g.Rows), c.Candidates[0]) {
			t.Errorf("%s: the candidates are not there", c.Name)
		}
		if c.WouldSettle != "" && !reflect.DeepEqual(g.Settle, [][]string{{c.WouldSettle}}) {
			t.Errorf("%s: would settle %q, want %q", c.Name, g.Settle, c.WouldSettle)
		}
		if len(g.Fixes) != len(c.Fixes) {
			t.Errorf("%s: %d fixes, want %d", c.Name, len(g.Fixes), len(c.Fixes))
			continue
		}
		for j := range c.Fixes {
			f := &c.Fixes[j]
			if !strings.Contains(g.Fixes[j].Title, strings.TrimSuffix(strings.Join(strings.Fields(f.Do), " "), ".")) {
				t.Errorf("%s: the fix is %q, want %q", c.Name, g.Fixes[j].Title, f.Do)
			}
			if want := f.Do; strings.Count(want, "`") != 2*len(g.Fixes[j].Code) && !strings.Contains(want, "</code>") {
				t.Errorf("%s: the code of %q is %q", c.Name, want, g.Fixes[j].Code)
			}
			if want := typed(f); !reflect.DeepEqual(g.Fixes[j].Commands, want) {
				t.Errorf("%s: the commands are %q, want %q", c.Name, g.Fixes[j].Commands, want)
			}
			for _, term := range []string{f.Risk, f.Interrupts} {
				if term != "" && !slices.ContainsFunc(g.Fixes[j].Terms, func(r [2]string) bool { return r[1] == term }) {
					t.Errorf("%s: %q is not said before the commands", c.Name, term)
				}
			}
		}
	}
	for _, n := range want.NotChecked {
		if !strings.Contains(got.Unchecked, n.Name) || !strings.Contains(got.Unchecked, strings.Join(strings.Fields(n.Remedy), " ")) {
			t.Errorf("%s is not among what was not checked: %s", n.Name, got.Unchecked)
		}
	}
}

// typed is the steps of a fix, and its undo, as they are typed into a shell.
func typed(f *report.Fix) [][]string {
	line := func(v []string) string {
		if f.Elevated {
			v = append([]string{"sudo"}, v...)
		}
		return report.Command(v)
	}
	var steps, undo []string
	for _, v := range f.Steps {
		steps = append(steps, line(v))
	}
	if f.Paste != "" {
		steps = append(steps, f.Paste)
	}
	for _, x := range f.Files {
		words := append([]string{"printf", `%s\n`}, strings.Split(strings.TrimSuffix(x.Append, "\n"), "\n")...)
		steps = append(steps, report.Command(words)+" | sudo tee -a "+report.Command([]string{x.Path}))
	}
	for _, v := range f.Undo {
		undo = append(undo, line(v))
	}
	out := [][]string{}
	for _, ls := range [][]string{steps, undo} {
		if len(ls) > 0 {
			out = append(out, ls)
		}
	}
	return out
}

// stationOf is where a cause has to be marked.
func stationOf(t *report.Target, c *report.Cause, address string) string {
	if t.Intent != facts.ToBind {
		key := map[string]string{"resolve": "resolver", "route": "route", "output": "output", "wire": "lo", "input": "input", "listen": "listener",
			"reply": "back", "accept": "process", "answer": "answer"}[c.Stage]
		return key
	}
	for _, b := range t.Binds {
		if b.Errno != "" && b.ReuseAddr && strings.Contains(address, b.Address) {
			return map[string]string{"EADDRNOTAVAIL": "address", "EAFNOSUPPORT": "address", "EACCES": "permission", "EADDRINUSE": "port"}[b.Errno]
		}
	}
	return ""
}

// wellMade holds for every page, whatever it says.
func (b *tab) wellMade(got seenPage) {
	t := b.t
	t.Helper()
	for what, bad := range map[string][]string{"the page did": b.misdeeds(), "an element that is none of ours": got.Foreign, "the same id twice": got.SameIDs, "a link to nowhere": got.DeadLinks} {
		if len(bad) > 0 {
			t.Errorf("%s: %q", what, bad)
		}
	}
	if got.Lang != "en" || len(got.Landmarks) != 3 || got.Scripts != 1 || got.Title == "" {
		t.Errorf("lang %q, landmarks %v, %d scripts, title %q", got.Lang, got.Landmarks, got.Scripts, got.Title)
	}
	for i, level := range got.Headings {
		if i == 0 && level != 1 || i > 0 && level > got.Headings[i-1]+1 {
			t.Errorf("headings %v leave a level out", got.Headings)
			break
		}
	}
	for _, m := range got.Marks {
		if m[0] == "" || m[1] == "" || m[2] != true {
			t.Errorf("a mark without class, words or shape: %v", m)
		}
	}
	for _, l := range got.Ladders {
		if l.Title == "" || l.Desc == "" || l.AsText == "" || l.Arrows == 0 {
			t.Errorf("a ladder without words or arrows: %+v", l)
		}
		if l.Lost != strings.Count(l.AsText, "never arrived") {
			t.Errorf("%d lost packets are drawn: %s", l.Lost, l.AsText)
		}
	}
}

// fits looks at the page on a phone, a tablet and a large screen, in both schemes, and on paper.
func (b *tab) fits() {
	b.t.Helper()
	eval[any](b, "see.unfold()")
	for _, width := range []int64{375, 800, 1600} {
		b.look(width, 900, "light", "screen")
		if wide := eval[[]string](b, "see.wide()"); len(wide) > 0 {
			b.t.Errorf("wider than %d: %q", width, wide)
		}
		if width == 800 {
			continue
		}
		for _, scheme := range []string{"light", "dark"} {
			b.look(width, 900, scheme, "screen")
			if faint := eval[[]string](b, "see.faint()"); len(faint) > 0 {
				b.t.Errorf("faint when %s and %d wide: %q", scheme, width, faint)
			}
		}
		if hidden := eval[int](b, "document.querySelectorAll('button.copy').length - see.shown('button.copy')"); hidden != 0 {
			b.t.Errorf("%d buttons are not shown", hidden)
		}
	}
	eval[any](b, "see.fold()")
	b.look(718, 1047, "dark", "print") // A4 within the browser's margins; who prints in the dark prints on white
	if hidden := eval[[]string](b, "see.hidden()"); len(hidden) > 0 {
		b.t.Errorf("not on paper: %q", hidden)
	}
	if n := eval[int](b, "see.shown('button, .facts pre, .fine')"); n > 0 {
		b.t.Errorf("%d buttons, facts or lists that stand elsewhere on paper", n)
	}
	if n := eval[int](b, "document.querySelectorAll('.grid thead').length - see.shown('.grid thead')"); n != 0 {
		b.t.Errorf("%d tables are no tables on paper", n)
	}
	for what, bad := range map[string][]string{"faint on paper": eval[[]string](b, "see.faint()"), "wider than paper": eval[[]string](b, "see.wide()")} {
		if len(bad) > 0 {
			b.t.Errorf("%s: %q", what, bad)
		}
	}
	if back := eval[string](b, "getComputedStyle(document.body).backgroundColor"); back != "rgb(255, 255, 255)" {
		b.t.Errorf("the paper is %s", back)
	}
}

// TestBrowserSees shows pages that are wrong: who saw nothing there would see nothing in ours.
func TestBrowserSees(t *testing.T) {
	c := newChromium(t)
	const policy = `<!doctype html><html lang="en"><meta http-equiv="Content-Security-Policy" content="default-src 'none'; style-src 'unsafe-inline'">`
	b := c.open(t, policy+`<style>body{background:#fff}p{color:#999}div{width:700px}</style><p>faint</p><div>wide</div><details><summary>more</summary><p>folded</p></details>
<img src="file:///nowhere" onerror="alert(1)"><script>alert(2)</script>`)
	b.look(375, 900, "light", "screen")
	b.install()
	bad := strings.Join(b.misdeeds(), "\n")
	for _, want := range []string{"img-src", "script-src"} {
		if !strings.Contains(bad, want) {
			t.Errorf("a violation of %s went unseen: %s", want, bad)
		}
	}
	for _, js := range []string{"see.wide()", "see.faint()", "see.hidden()", "see.page().foreign"} {
		if len(eval[[]string](b, js)) == 0 {
			t.Errorf("%s sees nothing", js)
		}
	}
	b = c.open(t, `<!doctype html><title>x</title><script>console.error("x"); fetch("http://127.0.0.1:9/"); missing()</script>`)
	bad = strings.Join(b.misdeeds(), "\n")
	for _, want := range []string{"console.error", "a request: http://127.0.0.1:9/", "an exception"} {
		if !strings.Contains(bad, want) {
			t.Errorf("%s went unseen: %s", want, bad)
		}
	}
}

// copies presses each button and reads the clipboard.
func (c *chromium) copies(t *testing.T, file string) {
	t.Helper()
	page, r := replayed(t, file)
	if strings.Count(page, `class="copy" hidden`) != strings.Count(page, `class="copy"`) {
		t.Error("without a script a button would be there for nothing")
	}
	var want []string
	for _, x := range slices.Concat(r.Targets[0].Causes, r.Targets[0].Remarks) {
		if x.WouldSettle != "" {
			want = append(want, x.WouldSettle)
		}
		for i := range x.Fixes {
			for _, lines := range typed(&x.Fixes[i]) {
				want = append(want, strings.Join(lines, "\n"))
			}
		}
	}
	b := c.open(t, page)
	b.read()
	b.clipboard()
	eval[any](b, "see.unfold()")
	got := eval[[][2]string](b, "see.copied()")
	if len(want) == 0 || len(got) != len(want) {
		t.Fatalf("%d buttons, want %d", len(got), len(want))
	}
	for i := range want {
		if got[i] != [2]string{want[i], "Copied"} {
			t.Errorf("button %d gives %q, want %q", i, got[i], want[i])
		}
	}
	if bad := b.misdeeds(); len(bad) > 0 {
		t.Errorf("the page did %q", bad)
	}
}

// joined is one recording of several.
func joined(t *testing.T, names ...string) string {
	t.Helper()
	var all map[string]any
	for _, name := range names {
		data, err := os.ReadFile(filepath.Join(replayDir, name+".json"))
		if err != nil {
			t.Fatal(err)
		}
		var one map[string]any
		if err := json.Unmarshal(data, &one); err != nil {
			t.Fatal(err)
		}
		if all == nil {
			all = one
		} else {
			all["facts"] = append(all["facts"].([]any), one["facts"].([]any)...)
		}
	}
	return saved(t, all)
}

func saved(t *testing.T, v any) string {
	t.Helper()
	data, err := json.Marshal(v)
	if err != nil {
		t.Fatal(err)
	}
	file := filepath.Join(t.TempDir(), "facts.json")
	if err := os.WriteFile(file, data, 0o600); err != nil {
		t.Fatal(err)
	}
	return file
}

// staysText puts a string wherever a machine may put one of its own.
func (c *chromium) staysText(t *testing.T, evil string) {
	data, err := os.ReadFile(filepath.Join(replayDir, "filter-drops-loopback.stopped-behind.root.json"))
	if err != nil {
		t.Fatal(err)
	}
	var v any
	if err := json.Unmarshal(data, &v); err != nil {
		t.Fatal(err)
	}
	n := 0
	var infect func(v any)
	infect = func(v any) {
		switch v := v.(type) {
		case []any:
			for _, e := range v {
				infect(e)
			}
		case map[string]any:
			for k, e := range v {
				if _, ok := e.(string); ok && slices.Contains([]string{"name", "exe", "user", "kernel", "arch", "text", "comment", "cwd", "unit", "container", "qdisc", "flags", "icmp", "program", "command"}, k) {
					v[k] = evil
					n++
				}
				infect(e)
			}
		}
	}
	infect(v)
	if n < 10 {
		t.Fatalf("only %d strings", n)
	}
	page, r := replayed(t, saved(t, v))
	b := c.open(t, page)
	got := b.read()
	b.wellMade(got)
	b.fits()
	says(t, got.Targets[0], &r.Targets[0])
	if want := strings.Join(strings.Fields(report.Clean(evil)), " "); !eval[bool](b, "see.unfold(), see.says("+quoted(want)+")") {
		t.Errorf("%.80q is not to be read as text", want)
	}
}
