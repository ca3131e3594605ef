package main

import (
	"encoding/xml"
	"fmt"
	"os"
	"path"
	"reflect"
	"runtime"
	"slices"
	"strings"
	"testing"

	"github.com/loopdoctor/loopdoctor/checks"
)

// The picture of the accuracy page: which family of causes was expected, and which was
// named. It is made of the same rows.

const accuracyPicture = "../../docs/accuracy.svg"

// families are the causes in groups that a reader can overlook, by the files of checks that
// hold them. A cause of a new file belongs to none, and a test says so.
var families = []struct {
	name  string
	files []string // beginnings of their names
}{
	{"names", []string{"resolution", "resolvers", "nametools"}},
	{"clients and proxies", []string{"client", "proxy", "browser"}},
	{"kernel's path", []string{"kernelpath", "loaddress", "ipv6", "sourceports", "traffic"}},
	{"filters and NAT", []string{"filter", "firewall", "conntrack", "nat.", "nodeport", "queue", "datalost", "discards", "vpn", "candidates"}},
	{"nothing listens", []string{"listener", "configured", "starting", "service", "notstarted", "rooms"}},
	{"bind address", []string{"bindaddress", "exposure", "shadow"}},
	{"containers, WSL", []string{"container", "insidecontainer", "desktop", "wsl"}},
	{"forwarders", []string{"forward"}},
	{"process", []string{"process"}},
	{"TLS, protocol", []string{"protocol", "certificate"}},
	{"HTTP", []string{"http"}},
	{"port is taken", []string{"port", "socketunit"}},
}

// family is the index of a cause's family; -1 if it has none.
func family(cause string) int {
	c := checks.ByName(cause)
	if c == nil || c.Run == nil {
		return -1
	}
	file, _ := runtime.FuncForPC(reflect.ValueOf(c.Run).Pointer()).FileLine(reflect.ValueOf(c.Run).Pointer())
	file = path.Base(file)
	for i, f := range families {
		if slices.ContainsFunc(f.files, func(p string) bool { return strings.HasPrefix(file, p) }) {
			return i
		}
	}
	return -1
}

func TestEveryCauseHasAFamily(t *testing.T) {
	for _, c := range checks.Causes() {
		if family(c.Name) < 0 {
			t.Errorf("%s has no family: add its file to families", c.Name)
		}
	}
}

// TestAccuracyPicture draws what the published page says. A run of the lab rewrites both.
func TestAccuracyPicture(t *testing.T) {
	page, err := os.ReadFile(accuracyPage)
	if err != nil {
		t.Fatal(err)
	}
	rows := accuracyRows(t, string(page))
	if again := accuracy(slices.Clone(rows)); updating() { // its rows are the lab's alone to change
		if err := os.WriteFile(accuracyPage, []byte(again), 0o644); err != nil {
			t.Fatal(err)
		}
	} else if again != string(page) {
		t.Error("docs/accuracy.md is not what its own rows give: run UPDATE=1 go test ./cmd/loopdoctor -run TestAccuracyPicture")
	}
	checkPicture(t, rows)
}

// checkPicture compares the picture with the rows, or draws it.
func checkPicture(t *testing.T, rows []row) {
	t.Helper()
	picture := confusion(rows)
	if err := xml.Unmarshal([]byte(picture), new(struct{ XMLName xml.Name })); err != nil {
		t.Fatal(err)
	}
	if updating() {
		if err := os.WriteFile(accuracyPicture, []byte(picture), 0o644); err != nil {
			t.Error(err)
		}
		return
	}
	if old, err := os.ReadFile(accuracyPicture); err != nil || string(old) != picture {
		t.Error("docs/accuracy.svg is stale: run UPDATE=1 go test ./cmd/loopdoctor -run TestAccuracyPicture")
	}
}

// accuracyRows reads the tables of the page back.
func accuracyRows(t *testing.T, page string) []row {
	t.Helper()
	var rows []row
	for line := range strings.Lines(page) {
		cells := strings.Split(strings.Trim(strings.TrimSpace(line), "|"), "|")
		if len(cells) != 6 || strings.HasPrefix(line, "| scenario") || strings.HasPrefix(line, "|---") {
			continue
		}
		for i := range cells {
			cells[i] = strings.TrimSpace(cells[i])
		}
		s := scenario{name: cells[0]}
		for i, where := range []string{"Rroot", "Ruser", "Uroot", "Uuser"} {
			said := strings.Trim(cells[i+1], "*")
			if said == "-" {
				continue
			}
			r := row{Scenario: s.name, Tier: where[:1], As: where[1:], Cause: s.cause(), Verdict: string(checks.Broken)}
			if cells[5] != "-" {
				r.Healed = cells[5]
			}
			kind, name, _ := strings.Cut(said, ": ")
			r.Named = name
			switch kind {
			case right:
				r.Named = r.Cause
			case remarked:
				r.Verdict, r.Remarked = string(checks.Works), true
			case notFelt, quiet:
				r.Verdict = string(checks.Works)
			case parent, wrong, notNamed, falseAlarm:
			default:
				t.Fatalf("%s: %q is no judgement", s.name, said)
			}
			if got := strings.Trim(r.cell(), "*"); got != said {
				t.Fatalf("%s: %q is read as %q", s.name, said, got)
			}
			rows = append(rows, r)
		}
	}
	if len(rows) < 1000 {
		t.Fatalf("only %d rows", len(rows))
	}
	return rows
}

