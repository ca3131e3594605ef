package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"sync"

	"github.com/spf13/cobra"

	"github.com/loopdoctor/loopdoctor/report"
	"github.com/loopdoctor/loopdoctor/report/triage"
)

const triageLong = `triage puts many saved cases into one table, grouped by cause, the most frequent
first: which fault is it mostly, on what kind of host, since when.

A directory is searched to the bottom for *.zip and *.json; links in it are not
followed, and only regular files are read. A file that is named itself may have any
name. Each is what diff takes too: a ticket.zip, what --record saved, or a report of
--format json. Facts are judged anew by this version, and what the version that
looked said is told where it was something else.

Files that are no such case are listed with the reason. Exit status: 0 at least one
could be read, 2 none could, or bad usage, 4 loopdoctor itself failed.`

const triageExample = `  loopdoctor triage tickets/
  loopdoctor triage monday.json tuesday.json
  loopdoctor triage --format html -o triage.html tickets/`

// triage tells of many cases in one table.
func (p *program) triage() *cobra.Command {
	var o options
	cmd := &cobra.Command{
		Use:               "triage DIR|FILE...",
		Short:             "Put many saved cases into one table",
		Long:              triageLong,
		Example:           triageExample,
		ValidArgsFunction: completeCases(-1),
		Args: func(_ *cobra.Command, args []string) error {
			if len(args) == 0 {
				return errors.New("triage takes the files, or the directory in which they are")
			}
			return nil
		},
		RunE: func(cmd *cobra.Command, args []string) error {
			if err := o.checkLayout(cmd.Flags().Changed); err != nil {
				return err
			}
			t, err := p.survey(cmd.Context(), args, o.output)
			if err != nil {
				return err
			}
			return p.deliver(&o, func(w io.Writer) error {
				switch o.format {
				case "json":
					return triage.JSON(w, t)
				case "markdown":
					return triage.Markdown(w, t)
				case "html":
					return triage.HTML(w, t)
				}
				return triage.Text(w, t, p.textOptions(&o, p.stdout))
			})
		},
	}
	o.layoutFlags(cmd, "the table")
	return cmd
}

// survey reads every case that is there. None of them becomes the output; a table of
// an earlier time among them may.
func (p *program) survey(ctx context.Context, paths []string, output string) (*triage.Table, error) {
	found := find(ctx, paths)
	var rows []triage.Row
	read := 0
	for _, r := range readAll(ctx, found.files) {
		if r.err != nil {
			found.miss(r.file, r.err)
			continue
		}
		if err := p.spare(output, r.file); err != nil {
			return nil, err
		}
		read++
		rows = append(rows, r.rows...)
	}
	if err := ctx.Err(); err != nil {
		return nil, fail(err)
	}
	switch {
	case read > 0:
		return triage.New(number(), read, rows, found.unreadable, found.notes), nil
	case len(found.unreadable) > 0:
		first := found.unreadable[0]
		return nil, fmt.Errorf("triage: none of %s could be read; %s: %s", report.Count(len(found.unreadable), "file", "files"), first.File, first.Reason)
	}
	return nil, fmt.Errorf("triage: there is no *.zip and no *.json in %s", strings.Join(paths, ", "))
}

// Bounds of a search: a whole disk is no directory of tickets.
const (
	maxCases   = 100_000
	maxEntries = 2_000_000
)

// search is what a search for cases came to.
type search struct {
	files      []string
	seen       map[string]bool
	entries    int
	unreadable []triage.Unreadable
	notes      []string
}

// find lists the files that may be cases.
func find(ctx context.Context, paths []string) *search {
	s := &search{seen: map[string]bool{}}
	for _, path := range paths {
		info, err := os.Stat(path) // what is named itself may be a link
		switch {
		case err != nil:
			s.miss(path, err)
		case info.IsDir():
			s.walk(ctx, path)
		default:
			s.add(path, info)
		}
	}
	return s
}

var errEnough = errors.New("enough")

// walk goes through a directory. It opens nothing, and follows no link.
func (s *search) walk(ctx context.Context, dir string) {
	// The final dot makes a link to a directory the directory itself.
	err := filepath.WalkDir(filepath.Clean(dir)+string(filepath.Separator)+".", func(path string, d fs.DirEntry, err error) error {
		if s.entries++; s.entries > maxEntries || len(s.files) >= maxCases {
			return errEnough
		}
		switch {
		case ctx.Err() != nil:
			return ctx.Err()
		case err != nil:
			s.miss(path, err)
			if d != nil && d.IsDir() {
				return fs.SkipDir
			}
			return nil
		case !d.Type().IsRegular() || !slices.Contains([]string{".zip", ".json"}, strings.ToLower(filepath.Ext(path))):
			return nil
		}
		info, err := d.Info()
		if err != nil {
			s.miss(path, err)
			return nil
		}
		s.add(path, info)
		return nil
	})
	if errors.Is(err, errEnough) {
		s.notes = append(s.notes, fmt.Sprintf("The search of %s ended early: more than %d files, or %d entries.", dir, maxCases, maxEntries))
	}
}

// add takes a file that can be read without waiting, and is not too large.
func (s *search) add(path string, info fs.FileInfo) {
	path = filepath.Clean(path)
	switch {
	case s.seen[path]:
	case !info.Mode().IsRegular():
		s.miss(path, errors.New("it is no regular file"))
	case info.Size() > maxRecording:
		s.miss(path, fmt.Errorf("more than %d MiB: this is no case", maxRecording>>20))
	default:
		s.files = append(s.files, path)
	}
	s.seen[path] = true
}

// miss notes why a file was not read.
func (s *search) miss(path string, err error) {
	path = filepath.Clean(path)
	if e := (*fs.PathError)(nil); errors.As(err, &e) {
		err = e.Err // it names the path, too
	}
	s.unreadable = append(s.unreadable, triage.Unreadable{File: path, Reason: strings.TrimPrefix(err.Error(), path+": ")})
}

// caseRows is what one file came to.
type caseRows struct {
	file string
	rows []triage.Row
	err  error
}

// readAll reads files as fast as the processors judge them, and keeps of each only
// its rows. They come in the order of the files.
func readAll(ctx context.Context, files []string) []caseRows {
	out := make([]caseRows, len(files))
	next := make(chan int)
	var wg sync.WaitGroup
	for range min(runtime.GOMAXPROCS(0), 8, max(1, len(files))) { // each may hold a file of 64 MiB
		wg.Go(func() {
			for i := range next {
				rows, err := readRows(files[i])
				out[i] = caseRows{files[i], rows, err}
			}
		})
	}
	for i := range files {
		select {
		case next <- i:
			continue
		case <-ctx.Done():
		}
		break
	}
	close(next)
	wg.Wait()
	return out
}

// readRows reads one file. One that makes loopdoctor itself fail is told, and does
// not keep the others from being read.
func readRows(path string) (rows []triage.Row, err error) {
	defer func() {
		if r := recover(); r != nil {
			err = fmt.Errorf("a mistake in loopdoctor itself, please report it: %v", r)
		}
	}()
	c, err := readCase(path)
	if err != nil {
		return nil, err
	}
	t := triage.Case{File: path, Report: c.report, Stored: c.stored, Redacted: c.redacted()}
	if c.facts != nil {
		t.Facts, t.Version = c.facts.Facts, c.facts.Version
	}
	return triage.Rows(&t), nil
}
