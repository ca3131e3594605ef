package main

import (
	"errors"
	"io"

	"github.com/spf13/cobra"

	"github.com/loopdoctor/loopdoctor/report/compare"
)

const diffLong = `diff compares two saved cases: a good machine and a bad one, before and after.
What differs that matters comes first: whether it works, the causes, what each
address answers, who listens, packet filters, names, routes, settings. What differs
between any two looks (numbers of processes, times, counters) is left out, and what
only one of them looked at is no difference.

A and B are a ticket.zip, what --record saved, or a report of --format json. Facts
are judged anew by this version; without those of both the reports are compared.

Exit status: 0 nothing that matters differs, 1 something does, 2 bad usage or a
file that cannot be read, 4 loopdoctor itself failed.`

const diffExample = `  loopdoctor diff good.json bad.json
  loopdoctor diff -q before.json after.json
  loopdoctor diff --format html -o diff.html good.json bad.json`

// diff says what differs between two cases.
func (p *program) diff() *cobra.Command {
	var o options
	cmd := &cobra.Command{
		Use:               "diff A B",
		Short:             "Say what differs between two saved cases",
		Long:              diffLong,
		Example:           diffExample,
		ValidArgsFunction: completeCases(2),
		Args: func(_ *cobra.Command, args []string) error {
			if len(args) != 2 {
				return errors.New("diff takes two files: a good case and a bad one, before and after")
			}
			return nil
		},
		RunE: func(cmd *cobra.Command, args []string) error {
			if err := o.checkLayout(cmd.Flags().Changed); err != nil {
				return err
			}
			if err := p.spare(o.output, args...); err != nil {
				return err
			}
			a, err := side(args[0])
			if err != nil {
				return err
			}
			b, err := side(args[1])
			if err != nil {
				return err
			}
			c := compare.New(number(), a, b)
			err = p.deliver(&o, func(w io.Writer) error {
				switch o.format {
				case "json":
					return compare.JSON(w, c)
				case "markdown":
					return compare.Markdown(w, c)
				case "html":
					return compare.HTML(w, c)
				}
				return compare.Text(w, c, p.textOptions(&o, p.stdout))
			})
			if err == nil {
				p.status = c.Status
			}
			return err
		},
	}
	o.layoutFlags(cmd, "the comparison")
	return cmd
}

// side reads one of the two.
func side(path string) (compare.Side, error) {
	c, err := readCase(path)
	if err != nil {
		return compare.Side{}, err
	}
	s := compare.Side{Name: path, Report: c.report, Redacted: c.redacted()}
	if c.facts != nil {
		s.Facts = c.facts.Facts
	}
	return s, nil
}

// redacted tells whether the names in a case are pseudonyms. A bundle says it.
func (c *savedCase) redacted() bool {
	if c.bundle != nil {
		return c.bundle.Manifest.Redacted
	}
	if c.facts != nil {
		return compare.Redacted(c.facts.Facts, nil)
	}
	return compare.Redacted(nil, c.report)
}
