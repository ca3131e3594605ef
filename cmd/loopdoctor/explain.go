package main

import (
	"fmt"
	"io"
	"strings"

	"github.com/spf13/cobra"

	"github.com/loopdoctor/loopdoctor/docs"
)

// explain prints the page of a cause, or of a symptom.
func (p *program) explain() *cobra.Command {
	return &cobra.Command{
		Use:     "explain CAUSE",
		Short:   "Print the page of a cause",
		Example: "  loopdoctor explain filter-drops-loopback",
		Args: func(_ *cobra.Command, args []string) error {
			if len(args) != 1 {
				return fmt.Errorf("explain takes the name of one cause (loopdoctor checks lists them)")
			}
			return nil
		},
		ValidArgsFunction: func(*cobra.Command, []string, string) ([]string, cobra.ShellCompDirective) {
			return causeNames(), cobra.ShellCompDirectiveNoFileComp
		},
		RunE: func(_ *cobra.Command, args []string) error {
			name := strings.ToLower(args[0])
			page, ok := docs.Page(name)
			if !ok {
				return unknownCause(name)
			}
			_, err := io.WriteString(p.stdout, page)
			return fail(err)
		},
	}
}

func unknownCause(name string) error {
	if near := nearest(name, causeNames()); len(near) > 0 {
		return fmt.Errorf("no cause is called %q: did you mean %s?", name, strings.Join(near, " or "))
	}
	return fmt.Errorf("no cause is called %q (loopdoctor checks lists them)", name)
}
