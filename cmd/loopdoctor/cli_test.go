package main

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"slices"
	"strconv"
	"strings"
	"testing"

	"github.com/loopdoctor/loopdoctor/checks"
	"github.com/loopdoctor/loopdoctor/checks/facts"
)

func show(v any) string {
	b, _ := json.Marshal(v)
	return string(b)
}

func noEnv(string) string { return "" }

// do runs the program in this process.
func do(stdin string, args ...string) (status int, stdout, stderr string) {
	var out, errs strings.Builder
	status = run(args, strings.NewReader(stdin), &out, &errs, noEnv)
	return status, out.String(), errs.String()
}

// oneLine is what bad usage gets: nothing on the standard output, one line
// with the hint on the other, and its exit status.
func oneLine(t *testing.T, hint string, wantStatus, status int, stdout, stderr string) {
	t.Helper()
	if status != wantStatus || stdout != "" || !strings.Contains(stderr, hint) || strings.Count(stderr, "\n") != 1 || !strings.HasPrefix(stderr, "loopdoctor: ") {
		t.Errorf("exit status %d, stdout %q, stderr %q\nwant %d and: %s", status, stdout, stderr, wantStatus, hint)
	}
}

func TestBadUsage(t *testing.T) {
	for args, hint := range map[string]string{
		"--bind":                                "--bind needs a target",
		"--bogus 80":                            "unknown flag: --bogus (see loopdoctor --help)",
		"--format yaml 80":                      "it is one of text, json, markdown, html",
		"--color sometimes 80":                  "it is one of auto, always, never",
		"-q -v 80":                              "-q and -v contradict each other",
		"--format json -v 80":                   "are for the text report",
		"--color=never --format=html 80":        "are for the text report",
		"--timeout 0s 80":                       "more than nothing",
		"--timeout 5 80":                        "missing unit",
		"--timeout":                             "needs an argument",
		"--output= 80":                          "the name of a file is empty",
		"completion tcsh":                       "there is none for tcsh, but for bash, fish, powershell, zsh",
		"--record x -o x 80":                    "both write to x",
		"--record - -o - 80":                    "both write to the standard output",
		"--record - --format json 80":           "add -o FILE",
		"--replay x 80":                         "leave out 80",
		"--replay x --bind":                     "leave out --bind",
		"--replay x --record y":                 "leave out --record",
		"--replay x --as root":                  "leave out --as",
		"--replay x --timeout 3s":               "leave out --timeout",
		"--replay /nonexistent":                 "--replay: open /nonexistent",
		"--as nosuchuser 80":                    "--as nosuchuser: no user has this name",
		"--as 4194999 80":                       "a uid is written +4194999",
		"--as +4294967295 80":                   "is no uid",
		"--pid 4194999 80":                      "--pid 4194999: no process has this number",
		"--netns loopdoctor-none 80":            "there is no network namespace of this name",
		"--netns /nonexistent/x 80":             "--netns /nonexistent/x: ",
		"--netns / 80":                          "/ keeps no namespace",
		"--speak=telepathy 80":                  "it is one of guess, http, https",
		"--speak":                               "--speak needs a target",
		"--speak redis 80":                      "write --speak=redis",
		"--speak --bind 80":                     "leave out one of them",
		"--speak --no-connect 80":               "contradict each other",
		"--speak=redis udp://:80":               "the host is missing",
		"--speak=redis udp://[::1]:80":          "over UDP it can be dns alone",
		"--patience 2s 80":                      "nothing is asked",
		"--patience 0s http://[::1]/":           "more than nothing",
		"--patience=9s --timeout=3s --speak 80": "does not fit into --timeout 3s",
		"--replay x --speak":                    "leave out --speak",
		"-o /nonexistent/x 80":                  "--output: create /nonexistent/x: ",
		"--record /nonexistent/x 80":            "--record: create /nonexistent/x: ",
		"80 3000;":                              `target "3000;"`,
		"chekcs":                                "did you mean loopdoctor checks?",
		"explain":                               "explain takes the name of one cause",
		"explain a b":                           "explain takes the name of one cause",
		"explain no-listner":                    "did you mean no-listener",
		"explain hosts-localhost":               "hosts-localhost-missing or hosts-localhost-wrong",
		"explain ../docs":                       "no cause is called",
		"explain zzzzzzzz":                      "loopdoctor checks lists them",
		"checks x":                              "unknown command",
		"version x":                             "unknown command",
		"192.0.2.1:80":                          "192.0.2.1",
		"bundle --bind":                         "--bind needs a target",
		"bundle --format json 80":               "unknown flag: --format",
		"bundle --record x 80":                  "unknown flag: --record",
		"bundle --no-redact --mask x 80":        "contradict each other",
		"bundle --no-redact -o - 80":            "--no-redact needs a file",
		"bundle --mask= 80":                     "--mask: the word is empty",
		"bundle --output= 80":                   "the name of a file is empty",
		"bundle --replay x 80":                  "leave out 80",
		"bundle --mask { 80":                    "there is no letter and no digit in it",
		"bundle --mask No-Listener 80":          "is what loopdoctor calls a cause",
		"--record x -o ./x 80":                  "--record and --output both write to x",
		"bundle --replay x --as root":           "leave out --as",
		"bundle --replay /nonexistent":          "--replay: open /nonexistent",
		"bundle -o /nonexistent/x 80":           "--output: create /nonexistent/x: ",
		"bundle 80 3000;":                       `target "3000;"`,
		"open":                                  "open takes one file",
		"open a b":                              "open takes one file",
		"open /nonexistent":                     "open /nonexistent: ",
		"open x -o x":                           "--output writes to x, and it is what is read",
		"open .":                                "open: read .: ",
		"open -q -v x":                          "-q and -v contradict each other",
		"open --format yaml x":                  "it is one of text",
		"bundel":                                "did you mean loopdoctor bundle?",
	} {
		t.Run(args, func(t *testing.T) {
			if runtime.GOOS != "linux" && (strings.HasPrefix(args, "192.") || strings.HasPrefix(args, "--pid") || strings.HasPrefix(args, "--netns")) {
				t.Skip("looking at a target, or from another place, is tested on Linux")
			}
			status, stdout, stderr := do("", strings.Fields(args)...)
			oneLine(t, hint, exitUsage, status, stdout, stderr)
		})
	}
}

