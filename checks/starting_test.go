package checks

import (
	"net/netip"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/loopdoctor/loopdoctor/checks/facts"
)

// running adds a process, number 70 and up, that was started so long ago.
func running(name string, ago time.Duration, changes ...func(*facts.Candidate)) change {
	return func(f *facts.Facts) {
		if f.Candidates == nil {
			f.Candidates = &facts.Candidates{Found: []facts.Candidate{}, Complete: true}
		}
		c := facts.Candidate{Process: facts.Process{PID: 70 + len(f.Candidates.Found), PPID: 1, Name: name, UID: 1000, State: "S", Cwd: "/srv", Started: f.Time.Add(-ago)}, Sockets: true}
		for _, ch := range changes {
			ch(&c)
		}
		f.Candidates.Found = append(f.Candidates.Found, c)
	}
}

func argued(c *facts.Candidate) {
	c.Names = append(c.Names, facts.Mention{Where: "argument 3", Text: "--port 62893", Sure: true})
}
func positional(c *facts.Candidate) {
	c.Names = append(c.Names, facts.Mention{Where: "argument 2", Text: "62893"})
}
func environ(text string) func(*facts.Candidate) {
	return func(c *facts.Candidate) {
		c.Names = append(c.Names, facts.Mention{Where: "environment", Text: text, Sure: strings.HasPrefix(text, "PORT=")})
	}
}
func on(addr string) func(*facts.Candidate) {
	return func(c *facts.Candidate) { c.Listens = append(c.Listens, netip.MustParseAddrPort(addr)) }
}
func unixAt(path string) func(*facts.Candidate) {
	return func(c *facts.Candidate) { c.Unix = append(c.Unix, path) }
}
func atHome(c *facts.Candidate) { c.InProject, c.Cwd = true, "/home/ann/shop" }
func toldSo(c *facts.Candidate) { c.Told = true }
func hidden(c *facts.Candidate) { c.Sockets, c.Listens, c.Unix = false, nil, nil }
func parentOf(pid int) func(*facts.Candidate) {
	return func(c *facts.Candidate) { c.ParentOf = pid }
}
func asService(c *facts.Candidate) { c.Unit = "shop.service" }
func ofUnit(u facts.Unit) change {
	return func(f *facts.Facts) { f.Units = &facts.Units{From: "systemd", Units: []facts.Unit{u}} }
}
func hasEnded(c *facts.Candidate)  { c.Gone, c.Sockets = true, false }
func restarted(c *facts.Candidate) { c.Restarts = 1 }

// unixListener adds a UNIX socket; pid 0: its process cannot be seen.
func unixListener(path, about, program string, pid int, listens ...string) change {
	return func(f *facts.Facts) {
		if f.UnixSockets == nil {
			f.UnixSockets = &facts.UnixSockets{}
		}
		u := facts.UnixSocket{Path: path, Inode: 9, About: about, PID: pid, Program: program}
		for _, a := range listens {
			u.Listens = append(u.Listens, netip.MustParseAddrPort(a))
		}
		f.UnixSockets.Found = append(f.UnixSockets.Found, u)
	}
}

func configLine(l facts.ConfigLine) change {
	return func(f *facts.Facts) { f.Configs = &facts.Configs{Lines: []facts.ConfigLine{l}} }
}

// nobody is a port that refuses, with what else there is.
func nobody(changes ...change) *facts.Facts {
	return machine("127.0.0.1", append([]change{dials("127.0.0.1", facts.Refused), counts("127.0.0.1", 1, realReset)}, changes...)...)
}

const (
	justNow = 3 * time.Second
	longAgo = time.Hour
)

