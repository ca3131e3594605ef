package compare

import (
	"bytes"
	"encoding/json"
	"io"
	"net/netip"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"golang.org/x/net/html"

	"github.com/loopdoctor/loopdoctor/checks/facts"
	"github.com/loopdoctor/loopdoctor/report"
)

const replay = "../../cmd/loopdoctor/testdata/replay/"

// What a tired person reads first, of real pairs.
func TestHeadlines(t *testing.T) {
	for _, c := range []struct {
		a, b   string
		status int
		want   string
	}{
		{"healthy-default-drop.root", "filter-drops-loopback.root", ExitDiffers,
			"A works and B does not: a rule of a packet filter drops the connection (filter-drops-loopback)."},
		{"no-listener.user", "healthy-dual-stack.user", ExitDiffers, "B works and A does not: no process listens on the port (no-listener)."},
		{"filter-drops-loopback.root", "filter-drops-loopback.user", ExitSame,
			"Nothing that matters differs; both are broken, and A says more precisely why: a rule of a packet filter drops the connection (filter-drops-loopback); B says lost-on-input."},
		{"no-listener.root", "process-stopped-or-debugged.root", ExitDiffers,
			"Both are broken, by different causes: on A no process listens on the port (no-listener); on B the process that listens is stopped, or halted in a debugger (process-stopped-or-debugged)."},
		{"healthy-default-drop.root", "healthy-default-drop.user", ExitSame, "Nothing that matters differs; both work."},
		{"healthy-dual-stack.root", "healthy-default-drop.root", ExitDiffers, "Both work; what differs is listeners."},
		{"v6-first-v4-only-server.user", "healthy-dual-stack.user", ExitDiffers,
			"Both work, with a remark on A alone: localhost resolves to ::1 first, and the server listens on IPv4 only (v6-first-v4-only-server). What differs is listeners and remarks."},
		{"no-listener.root", "no-listener.user", ExitSame, "Nothing that matters differs; both are broken, by the same cause: no process listens on the port (no-listener)."},
		{"filter-drops-loopback.root", "filter-drops-loopback.output.root", ExitDiffers,
			"Both are broken, by the same cause but not in the same way: a rule of a packet filter drops the connection (filter-drops-loopback)."},
		{"healthy-free-port.root", "time-wait-blocks-bind.root", ExitDiffers,
			"A can take the port and B cannot: connections of the last run are in TIME_WAIT, and the server does not set SO_REUSEADDR (time-wait-blocks-bind)."},
		{"healthy-free-port.root", "no-listener.root", ExitDiffers, "Nothing can be compared: A is about taking 127.0.0.1:62893, and B about 127.0.0.1:62893."},
	} {
		got := New("1", load(t, replay+c.a+".json"), load(t, replay+c.b+".json"))
		if got.Summary != c.want || got.Status != c.status {
			t.Errorf("%s, %s: exit status %d\ngot  %s\nwant %s", c.a, c.b, got.Status, got.Summary, c.want)
		}
	}
}

// difference finds what is said of one thing.
func difference(c *Comparison, topic, what string) *Difference {
	for i := range c.Targets[0].Differences {
		if d := &c.Targets[0].Differences[i]; d.Topic == topic && d.What == what {
			return d
		}
	}
	return nil
}

var v4 = netip.MustParseAddr("127.0.0.1")

