package main

import (
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/spf13/cobra"
)

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
