package checks

import (
	"fmt"
	"net/netip"
	"slices"
	"strings"

	"github.com/loopdoctor/loopdoctor/checks/facts"
)

// A server of a database that is reached, speaks the client's protocol, and says of
// itself that it cannot serve now. That is neither a login that it refuses nor a limit of
// its clients: those are in serverlimit.go.

// serverState is what such a server says, and what helps.
type serverState struct {
	protocol, words string // words: how Redis' error begins, or PostgreSQL's SQLSTATE (appendix A of its manual), which no language changes
	what            string // of a summary: "it …"
	fixes           []Fix
}

var states = []serverState{
	{"redis", "-LOADING", "is still reading its data from the disk, and serves nobody until it has", []Fix{
		{Do: "Wait until it has read it: redis-cli INFO persistence tells how far it is (loading_eta_seconds)."},
		{Do: "Let clients try again after a while: it does this after every start."}}},
	{"redis", "-MISCONF", "cannot write its data to the disk, so it takes no command that changes any; reading goes on", []Fix{
		{Do: "See in its log why saving fails (a full disk, no permission for its directory, no memory for the fork: redis-cli INFO persistence, CONFIG GET dir), and mend that: with the next save that succeeds it takes writes again (redis-cli BGSAVE)."},
		{Do: "Until then it can be told to take writes that it cannot save: redis-cli CONFIG SET stop-writes-on-bgsave-error no (until it is restarted).", Risk: "what is written meanwhile is lost if it ends"}}},
	{"redis", "-MASTERDOWN", "is a replica, has lost its master, and serves no old data (replica-serve-stale-data no)", []Fix{
		{Do: "See why it cannot reach its master: redis-cli INFO replication names it (master_host, master_port), and loopdoctor looks at that address."},
		{Do: "Or use the master itself."}}},
	{"postgresql", "57P01", "is ending: an administrator shuts it down", []Fix{
		{Do: "Start it again when it has ended, or wait until who restarts it has. If it does not come to its end, clients that stay connected hold it up: pg_ctl stop -m fast ends them."}}},
	{"postgresql", "57P03", "is starting, ending, or recovering its data, and lets nobody in meanwhile", []Fix{
		{Do: "Wait, and try again: pg_isready tells when it is ready. Its log tells what it does and how far it is."},
		{Do: "If it recovers again and again, one of its processes crashes: its log names it, above \"reinitializing\"."}}},
	{"postgresql", "53100", "has no room on its disk", []Fix{{Do: "Make room on the file system of its data directory; its log names the file."}}},
	{"postgresql", "53200", "has no memory for one more client", []Fix{{Do: "Free memory on this machine, or lower max_connections, shared_buffers or work_mem; its log tells which it failed to get."}}},
}

// toldBy is the answer in which the server says what is wrong with itself: that to the
// question, or that to the first message of a login.
func toldBy(f *facts.Facts, a *facts.Answer) *facts.Answer {
	for _, x := range further(f, a, facts.WithStartup) {
		if stateOf(x) != nil || isFull(x) {
			return x
		}
	}
	return a
}

// isFull tells whether PostgreSQL says that it has as many clients as it takes.
func isFull(a *facts.Answer) bool {
	return a.Protocol == "postgresql" && (strings.Contains(a.Says, "SQLSTATE 53300") || strings.HasPrefix(a.Says, "no more connections allowed"))
}

// stateOf is what the answer says of the server; nil: nothing of this kind.
func stateOf(a *facts.Answer) *serverState {
	i := slices.IndexFunc(states, func(s serverState) bool {
		if s.protocol == "redis" {
			return a.Protocol == "redis" && strings.HasPrefix(a.Says, s.words+" ")
		}
		return a.Protocol == s.protocol && strings.Contains(a.Says, "SQLSTATE "+s.words)
	})
	if i < 0 {
		return nil
	}
	return &states[i]
}

// inScript tells whether Redis says that a script or a command of a module holds it: its
// one thread comes to nothing else. ("-BUSYKEY" and "-BUSYGROUP" are about keys.)
func inScript(a *facts.Answer) bool {
	return a.Protocol == "redis" && strings.HasPrefix(a.Says, "-BUSY ")
}

// failsItself tells whether the server says that it fails itself.
func failsItself(f *facts.Facts, a *facts.Answer) bool {
	x := toldBy(f, a)
	return stateOf(x) != nil || inScript(x)
}

// stateFinding says of the server what it says itself. That is proven: nobody knows better.
func stateFinding(f *facts.Facts, a *facts.Answer) (Finding, bool) {
	told := toldBy(f, a)
	s := stateOf(told)
	if s == nil {
		return Finding{}, false
	}
	return Finding{Affects: []netip.Addr{a.Addr}, Certainty: Proven, Evidence: append([]Evidence{{"answer", told.Says}}, logEvidence(f, a)...), Fixes: s.fixes,
		Summary: fmt.Sprintf("%s is reached, and says that it cannot serve now: it %s.", replier(f, a), s.what)}, true
}

// scripted are the findings of a Redis that a script holds.
func scripted(f *facts.Facts) []Finding {
	var fs []Finding
	for _, a := range asked(f) {
		if !inScript(a) {
			continue
		}
		x := Finding{Affects: []netip.Addr{a.Addr}, Stage: StageAnswer, Certainty: Proven, Brings: []*Check{serverError}, Evidence: []Evidence{{"answer", a.Says}}}
		cli := fmt.Sprintf("redis-cli -p %d", f.Target.Port)
		switch {
		case strings.Contains(a.Says, "module command"):
			x.Summary = fmt.Sprintf("%s is reached, and one command of a module keeps it busy: its thread comes to nobody else.", replier(f, a))
			x.Fixes = []Fix{{Do: "Wait until the command is done, or end the client that gave it (" + cli + " CLIENT LIST shows it, if the module lets that through)."}}
		default:
			kill := cond(strings.Contains(a.Says, "FUNCTION KILL"), "FUNCTION KILL", "SCRIPT KILL")
			x.Summary = fmt.Sprintf("%s is reached, and a script keeps it busy: its thread comes to nobody else before that ends.", replier(f, a))
			x.Fixes = []Fix{
				{Do: fmt.Sprintf("End the script: %s %s. What it has read is not changed by that.", cli, kill), Interrupts: "the client that runs the script: it gets an error"},
				{Do: fmt.Sprintf("If the answer to that is UNKILLABLE, the script has written already: wait for its end. Only %s SHUTDOWN NOSAVE ends it earlier.", cli), Risk: "that ends Redis, and what was written since the last save is lost"}}
		}
		if ls := serving(f, a.Addr); len(ls) > 0 {
			for _, p := range f.Owners.Of(ls[0]) {
				if w := f.Work.Of(p.PID); w != nil {
					x.Evidence = append(x.Evidence, workEvidence(f, w)...)
				}
			}
		}
		x.Fixes = append(x.Fixes, Fix{Do: "So that it does not come back: short scripts, which do their work in pieces."})
		fs = append(fs, x)
	}
	return mergeAddresses(f, fs)
}
