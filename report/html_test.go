package report

import (
	"bytes"
	"fmt"
	"html"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"github.com/loopdoctor/loopdoctor/checks/facts"
)

func rendered(t *testing.T, r *Report) string {
	t.Helper()
	var b bytes.Buffer
	if err := HTML(&b, r); err != nil {
		t.Fatal(err)
	}
	return b.String()
}

// A saved report gives the same page; that it has no facts is said.
func TestHTMLOfSavedReport(t *testing.T) {
	section := regexp.MustCompile(`(?s)<section class="facts".*?</section>`)
	for name, run := range cases {
		r := New(run)
		var saved bytes.Buffer
		if err := JSON(&saved, r); err != nil {
			t.Fatal(err)
		}
		again, err := Parse(saved.Bytes())
		if err != nil {
			t.Fatal(err)
		}
		was, is := rendered(t, r), rendered(t, again)
		if section.ReplaceAllString(was, "") != section.ReplaceAllString(is, "") {
			t.Errorf("%s: the page of the saved report is another", name)
		}
		if !strings.Contains(section.FindString(was), "<pre") || strings.Contains(section.FindString(is), "<pre") || !strings.Contains(is, "made of a saved report") {
			t.Errorf("%s: facts: %.200s", name, section.FindString(is))
		}
	}
}

// Whatever was seen, the page stays one that a browser can open.
func TestHTMLBoundsFacts(t *testing.T) {
	run := works()
	for i := range 20000 {
		run.Facts[0].Names.Hosts.Lines = append(run.Facts[0].Names.Hosts.Lines, facts.HostsLine{Line: i, Addr: v4, Text: strings.Repeat("é", 200)})
	}
	out := rendered(t, New(run))
	if len(out) > factsShown+200_000 || !strings.Contains(out, "more bytes: loopdoctor --record writes all of them.") {
		t.Errorf("%d bytes", len(out))
	}
}

// A picture and its words have a bound, and say what they leave out.
func TestLadderIsBounded(t *testing.T) {
	target := Target{Port: 80}
	for i := range 40 { // each like no other
		c := Conversation{Network: "tcp", Client: fmt.Sprintf("127.0.0.1:%d", 40000+i), Server: "127.0.0.1:80"}
		for range i + 1 {
			c.Packets = append(c.Packets, Packet{FromClient: true, Flags: strings.Repeat("S", 1000), Out: true})
		}
		target.Packets = append(target.Packets, c, c)
	}
	es, more := target.exchanges()
	if len(es) != exchangesDrawn || more != 2*(40-exchangesDrawn) || es[0].Same != 1 {
		t.Fatalf("%d exchanges, %d more, %d the same", len(es), more, es[0].Same)
	}
	long := exchange{Conversation: target.Packets[78]}
	d := long.draw("x")
	if len(d.Arrows) != packetsDrawn || d.Note != "and 16 more packets" || len(d.Arrows[0].Label) > 100 {
		t.Errorf("%d arrows, %q, %q", len(d.Arrows), d.Note, d.Arrows[0].Label)
	}
	if a := d.Arrows[0]; a.To >= serverX-20 || a.Cross == "" {
		t.Errorf("a lost packet arrives: %+v", a)
	}
	if ls := long.lines(); len(ls) != packetsDrawn+2 {
		t.Errorf("%d lines", len(ls))
	}
}

// Colour is never all there is, and the script never what holds the page together.
func TestHTMLNeedsNoScript(t *testing.T) {
	files, err := filepath.Glob("testdata/*.html")
	if err != nil || len(files) == 0 {
		t.Fatal(err)
	}
	for _, file := range files {
		data, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		before, _, _ := strings.Cut(html.UnescapeString(string(data)), "\n<script>\"use strict\"")
		for _, want := range []string{"default-src 'none'", "script-src 'sha256-", "style-src 'sha256-"} {
			if !strings.Contains(before, want) {
				t.Errorf("%s: the policy has no %s", file, want)
			}
		}
		if strings.Count(before, "<button") != strings.Count(before, " hidden>Copy</button>") {
			t.Errorf("%s: a button that does nothing without the script", file)
		}
	}
}

// What has a card of its own has its evidence there; a station leads to it.
func TestStationsRepeatNothing(t *testing.T) {
	led, felt := 0, 0
	for name, run := range cases {
		r := New(run)
		page := rendered(t, r)
		for _, s := range r.sheets() {
			for _, st := range s.Path.Stations {
				for _, f := range st.Findings {
					switch {
					case f.Label == "Felt" && f.Anchor == "":
						felt++
					case f.Anchor == "" || len(f.Rows) > 0 || !strings.Contains(page, `id="`+f.Anchor+`"`):
						t.Errorf("%s: at %s: %+v", name, st.Key, f)
					default:
						led++
					}
				}
			}
		}
	}
	if led < 10 || felt < 5 {
		t.Errorf("%d findings with a card, %d without", led, felt)
	}
}
