package main

import (
	"context"
	"errors"
	"fmt"
	"os/signal"
	"slices"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/loopdoctor/loopdoctor/checks/facts"
	"github.com/loopdoctor/loopdoctor/checks/host"
	"github.com/loopdoctor/loopdoctor/report"
)

// What a shell says of a program that it cannot start: "Exit Status for Commands"
// of POSIX, XCU 2.8.2.
const (
	exitNoProgram = 127
	exitCannotRun = 126
)

const runLong = `run starts CMD, sees each of its connects to this machine, and those of the
processes that it starts, and says why they failed: for exactly the address, the
user and the environment that it had.

The client keeps the terminal, standard input and output, signals and exit status
as without loopdoctor, which says nothing before the client has ended, and nothing
at all if it ended well and could connect. The report goes to standard error. The
client is watched by ptrace(2), which slows its system calls down.

Exit status: that of CMD; 128 and its number for a signal, 126 and 127 for a
program that cannot be run or found, 2 for bad usage of run itself.`

const runExample = `  loopdoctor run -- curl http://localhost:3000/
  loopdoctor run -- psql -h localhost shop
  loopdoctor run -o report.txt -- npm run dev
  loopdoctor run --format json -o report.json -- node client.js`

// run runs the client of somebody, and diagnoses what it met.
func (p *program) run() *cobra.Command {
	var o options
	cmd := &cobra.Command{
		Use:     "run [flags] -- CMD [ARG...]",
		Short:   "Run a client, and say why it cannot connect",
		Long:    runLong,
		Example: runExample,
		Args:    cobra.ArbitraryArgs,
		RunE: func(cmd *cobra.Command, args []string) error {
			if err := o.checkRun(args, cmd.Flags().Changed); err != nil {
				return err
			}
			return p.runClient(&o, args)
		},
		DisableFlagsInUseLine: true,
	}
	f := cmd.Flags()
	f.SortFlags = false
	f.SetInterspersed(false) // what follows CMD is its own
	f.StringVar(&o.format, "format", "text", "`FORMAT` of the report: text; with -o also json, markdown or html")
	f.StringVarP(&o.output, "output", "o", "", "write the report to `FILE`, also of a client that fares well")
	f.DurationVar(&o.timeout, "timeout", 5*time.Second, "`LIMIT` of the diagnosis; the client has none")
	f.BoolVar(&o.noCapture, "no-capture", false, "do not capture packets")
	f.BoolVar(&o.noSystemChanges, "no-system-changes", false, "change nothing, not even a trace that removes itself")
	f.BoolVarP(&o.quiet, "quiet", "q", false, "the answer alone, a line for each target")
	f.BoolVarP(&o.verbose, "verbose", "v", false, "everything that was seen, also of a client that fares well")
	f.StringVar(&o.record, "record", "", "save what was seen to `FILE`")
	f.StringVar(&o.color, "color", "auto", "`WHEN` to colour: auto, always or never")
	completeWords(cmd, map[string][]string{"format": formats, "color": colors})
	return cmd
}

// checkRun finds bad usage before anything runs.
func (o *options) checkRun(args []string, given func(string) bool) error {
	switch {
	case len(args) == 0 || args[0] == "":
		return errors.New("run needs the command that fails, as in loopdoctor run -- curl http://localhost:3000/")
	case o.output == "-" || o.record == "-":
		return errors.New("the standard output is the client's: name a file")
	case o.format != "text" && o.output == "" && slices.Contains(formats, o.format):
		return fmt.Errorf("--format %s needs -o FILE: the standard error is the client's too", o.format)
	}
	_, err := o.check(nil, given)
	if err == nil && !host.Watches() {
		err = fail(errors.New("run works on Linux only: run the client yourself, and give what it printed to loopdoctor --error"))
	}
	return err
}

// runClient runs it to its end, and then looks. From then on nothing that happens
// changes the exit status: it is the client's.
func (p *program) runClient(o *options, argv []string) error {
	out, err := p.create(o.output, 0o666, p.stderr)
	if err != nil {
		return fmt.Errorf("--output: %w", err)
	}
	defer out.abandon()
	saved, err := p.create(o.record, 0o600, p.stderr)
	if err != nil {
		return fmt.Errorf("--record: %w", err)
	}
	defer saved.abandon()

	w, err := host.Watch(argv)
	var not *host.NotStartedError
	if errors.As(err, &not) {
		p.status = exitCannotRun
		if not.Missing {
			p.status = exitNoProgram
		}
		p.say(p.status, fmt.Errorf("run: %w", err))
		return nil
	}
	if err != nil {
		return fail(fmt.Errorf("run: %w", err))
	}
	p.status = w.Met.Exit

	// Ctrl-C was the client's until now, and from now on ends the diagnosis.
	signal.Reset(ending()...)
	ctx, stop := untilEnded(context.Background())
	defer stop()
	if err := p.diagnoseMet(ctx, o, w, out, saved); err != nil {
		p.say(report.ExitFailed, err)
	}
	return nil
}

