package checks

import (
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/loopdoctor/loopdoctor/checks/facts"
)

// unit adds a unit of the system's manager that says of itself that it serves
// the port.
func unit(name, state string, changes ...func(*facts.Unit)) change {
	return func(f *facts.Facts) {
		if f.Units == nil {
			f.Units = &facts.Units{From: "systemd", Units: []facts.Unit{}}
		}
		if name == "" {
			return
		}
		u := facts.Unit{Name: name, Manager: "systemd", About: "ExecStart names --port 62893", Names: true, File: "/etc/systemd/system/" + name, State: state}
		for _, c := range changes {
			c(&u)
		}
		f.Units.Units = append(f.Units.Units, u)
	}
}

func noUnits(f *facts.Facts) { unit("", "")(f) }

func usually(u *facts.Unit)  { u.About, u.Names = "usual owner of port 62893", false }
func mentions(u *facts.Unit) { u.About, u.Names = "ExecStart names 62893", false }
func supervised(u *facts.Unit) {
	u.Manager, u.File, u.Config = "supervisord", "/etc/supervisor/conf.d/app.conf", "/etc/supervisor/supervisord.conf"
}
func ofUser(uid uint32) func(*facts.Unit) {
	return func(u *facts.Unit) { u.Manager, u.UID = "systemd --user", uid }
}
func status(n int) func(*facts.Unit) {
	return func(u *facts.Unit) { u.Result, u.Exit = "exit-code", n }
}
func result(s string) func(*facts.Unit)   { return func(u *facts.Unit) { u.Result = s } }
func sub(s string) func(*facts.Unit)      { return func(u *facts.Unit) { u.Sub = s } }
func enabled(s string) func(*facts.Unit)  { return func(u *facts.Unit) { u.Enabled = s } }
func restarts(n int) func(*facts.Unit)    { return func(u *facts.Unit) { u.Restarts = n } }
func triggers(s string) func(*facts.Unit) { return func(u *facts.Unit) { u.Triggers = s } }
func lastSaid(log ...string) func(*facts.Unit) {
	return func(u *facts.Unit) { u.Log, u.LogFrom = log, "journal" }
}
func killedBy(n int) func(*facts.Unit) {
	return func(u *facts.Unit) { u.Result, u.Exit, u.Signal = "signal", n, true }
}
func ago(d time.Duration) func(*facts.Unit) {
	return func(u *facts.Unit) { u.Since = morning.Add(-d) }
}

// contains adds a container that publishes the port.
func contains(state string, changes ...func(*facts.Container)) change {
	return func(f *facts.Facts) {
		noUnits(f)
		if f.Containers == nil {
			f.Containers = &facts.Containers{From: "docker"}
		}
		c := facts.Container{Engine: "docker", ID: "3f2a3f2a3f2a", Name: "shop-web-1", State: state, Publish: "127.0.0.1:62893->80/tcp"}
		for _, change := range changes {
			change(&c)
		}
		f.Containers.Found = append(f.Containers.Found, c)
	}
}

func exited(n int) func(*facts.Container) { return func(c *facts.Container) { c.Exit = n } }
func logged(log ...string) func(*facts.Container) {
	return func(c *facts.Container) { c.Log = log }
}

// candidate adds a process that names the port.
func candidate(restarts int, names ...string) change {
	return func(f *facts.Facts) {
		noUnits(f)
		c := facts.Candidate{Process: facts.Process{PID: 70, PPID: 69, Name: "python3", UID: 1000}, Restarts: restarts}
		for _, n := range names {
			c.Names = append(c.Names, facts.Mention{Where: "argument 2", Text: n})
		}
		f.Candidates = &facts.Candidates{Found: []facts.Candidate{c}, Complete: true}
	}
}

func gone(reaped bool) change {
	return func(f *facts.Facts) { f.Candidates.Found[0].Gone, f.Candidates.Found[0].Reaped = true, reaped }
}

