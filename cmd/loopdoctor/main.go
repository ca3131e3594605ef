// Command loopdoctor says why a service on loopback does not answer, proves it
// and prints the cure. This package refuses to look and to judge: it reads the
// command line, hands over, and turns the outcome into an exit status.
package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/signal"
	"syscall"

	"github.com/loopdoctor/loopdoctor/checks/host"
	"github.com/loopdoctor/loopdoctor/report"
)

// exitUsage is bad usage, found before anything is looked at.
const exitUsage = 2

func main() {
	host.Second()
	// Without a handler, writing to a closed pipe ends the program with a
	// signal, and "loopdoctor 8080 | head -1" would lose its exit status.
	signal.Notify(make(chan os.Signal, 1), syscall.SIGPIPE)
	os.Exit(run(os.Args[1:], os.Stdin, os.Stdout, os.Stderr, os.Getenv))
}

// run is the whole program. Its result is the exit status: this function alone
// decides on it.
func run(args []string, stdin io.Reader, stdout, stderr io.Writer, env func(string) string) (status int) {
	p := &program{args: args, stdin: stdin, stdout: stdout, stderr: stderr, env: env}
	defer func() {
		if r := recover(); r != nil {
			status = p.say(report.ExitFailed, fmt.Errorf("a mistake in loopdoctor itself, please report it: %v", r))
		}
	}()
	ctx, stop := untilEnded(context.Background())
	defer stop()

	cmd := p.root()
	cmd.SetArgs(args)
	err := cmd.ExecuteContext(ctx)
	var failed *failure
	switch {
	case err == nil, errors.Is(err, syscall.EPIPE): // whoever read it had enough
		return p.status
	case ctx.Err() != nil:
		return p.say(report.ExitFailed, errors.New("interrupted"))
	case errors.As(err, &failed):
		return p.say(report.ExitFailed, err)
	}
	return p.say(exitUsage, err)
}

// ending are the signals that end a run in order: nothing is left behind. SIGQUIT is
// not one of them: it tells where a program hangs. A terminal that is gone ends only
// what nohup(1) did not start.
func ending() []os.Signal {
	all := []os.Signal{os.Interrupt, syscall.SIGTERM}
	if !signal.Ignored(syscall.SIGHUP) {
		all = append(all, syscall.SIGHUP)
	}
	return all
}

// untilEnded is over when one of them comes.
func untilEnded(ctx context.Context) (context.Context, context.CancelFunc) {
	return signal.NotifyContext(ctx, ending()...)
}

// program is one run: its streams, its environment, and what came of it.
type program struct {
	args           []string
	stdin          io.Reader
	stdout, stderr io.Writer
	env            func(string) string
	status         int
}

// say prints the one line that explains a status.
func (p *program) say(status int, err error) int {
	fmt.Fprintln(p.stderr, "loopdoctor: "+report.Clean(err.Error()))
	return status
}

// failure is an error that is not the user's: every other one is bad usage.
type failure struct{ err error }

func (f *failure) Error() string { return f.err.Error() }
func (f *failure) Unwrap() error { return f.err }

func fail(err error) error {
	if err == nil {
		return nil
	}
	return &failure{err}
}
