package host

import (
	"bufio"
	"io"
	"os"
	"slices"
	"strconv"
	"strings"

	"github.com/loopdoctor/loopdoctor/checks/host/internal/process"
)

// linuxProgram looks at a process that is the client. What cannot be seen is empty.
func linuxProgram(pid int) program {
	var x program
	if p, err := process.Describe(pid); err == nil {
		x = program{name: p.Name, unit: p.Unit, args: p.Args}
	}
	x.library = mapped("/proc/" + strconv.Itoa(pid) + "/maps")
	return x
}

// maxMaps is how much is read of a list of mappings: that of a browser has 300 kB.
const maxMaps = 4 << 20

// mapped finds a wrapper among the files that a process has mapped:
// "7f… r-xp 00002000 fe:00 1234  /usr/lib/x86_64-linux-gnu/libproxychains.so.4".
func mapped(file string) string {
	f, err := os.Open(file)
	if err != nil {
		return ""
	}
	defer f.Close()
	for s := bufio.NewScanner(io.LimitReader(f, maxMaps)); s.Scan(); {
		if i := strings.IndexByte(s.Text(), '/'); i >= 0 && isWrapper(s.Text()[i:]) {
			return strings.TrimSuffix(s.Text()[i:], " (deleted)")
		}
	}
	return ""
}

// beforeSudo adds the proxy variables that the shell gave to sudo, which hands on
// few: the person's client runs in that shell.
func beforeSudo(own []string) []string {
	if os.Getenv("SUDO_UID") == "" || slices.ContainsFunc(own, proxyAssignment) {
		return own
	}
	for _, pid := range process.Above() {
		if name, err := os.ReadFile("/proc/" + strconv.Itoa(pid) + "/comm"); err == nil && strings.TrimSpace(string(name)) == "sudo" {
			environ, _ := process.Environ(pid)
			for _, kv := range environ {
				if proxyAssignment(kv) {
					own = append(own, kv)
				}
			}
		}
	}
	return own
}

func proxyAssignment(kv string) bool {
	name, _, _ := strings.Cut(kv, "=")
	return isProxyVariable(name)
}
