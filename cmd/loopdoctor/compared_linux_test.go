package main

// docs/compared.md shows faults of the lab as other tools see them:
//
//	UPDATE=1 go test ./cmd/loopdoctor -run TestCompared
//
// Other versions of these tools print other words, so a page that differs is no
// failure. What must not drift is the table of the README: TestReadmeTable.

import (
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
	"text/tabwriter"

	"golang.org/x/tools/txtar"
)

func init() { stages["compare"] = compareStage }

const comparedPage = "../../docs/compared.md"

// comparedFaults are the scenarios of the page, and what they are called there.
var comparedFaults = []struct{ scenario, fault string }{
	{"filter-drops-loopback", "nftables drops it"},
	{"filter-rejects-loopback", "nftables rejects it"},
	{"nat-hijacks-loopback.closed", "nftables redirects it to a dead port"},
	{"process-stopped-or-debugged", "The server is stopped"},
	{"accept-queue-full", "The accept queue is full"},
	{"bound-not-listening", "The port is bound, nobody listens"},
	{"v6-only-server-v4-client", "The server has ::1 only"},
	{"hosts-localhost-wrong", "/etc/hosts sends localhost away"},
	{"time-wait-blocks-bind", "TIME_WAIT, and a server that cannot start"},
}

// comparedTools are the commands of the page, in its order, for a host.
func comparedTools(host string) [][]string {
	return [][]string{
		{"ss", "-tlnp"},
		{"lsof", "-nP", "-i", ":62893"},
		{"curl", "-v", "--max-time", "1", "http://" + host + ":62893/"},
		{"nmap", "-Pn", "-p", "62893", "--reason", host},
	}
}

// compareStage runs inside a scenario, in the place of its first doctor and with
// the same arguments. What each tool says goes out on descriptor 3, as the
// outcome of a scenario does; that it comes first makes it the outcome.
func compareStage() {
	args := os.Args[1:]
	host, _, _ := strings.Cut(args[len(args)-1], ":")
	os.Unsetenv("LOOPDOCTOR_LAB_STAGE")
	var o outcome
	for _, argv := range append(comparedTools(host), append([]string{"loopdoctor"}, args...)) {
		out, err := exec.Command(argv[0], argv[1:]...).CombinedOutput()
		if _, ended := err.(*exec.ExitError); err != nil && !ended {
			fmt.Fprintln(os.Stderr, err)
			os.Exit(1)
		}
		o.Said = append(o.Said, said{Section: strings.Join(argv, " "), Text: string(out)})
	}
	if err := json.NewEncoder(os.NewFile(3, "answer")).Encode(o); err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
}

// TestCompared writes the page, and the table of the README.
func TestCompared(t *testing.T) {
	if !updating() {
		t.Skip("UPDATE=1 writes docs/compared.md; a test run does not compare it")
	}
	for _, argv := range comparedTools("") {
		if _, err := exec.LookPath(argv[0]); err != nil {
			missing(t, err.Error())
		}
	}
	all := scenarios(t)
	var table, details strings.Builder
	fmt.Fprintf(&table, "| fault | ss | lsof | curl | nmap | loopdoctor |\n|---|---|---|---|---|---|\n")
	for _, c := range comparedFaults {
		i := slices.IndexFunc(all, func(s scenario) bool { return s.name == c.scenario })
		if i < 0 {
			t.Fatalf("no scenario is called %s", c.scenario)
		}
		tier := "U"
		if os.Geteuid() == 0 {
			tier = "R" // a second uid, as on any machine
		}
		o, failed := runScenario(t, comparedScenario(t, all[i]), tier)
		if failed != "" {
			t.Fatal(failed)
		}
		if len(o.Said) != len(comparedTools(""))+1 {
			t.Fatalf("%s: %d tools have spoken", c.scenario, len(o.Said))
		}
		fmt.Fprintf(&table, "| %s |", c.fault)
		fmt.Fprintf(&details, "\n## %s\n\nScenario `%s`. %s\n\n```text\n", c.fault, c.scenario, sentenceOf(all[i]))
		for n, s := range o.Said {
			lines := telling(s)
			fmt.Fprintf(&table, " %s |", cell(s.Section, strings.Join(lines, "\n")))
			if n > 0 {
				details.WriteString("\n")
			}
			fmt.Fprintf(&details, "$ %s\n%s\n", s.Section, strings.Join(lines, "\n"))
		}
		table.WriteString("\n")
		fmt.Fprintf(&details, "```\n\n[%s](causes/%[1]s.md)\n", all[i].cause())
	}
	page := comparedHead + tableBegin + "\n" + table.String() + tableEnd + "\n" + details.String()
	if err := os.WriteFile(comparedPage, []byte(page), 0o644); err != nil {
		t.Fatal(err)
	}
	replaceInReadme(t, tableBegin, tableEnd, table.String())
}

const comparedHead = "# The same faults, as other tools see them\n\n" +
	"Generated from runs of the lab (`UPDATE=1 go test ./cmd/loopdoctor -run TestCompared`).\nDo not edit.\n\n" +
	`Each fault is made in a network namespace of its own, as its scenario in
` + "`cmd/loopdoctor/testdata/lab`" + ` says. Then five programs look, one after the
other, all of them as the ordinary user who started the server, none as root.
Left out are lines that say nothing about the fault, and what loopdoctor prints
from its cure on. Process numbers, times and temporary ports are written N.

Each of these tools is good at what it is for. ss and lsof list sockets, and show
no packet filter and no stopped process. curl and nmap see what a client sees,
and not why. The table says what they showed, and what loopdoctor named:

`

