package checks

import (
	"cmp"
	"fmt"
	"regexp"
	"slices"
	"strings"
	"time"

	"github.com/loopdoctor/loopdoctor/checks/facts"
)

// What the checks say of a unit of a service manager.

// unstable is how long a service that was restarted is not believed to run.
const unstable = 20 * time.Second

// unitFor names a unit and says how it concerns the port.
func unitFor(f *facts.Facts, u facts.Unit) string {
	name := u.Name
	if u.Manager == "supervisord" {
		name = "The program " + u.Name + " of supervisord"
	}
	switch {
	case u.Names:
		return fmt.Sprintf("%s, which should serve port %d,", name, f.Target.Port)
	case usualOwner(u):
		return fmt.Sprintf("%s, the usual owner of port %d,", name, f.Target.Port)
	}
	return fmt.Sprintf("%s, which names port %d,", name, f.Target.Port)
}

// usualOwner tells whether the unit is of a kind of server that usually has the
// port, and says nothing of ports itself.
func usualOwner(u facts.Unit) bool { return strings.HasPrefix(u.About, "usual owner") }

// unitEvidence quotes what the manager says, and the unit's last lines.
func unitEvidence(u facts.Unit) []Evidence {
	es := []Evidence{{cmp.Or(u.File, "unit"), fmt.Sprintf("%s: %s", u.Name, u.About)}}
	state := u.State
	if u.Sub != "" && u.Sub != u.State {
		state += " (" + u.Sub + ")"
	}
	for _, part := range []string{cond(u.Result != "" && u.Result != "success", "result "+u.Result, ""), howEnded(u), u.Because,
		cond(u.Restarts > 0, fmt.Sprintf("%d restarts", u.Restarts), ""), cond(u.Enabled != "", u.Enabled, "")} {
		if part != "" {
			state += ", " + part
		}
	}
	if u.State != "" {
		es = append(es, Evidence{cmp.Or(u.Manager, "manager"), fmt.Sprintf("%s is %s", u.Name, state)})
	}
	for _, line := range u.Log {
		es = append(es, Evidence{cmp.Or(u.LogFrom, "log"), line})
	}
	if u.LogAbsent != "" {
		es = append(es, Evidence{"log", "not read: " + u.LogAbsent})
	}
	return es
}

// couldNot is what systemd says instead of an exit status when it did not get as
// far as the program (systemd.exec(5), "Process Exit Codes").
var couldNot = map[int]string{200: "its WorkingDirectory= could not be entered", 203: "its program could not be executed", 209: "its output could not be opened",
	216: "its Group= could not be taken", 217: "its User= could not be taken", 218: "its capabilities could not be taken", 226: "its file system view could not be made",
	238: "its StateDirectory= could not be made", 240: "its LogsDirectory= could not be made"}

// howEnded is the end of the main process.
func howEnded(u facts.Unit) string {
	switch {
	case u.Result == "oom-kill":
		return "its memory ran out"
	case u.Result == "timeout":
		return "it was not ready in time"
	case u.Result == "watchdog":
		return "it no longer gave signs of life"
	case u.Signal:
		return "ended by signal " + signalName(u.Exit)
	case u.Manager != "supervisord" && couldNot[u.Exit] != "":
		return fmt.Sprintf("%s (status %d)", couldNot[u.Exit], u.Exit)
	case u.Exit != 0:
		return fmt.Sprintf("exit status %d", u.Exit)
	}
	return ""
}

var signalNames = map[int]string{1: "HUP", 2: "INT", 3: "QUIT", 4: "ILL", 6: "ABRT", 7: "BUS", 8: "FPE", 9: "KILL", 11: "SEGV", 13: "PIPE", 14: "ALRM", 15: "TERM"}

func signalName(n int) string {
	if name := signalNames[n]; name != "" {
		return fmt.Sprintf("%d (%s)", n, name)
	}
	return fmt.Sprint(n)
}

func times(n int) string { return cond(n == 1, "once", fmt.Sprintf("%d times", n)) }

// trouble is what lines say that tell why a program ended.
var trouble = regexp.MustCompile(`(?i)address (already )?in use|eaddrinuse|eaddrnotavail|cannot assign|permission denied|eacces|not permitted|no such|not found|denied|refused|invalid|unknown|syntax|cannot|can't|could not|unable|out of memory|exception|traceback|error|fatal|panic|fail`)

