package compare

import (
	"net/netip"
	"strings"
	"testing"

	"github.com/loopdoctor/loopdoctor/checks/facts"
	"github.com/loopdoctor/loopdoctor/report"
)

// A duration that somebody configured is a difference; one that was measured is none.
func TestConfiguredDurations(t *testing.T) {
	with := func(d string) *facts.Facts {
		f := healthy("node", "alice")
		f.Environment.Variables = append(f.Environment.Variables, facts.Variable{Name: "UPSTREAM_TIMEOUT", Value: d})
		f.Interfaces = &facts.Interfaces{Loopback: &facts.Interface{Name: "lo", Up: true, MTU: 65536, Qdisc: "netem", Traffic: &facts.Traffic{
			Qdiscs:  []facts.Qdisc{{Kind: "netem", Parent: "root", Options: []string{"limit", "1000", "delay", d}}},
			Filters: []facts.Filter{{Kind: "flower", Name: "f", At: "ingress", Options: []string{"delay", d}}}}}}
		f.Configs = &facts.Configs{Lines: []facts.ConfigLine{{Program: "nginx", File: "/etc/nginx/nginx.conf", Text: "proxy_read_timeout " + d + ";"}}}
		f.Filters = &facts.Filters{Engines: []facts.FilterEngine{{Name: facts.NFTables, Rules: 1}},
			Walks: []facts.FilterWalk{{Packet: facts.Syn, Addr: v4, Stops: []facts.FilterStop{{Verdict: "drop", Rule: facts.FilterRule{Family: "inet", Table: "t", Chain: "c", Text: "update @s { ip saddr timeout " + d + " } drop"}}}}}}
		return f
	}
	c := New("1", judged("a", []*facts.Facts{with("1ms")}), judged("b", []*facts.Facts{with("30s")}))
	for _, w := range [][2]string{{"environment", "UPSTREAM_TIMEOUT"}, {"loopback", "tc qdisc root"}, {"loopback", "tc filter ingress"},
		{"configuration", "nginx nginx.conf"}, {"packet filters", "SYN of a connection to 127.0.0.1"}} {
		if d := difference(c, w[0], w[1]); d == nil || !strings.Contains(d.A, "1ms") || !strings.Contains(d.B, "30s") {
			t.Errorf("%s, %s: %+v in\n%s", w[0], w[1], d, show(c.Targets[0].Differences))
		}
	}
	answered := func(ms float64) *facts.Facts {
		f := healthy("node", "alice")
		f.Answers = []facts.Answer{{Addr: v4, As: 1000, Question: facts.AskNothing, Protocol: "ssh", Bytes: 9, End: facts.Answered, FirstMS: ms, ElapsedMS: ms}}
		return f
	}
	if c := New("1", judged("a", []*facts.Facts{answered(3)}), judged("b", []*facts.Facts{answered(700)})); c.Status != ExitSame {
		t.Errorf("how long an answer took is told: %s", show(c.Targets[0].Differences))
	}
}

