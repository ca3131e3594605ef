package main

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/loopdoctor/loopdoctor/capture"
	"github.com/loopdoctor/loopdoctor/checks/facts"
	"github.com/loopdoctor/loopdoctor/report"
	"github.com/loopdoctor/loopdoctor/report/bundle"
	"github.com/loopdoctor/loopdoctor/report/redact"
)

const dropped = replayDir + "/" + shown + ".json"

func readArchive(t *testing.T, file string) *bundle.Archive {
	t.Helper()
	data, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	a, err := bundle.Open(data)
	if err != nil {
		t.Fatal(err)
	}
	return a
}

// folder lists what is in a directory.
func folder(t *testing.T, dir string) (names []string) {
	t.Helper()
	entries, err := os.ReadDir(dir)
	if err != nil {
		t.Fatal(err)
	}
	for _, e := range entries {
		names = append(names, e.Name())
	}
	return names
}

// What is packed where it was seen says the same where it is opened.
func TestBundleAndOpen(t *testing.T) {
	files, err := filepath.Glob(filepath.Join(replayDir, "*.json"))
	if err != nil || len(files) < 100 {
		t.Fatalf("%d recordings: %v", len(files), err)
	}
	for i := 0; i < len(files); i += 60 {
		t.Run(filepath.Base(files[i]), func(t *testing.T) {
			t.Parallel()
			ticket := filepath.Join(t.TempDir(), "ticket.zip")
			want, _, _ := do("", "--replay", files[i])
			status, stdout, stderr := do("", "bundle", "--replay", files[i], "-o", ticket)
			if status != want || stderr != "" || !strings.HasPrefix(stdout, ticket+": ") || strings.Count(stdout, "\n") != 1 {
				t.Fatalf("exit status %d, want %d: %s%s", status, want, stdout, stderr)
			}
			a := readArchive(t, ticket)
			if !a.Manifest.Redacted || !a.Manifest.SameDiagnosis || len(a.Manifest.Targets) != 1 {
				t.Errorf("the manifest says %+v", a.Manifest)
			}
			status, out, stderr := do("", "open", ticket)
			if status != want || stderr != "" || !strings.Contains(out, "nothing changed.\n\n") || !strings.Contains(out, "; redacted.\n") {
				t.Errorf("open: exit status %d, %s%.500s", status, stderr, out)
			}
			status, out, _ = do("", "open", "--format", "json", ticket)
			if status != want || out != string(a.File(bundle.JSONFile)) {
				t.Errorf("the report that is opened is another than the one that was packed (exit status %d)", status)
			}
		})
	}
}

func TestBundleFile(t *testing.T) {
	dir := t.TempDir()
	file := filepath.Join(dir, "ticket.zip")
	if err := os.WriteFile(file, []byte("old"), 0o644); err != nil {
		t.Fatal(err)
	}
	status, stdout, stderr := do("", "bundle", "--replay", dropped, "-o", file)
	if status != report.ExitFault || stderr != "" || stdout != file+": 127.0.0.1:62893 does not answer (filter-drops-loopback).\n" {
		t.Fatalf("exit status %d: %s%s", status, stdout, stderr)
	}
	if info, err := os.Stat(file); err != nil || info.Mode().Perm()&0o077 != 0 && os.PathSeparator == '/' {
		t.Errorf("others can read it: %v, %v", info.Mode(), err)
	}
	first, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	in, err := os.ReadFile(dropped)
	if err != nil {
		t.Fatal(err)
	}
	status, stdout, stderr = do(string(in), "bundle", "--replay", "-", "-o", "-")
	if status != report.ExitFault || stdout != string(first) || stderr != "-: 127.0.0.1:62893 does not answer (filter-drops-loopback).\n" {
		t.Errorf("to standard output: exit status %d, %d bytes for %d: %s", status, len(stdout), len(first), stderr)
	}
	if names := folder(t, dir); len(names) != 1 {
		t.Errorf("left behind: %v", names)
	}

	// A ticket is a recording, too: to judge it, and to mask more.
	_, want, _ := do("", "--replay", dropped)
	if status, out, stderr := do("", "--replay", file); status != report.ExitFault || out != want || stderr != "" {
		t.Errorf("--replay of a bundle: exit status %d, %s%s", status, stderr, out)
	}
	if status, stdout, stderr = do(string(first), "bundle", "--replay", "-", "-o", "-"); status != report.ExitFault || stdout != string(first) {
		t.Errorf("packed again it is another: exit status %d, %s", status, stderr)
	}
	status, stdout, stderr = do(string(first[:100]), "--replay", "-")
	oneLine(t, "--replay -: the archive has no end: it is cut off", exitUsage, status, stdout, stderr)

	readme := string(readArchive(t, file).File(bundle.ReadmeFile))
	for _, want := range []string{"127.0.0.1:62893 does not answer (filter-drops-loopback).\n", "loopdoctor open ticket.zip", "Looked from ", " as root", "WHAT IS MASKED", "packets.pcapng  ", "for Wireshark"} {
		if !strings.Contains(readme, want) {
			t.Errorf("the README does not say %q:\n%s", want, readme)
		}
	}
	for line := range strings.Lines(readme) {
		if len(line) > 100 {
			t.Errorf("a long line: %s", line)
		}
	}

	t.Chdir(dir)
	_, stdout, _ = do("", "bundle", "--replay", filepath.Join(dir, "missing"))
	if names := folder(t, dir); len(names) != 1 || stdout != "" {
		t.Errorf("of nothing became %v, %s", names, stdout)
	}
	if err := os.WriteFile("seen.json", in, 0o600); err != nil {
		t.Fatal(err)
	}
	_, stdout, _ = do("", "bundle", "--replay", "seen.json")
	var r facts.Recording
	if err := json.Unmarshal(in, &r); err != nil {
		t.Fatal(err)
	}
	name := "loopdoctor-62893-" + r.Facts[0].Time.UTC().Format("20060102-150405") + ".zip"
	if again, err := os.ReadFile(name); err != nil || !bytes.Equal(again, first) || !strings.HasPrefix(stdout, name+": ") {
		t.Errorf("without a name: %v, %s", err, stdout)
	}
}