func TestSmallCommands(t *testing.T) {
	status, list, _ := do("", "checks")
	if n := strings.Count(list, "\n"); status != 0 || n != len(checks.Causes()) {
		t.Errorf("checks: exit status %d, %d lines for %d causes", status, n, len(checks.Causes()))
	}
	for line := range strings.Lines(list) {
		name, _, _ := strings.Cut(line, " ")
		if c := checks.ByName(name); c == nil || c.IsSymptom() || !strings.Contains(line, c.Doc) {
			t.Errorf("checks: %q", line)
		}
	}
	if status, page, _ := do("", "explain", "No-Listener"); status != 0 || !strings.HasPrefix(page, "# no-listener\n") {
		t.Errorf("explain: exit status %d, %.40q", status, page)
	}
	for _, args := range []string{"version", "--version"} {
		if status, line, _ := do("", args); status != 0 || line != version()+"\n" {
			t.Errorf("%s: exit status %d, %q", args, status, line)
		}
	}
	if status, script, _ := do("", "completion", "bash"); status != 0 || !strings.Contains(script, "loopdoctor") {
		t.Errorf("completion: exit status %d, %.40q", status, script)
	}
}

func TestIdentities(t *testing.T) {
	sudo := func(name string) string { return map[string]string{"SUDO_UID": "1000"}[name] }
	for _, c := range []struct {
		as   []string
		env  func(string) string
		euid int
		want []uint32
	}{
		{nil, noEnv, 1000, []uint32{1000}},
		{nil, noEnv, 0, []uint32{0}},
		{nil, sudo, 0, []uint32{1000, 0}},
		{nil, sudo, 33, []uint32{33}}, // sudo -u www-data
		{nil, func(string) string { return "-1" }, 0, []uint32{0}},
		{nil, noEnv, -1, nil},
		{[]string{"+33", "+0", "+33"}, sudo, 0, []uint32{33, 0}},
	} {
		got, err := identities(c.as, c.env, c.euid)
		var uids []uint32
		for _, id := range got {
			uids = append(uids, id.UID)
		}
		if err != nil || !slices.Equal(uids, c.want) {
			t.Errorf("%v, euid %d: %v, %v", c.as, c.euid, got, err)
		}
	}
	if runtime.GOOS == "linux" {
		me := strconv.Itoa(os.Getpid())
		got, err := identities([]string{me, "+" + strconv.Itoa(os.Geteuid()), me}, noEnv, 1000)
		if err != nil || len(got) != 2 || int(got[0].UID) != os.Geteuid() || got[0].PID != os.Getpid() || got[1].PID != 0 {
			t.Errorf("this process, and its user: %v, %v", got, err)
		}
	}
}