func startingSituations() []situation {
	here := "127.0.0.1"
	return slices.Concat(
		of(slowStart,
			row{"a young process names the port and has no socket", nobody(running("python3", justNow, argued)), says("inferred "+here, "python3 (pid 70)", "3 s ago", "argument 3")},
			row{"it may be a bare word", nobody(running("python3", justNow, positional)), says("inferred "+here, "argument 2")},
			row{"it listens by now", nobody(running("python3", justNow, argued, on("127.0.0.1:62893"))), says("proven "+here, "does now")},
			row{"it listens by now, and the connection got no answer", machine("127.0.0.1", dials("127.0.0.1", facts.Timeout), running("python3", justNow, argued, on("127.0.0.1:62893"))), nothing},
			row{"a shell started it", nobody(running("sh", justNow, argued, parentOf(71)), running("python3", justNow, argued)), says("inferred "+here, "pid 71")},
			row{"a variable, and nobody else has it", nobody(running("node", justNow, environ("PORT=62893"))), says("inferred "+here, "its variable PORT")},
			row{"a variable that two have: it was handed down", nobody(running("node", justNow, environ("PORT=62893")), running("worker", justNow, environ("PORT=62893"))), nothing},
			row{"a variable that may mean anything", nobody(running("node", justNow, environ("WORKER_PORT=62893"))), nothing},
			row{"it is old", nobody(running("python3", longAgo, argued)), nothing},
			row{"its age is not known", nobody(running("python3", justNow, argued, func(c *facts.Candidate) { c.Started = time.Time{} })), nothing},
			row{"its sockets cannot be seen", nobody(running("python3", justNow, argued, hidden)), nothing},
			row{"it is in the project and listens elsewhere", nobody(running("node", justNow, atHome, on("127.0.0.1:5000"))), nothing},
			row{"it has ended", nobody(running("python3", justNow, argued, hasEnded)), nothing},
			row{"it is started again and again", nobody(running("python3", justNow, argued, restarted)), nothing},
			row{"a script starts it over and over", nobody(running("sh", justNow, func(c *facts.Candidate) {
				c.Names = []facts.Mention{{Where: "argument 2", Text: "while :; do server --port 62893; done", Sure: true}}
			})), nothing},
			row{"a service, and nobody knows how often it was started", nobody(running("server", justNow, argued, asService)), nothing},
			row{"a service that was started again", nobody(running("server", justNow, argued, asService), ofUnit(facts.Unit{Name: "shop.service", State: "active", Restarts: 3})), nothing},
			row{"a service that was started once", nobody(running("server", justNow, argued, asService), ofUnit(facts.Unit{Name: "shop.service", State: "activating"})), says("inferred "+here, "shop.service")},
			row{"it is what loopdoctor runs in", nobody(running("bash", justNow, argued, func(c *facts.Candidate) { c.Me = true })), nothing},
			row{"something listens on the port", machine("::1", listens("127.0.0.1", 50), dials("::1", facts.Refused), running("python3", justNow, argued)), nothing},
		),
		of(portAutoIncremented,
			row{"it names the port and has the next one", nobody(running("node", longAgo, argued, on("[::1]:62894"))), says("inferred "+here, "node (pid 70)", "names port 62893", "[::1]:62894", "you may mean :62894")},
			row{"one of the next ten", nobody(running("node", longAgo, argued, on("127.0.0.1:62903"))), says("inferred "+here, ":62903")},
			row{"in the project", nobody(running("node", longAgo, atHome, on("127.0.0.1:62894"))), says("inferred "+here, "runs in this project")},
			row{"in the project, where it was told to be", nobody(running("node", longAgo, atHome, toldSo, on("127.0.0.1:62894"))), nothing},
			row{"of another project", nobody(running("node", longAgo, on("127.0.0.1:62894"))), nothing},
			row{"the eleventh", nobody(running("node", longAgo, atHome, on("127.0.0.1:62904"))), nothing},
			row{"one below", nobody(running("node", longAgo, atHome, on("127.0.0.1:62892"))), nothing},
		),
		of(listensOnAnotherPort,
			row{"an argument says this port", nobody(running("node", longAgo, argued, on("127.0.0.1:5173"))), says("inferred "+here, "node (pid 70)", "argument 3", "127.0.0.1:5173")},
			row{"a variable says this port", nobody(running("node", longAgo, environ("PORT=62893"), on("127.0.0.1:5173"))), says("inferred "+here, "its variable PORT")},
			row{"a bare word may be where it connects to", nobody(running("node", longAgo, positional, on("127.0.0.1:5173"))), nothing},
			row{"it names both", nobody(running("node", longAgo, argued, toldSo, on("127.0.0.1:5173"))), nothing},
			row{"it is in the project alone", nobody(running("node", longAgo, atHome, on("127.0.0.1:5173"))), nothing},
		),
		of(portValueNotANumber,
			row{"a UNIX socket has that name", nobody(running("node", longAgo, environ("PORT=62893;"), unixAt("62893;"))), says("proven "+here, "node (pid 70)", `"62893;"`, "UNIX socket of that name")},
			row{"no socket yet", nobody(running("node", longAgo, environ("PORT=http://localhost:62893"))), says("inferred "+here, "http://localhost:62893")},
			row{"the socket alone", nobody(unixListener("/srv/shop/62893;", "named after the port", "", 0)), says("proven "+here, `"62893;"`)},
			row{"a line of the project's .env", nobody(configLine(facts.ConfigLine{Program: ".env", File: "/home/ann/shop/.env", Line: 2, Text: "PORT=62893;", Bad: "62893;", Project: true})), says("inferred "+here, "/home/ann/shop/.env", "line 2")},
			row{"a line about another port", nobody(configLine(facts.ConfigLine{Program: ".env", File: ".env", Line: 2, Text: "PORT=3000;", Bad: "3000;", Project: true})), nothing},
			row{"a number with a newline behind it", nobody(running("node", longAgo, environ("PORT=62893\r"))), nothing},
			row{"a socket that was meant to be one", nobody(unixListener("/run/62893.sock", "named after the port", "gunicorn", 70)), nothing},
		),
		of(clientDefaultEndpoint,
			row{"kubectl speaks of 8080", nobody(asksPort(8080), clientPrinted(facts.ClientError{Client: "kubectl", Text: "The connection to the server localhost:8080 was refused - did you specify the right host or port?"})), says("inferred "+here, "kubectl has no configuration", "localhost:8080")},
			row{"with a configuration that leads nowhere", nobody(asksPort(8080), clientPrinted(facts.ClientError{Client: "kubectl"}), exported("KUBECONFIG", "/tmp/none")), says("inferred "+here, "KUBECONFIG=/tmp/none")},
			row{"Helm", nobody(asksPort(8080), clientPrinted(facts.ClientError{Client: "Go", Text: "Error: Kubernetes cluster unreachable: Get \"http://localhost:8080/version\""})), says("inferred "+here, "Helm")},
			row{"kubectl was told where to go", nobody(asksPort(6443), clientPrinted(facts.ClientError{Client: "kubectl"})), nothing},
			row{"curl", nobody(asksPort(8080), clientPrinted(facts.ClientError{Client: "curl", Text: "curl: (7)"})), nothing},
			row{"nobody said anything", nobody(func(f *facts.Facts) { f.Target.Port = 8080 }), nothing},
		),
		of(unixSocketNotTCP,
			row{"the usual socket, and no TCP", nobody(unixListener("/run/mysqld/mysqld.sock", "usual socket of mysql", "mariadbd", 70)), says("proven "+here, "mariadbd (pid 70)", "/run/mysqld/mysqld.sock", "62893")},
			row{"it has another TCP port", nobody(unixListener("/run/mysqld/mysqld.sock", "usual socket of mysql", "mariadbd", 70, "127.0.0.1:3307")), says("inferred "+here, "mariadbd")},
			row{"whose it is cannot be seen", nobody(unixListener("/run/postgresql/.s.PGSQL.62893", "usual socket of postgresql", "", 0)), says("inferred "+here, ".s.PGSQL.62893")},
			row{"process 1 holds it for a service", nobody(unixListener("/run/docker.sock", "usual socket of docker", "systemd", 1)), says("inferred "+here, "/run/docker.sock")},
			row{"it is named after the port", nobody(unixListener("/tmp/62893.sock", "named after the port", "gunicorn", 70)), says("proven "+here, "gunicorn (pid 70)", "/tmp/62893.sock")},
			row{"it is named so, and nobody knows whose it is", nobody(unixListener("/tmp/62893.sock", "named after the port", "", 0)), nothing},
			row{"of a command line", nobody(running("server", longAgo, argued, unixAt("/run/app.sock"))), says("inferred "+here, "/run/app.sock", "argument 3")},
			row{"abstract sockets are for the program itself", nobody(running("server", longAgo, argued, unixAt("@app"))), nothing},
			row{"php-fpm is one of many on port 9000", nobody(unixListener("/run/php/php8.2-fpm.sock", "usual socket of php-fpm", "php-fpm8.2", 70)), nothing},
			row{"there is TCP as well", machine("127.0.0.1", listens("127.0.0.1", 50), dials("127.0.0.1", facts.Connected), unixListener("/run/mysqld/mysqld.sock", "usual socket of mysql", "mariadbd", 50)), nothing},
		),
	)
}