func TestBundleUnredacted(t *testing.T) {
	dir := t.TempDir()
	for given, want := range map[string]string{"a.zip": "a-UNREDACTED.zip", "b": "b-UNREDACTED.zip", "c-UNREDACTED.zip": "c-UNREDACTED.zip", "d.ZIP": "d-UNREDACTED.zip", "e-unredacted.zip": "e-unredacted.zip"} {
		status, stdout, stderr := do("", "bundle", "--no-redact", "--replay", dropped, "-o", filepath.Join(dir, given))
		if status != report.ExitFault || !strings.HasPrefix(stdout, filepath.Join(dir, want)+": ") || (stderr == "") != (given == want) {
			t.Errorf("%s: exit status %d: %s%s", given, status, stdout, stderr)
		}
		if stderr != "" && !strings.Contains(stderr, want) {
			t.Errorf("%s: the other name is not said: %s", given, stderr)
		}
		a := readArchive(t, filepath.Join(dir, want))
		if a.Manifest.Redacted || !a.Manifest.SameDiagnosis || !strings.Contains(string(a.File(bundle.ReadmeFile)), "NOTHING IS MASKED") {
			t.Errorf("%s does not say that nothing is masked: %+v", want, a.Manifest)
		}
		if _, out, _ := do("", "open", filepath.Join(dir, want)); !strings.Contains(out, "; NOT redacted, do not post it.\n") {
			t.Errorf("open does not say it: %.300s", out)
		}
	}
	if names := folder(t, dir); len(names) != 5 {
		t.Errorf("written: %v", names)
	}
	// What is no file has no name of its own to tell it.
	for _, path := range []string{dir, os.DevNull} {
		status, stdout, stderr := do("", "bundle", "--no-redact", "--replay", dropped, "-o", path)
		oneLine(t, "--no-redact needs a file", exitUsage, status, stdout, stderr)
	}
}

func TestBundlePreview(t *testing.T) {
	dir := t.TempDir()
	file := filepath.Join(dir, "ticket.zip")
	status, out, stderr := do("", "bundle", "--preview", "--mask", "culprit", "--replay", dropped, "-o", file)
	for _, want := range []string{"127.0.0.1:62893 does not answer", "Nothing is written. " + file + " would have ", "  README.txt\n", "  manifest.json\n", "culprit", "→", " times\n", ": 1, replaced "} {
		if status != report.ExitFault || stderr != "" || !strings.Contains(out, want) {
			t.Errorf("exit status %d, no %q:\n%s%s", status, want, out, stderr)
		}
	}
	if names := folder(t, dir); len(names) != 0 {
		t.Errorf("written: %v", names)
	}
	// What it tells is what is written then.
	if _, _, stderr := do("", "bundle", "--mask", "culprit", "--replay", dropped, "-o", file); stderr != "" {
		t.Error(stderr)
	}
	a := readArchive(t, file)
	for _, f := range a.Manifest.Files {
		if !strings.Contains(out, fmt.Sprintf("%d  %s\n", f.Size, f.Name)) {
			t.Errorf("%s has %d bytes:\n%s", f.Name, f.Size, out)
		}
		if bytes.Contains(a.File(f.Name), []byte("culprit")) {
			t.Errorf("%s has the word that was to be masked", f.Name)
		}
	}
	if _, out, _ := do("", "bundle", "--preview", "--no-redact", "--replay", dropped); !strings.Contains(out, "Nothing is masked (--no-redact).") {
		t.Errorf("without redaction:\n%s", out)
	}
}