// healthy is a machine on which a server listens.
func healthy(name, user string) *facts.Facts {
	return &facts.Facts{
		Time:   time.Date(2026, 5, 13, 14, 7, 0, 0, time.UTC),
		Target: facts.Target{Network: "tcp", Host: "localhost", Port: 3000, Intent: facts.Connect, Addresses: []facts.Address{{Addr: v4, Expected: true}}},
		Host:   facts.Host{OS: "linux", Kernel: "6.18.44", Arch: "amd64", Vantage: "host", As: []facts.Identity{{UID: 1000, User: user}}},
		Dials:  []facts.Dial{{Addr: v4, As: 1000, Outcome: facts.Connected, ElapsedMS: 0.2}},
		Sockets: &facts.Sockets{From: "sock_diag", Sockets: []facts.Socket{
			{Network: "tcp", State: facts.Listen, Local: netip.AddrPortFrom(v4, 3000), UID: 1000, Inode: 7, Queue: &facts.Queue{Limit: 5}}}},
		Owners:      &facts.Owners{Complete: true, Processes: []facts.Process{{PID: 41, Name: name, UID: 1000, User: user}}, Holders: map[uint64][]facts.Holder{7: {{PID: 41, Attribution: facts.ByDescriptor}}}},
		Environment: &facts.Environment{Variables: []facts.Variable{{Name: "NODE_EXTRA_CA_CERTS", Value: "/home/" + user + "/ca.pem"}}},
		Limits:      &facts.Limits{UnprivilegedPortStart: 1024, EphemeralLow: 32768, EphemeralHigh: 60999},
		Absent:      map[facts.Group]facts.Absence{facts.GroupFilters: {Why: facts.CouldNot, Reason: "needs root"}},
	}
}

func TestNoiseIsLeftOut(t *testing.T) {
	a, b := healthy("node", "alice"), healthy("node", "alice")
	b.Time, b.ElapsedMS = b.Time.Add(time.Hour), 900
	b.Dials[0].ElapsedMS, b.Dials[0].From = 3, netip.MustParseAddrPort("127.0.0.1:41230")
	b.Owners.Processes[0].PID, b.Owners.Holders = 99, map[uint64][]facts.Holder{8: {{PID: 99, FD: 4, Attribution: facts.ByDescriptor}}}
	b.Sockets.Sockets[0].Inode = 8
	b.Target.Port, b.Sockets.Sockets[0].Local = 8080, netip.AddrPortFrom(v4, 8080)
	b.Host.Boot = b.Time
	c := New("1", judged("a", []*facts.Facts{a}), judged("b", []*facts.Facts{b}))
	if c.Status != ExitSame || len(c.Targets[0].Differences)+len(c.Targets[0].NotKnown)+len(c.Context) > 0 {
		t.Errorf("noise is told: %s", show(c))
	}
	if !slices.Contains(c.Notes, "A is about localhost:3000 and B about localhost:8080.") {
		t.Errorf("another port is not said: %q", c.Notes)
	}
}

func TestWhatMatters(t *testing.T) {
	a, b := healthy("node", "alice"), healthy("python3", "alice")
	b.Sockets.Sockets[0].Queue = &facts.Queue{Length: 6, Limit: 5}
	b.Owners.Processes[0].State = "T"
	b.Limits.EphemeralLow = 1024
	b.Environment.Variables[0].Value = ""
	b.Host.Kernel = "5.15.0"
	b.Filters = &facts.Filters{Engines: []facts.FilterEngine{{Name: facts.NFTables, Rules: 3}}}
	c := New("1", judged("a", []*facts.Facts{a}), judged("b", []*facts.Facts{b}))
	for _, w := range []Difference{
		{"listeners", "127.0.0.1", Changed, "node, alice, accept queue of 5", "python3, stopped, alice, accept queue of 5, which is full"},
		{"limits", "ip_local_port_range", Changed, "32768 to 60999", "1024 to 60999"},
		{"environment", "NODE_EXTRA_CA_CERTS", Changed, "/home/alice/ca.pem", "set to nothing"},
	} {
		if d := difference(c, w.Topic, w.What); d == nil || *d != w {
			t.Errorf("got %v, want %v", d, w)
		}
	}
	if n := c.Targets[0].NotKnown; len(n) != 1 || n[0] != (NotKnown{"a", "packet filters", "", "needs root"}) {
		t.Errorf("not known: %v", n)
	}
	if len(c.Context) != 1 || c.Context[0] != (Difference{"background", "kernel", Changed, "6.18.44", "5.15.0"}) {
		t.Errorf("background: %v", c.Context)
	}
	at := func(topic string) int {
		return slices.IndexFunc(c.Targets[0].Differences, func(d Difference) bool { return d.Topic == topic })
	}
	if !(at("causes") <= at("listeners") && at("listeners") < at("environment") && at("environment") < at("limits")) {
		t.Errorf("order: %s", show(c.Targets[0].Differences))
	}
}

