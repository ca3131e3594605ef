package checks

import (
	"strings"
	"testing"

	"github.com/loopdoctor/loopdoctor/checks/facts"
)

// startup makes it the answer to the first message of a login.
func startup(a *facts.Answer) { a.With = facts.WithStartup }

// looked: the processes were looked at.
func looked(f *facts.Facts) { f.Work = &facts.Work{ApartMS: 120} }

func stateSituations() []situation {
	const a = "127.0.0.1"
	redis := func(says string) *facts.Facts {
		return served(looked, speaks(facts.AskRedis, ""), heardFrom(a, protocol("redis", says)))
	}
	pg := func(says string) *facts.Facts {
		return then([]change{speaks(facts.AskPostgreSQL, ""), heardFrom(a, protocol("postgresql", "takes no TLS"))}, startup, protocol("postgresql", says))
	}
	const (
		full     = "sorry, too many clients already (SQLSTATE 53300)"
		plein    = "désolé, trop de clients sont déjà connectés (SQLSTATE 53300)"
		starting = "the database system is starting up (SQLSTATE 57P03)"
		noRole   = `role "loopdoctor" does not exist (SQLSTATE 28000)`
		busy     = "-BUSY Redis is busy running a script. You can only call SCRIPT KILL or SHUTDOWN NOSAVE."
	)
	guess := served(speaks(facts.AskGuess, ""), heardFrom(a, protocol("redis", busy)))
	var out []situation
	for _, s := range [][]situation{
		of(turnedAway,
			row{"PostgreSQL is full", pg(full), says("proven 127.0.0.1", "too many clients")},
			row{"in French", pg(plein), says("proven 127.0.0.1", "trop de clients")},
			row{"PostgreSQL says so at once", served(speaks(facts.AskPostgreSQL, ""), heardFrom(a, protocol("postgresql", full))), says("proven 127.0.0.1", "too many clients")},
			row{"PgBouncer is", served(speaks(facts.AskPostgreSQL, ""), heardFrom(a, protocol("postgresql", "no more connections allowed (max_client_conn) (SQLSTATE 08P01)"))), says("proven 127.0.0.1", "no more connections")},
			row{"PostgreSQL does not know who we say we are", pg(noRole), nothing},
			row{"PostgreSQL asks for a password", pg("asks who the client is"), nothing},
			row{"PostgreSQL starts", pg(starting), nothing},
		),
		of(serverACLOrAuth,
			row{"PostgreSQL is full", pg(full), says("proven 127.0.0.1", "the limit of its clients (max_connections)")},
			row{"in French", pg(plein), says("proven 127.0.0.1", "max_connections")},
			row{"PgBouncer is", served(speaks(facts.AskPostgreSQL, ""), heardFrom(a, protocol("postgresql", "no more connections allowed (max_client_conn) (SQLSTATE 08P01)"))), says("proven 127.0.0.1", "max_client_conn")},
			row{"PostgreSQL does not know who we say we are", pg(noRole), nothing},
			row{"Redis lets nobody ask before a login", redis("-NOPERM this user has no permissions to run the 'ping' command"), says("remark 127.0.0.1", "ACL")},
		),
		of(serverError,
			row{"a script", redis(busy), says("proven 127.0.0.1", "busy running a script")},
			row{"Redis loads", redis("-LOADING Redis is loading the dataset in memory"), says("proven 127.0.0.1", "loading")},
			row{"Redis cannot save", redis("-MISCONF Redis is configured to save RDB snapshots, but 100%"), says("proven 127.0.0.1", "100%")},
			row{"PostgreSQL starts", pg(starting), says("proven 127.0.0.1", "starting up")},
			row{"PostgreSQL does not know who we say we are", pg(noRole), nothing},
			row{"an error about a key", redis("-BUSYKEY Target key name already exists."), nothing},
			row{"Redis wants a password", redis("-NOAUTH Authentication required."), nothing},
			row{"a PONG", redis("+PONG"), nothing},
			row{"a guess", guess, nothing},
		),
		of(applicationError,
			row{"Redis loads", redis("-LOADING Redis is loading the dataset in memory"), says("proven 127.0.0.1", "server (pid 42)", "reading its data")},
			row{"Redis cannot save", redis("-MISCONF Redis is configured to save RDB snapshots, but …"), says("proven 127.0.0.1", "cannot write its data")},
			row{"Redis has no master", redis("-MASTERDOWN Link with MASTER is down and replica-serve-stale-data is set to 'no'."), says("proven 127.0.0.1", "replica")},
			row{"PostgreSQL starts", pg(starting), says("proven 127.0.0.1", "starting, ending, or recovering")},
			row{"in French", pg("le système de bases de données se lance (SQLSTATE 57P03)"), says("proven 127.0.0.1", "starting")},
			row{"it ends", pg("terminating connection due to administrator command (SQLSTATE 57P01)"), says("proven 127.0.0.1", "is ending")},
			row{"a script is not this", redis(busy), nothing},
			row{"a limit is not this", pg(full), nothing},
			row{"the words of Redis from another server", served(speaks(facts.AskRedis, ""), heardFrom(a, protocol("smtp", "-LOADING x"))), nothing},
		),
		of(eventLoopOrWorkersBlocked,
			row{"a script", redis(busy), says("proven 127.0.0.1 at answer", "server (pid 42)", "a script keeps it busy")},
			row{"a function", redis("-BUSY Redis is busy running a script. You can only call FUNCTION KILL or SHUTDOWN NOSAVE."), says("proven 127.0.0.1 at answer", "script")},
			row{"a module", redis("-BUSY Redis is busy running a module command."), says("proven 127.0.0.1 at answer", "command of a module")},
			row{"a PONG", redis("+PONG"), nothing},
		),
	} {
		out = append(out, s...)
	}
	return out
}

func TestServerStates(t *testing.T) { judge(t, stateSituations()) }

// Who says what kills a script says what it costs.
func TestScriptIsEndedWithoutLoss(t *testing.T) {
	f := served(looked, speaks(facts.AskRedis, ""), heardFrom("127.0.0.1", protocol("redis", "-BUSY Redis is busy running a script. You can only call FUNCTION KILL or SHUTDOWN NOSAVE.")))
	fixes := found(t, eventLoopOrWorkersBlocked, f)[0].Fixes
	if !strings.Contains(fixes[0].Do, "FUNCTION KILL") || strings.Contains(fixes[0].Do, "SHUTDOWN") {
		t.Errorf("first %q", fixes[0].Do)
	}
	for _, x := range fixes {
		if strings.Contains(x.Do, "SHUTDOWN") && !strings.Contains(x.Risk, "lost") {
			t.Errorf("%q without its risk: %q", x.Do, x.Risk)
		}
	}
}
