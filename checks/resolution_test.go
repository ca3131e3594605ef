package checks

import (
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/loopdoctor/loopdoctor/checks/facts"
)

func resolutionSituations() []situation {
	noFiles := nsswitch("hosts: dns", "dns")
	return slices.Concat(
		of(hostsLocalhostMissing,
			row{"no line, and nothing else knows it", machine("localhost", hosts()), says("proven 127.0.0.1 ::1", "/etc/hosts", "localhost")},
			row{"the file is gone", machine("localhost", hosts(), unreadable("missing", 0)), says("proven 127.0.0.1 ::1", "cannot be read (missing)")},
			row{"the file may not be read", machine("localhost", hosts(), unreadable("permission denied", 0o600)), says("proven 127.0.0.1 ::1", "permission denied")},
			row{"the C library does not need the line", machine("localhost", hosts(), resolvesTo("myhostname", "127.0.0.1")), nothing},
			row{"the file would not be read in any case", machine("localhost", hosts(), noFiles), nothing},
			row{"the line is there", machine("localhost"), nothing},
			row{"another name is missing", machine("localhost", hosts(), asksFor("shop")), nothing},
		),
		of(hostsLocalhostWrong,
			row{"another machine's address", machine("localhost", hosts("10.0.0.9")), says("proven 10.0.0.9", "Line 1 of /etc/hosts", "10.0.0.9")},
			row{"a wrong line after a right one", machine("localhost", hosts("127.0.0.1", "10.0.0.9")), says("proven 10.0.0.9", "Line 2")},
			row{"another loopback address, where nothing listens", machine("localhost", hosts("127.0.1.1"), listens("127.0.0.1", 50)), says("proven 127.0.0.1 ::1", "127.0.1.1")},
			row{"the port alone was asked for", machine("62893", hosts("10.0.0.9")), says("remark 127.0.0.1 ::1")},
			row{"another loopback address, which is served", machine("localhost", hosts("127.0.1.1"), listens("0.0.0.0", 50)), nothing},
			row{"the usual lines", machine("localhost"), nothing},
			row{"a wrong line that is never read", machine("localhost", hosts("10.0.0.9"), resolvesTo("myhostname", "127.0.0.1")), nothing},
			row{"another name has that address", machine("localhost", asksFor("shop"), hosts("10.0.0.9")), nothing},
		),
		of(nsswitchWithoutFiles,
			row{"files is not named", machine("localhost", hosts(), noFiles), says("proven 127.0.0.1 ::1", "Line 7 of /etc/nsswitch.conf", "localhost")},
			row{"files is named", machine("localhost", hosts()), nothing},
			row{"there is no such line, and files is the default", machine("localhost", hosts(), func(f *facts.Facts) { f.Names.Switch.Line = 0 }), nothing},
			row{"another source knows it", machine("localhost", noFiles, resolvesTo("myhostname", "127.0.0.1")), nothing},
			row{"another name is not known", machine("localhost", hosts(), noFiles, asksFor("shop")), nothing},
		),
		of(dnsAnswersLocalhost,
			row{"the name server has another address", machine("localhost", noFiles, resolvesTo("name server 127.0.0.53", "10.0.0.9")), says("proven 127.0.0.1 ::1", "name server 127.0.0.53", "10.0.0.9")},
			row{"the port alone was asked for", machine("62893", noFiles, resolvesTo("name server 127.0.0.53", "10.0.0.9")), says("remark 127.0.0.1 ::1")},
			row{"the name server says 127.0.0.1", machine("localhost", noFiles, resolvesTo("name server 127.0.0.53", "127.0.0.1")), nothing},
			row{"the hosts file says it, which is another matter", machine("localhost", hosts("10.0.0.9")), nothing},
			row{"it was asked for another name", machine("localhost", noFiles, asksFor("shop"), resolvesTo("name server 127.0.0.53", "10.0.0.9")), nothing},
			row{"it does not know the name", machine("localhost", hosts(), noFiles), nothing},
		),
	)
}

func TestResolution(t *testing.T) { judge(t, resolutionSituations()) }