// What a sentence leads to counts, and what is another each time does not.
func TestShape(t *testing.T) {
	target := &report.Target{Port: 62893, Sockets: []report.Socket{{Remote: "127.0.0.1:45478"}, {Remote: "127.0.0.1:45498"}, {Remote: "127.0.0.1:9000"}}}
	for _, c := range []struct {
		a, b string
		same bool
	}{
		{"socat (pid 13) forwards 127.0.0.1:62893 to 127.0.0.1:62894, and nothing listens there.", "socat (pid 7) forwards 127.0.0.1:62893 to 127.0.0.1:62894, and nothing listens there.", true},
		{"socat (pid 13) forwards 127.0.0.1:62893 to 127.0.0.1:62894, and nothing listens there.", "socat (pid 13) forwards 127.0.0.1:62893 to 127.0.0.1:3000, and nothing listens there.", false},
		{"It leads to 127.0.0.1:80.", "It leads to 127.0.0.2:80.", false},
		{"It leads to [::1]:80.", "It leads to [::1]:81.", false},
		{"It leads to 172.17.0.2:80.", "It leads to 172.17.0.3:80.", true},
		{"It leads to 172.17.0.2:80.", "It leads to 172.17.0.2:8080.", false},
		{"It sends clients to http://localhost:3001, where nothing answers.", "It sends clients to http://localhost:3002, where nothing answers.", false},
		{"It leads to db.internal:5432.", "It leads to db.internal:5433.", false},
		{"It is published: NAT leads it to 10.88.0.4:80, and nothing listens there.", "It is published: NAT leads it to 10.88.0.5:80, and nothing listens there.", true},
		{"It is published: NAT leads it to 10.88.0.4:80, and nothing listens there.", "It is published: NAT leads it to 10.88.0.4:8080, and nothing listens there.", false},
		{"It is published to port 8080 of the container.", "It is published to port 8081 of the container.", false},
		{"It ended: client 127.0.0.1:40112 has gone", "It ended: client 127.0.0.1:40990 has gone", true},
		{"A connection from 127.0.0.1:62893 to 127.0.0.1:45478 is still there.", "A connection from 127.0.0.1:62893 to 127.0.0.1:45498 is still there.", true},
		{"A connection from 127.0.0.1:62893 to 127.0.0.1:9000.", "A connection from 127.0.0.1:62893 to 127.0.0.1:9001.", false},
		{"No program has the UDP port 127.0.0.1:62893.", "No program has the UDP port 127.0.0.2:62893.", false},
		{"sh (pid 15) was started 1 s ago.", "sh (pid 14) was started less than a second ago.", true},
		{"node takes 1.2 s to answer.", "node takes 340 ms to answer.", true},
		{`The queueing discipline "netem delay 1ms" on lo delays it.`, `The queueing discipline "netem delay 30s" on lo delays it.`, false},
		{"/etc/hosts.deny:2 denies it.", "/etc/hosts.deny:3 denies it.", true},
		{"read tcp 127.0.0.1:40112->127.0.0.1:62893 failed.", "read tcp 127.0.0.1:40990->127.0.0.1:62893 failed.", true},
	} {
		if a, b := shape(c.a, target), shape(c.b, target); (a == b) != c.same {
			t.Errorf("same is not %v:\n%s\n%s", c.same, a, b)
		}
	}
	if a, b := shape("It listens on 127.0.0.1:62893.", target), shape("It listens on 127.0.0.1:8080.", &report.Target{Port: 8080}); a != b {
		t.Errorf("the port of the target is told: %s, %s", a, b)
	}
	m := terms{a: true}
	if !m.alike(shape("It leads to host3.local:5432.", target), shape("It leads to db.local:5432.", target)) {
		t.Error("a pseudonym is another name")
	}
}

// The kernel picks another source port each time.
func TestTranslatedSource(t *testing.T) {
	with := func(kind, to string) *facts.Facts {
		f := healthy("node", "alice")
		f.Filters = &facts.Filters{Engines: []facts.FilterEngine{{Name: facts.NFTables, Rules: 1}},
			Walks: []facts.FilterWalk{{Packet: facts.Syn, Addr: v4, Diverts: []facts.FilterDivert{{Kind: kind, To: netip.MustParseAddrPort(to), Rule: facts.FilterRule{Family: "ip", Table: "nat", Chain: "C", Text: kind}}}}}}
		return f
	}
	for _, c := range []struct {
		kind, a, b string
		status     int
	}{
		{"masquerade", "127.0.0.1:57539", "127.0.0.1:37175", ExitSame}, {"masquerade", "127.0.0.1:57539", "127.0.0.2:57539", ExitDiffers}, {"dnat", "127.0.0.1:5753", "127.0.0.1:3717", ExitDiffers},
	} {
		if got := New("1", judged("a", []*facts.Facts{with(c.kind, c.a)}), judged("b", []*facts.Facts{with(c.kind, c.b)})); got.Status != c.status {
			t.Errorf("%s: exit status %d: %s", c.kind, got.Status, show(got.Targets[0].Differences))
		}
	}
}

// Of reports alone, another far end of the forwarder is said.
func TestFarEnd(t *testing.T) {
	a := load(t, replay+"forwarder-accepts-backend-dead.root.json")
	b := load(t, replay+"forwarder-accepts-backend-dead.root.json")
	a.Facts, b.Facts = nil, nil
	cause := &b.Report.Targets[0].Causes[0]
	if cause.Summary = strings.ReplaceAll(cause.Summary, "62894", "3000"); !strings.Contains(cause.Summary, ":3000") {
		t.Fatal(cause.Summary)
	}
	if c := New("1", a, b); c.Status != ExitDiffers || difference(c, topicCauses, "forwarder-accepts-backend-dead") == nil {
		t.Errorf("%s", c.Summary)
	}
}
