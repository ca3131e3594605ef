package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"slices"
	"strings"
	"text/tabwriter"
	"time"
	"unicode"

	"github.com/spf13/cobra"

	"github.com/loopdoctor/loopdoctor/checks"
	"github.com/loopdoctor/loopdoctor/checks/facts"
	"github.com/loopdoctor/loopdoctor/report"
	"github.com/loopdoctor/loopdoctor/report/bundle"
)

const bundleLong = `bundle diagnoses as loopdoctor itself does, and packs what it found into one file to
post or to send: the report as a page, as Markdown and as JSON, the facts behind it,
the headers of the packets, and what the receiver has to know. loopdoctor open
reads it, on any machine.

User names, host names, home directories, addresses that are not loopback's, and
secrets are replaced, each by the same word throughout, so that the diagnosis stays
the same. --preview shows them, and writes nothing. The finished file is searched
for everything that was to be replaced; it is not written if anything is found.

Exit status: that of the diagnosis, as of loopdoctor itself, also with --preview.
4: there is no file.`

const bundleExample = `  loopdoctor bundle 62893 -o ticket.zip
  loopdoctor bundle --preview 62893
  loopdoctor bundle --mask acme --mask blue-whale http://localhost:5173/ -o ticket.zip
  sudo loopdoctor bundle --container shop-web 5432 -o ticket.zip
  loopdoctor bundle --replay seen.json -o ticket.zip`

// unredacted ends the name of a file in which nothing is masked.
const unredacted = "-UNREDACTED.zip"

// bundling is the flags of bundle.
type bundling struct {
	options
	mask     []string
	noRedact bool
	preview  bool
}

// bundle packs a diagnosis into a file to send.
func (p *program) bundle() *cobra.Command {
	b := bundling{options: options{format: "text", color: "auto"}} // which it has no flags for
	cmd := &cobra.Command{
		Use:               "bundle [TARGET...]",
		Short:             "Pack a diagnosis into a file to send",
		Long:              bundleLong,
		Example:           bundleExample,
		Args:              cobra.ArbitraryArgs,
		ValidArgsFunction: cobra.NoFileCompletions,
		RunE: func(cmd *cobra.Command, args []string) error {
			if err := p.readSaid(&b.options); err != nil {
				return err
			}
			targets, err := b.check(args, cmd.Flags().Changed)
			if err != nil {
				return err
			}
			return p.pack(cmd.Context(), &b, targets)
		},
	}
	f := cmd.Flags()
	f.SortFlags = false
	f.StringVarP(&b.output, "output", "o", "", "write to `FILE` (default loopdoctor-PORT-DATE-TIME.zip; -: standard output)")
	f.BoolVar(&b.preview, "preview", false, "write nothing: list the files, and what would be masked")
	f.StringArrayVar(&b.mask, "mask", nil, "mask that `WORD` as well; may be repeated")
	f.BoolVar(&b.noRedact, "no-redact", false, "mask nothing; the name of the file ends in "+unredacted)
	b.replayFlag(cmd)
	b.lookFlags(cmd)
	return cmd
}

func (b *bundling) check(args []string, given func(string) bool) ([]facts.Target, error) {
	switch {
	case b.noRedact && len(b.mask) > 0:
		return nil, errors.New("--mask and --no-redact contradict each other")
	case b.noRedact && (b.output == "-" || isSpecial(b.output)):
		return nil, errors.New("--no-redact needs a file: its name says that nothing is masked")
	}
	for _, w := range b.mask {
		word := strings.TrimSpace(w)
		switch {
		case word == "":
			return nil, errors.New("--mask: the word is empty")
		case !strings.ContainsFunc(word, func(r rune) bool { return unicode.IsLetter(r) || unicode.IsNumber(r) }):
			return nil, fmt.Errorf("--mask %s: there is no letter and no digit in it: such signs are everywhere", word)
		case checks.ByName(strings.ToLower(word)) != nil:
			return nil, fmt.Errorf("--mask %s: this is what loopdoctor calls a cause, and not from this machine: it names nobody", word)
		}
	}
	return b.options.check(args, given)
}