func TestHostileRecordings(t *testing.T) {
	big := filepath.Join(t.TempDir(), "big")
	if err := os.WriteFile(big, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	if err := os.Truncate(big, maxRecording+1); err != nil {
		t.Fatal(err)
	}
	status, stdout, stderr := do("", "--replay", big)
	oneLine(t, "more than 64 MiB", exitUsage, status, stdout, stderr)
	status, stdout, stderr = do("", "--replay", t.TempDir())
	oneLine(t, "--replay: ", exitUsage, status, stdout, stderr)

	// Two bytes that become a socket, and three that become a target.
	for data, hint := range map[string]string{
		`{"facts_schema":1,"facts":[{"sockets":{"sockets":[0` + strings.Repeat(",0", maxValues) + `]}}]}`: "more than 524288 values",
		`{"facts_schema":1,"facts":[{}` + strings.Repeat(",{}", maxTargets) + `]}`:                        "a recording of 1001 targets",
	} {
		status, stdout, stderr := do(data, "--replay", "-")
		oneLine(t, hint, exitUsage, status, stdout, stderr)
		status, stdout, stderr = do(data, "open", "-")
		oneLine(t, hint, exitUsage, status, stdout, stderr)
	}

	for data, hint := range map[string]string{
		"":                    "it is not JSON",
		"\x7fELF\x02\x01\x00": "it is not JSON",
		"{":                   "it is not JSON",
		`{"facts_schema":1}x`: "it is not JSON",
		"null":                "without facts_schema",
		"[]":                  "without facts_schema",
		"3":                   "without facts_schema",
		`{"schema":1,"version":"1","targets":[]}`:                                   "--format json does not",
		`{"facts_schema":"1"}`:                                                      "without facts_schema",
		`{"facts_schema":2,"version":"9.9","facts":{"new":1}}`:                      "loopdoctor 9.9 recorded it with schema 2, and this loopdoctor reads up to 1",
		`{"facts_schema":2,"version":"\u001b[31m\n"}`:                               "with schema 2",
		`{"facts_schema":0,"facts":[{}]}`:                                           "there is no schema 0",
		`{"facts_schema":1}`:                                                        "there is nothing in this recording",
		`{"facts_schema":1,"facts":[]}`:                                             "there is nothing in this recording",
		`{"facts_schema":1,"facts":[null]}`:                                         "target 1 is missing",
		`{"facts_schema":1,"facts":[{"target":{"port":70000}}]}`:                    "a damaged recording",
		`{"facts_schema":1,"facts":[{"target":{"addresses":[{"address":"x"}]}}]}`:   "a damaged recording",
		`{"facts_schema":1,"facts":` + strings.Repeat("[", 20000):                   "it is not JSON",
		`{"facts_schema":1,"facts":[{"time":"yesterday","target":{"raw":"3000"}}]}`: "a damaged recording",
	} {
		status, stdout, stderr := do(data, "--replay", "-")
		t.Run(fmt.Sprintf("%.40q", data), func(t *testing.T) {
			oneLine(t, hint, exitUsage, status, stdout, stderr)
			if strings.Contains(stderr, "\x1b") {
				t.Errorf("an escape reached the terminal: %q", stderr)
			}
		})
	}
}

func FuzzReplay(f *testing.F) {
	f.Add([]byte(`{"facts_schema":1,"facts":[{}]}`))
	f.Add([]byte(`{"facts_schema":1,"facts":[{"target":{"raw":"3000","network":"tcp","host":"localhost","port":3000,"addresses":[{"address":"::1","expected":true},{"address":""}]},"dials":[{"address":"127.0.0.1","outcome":"refused","server":{"local":""}}],"sockets":{"sockets":[{"state":"listen","local":"127.0.0.1:3000"}]},"owners":{"processes":[{"pid":1}],"holders":{"0":[{"pid":2}]}}}]}`))
	files, _ := filepath.Glob(filepath.Join("testdata", "replay", "*.json"))
	for i, file := range files {
		if testing.Short() && i%10 > 0 { // TestReplay reads each
			continue
		}
		if data, err := os.ReadFile(file); err == nil {
			f.Add(data)
		}
	}
	f.Fuzz(func(t *testing.T, data []byte) {
		for _, format := range formats {
			status, stdout, stderr := do(string(data), "--replay", "-", "--format", format)
			if status > 3 || (status == exitUsage) != (stdout == "") {
				t.Fatalf("%s: exit status %d: %s", format, status, stderr)
			}
		}
	})
}

// TestRecord looks at a listener of its own and replays what was saved.
func TestRecord(t *testing.T) {
	if runtime.GOOS != "linux" {
		t.Skip("looking at a target is tested on Linux")
	}
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	go func() {
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			defer c.Close()
		}
	}()
	dir := t.TempDir()
	seen, out := filepath.Join(dir, "seen.json"), filepath.Join(dir, "report.json")
	if err := os.WriteFile(seen, []byte("old"), 0o644); err != nil {
		t.Fatal(err)
	}
	status, stdout, stderr := do("", "--record", seen, "-o", out, "--format", "json", "--no-capture", l.Addr().String())
	if status != 0 || stdout != "" || stderr != "" {
		t.Fatalf("exit status %d, %s%s", status, stdout, stderr)
	}
	if info, err := os.Stat(seen); err != nil || info.Mode().Perm() != 0o600 {
		t.Errorf("the recording can be read by others: %v, %v", info.Mode(), err)
	}
	want, err := os.ReadFile(out)
	if err != nil {
		t.Fatal(err)
	}
	status, got, stderr := do("", "--replay", seen, "--format", "json")
	if status != 0 || got != string(want) {
		t.Errorf("exit status %d, %s\ngot  %s\nwant %s", status, stderr, got, want)
	}

	// "-" is a recording, too.
	_, text, _ := do("", "--record", "-", "--no-capture", l.Addr().String())
	var r facts.Recording
	if err := json.Unmarshal([]byte(text), &r); err != nil || r.Schema != facts.Schema || len(r.Facts) != 1 {
		t.Errorf("--record -: %v, %.80q", err, text)
	}

	// A run that does not come to an end changes no file and leaves none.
	status, _, _ = do("", "--record", seen, "-o", out, "192.0.2.1:80")
	after, _ := os.ReadFile(out)
	entries, _ := os.ReadDir(dir)
	if status != exitUsage || !bytes.Equal(after, want) || len(entries) != 2 {
		t.Errorf("exit status %d, %d files, the report changed: %v", status, len(entries), !bytes.Equal(after, want))
	}
}

