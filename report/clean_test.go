package report

import (
	"bytes"
	"fmt"
	"os/exec"
	"regexp"
	"slices"
	"strings"
	"testing"
	"unicode"
	"unicode/utf8"
)

func TestClean(t *testing.T) {
	for in, want := range map[string]string{
		"":                          "",
		"nginx: größe 日本":           "nginx: größe 日本",
		"a\x1b[31mb":                "a[31mb",
		"a\u009b31mb\x9b":           "a31mb",
		"a\nb\tc\u2028d\u0085e":     "a b c d e",
		"\u202eexe.\u2066txt\u200b": "exe.txt",
		"a\xff\xfeb\ufeff\x00\x7f":  "ab",
		"\ufffd":                    "\ufffd",
	} {
		if got := Clean(in); got != want {
			t.Errorf("Clean(%q) = %q, want %q", in, got, want)
		}
	}
}

func FuzzClean(f *testing.F) {
	f.Add(evil)
	f.Add("\xe2\x80")
	f.Add("127.0.0.1 localhost\n")
	f.Fuzz(func(t *testing.T, s string) {
		for _, lines := range []bool{false, true} {
			got := clean(s, lines)
			if bad := unsafe(got, lines); bad != "" {
				t.Errorf("%q holds %s", got, bad)
			}
			if clean(got, lines) != got {
				t.Errorf("%q is not clean of itself", got)
			}
		}
	})
}

// unsafe names the first thing in s that must not reach a terminal.
func unsafe(s string, lines bool) string {
	if !utf8.ValidString(s) {
		return "invalid UTF-8"
	}
	for _, r := range s {
		if (unicode.IsControl(r) || unicode.In(r, unicode.Cf, unicode.Zl, unicode.Zp)) && !(lines && (r == '\n' || r == '\t')) {
			return fmt.Sprintf("%U", r)
		}
	}
	return ""
}

// TestHostile renders strings that try to get out, in every format.
func TestHostile(t *testing.T) {
	for name, render := range formats {
		var b bytes.Buffer
		if err := render(&b, New(hostile())); err != nil {
			t.Fatal(err)
		}
		out := b.String()
		if name == "color" {
			out = regexp.MustCompile("\x1b\\[[0-9]+m").ReplaceAllString(out, "")
		}
		if bad := unsafe(out, true); bad != "" {
			t.Errorf("%s: %q", name, bad)
		}
		if name != "json" && strings.Contains(out, "\n## owned") {
			t.Errorf("%s: a line break got through", name)
		}
	}
}

func TestHostileHTML(t *testing.T) {
	var b bytes.Buffer
	if err := HTML(&b, New(hostile())); err != nil {
		t.Fatal(err)
	}
	// One script is ours; what a browser makes of the page is tested in cmd/loopdoctor.
	if strings.Count(b.String(), "<script") != 1 || strings.Contains(b.String(), "<script>alert") || strings.Contains(b.String(), "` <b>") {
		t.Error("markup got through")
	}
}

// TestHostileMarkdown reads the page as a tracker would: outside of fences and
// of our own code spans nothing may be markup, a link or a mention.
func TestHostileMarkdown(t *testing.T) {
	var b bytes.Buffer
	if err := Markdown(&b, New(hostile())); err != nil {
		t.Fatal(err)
	}
	fence := ""
	cells := 0
	for l := range strings.Lines(b.String()) {
		l = strings.TrimSuffix(l, "\n")
		switch run := l[:len(l)-len(strings.TrimLeft(l, "`"))]; {
		case fence == "" && len(run) >= 3:
			fence = run
			continue
		case fence != "" && l == fence:
			fence = ""
			continue
		case fence != "":
			if len(run) >= len(fence) {
				t.Errorf("fence closed early: %s", l)
			}
			continue
		}
		l = strings.NewReplacer("`@`", "", "`#`", "", "**Fix.** ", "", "**Or.** ", "").Replace(l)
		if slices.Contains([]string{"<details><summary>What the name is for each kind of client</summary>", "<details><summary>Packets on loopback</summary>", "</details>"}, l) {
			continue
		}
		if strings.ContainsAny(l, "`<>[]*~@!") || strings.Contains(l, "://") || strings.Contains(l, "www.") {
			t.Errorf("markup outside of a fence: %s", l)
		}
		if strings.Contains(strings.TrimLeft(l, "#"), "#") && !strings.Contains(l, "&#") {
			t.Errorf("a reference outside of a fence: %s", l)
		}
		n := strings.Count(l, "|")
		if n > 0 && cells > 0 && n != cells {
			t.Errorf("%d cell borders, want %d: %s", n, cells, l)
		}
		cells = n
	}
	if fence != "" {
		t.Error("a fence is left open")
	}
}

// TestWithheld: a command that cleaning would change is not shown at all.
func TestWithheld(t *testing.T) {
	r := New(hostile())
	c := r.Targets[0].Causes[0]
	if len(c.Fixes[0].Steps) > 0 || !strings.Contains(c.Fixes[0].Do, "cannot be shown") {
		t.Errorf("%+v", c.Fixes[0])
	}
	if len(c.Fixes[1].Steps) != 1 || len(c.Fixes[1].Files) != 1 {
		t.Errorf("%+v", c.Fixes[1])
	}
	if c.WouldSettle != "" {
		t.Errorf("settle: %q", c.WouldSettle)
	}
}

// TestQuote lets a real shell read the words back.
func TestQuote(t *testing.T) {
	sh, err := exec.LookPath("sh")
	if err != nil {
		t.Skip("no POSIX shell here")
	}
	words := []string{"", "plain", "a b", "it's", `\`, "$(id)", "`id`", "*", "~", "#", "{ 62893 }", "a;b", "-n", "!", "%s", "größe", `"`}
	r := New(works())
	line := r.commands([][]string{append([]string{"printf", `%s|`}, words...)}, false)[0]
	out, err := exec.Command(sh, "-c", line).Output()
	if err != nil || string(out) != strings.Join(words, "|")+"|" {
		t.Errorf("%v: %s became %q", err, line, out)
	}
}

// TestAppending lets a real shell write the file.
func TestAppending(t *testing.T) {
	sh, err := exec.LookPath("sh")
	if err != nil {
		t.Skip("no POSIX shell here")
	}
	for _, text := range []string{"127.0.0.1 localhost\n", "a\n\nb\n", "50% \\n 'x'\n", "no end", "-e\n", "\n"} {
		r := New(works())
		path := t.TempDir() + "/a b"
		line := r.steps(&Fix{Files: []File{{Path: path, Append: text}}})[0]
		out, err := exec.Command(sh, "-c", line+" && cat "+quote(path)).Output()
		if err != nil || string(out) != text {
			t.Errorf("%v: %s wrote %q, want %q", err, line, out, text)
		}
	}
}

func TestCommandsOnWindows(t *testing.T) {
	w := works()
	w.Facts[0].Host.OS = "windows"
	r := New(w)
	f := Fix{Do: "Stop it.", Steps: [][]string{{"Stop-Service", "it's"}}, Files: []File{{Path: `C:\hosts file`, Append: "127.0.0.1 localhost\n"}}, Elevated: true}
	want := []string{"Stop-Service 'it''s'", `Add-Content -Path 'C:\hosts file' -Value '127.0.0.1 localhost'`}
	if got := r.steps(&f); !slices.Equal(got, want) {
		t.Errorf("%q", got)
	}
	if got := r.heading(&f); got != "Stop it (as administrator)." {
		t.Error(got)
	}
}