// lastLines is what of a log is searched for the reason: a look takes a few short lines, and
// one that somebody sent may have any number of them, of any length.
func lastLines(log []string) []string {
	log = slices.Clone(log[max(0, len(log)-50):])
	for i, line := range log {
		log[i] = cut(line, 4096)
	}
	return log
}

// telling picks the line that says why; empty if none does.
func telling(log []string) string {
	for _, line := range slices.Backward(lastLines(log)) {
		if trouble.MatchString(line) {
			return line
		}
	}
	return ""
}

// because ends a sentence with the reason.
func because(line string) string {
	if line = strings.TrimRight(strings.TrimSpace(line), "."); line == "" {
		return "."
	}
	if r := []rune(line); len(r) > 160 {
		line = string(r[:160]) + "…"
	}
	return ": " + line + "."
}

var portTaken = regexp.MustCompile(`(?i)address (already )?in use|eaddrinuse|port is already allocated`)

// bindable tells whether the server found its port taken, and could have it now:
// then to start it again is all there is to do.
func bindable(f *facts.Facts, log []string) bool {
	if !slices.ContainsFunc(lastLines(log), portTaken.MatchString) || len(f.Binds) == 0 {
		return false
	}
	return !slices.ContainsFunc(f.Binds, func(b facts.Bind) bool { return b.Errno != "" })
}

// control is the command that asks the unit's manager to do something.
func control(u facts.Unit, verb ...string) []string {
	switch u.Manager {
	case "supervisord":
		c := []string{"supervisorctl"}
		if u.Config != "" {
			c = append(c, "-c", u.Config)
		}
		return append(append(c, verb...), u.Name)
	case "systemd --user":
		return append(append([]string{"systemctl", "--user"}, verb...), u.Name)
	}
	return append(append([]string{"systemctl"}, verb...), u.Name)
}

// logCommand shows what the unit said.
func logCommand(u facts.Unit) string {
	switch {
	case u.Manager == "supervisord":
		return strings.Join(control(u, "tail"), " ") + " stderr"
	case u.LogFrom != "" && u.LogFrom != "journal":
		return "tail -n 50 " + u.LogFrom
	case u.Manager == "systemd --user":
		return "journalctl --user -u " + u.Name + " -n 50"
	}
	return "journalctl -u " + u.Name + " -n 50"
}

func isMine(f *facts.Facts, u facts.Unit) bool {
	return slices.ContainsFunc(f.Host.As, func(i facts.Identity) bool { return i.UID == u.UID })
}

// manage is a fix by the unit's manager, for whoever may ask it. A user's own
// manager is asked by that user: root's systemctl --user asks another one.
func manage(f *facts.Facts, u facts.Unit, fix Fix) Fix {
	switch mine := isMine(f, u); {
	case u.Manager == "systemd --user" && !mine:
		var lines []string
		for _, s := range fix.Steps {
			lines = append(lines, strings.Join(s, " "))
		}
		return Fix{Do: fmt.Sprintf("%s As uid %d: %s", fix.Do, u.UID, strings.Join(lines, "; ")), Risk: fix.Risk, Interrupts: fix.Interrupts}
	case u.Manager == "systemd --user":
	case u.Manager == "supervisord" && u.UID != 0 && mine:
	default:
		fix.Elevated = true
	}
	return fix
}

// startAgain starts the unit, and its service where that is another one.
func startAgain(f *facts.Facts, u, service facts.Unit) Fix {
	fix := Fix{Do: fmt.Sprintf("Start %s again.", u.Name), Lasts: UntilReboot, Undo: [][]string{control(u, "stop")}}
	switch {
	case u.State != "failed": // it is waiting for its next start
		fix.Do = fmt.Sprintf("Start %s at once, in place of waiting for its manager.", u.Name)
		fix.Steps = [][]string{control(u, "restart")}
	case u.Manager == "supervisord":
		fix.Steps = [][]string{control(u, "start")}
	default: // a start that failed too often is refused until it is forgotten
		fix.Steps = [][]string{control(u, "reset-failed")}
		if service.Name != u.Name {
			fix.Steps[0] = append(fix.Steps[0], service.Name)
		}
		fix.Steps = append(fix.Steps, control(u, "start"))
	}
	return manage(f, u, fix)
}

// privileged tells whether what was seen of others was seen with root's rights.
func privileged(f *facts.Facts) bool {
	return len(f.Host.As) == 0 || f.Host.As[0].UID == 0 || slices.Contains(f.Host.LookedWith, "dac_read_search")
}