// comparedScenario is the scenario up to its first doctor, with the tools in its place.
func comparedScenario(t *testing.T, s scenario) scenario {
	t.Helper()
	var script strings.Builder
	for line := range strings.Lines(string(s.archive.Comment)) {
		if args, ok := strings.CutPrefix(line, "doctor "+s.first()+" "); ok {
			script.WriteString("env LOOPDOCTOR_LAB_STAGE=compare\nexec asuser lab " + args + "stop\n")
			break
		}
		script.WriteString(line)
	}
	s.archive = &txtar.Archive{Comment: []byte(script.String()), Files: s.archive.Files}
	s.file = filepath.Join(t.TempDir(), s.name+".txtar")
	if err := s.save(); err != nil {
		t.Fatal(err)
	}
	return s
}

// sentenceOf is the first line of a scenario: what it demonstrates.
func sentenceOf(s scenario) string {
	first, _, _ := strings.Cut(string(s.archive.Comment), "\n")
	return strings.TrimPrefix(first, "# ")
}

// chatter is what tools say about themselves.
var chatter = regexp.MustCompile(`^(\* (Closing|closing|shutting|using|Request|Established|HTTP)|[>{}]|<( [A-Z][a-z]|[^ ]|$)|  |lsof: )|^$`)

// telling keeps the lines of a tool that say something about the fault.
func telling(s said) []string {
	tool, _, _ := strings.Cut(s.Section, " ")
	var lines []string
	for line := range strings.Lines(mask(s.Text)) {
		line = strings.TrimRight(line, " \n")
		switch tool {
		case "ss":
			if !strings.Contains(line, "62893") && !strings.HasPrefix(line, "State") {
				continue
			}
			line = spaced.Replace(line)
		case "curl", "lsof":
			if chatter.MatchString(line) {
				continue
			}
		case "nmap":
			if !strings.HasPrefix(line, "PORT") && !strings.HasPrefix(line, "62893/") {
				continue
			}
		case "loopdoctor":
			if strings.HasPrefix(line, "FIX") || strings.HasPrefix(line, "PROVE") {
				return lines
			}
		}
		lines = append(lines, line)
	}
	if len(lines) == 0 || tool == "ss" && len(lines) == 1 {
		return []string{"(nothing about port 62893)"}
	}
	if tool == "ss" || tool == "lsof" {
		return columns(lines)
	}
	return lines
}

// spaced lets each column of ss be one word, joined by no-break spaces.
var spaced = strings.NewReplacer("Local Address", "Local\u00a0Address", "Peer Address", "Peer\u00a0Address", "PortProcess", "Port Process")

// columns puts words below each other, and N for the numbers of process and
// inode that lsof prints.
func columns(lines []string) []string {
	var out strings.Builder
	w := tabwriter.NewWriter(&out, 0, 0, 2, ' ', 0)
	for _, line := range lines {
		f := strings.Fields(strings.ReplaceAll(line, "\u00a0", "_"))
		if len(f) > 8 && f[1] != "PID" { // COMMAND PID USER FD TYPE DEVICE SIZE/OFF NODE NAME
			f[1], f[5] = "N", "N"
		}
		if len(f) > 9 { // the state belongs to the name
			f = append(f[:8], strings.Join(f[8:], " "))
		}
		fmt.Fprintln(w, strings.Join(f, "\t"))
	}
	w.Flush()
	return strings.Split(strings.TrimSuffix(strings.ReplaceAll(out.String(), "_Address", " Address"), "\n"), "\n")
}

var masks = []struct {
	find *regexp.Regexp
	with string
}{
	{regexp.MustCompile(`\r[\s0-9.kMG:-]*`), "\n"}, // curl's meter
	{regexp.MustCompile(`\bpid([ =])\d+`), "pid${1}N"},
	{regexp.MustCompile(`\b\d+ (ms|milliseconds|s)\b`), "N $1"},
	{regexp.MustCompile(`:[3-6]\d{4}( to |->)`), ":N$1"},
	{regexp.MustCompile(`( to |->)(127\.0\.0\.1|\[::1\]):[345]\d{4}`), "$1$2:N"},
	{regexp.MustCompile(`(?m)^ +since +.*\n`), ""},
}

// mask takes out what differs from one run to the next.
func mask(text string) string {
	for _, m := range masks {
		text = m.find.ReplaceAllStringFunc(text, func(s string) string {
			if strings.Contains(s, ":62893") {
				return s
			}
			return m.find.ReplaceAllString(s, m.with)
		})
	}
	return text
}

var (
	lsofState = regexp.MustCompile(`\(([A-Z_0-9]+)\)`)
	nmapRow   = regexp.MustCompile(`(?m)^62893/tcp +(\S+) +\S+ +(\S+)`)
	tagged    = regexp.MustCompile(`(?m) ([a-z0-9-]+), (proven|inferred)$`)
)

// cell is a tool's answer in a few words.
func cell(command, text string) string {
	tool, _, _ := strings.Cut(command, " ")
	has := func(s string) bool { return strings.Contains(text, s) }
	switch tool {
	case "ss", "lsof":
		if m := lsofState.FindStringSubmatch(text); m != nil && !has("LISTEN") {
			return "a socket in " + m[1]
		}
		if has("LISTEN") {
			return "listens"
		}
		return "nothing"
	case "curl":
		switch {
		case has("Connection refused"):
			return "refused"
		case has("< HTTP/"):
			return "works"
		case has("Connected to"):
			return "connects, no answer"
		case has("curl: (28)"):
			return "timed out"
		}
	case "nmap":
		if m := nmapRow.FindStringSubmatch(text); m != nil {
			return m[1] + ", " + m[2]
		}
	case "loopdoctor":
		if m := tagged.FindStringSubmatch(text); m != nil {
			return "`" + m[1] + "`, " + m[2]
		}
	}
	return "nothing"
}
