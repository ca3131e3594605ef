package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"strings"
	"time"

	"golang.org/x/term"

	"github.com/loopdoctor/loopdoctor/checks/facts"
	"github.com/loopdoctor/loopdoctor/checks/host"
	"github.com/loopdoctor/loopdoctor/report"
)

// diagnose is the run itself: look or replay, record, judge, report.
func (p *program) diagnose(ctx context.Context, o *options, targets []facts.Target) error {
	as, from, err := p.stand(o)
	if err != nil {
		return err
	}
	if err := p.spare(o.output, o.replay); err != nil {
		return err
	}
	// Files are opened next: that one cannot be written is better known
	// before anything is looked at.
	out, err := p.create(o.output, 0o666, p.stdout)
	if err != nil {
		return fmt.Errorf("--output: %w", err)
	}
	defer out.abandon()
	saved, err := p.create(o.record, 0o600, p.stdout)
	if err != nil {
		return fmt.Errorf("--record: %w", err)
	}
	defer saved.abandon()

	seen, err := p.see(ctx, o, targets, as, from)
	if err != nil {
		return err
	}
	if o.record != "" {
		if err := saveRecording(saved, seen); err != nil {
			return fail(fmt.Errorf("record: %w", err))
		}
	}

	r := judge(seen)
	p.status = r.ExitStatus()
	if o.record == "-" && o.output == "" {
		return nil
	}
	if err := p.write(out, r, o, p.stdout); err != nil {
		return fail(fmt.Errorf("write the report: %w", err))
	}
	return fail(out.commit())
}

// stand finds whose view to take, and goes there; this may mean to begin anew
// elsewhere. A recording has been looked at.
func (p *program) stand(o *options) (as []facts.Identity, from host.Spot, err error) {
	switch {
	case o.replay != "":
	case o.place.name() != "":
		from, as, err = p.goTo(o)
	default:
		as, err = clients(o.as, p.env, os.Geteuid())
	}
	return as, from, err
}

// see looks, or reads what was seen.
func (p *program) see(ctx context.Context, o *options, targets []facts.Target, as []facts.Identity, from host.Spot) (*facts.Recording, error) {
	if o.replay != "" {
		return p.readRecording(o.replay)
	}
	return p.look(ctx, o, targets, as, from)
}

func (p *program) look(ctx context.Context, o *options, targets []facts.Target, as []facts.Identity, from host.Spot) (*facts.Recording, error) {
	stop := p.progress(targets)
	seen, err := host.Gather(ctx, targets, host.Options{
		As: as, From: from, Timeout: o.timeout, Patience: o.patience,
		NoConnect: o.noConnect, NoCapture: o.noCapture, NoSystemChanges: o.noSystemChanges, AskDNS: o.askDNS,
	})
	stop()
	var foreign *host.ForeignTargetError
	switch {
	case errors.As(err, &foreign):
		return nil, foreign // its text says what the tool is for
	case err != nil:
		return nil, fail(fmt.Errorf("look: %w", err))
	}
	return &facts.Recording{Schema: facts.Schema, Version: number(), Facts: seen}, nil
}

// progress shows that something is going on when it takes longer than one
// expects of a command, on a terminal only. Call stop before anything else is
// written.
func (p *program) progress(targets []facts.Target) (stop func()) {
	if !isTerminal(p.stderr) {
		return func() {}
	}
	var names []string
	for _, t := range targets {
		names = append(names, t.Raw)
	}
	done, gone := make(chan struct{}), make(chan struct{})
	go func() {
		defer close(gone)
		select {
		case <-done:
		case <-time.After(500 * time.Millisecond):
			fmt.Fprintf(p.stderr, "looking at %s …", report.Clean(strings.Join(names, ", ")))
			<-done
			fmt.Fprint(p.stderr, "\r\x1b[K")
		}
	}()
	return func() { close(done); <-gone }
}

// write lays the report out; the screen is where it goes if no file is named.
func (p *program) write(w io.Writer, r *report.Report, o *options, screen io.Writer) error {
	switch o.format {
	case "json":
		return report.JSON(w, r)
	case "markdown":
		return report.Markdown(w, r)
	case "html":
		return report.HTML(w, r)
	}
	return report.Text(w, r, p.textOptions(o, screen))
}

func isTerminal(w any) bool {
	f, ok := w.(*os.File)
	return ok && term.IsTerminal(int(f.Fd()))
}
