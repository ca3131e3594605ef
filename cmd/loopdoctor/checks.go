package main

import (
	"fmt"
	"text/tabwriter"

	"github.com/spf13/cobra"

	"github.com/loopdoctor/loopdoctor/checks"
)

// checks lists every cause that loopdoctor can name, a line each.
func (p *program) checks() *cobra.Command {
	return &cobra.Command{
		Use:   "checks",
		Short: "List all causes, a line each",
		Args:  cobra.NoArgs,
		RunE: func(*cobra.Command, []string) error {
			w := tabwriter.NewWriter(p.stdout, 0, 0, 2, ' ', 0)
			for _, c := range checks.Causes() {
				fmt.Fprintf(w, "%s\t%s\n", c.Name, c.Doc)
			}
			return fail(w.Flush())
		},
	}
}