// errorOf gives the target another port and what a client said of it.
func exported(name, value string) change {
	return func(f *facts.Facts) {
		f.Environment = &facts.Environment{Variables: []facts.Variable{{Name: name, Value: value}}}
	}
}

func TestStarting(t *testing.T) { judge(t, startingSituations()) }

// One process is blamed for one thing, and what explains nothing is told by the
// broader cause.
func TestWhereabouts(t *testing.T) {
	expect(t, nobody(running("sh", justNow, argued, parentOf(71)), running("node", justNow, argued, on("127.0.0.1:62894")), running("node", longAgo, atHome, on("127.0.0.1:62895"))),
		"broken", "active port-auto-incremented inferred")
	expect(t, nobody(running("node", justNow, environ("PORT=62893;"), unixAt("62893;")), unixListener("62893;", "named after the port", "node", 70)),
		"broken", "active port-value-not-a-number proven")
	expect(t, nobody(running("python3", justNow, argued, restarted)), "broken", "active no-listener proven")
	for name, want := range map[string]string{"node": "let it fail rather than move", "nginx": "its configuration says where"} {
		x := portAutoIncremented.Run(nobody(running(name, longAgo, atHome, on("127.0.0.1:62894"))))[0]
		if do := x.Fixes[1].Do; !strings.Contains(do, want) {
			t.Errorf("%s: %s", name, do)
		}
	}

	for _, test := range []struct {
		change change
		want   string
	}{
		{running("python3", longAgo, argued), "python3, pid 70 names the port in argument 3 (--port 62893), and listens on nothing"},
		{running("python3", longAgo, argued, hidden), "what it listens on cannot be seen"},
		{running("python3", justNow, argued, hasEnded), "has ended meanwhile"},
		{running("node", longAgo, atHome, toldSo, on("127.0.0.1:5173")), "runs in this project (/home/ann/shop), and listens on 127.0.0.1:5173"},
		{unixListener("/run/php/fpm.sock", "usual socket of php-fpm", "php-fpm", 70), "unix listen /run/php/fpm.sock, usual socket of php-fpm: php-fpm (pid 70)"},
	} {
		d := Diagnose(nobody(test.change))
		if len(d.Causes) != 1 || d.Causes[0].Check != noListener || !strings.Contains(text([]Finding{d.Causes[0].Finding})[0], test.want) {
			t.Errorf("got %v %v, want no-listener with %q", told(d), text([]Finding{d.Causes[0].Finding}), test.want)
		}
	}
}