// A masking that misses something leaves no file.
func TestBundleFailsClosed(t *testing.T) {
	before := masking
	defer func() { masking = before }()
	masking = func(r *facts.Recording, words ...string) (*facts.Recording, *redact.Key) {
		_, key := before(r, words...)
		return r, key
	}
	dir := t.TempDir()
	file := filepath.Join(dir, "ticket.zip")
	for _, args := range [][]string{{"-o", file}, {"-o", "-"}, {"-o", file, "--preview"}} {
		status, stdout, stderr := do("", append([]string{"bundle", "--mask", "culprit", "--replay", dropped}, args...)...)
		oneLine(t, "nothing is written: what was to be masked is still there (words in ", report.ExitFailed, status, stdout, stderr)
		if strings.Contains(stderr, "culprit") || !strings.Contains(stderr, ".") {
			t.Errorf("the error tells the value, or no file: %s", stderr)
		}
	}
	if err := os.WriteFile(file, []byte("old"), 0o600); err != nil {
		t.Fatal(err)
	}
	do("", "bundle", "--mask", "culprit", "--replay", dropped, "-o", file)
	if old, err := os.ReadFile(file); err != nil || string(old) != "old" || len(folder(t, dir)) != 1 {
		t.Errorf("the file is %q, beside it %v: %v", old, folder(t, dir), err)
	}
}

// What the masking itself knows is searched as well: here a user's name.
func TestBundleFindsNames(t *testing.T) {
	data, err := os.ReadFile(dropped)
	if err != nil {
		t.Fatal(err)
	}
	var r facts.Recording
	if err := json.Unmarshal(data, &r); err != nil {
		t.Fatal(err)
	}
	r.Facts[0].Host.As[0].UID, r.Facts[0].Host.As[0].User = 1000, "wilhelmina"
	for i := range r.Facts[0].Dials {
		r.Facts[0].Dials[i].As = 1000
	}
	made, err := newTicket(&r, true, nil)
	if err != nil {
		t.Fatal(err)
	}
	if err := made.search(); err != nil || bytes.Contains(made.opened.File(bundle.ReadmeFile), []byte("wilhelmina")) {
		t.Errorf("masked: %v\n%s", err, made.opened.File(bundle.ReadmeFile))
	}
	bare, err := newTicket(&r, false, nil)
	if err != nil {
		t.Fatal(err)
	}
	bare.key = made.key
	if err := bare.search(); err == nil || !strings.Contains(err.Error(), "still there (user names in README.txt, line ") || strings.Contains(err.Error(), "wilhelmina") {
		t.Errorf("not masked: %v", err)
	}
}

func TestBundleMaskWords(t *testing.T) {
	file := filepath.Join(t.TempDir(), "ticket.zip")
	status, _, stderr := do("", "bundle", "--mask", "Culprit", "--mask", "acme\x1b", "--replay", dropped, "-o", file)
	if status != report.ExitFault || stderr != "loopdoctor: --mask acme: nothing of that name was seen\n" {
		t.Errorf("exit status %d: %q", status, stderr)
	}
	// A word that loopdoctor itself uses is masked in what was seen, not in what it says.
	if status, _, stderr := do("", "bundle", "--mask", "listens", "--mask", "python3", "--replay", dropped, "-o", file); status != report.ExitFault || strings.Contains(stderr, "still there") {
		t.Errorf("exit status %d: %q", status, stderr)
	}
	if _, page, _ := do("", "open", file); strings.Contains(page, "python3") || !strings.Contains(page, "listen") {
		t.Errorf("opened:\n%s", page)
	}
}