// pack diagnoses and writes the file.
func (p *program) pack(ctx context.Context, b *bundling, targets []facts.Target) error {
	if b.output == "-" && isTerminal(p.stdout) && !b.preview {
		return errors.New("--output -: a terminal cannot show a zip file")
	}
	as, from, err := p.stand(&b.options)
	if err != nil {
		return err
	}
	var seen *facts.Recording
	began := time.Now()
	if b.replay != "" { // its time is in the name
		if seen, err = p.see(ctx, &b.options, targets, as, from); err != nil {
			return err
		}
		targets, began = []facts.Target{seen.Facts[0].Target}, seen.Facts[0].Time
	}
	name := b.name(targets, began)
	if b.noRedact && b.output != "" && name != b.output {
		fmt.Fprintf(p.stderr, "loopdoctor: --no-redact: the file is called %s\n", report.Clean(name))
	}
	if err := p.spare(name, b.replay); err != nil {
		return err
	}
	out := &file{}
	if !b.preview {
		if out, err = p.create(name, 0o600, p.stdout); err != nil {
			return fmt.Errorf("--output: %w", err)
		}
		defer out.abandon()
	}
	if seen == nil {
		if seen, err = p.see(ctx, &b.options, targets, as, from); err != nil {
			return err
		}
	}

	t, err := p.ticketOf(seen, b)
	if err != nil {
		return fail(fmt.Errorf("bundle: %w", err))
	}
	for _, w := range b.mask {
		if !t.masks(w) {
			fmt.Fprintf(p.stderr, "loopdoctor: --mask %s: nothing of that name was seen\n", report.Clean(w))
		}
	}
	for _, c := range t.changes {
		fmt.Fprintf(p.stderr, "loopdoctor: masking changes what is said of %s: %s, and was %s\n", report.Clean(c.target), c.now, c.then)
	}
	p.status = t.original.ExitStatus()
	if b.preview {
		_, err := p.stdout.Write(t.preview(name))
		return fail(err)
	}
	if err := t.write(out); err != nil {
		return fail(fmt.Errorf("write %s: %w", name, err))
	}
	said := p.stdout
	if name == "-" {
		said = p.stderr
	}
	_, err = fmt.Fprintf(said, "%s: %s\n", report.Clean(name), t.summary())
	return fail(err)
}

// ticketOf makes the archive, and searches it before a byte of it is on a disk. Of what
// was seen here the name of this machine is one more word to mask, unless it is one
// that a diagnosis is about, as "nginx" is.
func (p *program) ticketOf(seen *facts.Recording, b *bundling) (*ticket, error) {
	var own []string
	if b.replay == "" && !b.noRedact {
		own = ownNames()
	}
	t, err := searched(seen, !b.noRedact, slices.Concat(b.mask, own))
	if len(own) == 0 || err == nil && len(t.changes) == 0 {
		return t, err
	}
	without, err := searched(seen, !b.noRedact, b.mask)
	if err == nil && (t == nil || slices.ContainsFunc(own, t.masks)) {
		fmt.Fprintf(p.stderr, "loopdoctor: this machine is called %s, as other things are: that is masked only where a host is meant\n", report.Clean(own[0]))
	}
	return without, err
}

func searched(seen *facts.Recording, mask bool, words []string) (*ticket, error) {
	t, err := newTicket(seen, mask, words)
	if err != nil {
		return nil, err
	}
	if err := t.search(); err != nil {
		return nil, fmt.Errorf("nothing is written: %w", err)
	}
	return t, nil
}

// hostName is a variable for the test that needs a name of its own.
var hostName = os.Hostname

