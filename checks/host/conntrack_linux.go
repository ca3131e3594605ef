package host

import (
	"errors"
	"os"
	"slices"
	"strings"

	"golang.org/x/sys/unix"

	"github.com/loopdoctor/loopdoctor/checks/facts"
	"github.com/loopdoctor/loopdoctor/checks/host/internal/conntrack"
	"github.com/loopdoctor/loopdoctor/checks/host/internal/netfilter"
)

const (
	conntrackStat   = "/proc/net/stat/nf_conntrack"
	conntrackSysctl = "/proc/sys/net/netfilter/nf_conntrack_"
)

// conntrackColumns are those of /proc/net/stat/nf_conntrack that say that a packet did
// not become a connection. The others move with any traffic.
var conntrackColumns = []string{"drop", "insert_failed", "invalid", "early_drop", "icmp_error"}

// addConntrack adds the counters of connection tracking, where the kernel has it.
func (c counters) addConntrack() {
	data, err := os.ReadFile(conntrackStat)
	if err != nil {
		return
	}
	if sums, err := conntrack.ParseStat(data); err == nil {
		for _, name := range conntrackColumns {
			c["conntrack."+name] = sums[name]
		}
	}
}

// linuxConntrack reads what everybody may: how full the table is, and what its
// counters say. Who answers a connection needs root.
func linuxConntrack(f *facts.Facts, about []suspect) (*facts.Conntrack, error) {
	c := &facts.Conntrack{}
	var err error
	if c.Max, err = readInt(conntrackSysctl + "max"); err != nil {
		if errors.Is(err, os.ErrNotExist) {
			// Not even a module is there: nothing is tracked.
			return c, nil
		}
		return nil, err
	}
	if c.Count, err = readInt(conntrackSysctl + "count"); err != nil {
		return nil, err
	}
	// Only the first network namespace may change the limit
	// (nf_conntrack_standalone_init_sysctl).
	var st unix.Stat_t
	c.Namespaced = unix.Stat(conntrackSysctl+"max", &st) == nil && st.Mode&0o222 == 0
	if data, err := os.ReadFile(conntrackStat); err == nil {
		if sums, err := conntrack.ParseStat(data); err == nil {
			c.Total = map[string]int{}
			for _, name := range conntrackColumns {
				if n := sums[name]; n != 0 {
					c.Total[name] = int(n)
				}
			}
			c.Dropped = droppedWith(f.Ledger)
		}
	}
	if c.Dropped["drop"] > 0 || c.Max > 0 && c.Count >= c.Max-c.Max/10 {
		c.LogLines = kernelLog("nf_conntrack: ")
	}
	c.Replies, err = replies(about)
	if err != nil {
		c.NotRead = "who answers: " + whyNot(err)
	}
	return c, nil
}

// droppedWith is what connection tracking counted with our SYNs: of one address in
// one go, the most; nil if none were sent.
func droppedWith(ls []facts.Ledger) map[string]int {
	if len(ls) == 0 {
		return nil
	}
	most := map[string]int{"drop": 0}
	for _, l := range ls {
		for _, name := range conntrackColumns {
			if n := int(l.Delta["conntrack."+name]); n > most[name] {
				most[name] = n
			}
		}
	}
	return most
}

// replies asks who answers our own connections, as far as they are still known.
func replies(about []suspect) ([]facts.ReplyTuple, error) {
	if !loaded("nf_conntrack_netlink") {
		return nil, errors.New("nf_conntrack_netlink is not loaded")
	}
	about = slices.DeleteFunc(slices.Clone(about), func(s suspect) bool { return !s.From.IsValid() || s.From.Port() == 0 })
	if len(about) == 0 {
		return nil, nil
	}
	c, err := conntrack.Open()
	if err != nil {
		return nil, err
	}
	defer c.Close()
	var found []facts.ReplyTuple
	for _, s := range about {
		by, known, err := c.Reply(s.From, s.to)
		if err != nil {
			return found, err
		}
		if known {
			found = append(found, facts.ReplyTuple{Addr: s.Addr, From: s.From, By: by})
		}
	}
	return found, nil
}

// loaded tells whether the kernel may have that module: asking for what one that is
// not loaded provides would load it. What is built in has no line in /proc/modules,
// but one in modules.builtin.
func loaded(module string) bool {
	if present("/sys/module/" + module) {
		return true
	}
	var u unix.Utsname
	if unix.Uname(&u) != nil {
		return true
	}
	builtin, err := os.ReadFile("/lib/modules/" + unix.ByteSliceToString(u.Release[:]) + "/modules.builtin")
	if err != nil || !present("/proc/modules") {
		return true // nobody can tell, and most have it
	}
	return strings.Contains(string(builtin), "/"+module+".ko")
}

// logLine is a line of the kernel's log as dmesg shows it: without its priority.
//
//	<4>[ 12.345678] nf_conntrack: table full, dropping packet
func logLine(line string) string {
	if rest, ok := strings.CutPrefix(line, "<"); ok {
		if number, rest, ok := strings.Cut(rest, ">"); ok && strings.Trim(number, "0123456789") == "" {
			line = rest
		}
	}
	return strings.TrimSpace(line)
}

// kernelLog returns the last lines of the kernel's log that contain the words, where
// it may be read (syslog(2), SYSLOG_ACTION_READ_ALL; kernel.dmesg_restrict).
func kernelLog(words string) []string {
	const readAll, most = 3, 3
	buf := make([]byte, 64<<10)
	n, err := unix.Klogctl(readAll, buf)
	if err != nil || n <= 0 {
		return nil
	}
	var found []string
	for line := range strings.Lines(string(buf[:min(n, len(buf))])) {
		if strings.Contains(line, words) {
			found = append(found, netfilter.Cut(logLine(line), 200))
		}
	}
	return found[max(0, len(found)-most):]
}
