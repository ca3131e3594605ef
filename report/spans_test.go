package report

import (
	"bytes"
	"regexp"
	"strings"
	"testing"
)

// sentences with backticks, ours and others, and what they become; [] is code.
var sentences = []struct{ in, spans, html, markdown string }{
	{"Restart it.", "Restart it.", "Restart it.", "Restart it."},
	{"", "", "", ""},
	{"See `ss -tln`.", "See [ss -tln].", "See <code>ss -tln</code>.", "See `ss -tln`."},
	{"`a` or `b`, then (`c d`): `e`; `f`", "[a] or [b], then ([c d]): [e]; [f]",
		"<code>a</code> or <code>b</code>, then (<code>c d</code>): <code>e</code>; <code>f</code>", "`a` or `b`, then (`c d`): `e`; `f`"},
	{"In f, line 2 (`a \"*\" <b>`), write instead `_@x#`.", `In f, line 2 ([a "*" <b>]), write instead [_@x#].`,
		"In f, line 2 (<code>a &#34;*&#34; &lt;b&gt;</code>), write instead <code>_@x#</code>.", "In f, line 2 (&#96;a \"&#42;\" &lt;b&gt;&#96;), write instead `_@x#`."},
	{"Run `a | b`.", "Run [a | b].", "Run <code>a | b</code>.", "Run &#96;a &#124; b&#96;."},
	{`Run 'a\' as ` + "`x\\`.", `Run 'a\' as [x\].`, `Run &#39;a\&#39; as <code>x\</code>.`, "Run 'a&#92;' as &#96;x&#92;&#96;."},
	// No pair of ours.
	{"Let sh`id` go on.", "Let sh`id` go on.", "Let sh`id` go on.", "Let sh&#96;id&#96; go on."},
	{"Let ` go on.", "Let ` go on.", "Let ` go on.", "Let &#96; go on."},
	{"Let `x go on.", "Let `x go on.", "Let `x go on.", "Let &#96;x go on."},
	{"Let `` and ``` and ` x ` go on: `", "Let `` and ``` and ` x ` go on: `", "Let `` and ``` and ` x ` go on: `", "Let &#96;&#96; and &#96;&#96;&#96; and &#96; x &#96; go on: &#96;"},
	{"Let `<b> go on, and see `ss`.", "Let `<b> go on, and see [ss].", "Let `&lt;b&gt; go on, and see <code>ss</code>.", "Let &#96;&lt;b&gt; go on, and see `ss`."},
	// A pair that looks as ours do, of a machine's word: code, and no more than that.
	{"Let `</code><script>` go on.", "Let [</code><script>] go on.", "Let <code>&lt;/code&gt;&lt;script&gt;</code> go on.", "Let &#96;&lt;/code&gt;&lt;script&gt;&#96; go on."},
	{"Let @ `[x](y)` #1 go on.", "Let @ [[x](y)] #1 go on.", "Let @ <code>[x](y)</code> #1 go on.", "Let `@` `[x](y)` `#`1 go on."},
}

func TestSpans(t *testing.T) {
	for _, c := range sentences {
		var got, all strings.Builder
		for _, s := range spans(c.in) {
			if s.Code {
				got.WriteString("[" + s.Text + "]")
				all.WriteString("`" + s.Text + "`")
			} else {
				got.WriteString(s.Text)
				all.WriteString(s.Text)
			}
		}
		if got.String() != c.spans || all.String() != c.in {
			t.Errorf("%q: %q, want %q", c.in, got.String(), c.spans)
		}
	}
}

// Where the page and the issue say what to do, commands are code. In what was seen a
// backtick is the machine's.
func TestCodeInFixes(t *testing.T) {
	title := regexp.MustCompile(`<div class="fix"><h3><b>Fix</b> (.*?)</h3>`)
	risk := regexp.MustCompile(`<dt>risk</dt><dd>(.*?)</dd>`)
	for _, c := range sentences {
		if c.in == "" || strings.HasSuffix(c.in, "`") { // a heading ends with a full stop
			continue
		}
		r := New(works())
		in := strings.TrimSuffix(c.in, ".") + "."
		r.Targets[0].Causes = []Cause{{Name: "x", State: "active", Summary: "Run `ls`", Evidence: []Evidence{{"`a`", "it ran `id`"}}, Fixes: []Fix{{Do: in, Risk: c.in}}}}
		out := rendered(t, r)
		for want, found := range map[string][]string{c.html: risk.FindStringSubmatch(out), c.html + " ": append(title.FindStringSubmatch(out), "")} {
			if len(found) < 2 || found[1] != strings.TrimSpace(want) {
				t.Errorf("%q: %q, want %q", c.in, found, want)
			}
		}
		if lede := `<p class="lede do"><b>What to do:</b> ` + c.html + "</p>"; !strings.Contains(out, lede) {
			t.Errorf("%q: the page does not begin with %q", c.in, lede)
		}
		var b bytes.Buffer
		if err := Markdown(&b, r); err != nil {
			t.Fatal(err)
		}
		for page, wants := range map[string][]string{
			out:        {"<dt>`a`</dt><dd>it ran `id`</dd>", "Run `ls`</h2>"},
			b.String(): {"**Fix.** " + c.markdown + "\n", "| risk | " + c.markdown + " |", "| &#96;a&#96; | it ran &#96;id&#96; |", "### Cause: Run &#96;ls&#96;\n"},
		} {
			for _, want := range wants {
				if !strings.Contains(page, want) {
					t.Errorf("%q: no %q in %.3000s", c.in, want, page)
				}
			}
		}
	}
}