// everywhere are names that many machines have: they tell nothing, and stand for other
// things.
var everywhere = []string{"localhost", "localdomain", "debian", "ubuntu", "fedora", "centos", "rocky", "almalinux", "rhel", "alpine", "arch", "archlinux", "manjaro",
	"opensuse", "suse", "gentoo", "nixos", "kali", "mint", "raspberrypi", "linux", "windows", "mac", "macbook", "host", "server", "desktop", "laptop", "vm", "docker", "container",
	"vagrant", "default", "buildkitsandbox", "runner", "node", "master", "worker", "web", "www", "app", "api", "db", "mail", "proxy", "dev", "test", "none"}

// ownNames are the name of this machine and its first part, by which it is called.
func ownNames() []string {
	name, err := hostName()
	if err != nil {
		return nil
	}
	name = strings.Trim(name, ". ")
	short, _, _ := strings.Cut(name, ".")
	return slices.DeleteFunc(slices.Compact([]string{name, short}), func(n string) bool {
		n = strings.ToLower(n)
		told := slices.DeleteFunc(strings.Split(n, "."), func(label string) bool { return slices.Contains(everywhere, label) })
		return len(n) < 3 || isNumber(n) || len(told) == 0 || checks.ByName(n) != nil
	})
}

// name is that of the file.
func (b *bundling) name(targets []facts.Target, at time.Time) string {
	name := b.output
	if name == "" {
		port := "loopback"
		if targets[0].Port != 0 {
			port = fmt.Sprint(targets[0].Port)
		}
		name = fmt.Sprintf("loopdoctor-%s-%s.zip", port, at.UTC().Format("20060102-150405"))
	}
	if b.noRedact && !endsWith(name, unredacted) {
		if endsWith(name, ".zip") {
			name = name[:len(name)-len(".zip")]
		}
		name += unredacted
	}
	return name
}

// endsWith takes "C.ZIP" for a .zip.
func endsWith(name, end string) bool {
	return len(name) >= len(end) && strings.EqualFold(name[len(name)-len(end):], end)
}

// isSpecial tells whether something is there that is no regular file.
func isSpecial(path string) bool {
	info, err := os.Stat(path)
	return err == nil && !info.Mode().IsRegular()
}

// write puts the archive where it belongs, and makes sure that it is what was
// searched.
func (t *ticket) write(out *file) error {
	if _, err := out.Write(t.archive); err != nil {
		return err
	}
	if out.temp != nil {
		if back, err := os.ReadFile(out.temp.Name()); err != nil || !bytes.Equal(back, t.archive) {
			return errors.Join(errors.New("what is in the file is not what was written"), err)
		}
	}
	return out.commit()
}

// preview lists what would be written, and what was masked: for the person whose
// names these are.
func (t *ticket) preview(name string) []byte {
	var b bytes.Buffer
	fmt.Fprintf(&b, "%s\n\nNothing is written. %s would have %d bytes, and hold\n\n", t.summary(), report.Clean(name), len(t.archive))
	w := tabwriter.NewWriter(&b, 0, 0, 2, ' ', tabwriter.AlignRight)
	for _, f := range append(t.opened.Manifest.Files, bundle.File{Name: bundle.ManifestFile, Size: int64(len(t.opened.File(bundle.ManifestFile)))}) {
		fmt.Fprintf(w, "\t%d\t  %s\n", f.Size, f.Name)
	}
	w.Flush()
	switch {
	case t.key == nil:
		fmt.Fprint(&b, "\nNothing is masked (--no-redact).\n")
		return b.Bytes()
	case len(t.key.Entries) == 0:
		fmt.Fprint(&b, "\nThere is nothing to mask.\n")
		return b.Bytes()
	}
	fmt.Fprint(&b, "\nMasked:\n\n")
	w = tabwriter.NewWriter(&b, 0, 0, 2, ' ', 0)
	for _, e := range t.key.Entries {
		fmt.Fprintf(w, "  %s\t%s\t→ %s\t%s\n", e.Kind, report.Clean(e.Original), report.Clean(e.Pseudonym), times(e.Count))
	}
	w.Flush()
	b.WriteString("\n")
	for line := range strings.Lines(t.masked()) {
		b.WriteString("  " + strings.TrimSuffix(line, "\n") + "\n")
	}
	return b.Bytes()
}
