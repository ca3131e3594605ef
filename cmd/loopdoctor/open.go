package main

import (
	"cmp"
	"fmt"
	"io"
	"strings"

	"github.com/spf13/cobra"

	"github.com/loopdoctor/loopdoctor/report"
)

const openLong = `open reads what somebody sent: a bundle (loopdoctor bundle), a recording (--record)
or a report (--format json). It verifies that no file of a bundle was changed, judges
the facts again with this version, says what that changes, and prints the report. It
looks at nothing on this machine, and unpacks nothing to its disk.

Exit status: that of the diagnosis, as of loopdoctor itself; 2 for a file that cannot
be read, or that was changed.`

const openExample = `  loopdoctor open ticket.zip
  loopdoctor open --format html -o report.html ticket.zip
  loopdoctor open -v facts.json
  loopdoctor open - <ticket.zip`

// open shows what somebody sent.
func (p *program) open() *cobra.Command {
	var o options
	cmd := &cobra.Command{
		Use:               "open FILE",
		Short:             "Show what somebody sent, judged again",
		Long:              openLong,
		Example:           openExample,
		Args:              oneFile,
		ValidArgsFunction: completeCases(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			if err := o.checkLayout(cmd.Flags().Changed); err != nil {
				return err
			}
			if err := p.spare(o.output, args[0]); err != nil {
				return err
			}
			return p.showCase(&o, args[0])
		},
	}
	o.showFlags(cmd)
	return cmd
}

func oneFile(_ *cobra.Command, args []string) error {
	if len(args) != 1 {
		return fmt.Errorf("open takes one file: a bundle, a recording or a report (-: standard input)")
	}
	return nil
}

func (p *program) showCase(o *options, path string) error {
	var c *savedCase
	var err error
	if path == "-" {
		c, err = parseCase("standard input", p.stdin)
	} else {
		c, err = readCase(path)
	}
	if err != nil {
		return fmt.Errorf("open: %w", err)
	}
	out, err := p.create(o.output, 0o666, p.stdout)
	if err != nil {
		return fmt.Errorf("--output: %w", err)
	}
	defer out.abandon()
	// What is no report must not get into one that a program reads.
	var origin io.Writer = out
	if o.format != "text" || o.quiet {
		origin = p.stderr
	}
	if !o.quiet {
		fmt.Fprintln(origin, c.origin())
	}
	for _, line := range c.compared(o.quiet) {
		fmt.Fprintln(origin, line)
	}
	if origin == out {
		fmt.Fprintln(out)
	}
	p.status = c.report.ExitStatus()
	if err := p.write(out, c.report, o, p.stdout); err != nil {
		return fail(fmt.Errorf("write the report: %w", err))
	}
	return fail(out.commit())
}

// origin says where a case comes from. Everything in it is foreign.
func (c *savedCase) origin() string {
	what, version := "a report", c.report.Version
	if c.facts != nil {
		what, version = "recorded", c.facts.Version
	}
	h := c.report.Host
	s := fmt.Sprintf("%s: %s by loopdoctor %s at %s", c.path, what, cmp.Or(version, "of an unknown version"), c.report.Time.UTC().Format("2006-01-02 15:04:05 MST"))
	if system := strings.TrimSpace(h.OS + " " + h.Kernel); system != "" {
		s += " on " + system
	}
	switch {
	case c.bundle == nil:
	case !c.bundle.Manifest.Redacted:
		s += "; NOT redacted, do not post it"
	default:
		s += "; redacted"
	}
	return report.Clean(s + ".")
}

// compared says what this version makes of the facts, against what was stored; of a
// quiet run only what differs.
func (c *savedCase) compared(quiet bool) []string {
	if c.facts == nil {
		if quiet {
			return nil
		}
		return []string{"There are no facts with it: it is shown as it was written, and not judged again."}
	}
	var lines []string
	if c.bundle != nil && !c.bundle.Manifest.SameDiagnosis {
		lines = append(lines, "Masking changed the diagnosis: on the machine itself it was another one.")
	}
	if c.stored == nil {
		return lines
	}
	changed := changes(c.stored, c.report)
	for _, ch := range changed {
		lines = append(lines, fmt.Sprintf("CHANGED  %s", ch.target), "  then   "+ch.then, "  now    "+ch.now)
	}
	if len(changed) > 0 && c.stored.Version != c.report.Version {
		lines = append(lines, fmt.Sprintf("  (then loopdoctor %s, now %s)", c.stored.Version, c.report.Version))
	}
	if len(changed) == 0 && !quiet {
		lines = append(lines, fmt.Sprintf("Judged again by loopdoctor %s: nothing changed.", c.report.Version))
	}
	return lines
}