func serviceSituations() []situation {
	here := machine
	socket := func(u *facts.Unit) { u.About, u.Triggers = "ListenStream=62893", "app.service" }
	bySocket := func(u *facts.Unit) { u.About = "started by app.socket" }
	manager := func(pid int) func(*facts.Socket, *facts.Process) {
		return func(_ *facts.Socket, p *facts.Process) { p.Name, p.PID = "systemd", pid }
	}
	taken := binds("127.0.0.1", "EADDRINUSE", true)
	return slices.Concat(
		of(serverExitedOrCrashLooping,
			row{"a unit has failed", here("127.0.0.1", unit("app.service", "failed", status(1))), says("proven 127.0.0.1", "app.service, which should serve port 62893, has failed, exit status 1.")},
			row{"in either family", here("62893", unit("app.service", "failed", status(1))), says("proven 127.0.0.1 ::1", "app.service")},
			row{"and its log says why", here("127.0.0.1", unit("app.service", "failed", status(1), restarts(5), lastSaid("starting", "bind: Permission denied.", "bye"))), says("proven 127.0.0.1", "failed after 5 restarts, exit status 1: bind: Permission denied.")},
			row{"and its log says nothing", here("127.0.0.1", unit("app.service", "failed", status(1), lastSaid("starting", "bye"))), says("proven 127.0.0.1", "exit status 1.")},
			row{"its program is not there", here("127.0.0.1", unit("app.service", "failed", status(203))), says("proven 127.0.0.1", "its program could not be executed (status 203)")},
			row{"it was killed", here("127.0.0.1", unit("app.service", "failed", killedBy(9))), says("proven 127.0.0.1", "signal 9 (KILL)")},
			row{"memory ran out", here("127.0.0.1", unit("app.service", "failed", killedBy(9), result("oom-kill"))), says("proven 127.0.0.1", "its memory ran out")},
			row{"it waits for its next start", here("127.0.0.1", unit("app.service", "activating", sub("auto-restart"), restarts(12), status(1))), says("proven 127.0.0.1", "keeps ending, and was started again 12 times, exit status 1")},
			row{"it has just been started again", here("127.0.0.1", unit("app.service", "active", sub("running"), restarts(12), ago(time.Second))), says("proven 127.0.0.1", "keeps ending")},
			row{"its kind usually has the port", here("127.0.0.1", unit("nginx.service", "failed", usually, status(1))), says("inferred 127.0.0.1", "nginx.service, the usual owner of port 62893,")},
			row{"it only mentions the port", here("127.0.0.1", unit("app.service", "failed", mentions, status(1))), says("inferred 127.0.0.1", "app.service, which names port 62893,")},
			row{"systemd has stopped to listen", here("127.0.0.1", unit("app.socket", "failed", socket, result("trigger-limit-hit")), unit("app.service", "failed", bySocket, status(2), lastSaid("error: no settings"))),
				says("proven 127.0.0.1", "app.socket, which should serve port 62893, has stopped listening, since app.service ended each time that a connection started it, exit status 2: error: no settings.")},
			row{"supervisord has given up", here("127.0.0.1", unit("app", "failed", supervised, sub("FATAL"), func(u *facts.Unit) { u.Because = "Exited too quickly" })), says("proven 127.0.0.1", "The program app of supervisord, which should serve port 62893, has failed: Exited too quickly.")},
			row{"supervisord tries again", here("127.0.0.1", unit("app", "activating", supervised, sub("BACKOFF"))), says("proven 127.0.0.1", "keeps ending")},
			row{"a container has ended", here("127.0.0.1", contains("exited", exited(3), logged("error: no settings"))), says("proven 127.0.0.1", "The container shop-web-1, which publishes 127.0.0.1:62893->80/tcp, has ended with status 3: error: no settings.")},
			row{"a container was stopped", here("127.0.0.1", contains("exited", exited(143))), says("proven 127.0.0.1", "was ended by signal 15 (TERM) (status 143)")},
			row{"a container was never started", here("127.0.0.1", contains("created")), says("proven 127.0.0.1", "was created and does not run")},
			row{"a container keeps ending", here("127.0.0.1", contains("restarting", exited(1), func(c *facts.Container) { c.Restarts = 4 })), says("proven 127.0.0.1", "started again 4 times")},
			row{"a container had too little memory", here("127.0.0.1", contains("exited", exited(137), func(c *facts.Container) { c.OOM = true })), says("proven 127.0.0.1", "its memory ran out")},
			row{"a process is replaced again and again", here("127.0.0.1", candidate(3, "62893")), says("inferred 127.0.0.1", "python3 (pid 70), which names port 62893, does not stay", "3 times")},
			row{"a process ends, as others did before", here("127.0.0.1", candidate(0, "62893"), gone(true)), says("inferred 127.0.0.1", "ended while loopdoctor looked")},
			row{"a process ends, and is the first", here("127.0.0.1", candidate(0, "62893"), gone(false)), nothing},
			row{"a process names the port and stays", here("127.0.0.1", candidate(0, "62893")), nothing},
			row{"a process is killed for want of memory, again and again", here("127.0.0.1", candidate(1, "62893"), func(f *facts.Facts) { f.Candidates.Found[0].OOMKills = 1 }), says("inferred 127.0.0.1", "python3 (pid 70)", "its memory runs out")},
			row{"a process is replaced that does not name it", here("127.0.0.1", candidate(3)), nothing},
			row{"a container runs", here("127.0.0.1", contains("running")), nothing},
			row{"a unit runs", here("127.0.0.1", unit("app.service", "active", sub("running"), ago(time.Hour))), nothing},
			row{"a unit runs that was restarted last week", here("127.0.0.1", unit("app.service", "active", restarts(9), ago(time.Hour))), nothing},
			row{"a unit is starting", here("127.0.0.1", unit("app.service", "activating", sub("start"))), nothing},
			row{"a unit is not started", here("127.0.0.1", unit("app.service", "inactive")), nothing},
			row{"its state is not known", here("127.0.0.1", unit("app.service", "")), nothing},
			row{"something else listens there", here("127.0.0.1", listens("127.0.0.1", 50), unit("app.service", "failed")), nothing},
			row{"something listens at another address", here("127.0.0.1", listens("::1", 50), unit("app.service", "failed")), nothing},
			row{"UDP is asked for", here("127.0.0.1", asksUDP, unit("app.service", "failed")), nothing},
			row{"no unit has to do with it", here("127.0.0.1", noUnits), nothing},
		),
		of(serviceNotStarted,
			row{"it says of itself that it serves the port", here("127.0.0.1", unit("app.service", "inactive", enabled("disabled"))), says("proven 127.0.0.1", "app.service, which should serve port 62893, is not started.")},
			row{"in either family", here("62893", unit("app.service", "inactive")), says("proven 127.0.0.1 ::1")},
			row{"it has run before", here("127.0.0.1", unit("app.service", "inactive", ago(time.Hour))), says("proven 127.0.0.1", "has ended, or was stopped")},
			row{"it is masked", here("127.0.0.1", unit("app.service", "inactive", enabled("masked"))), says("proven 127.0.0.1", "masked")},
			row{"its kind usually has the port", here("127.0.0.1", unit("redis-server.service", "inactive", usually)), says("inferred 127.0.0.1", "redis-server.service, the usual owner of port 62893, is not started.")},
			row{"one of two", here("127.0.0.1", unit("nginx.service", "inactive", usually), unit("apache2.service", "inactive", usually)), says("inferred 127.0.0.1", "nginx.service and apache2.service could serve port 62893, and none of them is started.")},
			row{"a socket and its service", here("127.0.0.1", unit("app.socket", "inactive", socket, enabled("disabled")), unit("app.service", "inactive", bySocket, enabled("disabled"))), says("proven 127.0.0.1", "app.socket, which")},
			row{"a socket, and its service is what is enabled", here("127.0.0.1", unit("ssh.socket", "inactive", socket, triggers("ssh.service"), enabled("disabled")), unit("ssh.service", "inactive", bySocket, enabled("enabled"))), says("proven 127.0.0.1", "ssh.service, which")},
			row{"its state is not known", here("127.0.0.1", unit("app.service", "")), says("inferred 127.0.0.1", "seems not to be started")},
			row{"supervisord does not run", here("127.0.0.1", unit("app", "inactive", supervised, func(u *facts.Unit) { u.Because = "supervisord does not run" })), says("proven 127.0.0.1", "is not started (supervisord does not run).")},
			row{"what says so counts more than what mentions it", here("127.0.0.1", unit("x.service", "inactive", mentions), unit("app.service", "inactive")), says("proven 127.0.0.1", "app.service, which should")},
			row{"something that only mentions it runs", here("127.0.0.1", unit("x.service", "active", mentions), unit("app.service", "inactive")), says("proven 127.0.0.1", "app.service")},
			row{"one of two usual owners runs", here("127.0.0.1", unit("nginx.service", "inactive", usually), unit("apache2.service", "active", usually)), nothing},
			row{"it is starting", here("127.0.0.1", unit("app.service", "activating")), nothing},
			row{"it has failed", here("127.0.0.1", unit("app.service", "failed")), nothing},
			row{"the socket listens, elsewhere", here("127.0.0.1", unit("app.socket", "active", socket), unit("app.service", "inactive", bySocket)), nothing},
			row{"something listens there", here("127.0.0.1", listens("127.0.0.1", 50), unit("app.service", "inactive")), nothing},
			row{"UDP is asked for", here("127.0.0.1", asksUDP, unit("app.service", "inactive")), nothing},
			row{"no unit has to do with it", here("127.0.0.1", noUnits), nothing},
		),
		of(systemdSocketUnitOwnsPort,
			row{"systemd listens for a unit", here("127.0.0.1", toBind, listens("127.0.0.1", 1, named("systemd")), taken, unit("app.socket", "active", sub("listening"), socket)), says("proven 127.0.0.1", "app.socket listens on 127.0.0.1:62893, so that systemd can start app.service")},
			row{"a user's systemd does", here("127.0.0.1", toBind, listens("127.0.0.1", 50, manager(50)), taken, unit("app.socket", "active", sub("listening"), socket, ofUser(1000))), says("proven 127.0.0.1", "app.socket")},
			row{"the service has it as well", here("127.0.0.1", toBind, listens("127.0.0.1", 1, named("systemd")), taken, unit("app.socket", "active", sub("running"), socket), unit("app.service", "active", bySocket)), says("proven 127.0.0.1", "app.socket")},
			row{"the unit was not found", here("127.0.0.1", toBind, listens("127.0.0.1", 1, named("systemd")), taken), says("proven 127.0.0.1", "systemd (pid 1) listens on 127.0.0.1:62893 for one of its socket units")},
			row{"the holder is hidden, and a unit listens", here("127.0.0.1", toBind, listens("127.0.0.1", 0), taken, unit("app.socket", "active", sub("listening"), socket)), says("proven 127.0.0.1", "app.socket")},
			row{"the holder is hidden, and the unit does not listen", here("127.0.0.1", toBind, listens("127.0.0.1", 0), taken, unit("app.socket", "inactive", socket)), nothing},
			row{"another program has it", here("127.0.0.1", toBind, listens("127.0.0.1", 50), taken, unit("app.socket", "active", sub("listening"), socket)), nothing},
			row{"process 1 of a container has it", here("127.0.0.1", toBind, listens("127.0.0.1", 1, named("node")), taken), nothing},
			row{"a server can have it all the same", here("127.0.0.1", toBind, listens("127.0.0.1", 1, named("systemd")), binds("127.0.0.1", "", true)), nothing},
			row{"the question is who can connect", here("127.0.0.1", listens("127.0.0.1", 1, named("systemd")), taken), nothing},
		),
	)
}

