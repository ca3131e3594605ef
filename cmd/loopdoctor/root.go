package main

import (
	"cmp"
	"errors"
	"fmt"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/loopdoctor/loopdoctor/checks"
	"github.com/loopdoctor/loopdoctor/checks/facts"
)

const rootLong = `loopdoctor says why a service on loopback does not answer, or why a server cannot
take its port, proves it, and prints the steps that heal it. It only looks: what
it prints is for you to run.

TARGET is a port (62893), host:port (localhost:62893, [::1]:62893), udp://host:port,
the name of a service (postgresql), or a URL (http://localhost:62893/): then the
server is asked as well. Without one it reports on loopback itself, and on
everything that listens.

Exit status: 0 works, 1 does not and the cause is named, 3 not explained,
4 loopdoctor itself failed, 2 bad usage.`

const rootExample = `  loopdoctor 62893
  loopdoctor http://localhost:5173/
  loopdoctor --bind 8080
  loopdoctor --error 'connect ECONNREFUSED ::1:3000'
  loopdoctor run -- curl http://localhost:3000/
  sudo loopdoctor --format json 62893
  sudo loopdoctor --container shop-web 5432
  loopdoctor --record seen.json 62893 && loopdoctor --replay seen.json
  loopdoctor bundle 62893 -o ticket.zip && loopdoctor open ticket.zip`

// options are the flags as they were typed.
type options struct {
	bind            bool
	said            string // --error
	format, output  string
	timeout         time.Duration
	speak           string
	patience        time.Duration
	as              []string
	place           // --pid, --container, --netns, --pod
	noConnect       bool
	noCapture       bool
	noSystemChanges bool
	askDNS          bool
	quiet, verbose  bool
	record, replay  string
	color           string
}

func (p *program) root() *cobra.Command {
	var o options
	cmd := &cobra.Command{
		Use:               "loopdoctor [TARGET...]",
		Short:             "Say why a service on loopback does not answer",
		Long:              rootLong,
		Example:           rootExample,
		Version:           version(),
		Args:              cobra.ArbitraryArgs,
		SilenceErrors:     true,
		SilenceUsage:      true,
		ValidArgsFunction: cobra.NoFileCompletions,
		RunE: func(cmd *cobra.Command, args []string) error {
			if err := p.readSaid(&o); err != nil {
				return err
			}
			targets, err := o.check(args, cmd.Flags().Changed)
			if err != nil {
				return err
			}
			return p.diagnose(cmd.Context(), &o, targets)
		},
	}
	cmd.SetIn(p.stdin)
	cmd.SetOut(p.stdout)
	cmd.SetErr(p.stderr)
	cmd.SetVersionTemplate("{{.Version}}\n")
	cmd.SetFlagErrorFunc(func(_ *cobra.Command, err error) error {
		return fmt.Errorf("%w (see loopdoctor --help)", err)
	})

	o.lookFlags(cmd)
	o.showFlags(cmd)
	f := cmd.Flags()
	f.StringVar(&o.record, "record", "", "save what was seen to `FILE` (-: standard output, instead of the report)")
	o.replayFlag(cmd)
	cmd.AddCommand(p.run(), p.bundle(), p.open(), p.diff(), p.triage(), p.explain(), p.checks(), p.man(), p.version())
	refuseOtherShells(cmd)
	return cmd
}

// refuseOtherShells makes the name of a shell without completion an error: cobra takes
// it for a wish for help.
func refuseOtherShells(root *cobra.Command) {
	root.InitDefaultCompletionCmd()
	completion, _, err := root.Find([]string{"completion"})
	if err != nil {
		panic(err)
	}
	completion.Args = cobra.ArbitraryArgs
	completion.RunE = func(cmd *cobra.Command, args []string) error {
		if len(args) == 0 {
			return cmd.Help()
		}
		var shells []string
		for _, c := range cmd.Commands() {
			shells = append(shells, c.Name())
		}
		return fmt.Errorf("completion: there is none for %s, but for %s", args[0], strings.Join(shells, ", "))
	}
}

// lookFlags are those that say at what to look, as whom, from where and how.
func (o *options) lookFlags(cmd *cobra.Command) {
	f := cmd.Flags()
	f.SortFlags = false
	f.BoolVar(&o.bind, "bind", false, "say why a server cannot take the port")
	f.StringVar(&o.said, "error", "", "start from the `TEXT` that a client or a server printed (-: standard input)")
	f.DurationVar(&o.timeout, "timeout", 5*time.Second, "`LIMIT` of the whole run")
	f.StringVar(&o.speak, "speak", "", "ask the server in that `PROTOCOL`; a URL is asked in its own")
	f.Lookup("speak").NoOptDefVal = string(facts.AskGuess)
	f.DurationVar(&o.patience, "patience", time.Second, "`TIME` to wait for an answer")
	f.StringArrayVar(&o.as, "as", nil, "look as that `USER|PID` (default: you; with sudo: you and root)")
	o.place.flags(f)
	f.BoolVar(&o.noConnect, "no-connect", false, "do not connect: for a server that takes one connection only")
	f.BoolVar(&o.noCapture, "no-capture", false, "do not capture packets")
	f.BoolVar(&o.noSystemChanges, "no-system-changes", false, "change nothing, not even a trace that removes itself")
	f.BoolVar(&o.askDNS, "ask-dns", false, "also ask name servers that are not on loopback")
	completeWords(cmd, map[string][]string{"error": nil, "speak": protocols()})
}

