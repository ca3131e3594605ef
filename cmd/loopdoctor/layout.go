package main

import (
	"errors"
	"fmt"
	"io"
	"os"
	"slices"
	"strings"

	"github.com/spf13/cobra"
	"golang.org/x/term"

	"github.com/loopdoctor/loopdoctor/report"
)

// layoutFlags are the flags of commands that lay out what was saved.
func (o *options) layoutFlags(cmd *cobra.Command, what string) {
	f := cmd.Flags()
	f.SortFlags = false
	f.StringVar(&o.format, "format", "text", "`FORMAT` of "+what+": text, json, markdown or html")
	f.StringVarP(&o.output, "output", "o", "", "write "+what+" to `FILE`")
	f.BoolVarP(&o.quiet, "quiet", "q", false, "the answer alone, a line for each target")
	f.StringVar(&o.color, "color", "auto", "`WHEN` to colour: auto, always or never")
	completeWords(cmd, map[string][]string{"format": formats, "color": colors})
}

// completeWords lets a shell complete the values of flags.
func completeWords(cmd *cobra.Command, flags map[string][]string) {
	for flag, words := range flags {
		if err := cmd.RegisterFlagCompletionFunc(flag, cobra.FixedCompletions(words, cobra.ShellCompDirectiveNoFileComp)); err != nil {
			panic(err)
		}
	}
}

// completeCases lets a shell complete files that loopdoctor wrote, up to so many;
// -1 is any number.
func completeCases(most int) cobra.CompletionFunc {
	return func(_ *cobra.Command, args []string, _ string) ([]string, cobra.ShellCompDirective) {
		if most >= 0 && len(args) >= most {
			return nil, cobra.ShellCompDirectiveNoFileComp
		}
		return []string{"zip", "json"}, cobra.ShellCompDirectiveFilterFileExt
	}
}

// checkLayout finds bad usage of the flags of a layout.
func (o *options) checkLayout(given func(string) bool) error {
	switch {
	case !slices.Contains(formats, o.format):
		return fmt.Errorf("--format %s: it is one of %s", o.format, strings.Join(formats, ", "))
	case !slices.Contains(colors, o.color):
		return fmt.Errorf("--color %s: it is one of %s", o.color, strings.Join(colors, ", "))
	case o.quiet && o.verbose:
		return errors.New("-q and -v contradict each other")
	case (o.quiet || o.verbose || given("color")) && o.format != "text":
		return fmt.Errorf("-q, -v and --color are for the text report: leave them out with --format %s", o.format)
	case given("output") && o.output == "":
		return errors.New("the name of a file is empty")
	}
	return nil
}

// textOptions is how to lay out text; the screen is where it goes if no file is
// named.
func (p *program) textOptions(o *options, screen io.Writer) report.TextOptions {
	opts := report.TextOptions{Verbose: o.verbose, Quiet: o.quiet, Color: o.color == "always"}
	if f, ok := screen.(*os.File); ok && (o.output == "" || o.output == "-") && isTerminal(f) {
		opts.Width, _, _ = term.GetSize(int(f.Fd()))
		// https://no-color.org: set to anything but nothing.
		opts.Color = opts.Color || o.color == "auto" && p.env("NO_COLOR") == "" && p.env("TERM") != "dumb"
	}
	return opts
}

// deliver writes what a command made: as a whole to the file that was named, or to
// the standard output.
func (p *program) deliver(o *options, write func(io.Writer) error) error {
	out, err := p.create(o.output, 0o666, p.stdout)
	if err != nil {
		return fmt.Errorf("--output: %w", err)
	}
	defer out.abandon()
	if err := write(out); err != nil {
		return fail(fmt.Errorf("write the report: %w", err))
	}
	return fail(out.commit())
}