// The name of the machine that was looked at is masked wherever it stands, and that of
// the machine at which a recording is packed is no matter.
func TestBundleMasksItsMachine(t *testing.T) {
	defer func() { hostName = os.Hostname }()
	dir := filepath.Join(t.TempDir(), "quexalot7")
	if err := os.Mkdir(dir, 0o700); err != nil {
		t.Fatal(err)
	}
	t.Chdir(dir)
	l, err := net.Listen("tcp4", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	l.Close() // nothing listens there any more: that is seen at once, and that nobody accepts is waited for
	live := []string{"bundle", "--no-capture", "--no-system-changes", "--preview", l.Addr().String()}
	for name, masked := range map[string]bool{"quexalot7": true, "Quexalot7.corp.test": true, "another": false, "": false} {
		hostName = func() (string, error) { return name, nil }
		if _, out, stderr := do("", live...); strings.Contains(strings.ToLower(strings.Join(strings.Fields(out), " ")), "words quexalot7 →") != masked || strings.Contains(stderr, "nothing of that name") {
			t.Errorf("a machine called %q:\n%s%s", name, out, stderr)
		}
	}
	for name, want := range map[string]string{"Ubuntu": "", "localhost.localdomain": "", "x1": "", "no-listener": "", "1000": "", "db.corp.test": "db.corp.test", "db7.corp.test.": "db7.corp.test db7"} {
		hostName = func() (string, error) { return name, nil }
		if got := strings.Join(ownNames(), " "); got != want {
			t.Errorf("of a machine called %s are masked: %s", name, got)
		}
	}
	// A name that a diagnosis is about stays, and that is said.
	hostName = func() (string, error) { return "quexalot7", nil }
	before := masking
	defer func() { masking = before }()
	masking = func(r *facts.Recording, words ...string) (*facts.Recording, *redact.Key) {
		out, key := before(r, words...)
		if len(words) > 0 {
			out.Facts[0].Dials = nil
		}
		return out, key
	}
	if status, out, stderr := do("", live...); status != report.ExitFault || strings.Contains(out, "quexalot7") || !strings.Contains(stderr, "this machine is called quexalot7, as other things are") || strings.Contains(stderr, "masking changes") {
		t.Errorf("exit status %d:\n%s%s", status, out, stderr)
	}
}

// A masking that changes the diagnosis is told, there and here.
func TestBundleSaysWhatMaskingChanges(t *testing.T) {
	before := masking
	defer func() { masking = before }()
	masking = func(r *facts.Recording, words ...string) (*facts.Recording, *redact.Key) {
		out, key := before(r, words...)
		for i, f := range out.Facts {
			out.Facts[i] = f.Without(facts.GroupFilters)
		}
		return out, key
	}
	file := filepath.Join(t.TempDir(), "ticket.zip")
	status, _, stderr := do("", "bundle", "--replay", dropped, "-o", file)
	if status != report.ExitFault || !strings.Contains(stderr, "masking changes what is said of 127.0.0.1:62893: broken: ") || !strings.Contains(stderr, "and was broken: filter-drops-loopback (proven)") {
		t.Errorf("exit status %d: %s", status, stderr)
	}
	a := readArchive(t, file)
	if a.Manifest.SameDiagnosis || !strings.Contains(string(a.File(bundle.ReadmeFile)), "Masking changed the diagnosis") {
		t.Errorf("the archive does not say it: %+v", a.Manifest)
	}
	if _, out, _ := do("", "open", file); !strings.Contains(out, "Masking changed the diagnosis: ") {
		t.Errorf("open does not say it: %.300s", out)
	}
}

// syn is the header of a SYN as a capture keeps it, and hidden a payload that
// somebody put where none belongs.
const (
	syn    = "\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x08\x00" + "\x45\x00\x00\x28\x00\x01\x40\x00\x40\x06\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00" + "\xa1\x0e\xf5\xad\x00\x00\x00\x64\x00\x00\x00\x00\x50\x02\xff\xd7\x00\x00\x00\x00"
	hidden = "GET /?token=hunter2"
)

func TestBundlePackets(t *testing.T) {
	data, err := os.ReadFile(dropped)
	if err != nil {
		t.Fatal(err)
	}
	var r facts.Recording
	if err := json.Unmarshal(data, &r); err != nil {
		t.Fatal(err)
	}
	p := r.Facts[0].Packets
	p.Start = time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC)
	for _, c := range p.Conversations {
		for i := range c.Packets {
			c.Packets[i].Header = nil // as older versions recorded them
		}
	}
	if old, err := newTicket(&r, true, nil); err != nil || !strings.Contains(string(old.opened.File(bundle.ReadmeFile)), "packets.pcapng is missing: the recording is of an older loopdoctor") {
		t.Errorf("of an older recording: %v\n%s", err, old.opened.File(bundle.ReadmeFile))
	}
	for i := range p.Conversations[0].Packets {
		p.Conversations[0].Packets[i].Header = []byte(syn + hidden)
	}
	n := len(p.Conversations[0].Packets)
	var b bytes.Buffer
	if err := writeRecording(&b, &r); err != nil {
		t.Fatal(err)
	}
	file := filepath.Join(t.TempDir(), "ticket.zip")
	if status, _, stderr := do(b.String(), "bundle", "--replay", "-", "-o", file); status != report.ExitFault || stderr != "" {
		t.Fatalf("exit status %d: %s", status, stderr)
	}
	a := readArchive(t, file)
	if got := a.File(bundle.PacketsFile); !bytes.Contains(got, []byte("HEADERS ONLY")) || bytes.Contains(got, []byte("hunter2")) {
		t.Errorf("the packets are %q", got)
	}
	there, err := capture.ReadPcapng(bytes.NewReader(a.File(bundle.PacketsFile)))
	if err != nil || len(there) != 1 || there[0] != p.Conversations[0].Client.Addr() {
		t.Errorf("packets of %v: %v", there, err)
	}
	if want := fmt.Sprintf("packets.pcapng  %d packet", n); !strings.Contains(string(a.File(bundle.ReadmeFile)), want) {
		t.Errorf("the README does not say %q:\n%s", want, a.File(bundle.ReadmeFile))
	}
	// Of an address that was missed the packets tell as well.
	made, err := newTicket(&r, true, nil)
	if err != nil {
		t.Fatal(err)
	}
	made.key.Entries = append(made.key.Entries, redact.Entry{Kind: redact.Address, Original: there[0].String(), Pseudonym: "10.0.0.1"})
	if err := made.searchPackets(); err == nil || !strings.Contains(err.Error(), "addresses in packets.pcapng") {
		t.Errorf("an address is not found: %v", err)
	}
	var sent facts.Recording
	if err := json.Unmarshal(a.File(bundle.FactsFile), &sent); err != nil {
		t.Fatal(err)
	}
	if h := sent.Facts[0].Packets.Conversations[0].Packets[0].Header; string(h) != syn {
		t.Errorf("the facts have the header %q", h)
	}
}

