package main

import (
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"runtime/debug"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/loopdoctor/loopdoctor/docs"
)

const manLong = `man writes the manual page of loopdoctor, for man(1). With a directory it writes the
pages of all commands there, as loopdoctor.1, loopdoctor-run.1 and so on; the
directory is made if it is not there.

The pages are made from the help texts. They carry the day of the commit that the
program was built from, never today: the same program writes the same pages.`

const manExample = `  loopdoctor man | man -l -
  loopdoctor man ~/.local/share/man/man1`

// man writes the manual pages. A test makes them, by cobra's own package, and docs
// carries them: to make them here would cost every start the set-up of a Markdown
// reader.
func (p *program) man() *cobra.Command {
	return &cobra.Command{
		Use:     "man [DIR]",
		Short:   "Write the manual pages",
		Long:    manLong,
		Example: manExample,
		Args: func(_ *cobra.Command, args []string) error {
			switch {
			case len(args) > 1:
				return errors.New("man takes one directory")
			case len(args) == 1 && args[0] == "":
				return errors.New("man: the name of the directory is empty")
			}
			return nil
		},
		ValidArgsFunction: func(_ *cobra.Command, args []string, _ string) ([]string, cobra.ShellCompDirective) {
			if len(args) > 0 {
				return nil, cobra.ShellCompDirectiveNoFileComp
			}
			return nil, cobra.ShellCompDirectiveFilterDirs
		},
		RunE: func(_ *cobra.Command, args []string) error {
			if len(args) == 0 {
				_, err := io.WriteString(p.stdout, manual("loopdoctor"))
				return fail(err)
			}
			if err := os.MkdirAll(args[0], 0o755); err != nil {
				return fmt.Errorf("man: %w", err)
			}
			for _, name := range docs.Manual() {
				if err := writeManual(filepath.Join(args[0], name+manSection), name); err != nil {
					return fmt.Errorf("man: %w", err)
				}
			}
			return nil
		},
	}
}

// manSection ends the name of a page: user commands.
const manSection = ".1"

func writeManual(path, name string) error {
	f, err := create(path, 0o644, nil)
	if err != nil {
		return err
	}
	defer f.abandon()
	if _, err := io.WriteString(f, manual(name)); err != nil {
		return err
	}
	return f.commit()
}

// What stands in the pages for what only a build knows.
const (
	manDate    = "Jan 0001"
	manVersion = "VERSION"
)

// manual is the page of a command.
func manual(name string) string {
	page, _ := docs.ManPage(name)
	head, body, _ := strings.Cut(page, "\n.SH ")
	return strings.NewReplacer(manDate, built(), manVersion, number()).Replace(head) + "\n.SH " + body
}

// built is the day of the commit that the program was built from; empty if it is
// not known.
func built() string {
	if info, ok := debug.ReadBuildInfo(); ok {
		for _, s := range info.Settings {
			if s.Key != "vcs.time" {
				continue
			}
			if t, err := time.Parse(time.RFC3339, s.Value); err == nil {
				return t.UTC().Format(time.DateOnly)
			}
		}
	}
	return ""
}