// showFlags are those that say how a report is laid out, and where.
func (o *options) showFlags(cmd *cobra.Command) {
	o.layoutFlags(cmd, "the report")
	cmd.Flags().BoolVarP(&o.verbose, "verbose", "v", false, "everything that was seen")
}

func (o *options) replayFlag(cmd *cobra.Command) {
	cmd.Flags().StringVar(&o.replay, "replay", "", "diagnose what --record saved in `FILE`, or a bundle (-: standard input)")
	if err := cmd.MarkFlagFilename("replay", "json", "zip"); err != nil {
		panic(err)
	}
}

var (
	formats = []string{"text", "json", "markdown", "html"}
	colors  = []string{"auto", "always", "never"}
)

// looking are the flags that say how to look: a recording has been looked at.
var looking = []string{"bind", "error", "timeout", "speak", "patience", "as", "pid", "container", "netns", "pod", "no-connect", "no-capture", "no-system-changes", "ask-dns", "record"}

// check finds bad usage before anything runs.
func (o *options) check(args []string, given func(string) bool) ([]facts.Target, error) {
	if err := o.checkLayout(given); err != nil {
		return nil, err
	}
	switch {
	case o.timeout <= 0:
		return nil, fmt.Errorf("--timeout %v: it has to be more than nothing", o.timeout)
	case given("record") && o.record == "", given("replay") && o.replay == "":
		return nil, errors.New("the name of a file is empty")
	case o.record != "" && o.record != "-" && filepath.Clean(o.record) == filepath.Clean(o.output):
		return nil, fmt.Errorf("--record and --output both write to %s", o.record)
	case o.record == "-" && o.output == "-":
		return nil, errors.New("--record and --output both write to the standard output")
	case o.record == "-" && o.output == "" && (given("format") || o.quiet || o.verbose):
		return nil, errors.New("--record - takes the place of the report on the standard output: add -o FILE")
	}
	if err := o.checkSpeak(args, given); err != nil && o.replay == "" {
		return nil, err
	}
	if err := o.place.check(o.as, given); err != nil {
		return nil, err
	}
	if o.replay != "" {
		if len(args) > 0 {
			return nil, fmt.Errorf("--replay has its own targets: leave out %s", args[0])
		}
		if i := slices.IndexFunc(looking, given); i >= 0 {
			return nil, fmt.Errorf("--replay looks at nothing: leave out --%s", looking[i])
		}
		return nil, nil
	}
	if given("error") {
		t, err := saidTarget(o.said, args, o.bind)
		if err != nil {
			return nil, err
		}
		targets := []facts.Target{t}
		return targets, o.ask(targets, given)
	}
	if len(args) == 0 {
		if o.bind {
			return nil, errors.New("--bind needs a target: the port that a server cannot take")
		}
		targets := []facts.Target{loopbackTarget()}
		return targets, o.ask(targets, given)
	}
	intent := facts.Connect
	if o.bind {
		intent = facts.ToBind
	}
	var targets []facts.Target
	for _, arg := range args {
		t, err := ParseTarget(arg, intent)
		if err != nil {
			if near := nearest(arg, []string{"run", "bundle", "open", "diff", "triage", "explain", "checks", "man", "version", "completion", "help"}); len(near) > 0 {
				err = fmt.Errorf("%w; or did you mean loopdoctor %s?", err, near[0])
			}
			return nil, err
		}
		targets = append(targets, t)
	}
	return targets, o.ask(targets, given)
}

// nearest lists the words that were likely meant, the likeliest first.
func nearest(word string, words []string) []string {
	type near struct {
		word     string
		distance int
	}
	var list []near
	for _, w := range words {
		d := distance(strings.ToLower(word), w)
		if len(word) > 3 && strings.Contains(w, strings.ToLower(word)) {
			d = min(d, 2)
		}
		if d <= max(1, min(4, len(w)/3)) {
			list = append(list, near{w, d})
		}
	}
	slices.SortStableFunc(list, func(a, b near) int { return cmp.Compare(a.distance, b.distance) })
	var out []string
	for _, n := range list[:min(3, len(list))] {
		out = append(out, n.word)
	}
	return out
}

// distance is Levenshtein's: how many letters to add, drop or change.
func distance(a, b string) int {
	row := make([]int, len(b)+1)
	for j := range row {
		row[j] = j
	}
	for i := range len(a) {
		diagonal := row[0]
		row[0] = i + 1
		for j := range len(b) {
			change := diagonal
			if a[i] != b[j] {
				change++
			}
			diagonal = row[j+1]
			row[j+1] = min(change, row[j]+1, row[j+1]+1)
		}
	}
	return row[len(b)]
}

func causeNames() []string {
	var names []string
	for _, c := range checks.Causes() {
		names = append(names, c.Name)
	}
	return names
}
