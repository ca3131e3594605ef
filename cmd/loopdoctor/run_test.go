package main

import (
	"fmt"
	"net/netip"
	"strings"
	"testing"

	"github.com/loopdoctor/loopdoctor/checks/facts"
	"github.com/loopdoctor/loopdoctor/checks/host"
)

func attempt(to string, o facts.Outcome, errno string) facts.Attempt {
	return facts.Attempt{To: netip.MustParseAddrPort(to), Network: "tcp", PID: 7, Program: "c", Outcome: o, Errno: errno, Count: 1}
}

// TestMetTargets: what a client met becomes the targets that a person would have
// typed, each with the error at the address that it tried.
func TestMetTargets(t *testing.T) {
	refused6, refused4 := attempt("[::1]:3000", facts.Refused, "ECONNREFUSED"), attempt("127.0.0.1:3000", facts.Refused, "ECONNREFUSED")
	fine := attempt("127.0.0.1:3000", facts.Connected, "")
	fine.Sent, fine.Received, fine.End = 80, 200, facts.EndedByClient
	mute := fine
	mute.Received = 0
	closed := mute
	closed.End = facts.EndedByServer
	looked := func(a facts.Attempt) facts.Attempt { a.Looked = true; return a }
	proxy := func(a facts.Attempt) facts.Attempt { a.Proxy = "http_proxy"; return a }
	noReply := attempt("127.0.0.1:3000", facts.Timeout, "")
	noReply.ElapsedMS = 2000
	udp := attempt("127.0.0.1:53", facts.Refused, "ECONNREFUSED")
	udp.Network = "udp"
	for _, test := range []struct {
		name, args, want string // targets: "what trouble symptom at", separated by |
		exit             int
		signal           string
		connects         []facts.Attempt
	}{
		{"an address alone", "node app.js", "127.0.0.1:3000 trouble refused 127.0.0.1:3000", 1, "", []facts.Attempt{refused4}},
		{"a name was looked up", "node app.js", "localhost:3000 trouble refused [::1]:3000", 1, "", []facts.Attempt{looked(refused6)}},
		{"both addresses of a name", "node app.js", "localhost:3000 trouble refused -", 1, "", []facts.Attempt{refused6, refused4}},
		{"a URL", "curl -s http://localhost:3000/a?token=x", "http://localhost:3000/a trouble refused -", 7, "", []facts.Attempt{refused6, refused4}},
		{"a URL that is to be changed", "curl -sXDELETE http://localhost:3000/a", "http://localhost:3000/ trouble refused -", 7, "", []facts.Attempt{refused6, refused4}},
		{"a URL, and who knows what for", "client http://localhost:3000/a", "http://localhost:3000/ trouble refused -", 7, "", []facts.Attempt{refused6, refused4}},
		{"an option", "client --url=http://u:pw@localhost:3000/x", "http://localhost:3000/ trouble refused [::1]:3000", 7, "", []facts.Attempt{refused6}},
		{"the URL of another port", "curl http://localhost:80/", "127.0.0.1:3000 trouble refused 127.0.0.1:3000", 7, "", []facts.Attempt{refused4}},
		{"the next address did it", "curl http://localhost:3000/", "http://localhost:3000/ fine - -", 0, "", []facts.Attempt{refused6, fine}},
		{"the next address did it, and then it failed", "curl http://localhost:3000/", "http://localhost:3000/ trouble - -", 22, "", []facts.Attempt{refused6, fine}},
		{"it failed, and went on", "sh x", "127.0.0.1:3000 trouble refused 127.0.0.1:3000", 0, "", []facts.Attempt{refused4}},
		{"no reply", "curl 127.0.0.1:3000", "127.0.0.1:3000 trouble no-reply 127.0.0.1:3000", 28, "", []facts.Attempt{noReply}},
		{"no answer", "curl 127.0.0.1:3000", "127.0.0.1:3000 trouble - 127.0.0.1:3000", 28, "", []facts.Attempt{mute}},
		{"no answer, and nobody minds", "notify", "127.0.0.1:3000 fine - -", 0, "", []facts.Attempt{mute}},
		{"no answer, and somebody ended it", "curl 127.0.0.1:3000", "127.0.0.1:3000 trouble - 127.0.0.1:3000", 130, "SIGINT", []facts.Attempt{mute}},
		{"ended by somebody, and all was well", "browser", "127.0.0.1:3000 fine - -", 130, "SIGINT", []facts.Attempt{fine}},
		{"closed", "curl 127.0.0.1:3000", "127.0.0.1:3000 trouble closed-at-once 127.0.0.1:3000", 52, "", []facts.Attempt{closed}},
		{"UDP", "dig @127.0.0.1", "udp://127.0.0.1:53 trouble port-unreachable 127.0.0.1:53", 9, "", []facts.Attempt{udp}},
		{"two ports, the failing one first", "x", "127.0.0.1:4000 trouble refused 127.0.0.1:4000 | 127.0.0.1:3000 trouble - -", 1, "", []facts.Attempt{fine, attempt("127.0.0.1:4000", facts.Refused, "ECONNREFUSED")}},
		{"a local proxy", "curl http://localhost:80/", "127.0.0.1:3000 trouble refused 127.0.0.1:3000", 7, "", []facts.Attempt{proxy(refused4)}},
		{"a proxy elsewhere", "curl http://localhost:80/", "http://localhost:80/ trouble - -", 22, "", []facts.Attempt{proxy(attempt("10.0.0.5:3128", facts.Connected, ""))}},
		{"another name", "curl http://shop.test:3000/", "http://shop.test:3000/ trouble refused 127.0.0.1:3000", 7, "", []facts.Attempt{looked(refused4)}},
		{"a UNIX socket", "psql", "", 2, "", []facts.Attempt{{Network: "unix", Path: "/run/x", Outcome: facts.Failed, Errno: "ENOENT", Count: 1}}},
	} {
		w := &host.Watched{Met: &facts.Met{Program: "c", Args: strings.Fields(test.args), PID: 7, Exit: test.exit, Signal: test.signal, Connects: test.connects}}
		var got []string
		for _, v := range metTargets(w) {
			symptom, at := "-", "-"
			if e := v.target.Error; e != nil {
				if e.Symptom != "" {
					symptom = e.Symptom
				}
				if e.Addr.IsValid() {
					at = e.Addr.String()
				}
				if e.Means == "" || e.Text == "" {
					t.Errorf("%s: %+v", test.name, e)
				}
			}
			got = append(got, fmt.Sprintf("%s %s %s %s", v.target.Raw, cond(v.trouble, "trouble", "fine"), symptom, at))
			if v.target.Met == nil {
				t.Errorf("%s: what it met is not in the target", test.name)
			}
		}
		if s := strings.Join(got, " | "); s != test.want {
			t.Errorf("%s\n got %s\nwant %s", test.name, s, test.want)
		}
	}
}