// A process that could not be seen is no other process.
func TestHiddenOwner(t *testing.T) {
	a, b := healthy("node", "alice"), healthy("node", "alice")
	b.Owners = nil
	c := New("1", judged("a", []*facts.Facts{a}), judged("b", []*facts.Facts{b}))
	if c.Status != ExitSame || !slices.Contains(c.Targets[0].NotKnown, NotKnown{"b", "listeners", "127.0.0.1, owner", "its process is hidden"}) {
		t.Errorf("%s", show(c))
	}
}

func TestRedacted(t *testing.T) {
	a, b := healthy("node", "user1"), healthy("node", "user2")
	b.Sockets.Sockets[0].UID, b.Owners.Processes[0].UID = 1000, 1000
	pair := func(redactedA, redactedB bool, b *facts.Facts) *Comparison {
		x, y := judged("a", []*facts.Facts{a}), judged("b", []*facts.Facts{b})
		x.Redacted, y.Redacted = redactedA, redactedB
		return New("1", x, y)
	}
	if c := pair(true, true, b); c.Status != ExitSame || !strings.HasPrefix(c.Notes[0], "Both are redacted") {
		t.Errorf("both: %s", show(c))
	}
	if c := pair(false, false, b); difference(c, "environment", "NODE_EXTRA_CA_CERTS") == nil {
		t.Errorf("a directory of that name is another: %s", show(c))
	}
	if c := pair(true, false, healthy("node", "alice")); c.Status != ExitSame || !strings.HasPrefix(c.Notes[0], "A is redacted and B is not") {
		t.Errorf("one: %s", show(c))
	}
	other := healthy("node", "alice")
	other.Environment.Variables[0].Value = "/home/alice/other.pem"
	if c := pair(true, false, other); c.Status != ExitDiffers {
		t.Errorf("what is not masked still counts: %s", show(c))
	}
	if x := judged("a", []*facts.Facts{a}); !Redacted(x.Facts, nil) || !Redacted(nil, x.Report) {
		t.Error("user1 is not seen to be a pseudonym")
	}
	if x := judged("a", []*facts.Facts{other}); Redacted(x.Facts, x.Report) {
		t.Error("alice is seen as a pseudonym")
	}
	for _, c := range []struct {
		a, b string
		same bool
	}{
		{"10.1.2.3:80", "10.9.9.9:80", true}, {"10.1.2.3", "192.0.2.1", false}, {"127.0.0.1", "127.0.0.2", false}, {"fe80::1", "fe80::2", true},
		{"/home/user1/x", "/home/user12/x", true}, {"host3.local", "host4.local", true}, {"host3.local", "host4.lan", false},
	} {
		if got := (terms{a: true, b: true}).alike(c.a, c.b); got != c.same {
			t.Errorf("%s, %s: %v", c.a, c.b, got)
		}
	}
}

func TestSeveralTargets(t *testing.T) {
	other := func(port uint16, f *facts.Facts) *facts.Facts { f.Target.Port = port; return f }
	broken := healthy("node", "alice")
	broken.Sockets.Sockets, broken.Dials[0].Outcome, broken.Dials[0].Errno = nil, facts.Refused, "ECONNREFUSED"
	broken.Owners = &facts.Owners{Complete: true}
	a := judged("a", []*facts.Facts{other(80, healthy("node", "alice")), other(90, healthy("node", "alice"))})
	b := judged("b", []*facts.Facts{other(90, broken), other(80, healthy("node", "alice")), other(70, healthy("node", "alice"))})
	c := New("1", a, b)
	if want := "2 of 3 targets differ; first of all localhost:90: A works and B does not: "; c.Status != ExitDiffers || !strings.HasPrefix(c.Summary, want) {
		t.Errorf("got %s", c.Summary)
	}
	if len(c.Targets) != 3 || c.Targets[0].A.Target != "localhost:90" || c.Targets[1].A != nil || c.Targets[2].Differs() {
		t.Errorf("%s", show(c.Targets))
	}
}