func TestService(t *testing.T) { judge(t, serviceSituations()) }

// The first fix is what helps: the reason, where starting again would end again.
func TestFixesOfServices(t *testing.T) {
	free, taken := binds("127.0.0.1", "", true), binds("127.0.0.1", "EADDRINUSE", true)
	inUse := lastSaid("OSError: [Errno 98] Address already in use")
	for _, test := range []struct {
		f    *facts.Facts
		want string
	}{
		{machine("127.0.0.1", unit("app.service", "failed", status(1))), "Read why it ended (journalctl -u app.service -n 50)"},
		{machine("127.0.0.1", unit("app.service", "failed", inUse), free), "sudo systemctl reset-failed app.service; sudo systemctl start app.service / sudo systemctl stop app.service"},
		{machine("127.0.0.1", unit("app.service", "failed", inUse), taken), "Read why it ended"},
		{machine("127.0.0.1", unit("app", "failed", supervised)), "Read why it ended (supervisorctl -c /etc/supervisor/supervisord.conf tail app stderr)"},
		{machine("127.0.0.1", contains("exited", exited(0))), "docker start shop-web-1 / docker stop shop-web-1"},
		{machine("127.0.0.1", clients(0), contains("exited", exited(143))), "sudo docker start shop-web-1 / sudo docker stop shop-web-1"},
		{machine("127.0.0.1", contains("exited", exited(1))), "Read why it ended (docker logs --tail 50 shop-web-1)"},
		{machine("127.0.0.1", unit("app.service", "inactive")), "sudo systemctl start app.service / sudo systemctl stop app.service"},
		{machine("127.0.0.1", unit("app.service", "inactive", ofUser(1000))), "systemctl --user start app.service / systemctl --user stop app.service"},
		{machine("127.0.0.1", clients(0), unit("app.service", "inactive", ofUser(1000))), "Start app.service. As uid 1000: systemctl --user start app.service"},
		{machine("127.0.0.1", unit("app.service", "inactive", enabled("masked"))), "sudo systemctl unmask app.service; sudo systemctl start app.service / sudo systemctl stop app.service; sudo systemctl mask app.service"},
		{machine("127.0.0.1", unit("a.service", "inactive", usually), unit("b.service", "inactive", usually)), "Start the one that you want: sudo systemctl start a.service, or sudo systemctl start b.service."},
		{machine("127.0.0.1", unit("app", "inactive", supervised)), "sudo supervisorctl -c /etc/supervisor/supervisord.conf start app / sudo supervisorctl -c /etc/supervisor/supervisord.conf stop app"},
	} {
		dials("127.0.0.1", facts.Refused)(test.f)
		d := Diagnose(test.f)
		if len(d.Causes) == 0 {
			t.Errorf("no cause, want %q", test.want)
			continue
		}
		fix := d.Causes[0].Fixes[0]
		got := fix.Do
		if len(fix.Steps) > 0 {
			line := func(steps [][]string) string {
				var lines []string
				for _, s := range steps {
					lines = append(lines, cond(fix.Elevated, "sudo ", "")+strings.Join(s, " "))
				}
				return strings.Join(lines, "; ")
			}
			got = line(fix.Steps) + " / " + line(fix.Undo)
		}
		if !strings.HasPrefix(got, test.want) {
			t.Errorf("got  %q\nwant %q", got, test.want)
		}
	}
}