// A client that has one protocol alone is asked about in it, where it failed though it
// connected: what the server told it is seen then.
func TestWhatAMetServerIsAsked(t *testing.T) {
	talks := facts.Attempt{To: netip.MustParseAddrPort("127.0.0.1:5433"), Network: "tcp", Outcome: facts.Connected, Sent: 71, Received: 87, Count: 1}
	for _, test := range []struct {
		program string
		exit    int
		want    facts.Question
	}{
		{"psql", 2, facts.AskPostgreSQL}, {"pg_dump", 1, facts.AskPostgreSQL}, {"redis-cli", 1, facts.AskRedis}, {"mariadb", 1, facts.AskMySQL},
		{"psql", 0, ""}, {"python3", 1, ""}, {"psqlodbc", 1, ""},
	} {
		c := talks
		c.Program = test.program
		w := &host.Watched{Met: &facts.Met{Program: test.program, Args: []string{test.program}, PID: 7, Exit: test.exit, Connects: []facts.Attempt{c}}}
		if v := metTargets(w); len(v) != 1 || v[0].target.Speak != test.want {
			t.Errorf("%s, status %d: %+v", test.program, test.exit, v)
		}
	}
}

// A server that ends since it cannot have its port is asked about as with --bind.
func TestAServerThatCannotBind(t *testing.T) {
	bind := func(to, network string) facts.Attempt {
		return facts.Attempt{To: netip.MustParseAddrPort(to), Network: network, PID: 7, Program: "python3", Outcome: facts.Denied, Errno: "EACCES", Count: 1}
	}
	for _, test := range []struct {
		exit   int
		signal string
		binds  []facts.Attempt
		want   string
	}{
		{1, "", []facts.Attempt{bind("127.0.0.1:80", "tcp")}, "127.0.0.1:80 bind EACCES"},
		{1, "", []facts.Attempt{bind("0.0.0.0:80", "tcp"), bind("[::]:80", "tcp")}, "0.0.0.0:80 bind EACCES"},
		{1, "", []facts.Attempt{bind("127.0.0.1:53", "udp")}, "udp://127.0.0.1:53 bind EACCES"},
		{0, "", []facts.Attempt{bind("127.0.0.1:80", "tcp")}, ""},
		{130, "SIGINT", []facts.Attempt{bind("127.0.0.1:80", "tcp")}, ""},
	} {
		w := &host.Watched{Met: &facts.Met{Program: "python3", Args: []string{"python3"}, PID: 7, Exit: test.exit, Signal: test.signal, Binds: test.binds}}
		var got []string
		for _, v := range metTargets(w) {
			got = append(got, fmt.Sprintf("%s %s %s", v.target.Raw, v.target.Intent, v.target.Error.Errno))
		}
		if s := strings.Join(got, " | "); s != test.want {
			t.Errorf("got %q, want %q", s, test.want)
		}
	}
}

func TestUnmet(t *testing.T) {
	m := &facts.Met{Program: "psql", PID: 7, Exit: 2, Elsewhere: 2, Failed: 1, Connects: []facts.Attempt{{Network: "unix", Path: "/run/x", Errno: "ENOENT"}}, Notes: []string{"A note."}}
	if got, want := unmet(m), "psql (pid 7) ended with status 2, and connected to nothing on this machine; it connected to other machines 2 times (1 failed); the UNIX socket /run/x could not be reached (ENOENT). A note."; got != want {
		t.Errorf("got  %s\nwant %s", got, want)
	}
	m = &facts.Met{Program: "su", PID: 7, Exit: 1, Unwatched: "it is special"}
	if got := unmet(m); !strings.Contains(got, "could not be seen (it is special)") {
		t.Error(got)
	}
}