func TestOpenRefuses(t *testing.T) {
	in, err := os.ReadFile(dropped)
	if err != nil {
		t.Fatal(err)
	}
	_, whole, _ := do(string(in), "bundle", "--replay", "-", "-o", "-")
	_, stored, _ := do(string(in), "--replay", "-", "--format", "json")
	again := func(change func(files map[string][]byte)) string {
		a, err := bundle.Open([]byte(whole))
		if err != nil {
			t.Fatal(err)
		}
		files := map[string][]byte{}
		for _, name := range a.Names() {
			files[name] = a.File(name)
		}
		change(files)
		var b bytes.Buffer
		if err := bundle.Write(&b, a.Manifest, files); err != nil {
			t.Fatal(err)
		}
		return b.String()
	}
	i := strings.Index(whole, "report.md") + len("report.md") + 40
	altered := whole[:i] + string([]byte{whole[i] ^ 1}) + whole[i+1:]
	for data, hint := range map[string]string{
		"":                         "it is neither a bundle",
		"hello":                    "it is neither a bundle",
		"{}":                       "it is neither a bundle",
		`{"facts_schema":9,"x":1}`: "up to 1: use a newer one",
		`{"schema":9,"targets":1}`: "this is no report",
		`{"schema":9,"version":"9","targets":[]}`:                            "loopdoctor 9 wrote it with schema 9",
		strings.Replace(stored, `"exit_status": 1`, `"exit_status": 256`, 1): "no report has the exit status 256",
		whole[:len(whole)/2]: "it is cut off",
		whole + "x":          "behind the end",
		"x" + whole:          "in front",
		altered:              "report.md: ",
		again(func(f map[string][]byte) { f[bundle.FactsFile] = []byte("x") }): "facts.json: this is no recording",
		again(func(f map[string][]byte) { f[bundle.JSONFile] = []byte("{}") }): "report.json: this is no report",
	} {
		status, stdout, stderr := do(data, "open", "-")
		oneLine(t, hint, exitUsage, status, stdout, stderr)
	}
}