func TestFileBehindLink(t *testing.T) {
	dir := t.TempDir()
	file, link := filepath.Join(dir, "file"), filepath.Join(dir, "link")
	if err := errors.Join(os.WriteFile(file, []byte("old"), 0o644), os.Symlink(file, link)); err != nil {
		t.Skip(err)
	}
	f, err := create(link, 0o600, nil)
	if err != nil {
		t.Fatal(err)
	}
	defer f.abandon()
	fmt.Fprint(f, "new")
	if old, _ := os.ReadFile(file); string(old) != "old" {
		t.Errorf("half a file is seen: %q", old)
	}
	if err := f.commit(); err != nil {
		t.Fatal(err)
	}
	if now, _ := os.ReadFile(file); string(now) != "new" {
		t.Errorf("the file holds %q", now)
	}
	if info, err := os.Lstat(link); err != nil || info.Mode()&os.ModeSymlink == 0 {
		t.Error("the link is gone")
	}
}

func TestPanic(t *testing.T) {
	var out, errs strings.Builder
	status := run([]string{"8080"}, nil, &out, &errs, func(string) string { panic("two\nlines") })
	oneLine(t, "a mistake in loopdoctor itself", 4, status, out.String(), errs.String())
}

// TestClosedReader is "loopdoctor checks | head -0".
func TestClosedReader(t *testing.T) {
	exe, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	for _, args := range [][]string{{"checks"}, {"explain", "no-listener"}, {"--help"}, {"version"}} {
		r, w, err := os.Pipe()
		if err != nil {
			t.Fatal(err)
		}
		r.Close()
		var stderr strings.Builder
		cmd := exec.Command(exe, args...)
		cmd.Args[0], cmd.Stdout, cmd.Stderr = "loopdoctor", w, &stderr
		err = cmd.Run()
		w.Close()
		if err != nil || stderr.String() != "" {
			t.Errorf("%v: %v, %s", args, err, stderr.String())
		}
	}
}