// count is one field of the picture.
type count struct{ right, parent, wrong int }

// confusion draws the picture. The columns after those of the families are the reports that
// name no cause first.
func confusion(rows []row) string {
	columns := []string{}
	for _, f := range families {
		columns = append(columns, f.name)
	}
	columns = append(columns, remarked, notFelt, "nothing named")
	n := len(families)
	field := make([][]count, n+1) // the last row is that of the healthy hosts
	for i := range field {
		field[i] = make([]count, len(columns))
	}
	total := make([]int, n+1)
	for _, r := range rows {
		y, x := n, len(columns)-1
		if r.Cause != "" {
			y = family(r.Cause)
		}
		j := r.judge()
		switch j {
		case remarked:
			x = n
		case notFelt:
			x = n + 1
		case notNamed, quiet:
		default:
			x = family(r.Named)
		}
		if y < 0 || x < 0 {
			continue // TestEveryCauseHasAFamily says so
		}
		total[y]++
		switch f := &field[y][x]; j {
		case right, quiet:
			f.right++
		case parent, remarked, notFelt:
			f.parent++
		default:
			f.wrong++
		}
	}
	const left, top, w, h = 190, 150, 64, 34
	width, height := left+len(columns)*w+80, top+(n+1)*h+64
	var b strings.Builder
	fmt.Fprintf(&b, `<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 %d %d" width="%d" height="%d" role="img" aria-labelledby="t d" font-family="system-ui, 'DejaVu Sans', sans-serif" font-size="13">
<title id="t">What was expected, and what was named</title>
<desc id="d">Confusion by family of causes, %d reports of the lab. Each line is a family of faults, each column what the report named first.</desc>
<rect width="%[1]d" height="%[2]d" rx="8" fill="#ffffff"/>
`, width, height, width, height, len(rows))
	fmt.Fprintf(&b, "<text x=\"16\" y=\"30\" font-size=\"17\" font-weight=\"600\" fill=\"#1c2128\">Named first</text>\n<text x=\"16\" y=\"52\" fill=\"#57606a\">%d reports of the lab:</text>\n<text x=\"16\" y=\"70\" fill=\"#57606a\">a line for what is wrong,</text>\n<text x=\"16\" y=\"88\" fill=\"#57606a\">a column for what is said</text>\n", len(rows))
	for x, c := range columns {
		cx := left + x*w + w/2
		fmt.Fprintf(&b, "<text transform=\"translate(%d %d) rotate(-45)\" fill=\"#1c2128\">%s</text>\n", cx, top-10, c)
	}
	for y := range field {
		name := "healthy hosts"
		if y < n {
			name = families[y].name
		}
		cy := top + y*h
		fmt.Fprintf(&b, "<text x=\"%d\" y=\"%d\" text-anchor=\"end\" fill=\"#1c2128\">%s</text>\n", left-10, cy+h/2+5, name)
		for x, f := range field[y] {
			all := f.right + f.parent + f.wrong
			fill, ink := "#f3f4f6", "#1c2128"
			switch {
			case f.wrong > 0:
				fill, ink = "#b3261e", "#ffffff"
			case f.parent > f.right:
				fill = "#f3d9a0"
			case f.right > 0:
				fill = shade(float64(f.right) / float64(total[y]))
			}
			fmt.Fprintf(&b, "<rect x=\"%d\" y=\"%d\" width=\"%d\" height=\"%d\" rx=\"4\" fill=\"%s\"/>", left+x*w+2, cy+2, w-4, h-4, fill)
			if all > 0 {
				number, small := fmt.Sprint(all), ""
				if f.right > 0 && f.parent > 0 {
					number = fmt.Sprintf("%d+%d", f.right, f.parent)
					if len(number) > 6 { // it has to stay in its cell
						small = ` font-size="11"`
					}
				}
				fmt.Fprintf(&b, "<text x=\"%d\" y=\"%d\" text-anchor=\"middle\" fill=\"%s\"%s>%s<title>%s: %s, %d right, %d broader or by design, %d wrong</title></text>", left+x*w+w/2, cy+h/2+5, ink, small, number, name, columns[x], f.right, f.parent, f.wrong)
			}
			b.WriteByte('\n')
		}
	}
	x, y := left, top+(n+1)*h+28
	for _, key := range []struct{ fill, text string }{{shade(1), "the cause itself, or nothing where nothing is wrong"}, {"#f3d9a0", "a broader name (+n), or a remark by design"}, {"#b3261e", "wrong"}} {
		fmt.Fprintf(&b, "<rect x=\"%d\" y=\"%d\" width=\"18\" height=\"18\" rx=\"4\" fill=\"%s\"/><text x=\"%d\" y=\"%d\" fill=\"#1c2128\">%s</text>\n", x, y, key.fill, x+26, y+14, key.text)
		x += 60 + 7*len(key.text)
	}
	return b.String() + "</svg>\n"
}

// shade is a green that is the deeper the larger the share.
func shade(share float64) string {
	mix := func(from, to float64) int { return int(from + (to-from)*share + .5) }
	return fmt.Sprintf("#%02x%02x%02x", mix(232, 134), mix(245, 205), mix(236, 158))
}