func TestOpenSaysWhatChanged(t *testing.T) {
	dir := t.TempDir()
	ticket, seen, stored := filepath.Join(dir, "ticket.zip"), filepath.Join(dir, "facts.json"), filepath.Join(dir, "report.json")
	do("", "bundle", "--replay", dropped, "-o", ticket)
	a := readArchive(t, ticket)
	if err := errors.Join(os.WriteFile(seen, a.File(bundle.FactsFile), 0o600), os.WriteFile(stored, a.File(bundle.JSONFile), 0o600)); err != nil {
		t.Fatal(err)
	}
	_, want, _ := do("", "--replay", seen)

	status, out, stderr := do("", "open", seen)
	if head, rest, _ := strings.Cut(out, "\n\n"); status != report.ExitFault || stderr != "" || rest != want || !strings.HasPrefix(head, seen+": recorded by loopdoctor ") {
		t.Errorf("the facts alone: exit status %d, %s%s", status, stderr, out)
	}
	status, out, stderr = do("", "open", stored)
	if status != report.ExitFault || stderr != "" || !strings.Contains(out, "not judged again.\n\n") || !strings.Contains(out, "handle") {
		t.Errorf("the report alone: exit status %d, %s%s", status, stderr, out)
	}

	// An older version came to another verdict.
	files := map[string][]byte{bundle.FactsFile: a.File(bundle.FactsFile)}
	r, err := report.Parse(a.File(bundle.JSONFile))
	if err != nil {
		t.Fatal(err)
	}
	r.Version, r.Targets[0].Causes[0].Name, r.Targets[0].Causes[0].Certainty = "0.1", "lost-on-input", "inferred"
	var b bytes.Buffer
	if err := report.JSON(&b, r); err != nil {
		t.Fatal(err)
	}
	files[bundle.JSONFile] = b.Bytes()
	var packed bytes.Buffer
	if err := bundle.Write(&packed, a.Manifest, files); err != nil {
		t.Fatal(err)
	}
	const then, now = "  then   broken: lost-on-input (inferred)", "  now    broken: filter-drops-loopback (proven)"
	status, out, stderr = do(packed.String(), "open", "-")
	for _, line := range []string{"standard input: recorded by ", "CHANGED  127.0.0.1:62893\n", then, now, "(then loopdoctor 0.1, now " + number()} {
		if status != report.ExitFault || stderr != "" || !strings.Contains(out, line) {
			t.Errorf("exit status %d, no %q: %s%s", status, line, stderr, out)
		}
	}
	// What a program reads is the report alone.
	for _, format := range [][]string{{"--format", "json"}, {"--format", "html"}, {"--format", "markdown"}, {"-q"}} {
		_, want, _ := do("", append(format, "--replay", seen)...)
		status, out, stderr := do(packed.String(), append([]string{"open", "-"}, format...)...)
		if status != report.ExitFault || out != want || !strings.Contains(stderr, then) {
			t.Errorf("%v: exit status %d, %s%.200s", format, status, stderr, out)
		}
	}
	if _, _, stderr := do("", "open", "-q", ticket); stderr != "" {
		t.Errorf("nothing changed, and it says %s", stderr)
	}
	file := filepath.Join(dir, "out.txt")
	status, out, stderr = do("", "open", ticket, "-o", file)
	text, err := os.ReadFile(file)
	if status != report.ExitFault || out+stderr != "" || err != nil || !strings.HasPrefix(string(text), ticket+": recorded by") {
		t.Errorf("to a file: exit status %d, %s%s%v", status, out, stderr, err)
	}
}

func FuzzOpenCommand(f *testing.F) {
	for _, name := range []string{shown, "healthy-udp-beside-tcp.user"} {
		in, err := os.ReadFile(filepath.Join(replayDir, name+".json"))
		if err != nil {
			f.Fatal(err)
		}
		_, whole, _ := do(string(in), "bundle", "--replay", "-", "-o", "-")
		_, stored, _ := do(string(in), "--replay", "-", "--format", "json")
		f.Add([]byte(whole))
		f.Add([]byte(stored))
		f.Add(in)
	}
	f.Fuzz(func(t *testing.T, data []byte) {
		status, stdout, stderr := do(string(data), "open", "-")
		if status > 4 || (status == exitUsage) != (stdout == "") || strings.Contains(stderr, "a mistake in loopdoctor") {
			t.Fatalf("exit status %d: %s", status, stderr)
		}
		if strings.ContainsFunc(stdout+stderr, func(r rune) bool { return r < ' ' && r != '\n' }) {
			t.Fatalf("a control character: %q", stdout+stderr)
		}
	})
}