var formats = map[string]func(io.Writer, *Comparison) error{
	"text":     func(w io.Writer, c *Comparison) error { return Text(w, c, report.TextOptions{Width: 60}) },
	"json":     JSON,
	"markdown": Markdown,
	"html":     HTML,
}

// Strings of a machine stay text, in every format.
func TestHostile(t *testing.T) {
	const evil = "\x1b[31m<script>alert(1)</script>| @all `x`\n# head\u202e"
	a, b := healthy("node", "alice"), healthy(evil, evil)
	b.Environment.Variables = append(b.Environment.Variables, facts.Variable{Name: evil, Value: strings.Repeat(evil, 1000)})
	c := New(evil, judged(evil, []*facts.Facts{a}), judged("b", []*facts.Facts{b}))
	for name, write := range formats {
		var out bytes.Buffer
		if err := write(&out, c); err != nil {
			t.Fatal(err)
		}
		text := out.String()
		if strings.ContainsAny(text, "\x1b\u202e") || regexp.MustCompile(`(?m)^# head`).MatchString(text) {
			t.Errorf("%s: what controls a terminal, or a heading, got through", name)
		}
		if name != "text" && name != "json" && strings.Contains(text, "<script") {
			t.Errorf("%s: markup got through", name)
		}
		if out.Len() > 40000 {
			t.Errorf("%s: %d bytes", name, out.Len())
		}
	}
	// As a browser reads it: no element but those of the template.
	var page bytes.Buffer
	if err := HTML(&page, c); err != nil {
		t.Fatal(err)
	}
	for z := html.NewTokenizer(&page); ; {
		switch z.Next() {
		case html.ErrorToken:
			return
		case html.StartTagToken:
			name, _ := z.TagName()
			if !slices.Contains(strings.Fields("html head meta style title body main div h1 h2 p b br table thead tbody tr th td footer"), string(name)) {
				t.Errorf("element %s", name)
			}
		}
	}
}

// The first line is the answer, and no line but a command is wider than asked.
func TestText(t *testing.T) {
	c := New("1", load(t, replay+"healthy-default-drop.root.json"), load(t, replay+"filter-drops-loopback.root.json"))
	var out bytes.Buffer
	if err := Text(&out, c, report.TextOptions{Width: 60}); err != nil {
		t.Fatal(err)
	}
	if !strings.HasPrefix(out.String(), "A works and B does not: a rule of a packet filter drops\n") {
		t.Errorf("it begins with %.80q", out.String())
	}
	for line := range strings.Lines(out.String()) {
		if report.TextWidth(line) > 61 {
			t.Errorf("wide: %q", line)
		}
	}
	out.Reset()
	if err := Text(&out, c, report.TextOptions{Quiet: true}); err != nil || strings.Count(out.String(), "\n") != 1 {
		t.Errorf("-q: %q, %v", out.String(), err)
	}
}

func TestJSON(t *testing.T) {
	c := New("1", judged("a", []*facts.Facts{healthy("node", "alice")}), judged("b", []*facts.Facts{healthy("node", "alice")}))
	var out bytes.Buffer
	if err := JSON(&out, c); err != nil {
		t.Fatal(err)
	}
	if strings.Contains(out.String(), "null") {
		t.Errorf("a list is null: %s", out.String())
	}
	var back Comparison
	if err := json.Unmarshal(out.Bytes(), &back); err != nil || back.Schema != Schema || back.Summary != c.Summary {
		t.Errorf("%v, %+v", err, back)
	}
}

// Absurd counts take no absurd time.
func TestManyOfAll(t *testing.T) {
	many := func(prefix string) Side {
		f := healthy("node", "alice")
		s := judged(prefix, []*facts.Facts{f})
		for i := range 20_000 {
			f.Environment.Variables = append(f.Environment.Variables, facts.Variable{Name: prefix + strconv.Itoa(i), Value: "x"}, facts.Variable{Name: "SAME", Value: strconv.Itoa(i)})
		}
		return s
	}
	begun := time.Now()
	c := New("1", many("A"), many("B"))
	if len(c.Targets[0].Differences) < 40_000 || time.Since(begun) > 20*time.Second {
		t.Errorf("%d differences in %v", len(c.Targets[0].Differences), time.Since(begun))
	}
}