// sink is where a report or a recording goes.
type sink interface {
	Write([]byte) (int, error)
	commit() error
}

func (p *program) diagnoseMet(ctx context.Context, o *options, w *host.Watched, out, saved sink) error {
	asked := o.verbose || o.output != "" || o.record != ""
	views := metTargets(w)
	if len(views) == 0 {
		if asked || w.Met.Exit != 0 && !interrupted(w.Met) {
			fmt.Fprintln(p.stderr, "loopdoctor: "+report.Clean(unmet(w.Met)))
		}
	} else if !asked && !slices.ContainsFunc(views, func(v view) bool { return v.trouble }) {
		return nil
	}
	seen := &facts.Recording{Schema: facts.Schema, Version: number()}
	for _, v := range views {
		if !v.trouble && slices.ContainsFunc(views, func(o view) bool { return o.trouble }) {
			continue // what works is not what the person wants to know
		}
		if v.as.NetNS != 0 {
			fmt.Fprintln(p.stderr, "loopdoctor: "+report.Clean(elsewhere(v)))
			continue
		}
		f, err := p.lookAt(ctx, o, w, v)
		if err != nil {
			return err
		}
		seen.Facts = append(seen.Facts, f)
	}
	if len(seen.Facts) == 0 {
		if !asked {
			return nil
		}
		// Who asked for a report gets one: it is about loopback itself.
		t := loopbackTarget()
		t.Met = w.Met
		f, err := p.lookAt(ctx, o, w, view{target: t, as: w.Client(0)})
		if err != nil {
			return err
		}
		seen.Facts = append(seen.Facts, f)
	}
	if o.record != "" {
		if err := saveRecording(saved, seen); err != nil {
			return fmt.Errorf("record: %w", err)
		}
	}
	r := judge(seen)
	if o.output == "" && !o.quiet { // the client has written there, too
		fmt.Fprintf(p.stderr, "\nloopdoctor: %s %s\n\n", report.Clean(w.Met.Name()), w.Met.Ended())
	}
	if err := p.write(out, r, o, p.stderr); err != nil {
		return fmt.Errorf("write the report: %w", err)
	}
	return out.commit()
}

// lookAt looks at one target, as the client that met it.
func (p *program) lookAt(ctx context.Context, o *options, w *host.Watched, v view) (*facts.Facts, error) {
	stop := p.progress([]facts.Target{v.target})
	defer func() { stop() }()
	how := host.Options{As: []facts.Identity{v.as}, Environ: w.Environ, Timeout: o.timeout, NoCapture: o.noCapture, NoSystemChanges: o.noSystemChanges}
	fs, err := host.Gather(ctx, []facts.Target{v.target}, how)
	var foreign *host.ForeignTargetError
	if errors.As(err, &foreign) && v.met.IsValid() { // the name in its arguments was not the one that it looked up
		fs, err = host.Gather(ctx, []facts.Target{literal(v)}, how)
	}
	if err != nil {
		return nil, fmt.Errorf("look: %w", err)
	}
	return fs[0], nil
}

// elsewhere says that the client has another localhost than loopdoctor.
func elsewhere(v view) string {
	return fmt.Sprintf("%s went to %s in network namespace %d, whose localhost is another than this one: run loopdoctor inside of it.", v.as.Name(), v.target.Raw, v.as.NetNS)
}

// unmet says of a client that connected to nothing on this machine what it did
// instead.
func unmet(m *facts.Met) string {
	s := fmt.Sprintf("%s %s", m.Name(), m.Ended())
	if m.Unwatched != "" {
		return fmt.Sprintf("%s. Its connects could not be seen (%s). Give what it printed to loopdoctor --error.", s, m.Unwatched)
	}
	s += ", and connected to nothing on this machine"
	switch {
	case m.Elsewhere == 1:
		s += "; it connected to another machine once"
	case m.Elsewhere > 1:
		s += fmt.Sprintf("; it connected to other machines %d times", m.Elsewhere)
	}
	if m.Failed > 0 {
		s += fmt.Sprintf(" (%d failed)", m.Failed)
	}
	for _, c := range m.Connects {
		if c.Network == "unix" {
			s += fmt.Sprintf("; the UNIX socket %s could not be reached (%s)", c.Path, c.Errno)
		}
	}
	return strings.Join(append([]string{s + "."}, m.Notes...), " ")
}