// Whoever does not see the units gets the broader cause.
func TestServicesUnseen(t *testing.T) {
	expect(t, machine("127.0.0.1", dials("127.0.0.1", facts.Refused), unit("app.service", "failed")), "broken", "active server-exited-or-crash-looping proven")
	expect(t, machine("127.0.0.1", dials("127.0.0.1", facts.Refused), unit("app.service", "failed"), unseen(facts.GroupUnits)), "broken", "active no-listener proven")
	expect(t, machine("127.0.0.1", dials("127.0.0.1", facts.Refused), unit("app.service", "inactive")), "broken", "active service-not-started proven")
	expect(t, machine("127.0.0.1", dials("127.0.0.1", facts.Refused), unit("app.service", "inactive"), contains("exited", exited(1))), "broken", "active server-exited-or-crash-looping proven", "active service-not-started proven")
}

// What is searched of a log is short, whatever somebody sent: each line is searched by
// many checks. The reason is at its end.
func TestLastLines(t *testing.T) {
	log := slices.Repeat([]string{strings.Repeat("pass key ", 100_000)}, 1000)
	for _, line := range lastLines(append(log, "permission denied")) {
		if len(line) > 4096+len("…") {
			t.Fatalf("a line of %d bytes", len(line))
		}
	}
	if n := len(lastLines(log)); n > 50 {
		t.Errorf("%d lines", n)
	}
	if got := telling(append(log, "permission denied")); got != "permission denied" {
		t.Errorf("it says %.80q", got)
	}
}