func TestMendingNames(t *testing.T) {
	const lines = `append "127.0.0.1 localhost\n::1 localhost\n" to /etc/hosts`
	prescribe(t, []cure{
		{"no line", hostsLocalhostMissing, machine("localhost", hosts()),
			[]string{"root runs cp -p /etc/hosts /etc/hosts.before-loopdoctor", lines, "undo cp /etc/hosts.before-loopdoctor /etc/hosts", "undo rm /etc/hosts.before-loopdoctor", "lasts persistent"}},
		{"no file: there is nothing to copy", hostsLocalhostMissing, machine("localhost", hosts(), unreadable("missing", 0)),
			[]string{lines, "undo rm /etc/hosts", "lasts persistent"}},
		{"a file for root's eyes", hostsLocalhostMissing, machine("localhost", hosts(), unreadable("permission denied", 0o640)),
			[]string{"root runs chmod 644 /etc/hosts", "undo chmod 0640 /etc/hosts", "lasts persistent"}},
		{"a wrong line", hostsLocalhostWrong, machine("localhost", hosts("10.0.0.9")),
			[]string{"root runs cp -p /etc/hosts /etc/hosts.before-loopdoctor", `root runs env LC_ALL=C sed -n -e "1s/.*/127.0.0.1 localhost/" -e "w /etc/hosts" /etc/hosts.before-loopdoctor`,
				"undo cp /etc/hosts.before-loopdoctor /etc/hosts", "undo rm /etc/hosts.before-loopdoctor", "lasts persistent"}},
		{"no files", nsswitchWithoutFiles, machine("localhost", hosts(), nsswitch("hosts: dns [!UNAVAIL=return]", "dns")),
			[]string{"root runs cp -p /etc/nsswitch.conf /etc/nsswitch.conf.before-loopdoctor", `root runs env LC_ALL=C sed -n -e "7s/.*/hosts: files dns [!UNAVAIL=return]/" -e "w /etc/nsswitch.conf" /etc/nsswitch.conf.before-loopdoctor`,
				"undo cp /etc/nsswitch.conf.before-loopdoctor /etc/nsswitch.conf", "undo rm /etc/nsswitch.conf.before-loopdoctor", "lasts persistent"}},
		{"files is there and has no line", dnsAnswersLocalhost, machine("localhost", hosts(), resolvesTo("name server 127.0.0.53", "10.0.0.9")),
			[]string{"root runs cp -p /etc/hosts /etc/hosts.before-loopdoctor", lines, "undo cp /etc/hosts.before-loopdoctor /etc/hosts", "undo rm /etc/hosts.before-loopdoctor", "lasts persistent"}},
	})
}

// The real sed takes the line as it is, whatever stands in it, and the undo
// brings back every byte.
func TestRewritingALine(t *testing.T) {
	if _, err := exec.LookPath("sed"); err != nil {
		t.Skip("sed is not installed")
	}
	path := filepath.Join(t.TempDir(), "it's a $(file)")
	for _, text := range []string{
		"127.0.0.1 localhost", `a/b/c`, `$(reboot) "x" 'y' ` + "`id`", `a & b \& c`, `back\slash \n \1`, "two\nlines", "# é", `w /etc/passwd`, "]*.[^$",
	} {
		for _, before := range []string{"one\nold $(x) & /etc\nthree\n", "one\nold", "one\r\nold\r\nthree\r\n"} {
			if err := os.WriteFile(path, []byte(before), 0o644); err != nil {
				t.Fatal(err)
			}
			fix := rewriteLine(path, 2, []string{text}, "")
			execute(t, fix.Steps)
			lines := readLines(t, path)
			want := strings.ReplaceAll(text, "\n", " ")
			if len(lines) < 2 || lines[1] != want || lines[0] != readLines(t, path+backup)[0] {
				t.Errorf("%q in %q gives %q, want the second line to be %q", text, before, lines, want)
			}
			execute(t, fix.Undo)
			if after, err := os.ReadFile(path); err != nil || string(after) != before {
				t.Errorf("after the undo %q, want %q", after, before)
			}
			if _, err := os.Stat(path + backup); !os.IsNotExist(err) {
				t.Errorf("the undo leaves the copy behind")
			}
		}
	}
}

func execute(t *testing.T, steps [][]string) {
	t.Helper()
	for _, args := range steps {
		if out, err := exec.CommandContext(t.Context(), args[0], args[1:]...).CombinedOutput(); err != nil {
			t.Fatalf("%q: %v\n%s", args, err, out)
		}
	}
}

func readLines(t *testing.T, path string) []string {
	t.Helper()
	data, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	return strings.Split(strings.TrimSuffix(string(data), "\n"), "\n")
}
