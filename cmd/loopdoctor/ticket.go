package main

import (
	"bytes"
	"cmp"
	"fmt"
	"io"
	"net/netip"
	"slices"
	"strings"

	"github.com/loopdoctor/loopdoctor/capture"
	"github.com/loopdoctor/loopdoctor/checks"
	"github.com/loopdoctor/loopdoctor/checks/facts"
	"github.com/loopdoctor/loopdoctor/report"
	"github.com/loopdoctor/loopdoctor/report/bundle"
	"github.com/loopdoctor/loopdoctor/report/redact"
)

// ticket is a bundle in the making.
type ticket struct {
	original *report.Report // of the facts as they are, for the person who sends it
	report   *report.Report // of the facts as they are sent
	facts    *facts.Recording
	key      *redact.Key // nil: nothing is masked
	changes  []change    // what masking changes in the diagnosis
	packets  int         // in packets.pcapng
	archive  []byte
	opened   *bundle.Archive // what a receiver finds in it
}

// masking is a variable for the test that makes it miss something.
var masking = redact.Redact

// newTicket makes every file from the masked facts alone, and the archive.
func newTicket(seen *facts.Recording, mask bool, words []string) (*ticket, error) {
	t := &ticket{original: judge(seen), facts: seen}
	if mask {
		t.facts, t.key = masking(seen, words...)
	}
	t.report = judge(t.facts)
	t.changes = changes(t.original, t.report)

	files := map[string][]byte{}
	var looks []*facts.Packets
	for _, f := range t.facts.Facts {
		capture.HeadersOnly(f.Packets)
		looks = append(looks, f.Packets)
	}
	comment := "loopdoctor: HEADERS ONLY. No packet has its payload, and checksums and options that identify somebody are blank."
	if mask {
		comment += " Addresses that are not loopback's are replaced."
	}
	for name, write := range map[string]func(io.Writer) error{
		bundle.HTMLFile:     func(w io.Writer) error { return report.HTML(w, t.report) },
		bundle.MarkdownFile: func(w io.Writer) error { return report.Markdown(w, t.report) },
		bundle.JSONFile:     func(w io.Writer) error { return report.JSON(w, t.report) },
		bundle.FactsFile:    func(w io.Writer) error { return writeRecording(w, t.facts) },
		bundle.PacketsFile: func(w io.Writer) (err error) {
			t.packets, _, err = capture.WritePcapng(w, comment, looks...)
			return err
		},
	} {
		var b bytes.Buffer
		if err := write(&b); err != nil {
			return nil, fmt.Errorf("make %s: %w", name, err)
		}
		if b.Len() > 0 {
			files[name] = b.Bytes()
		}
	}
	files[bundle.ReadmeFile] = []byte(t.readme())

	m := bundle.Manifest{Version: number(), Time: t.report.Time, Redacted: mask, SameDiagnosis: len(t.changes) == 0}
	for i := range t.report.Targets {
		r := &t.report.Targets[i]
		m.Targets = append(m.Targets, bundle.Target{Target: r.Target, Verdict: string(r.Verdict), Cause: firstCause(r)})
	}
	var b bytes.Buffer
	if err := bundle.Write(&b, m, files); err != nil {
		return nil, err
	}
	t.archive = b.Bytes()
	var err error
	if t.opened, err = bundle.Open(t.archive); err != nil {
		// So large, or so often the same, are only facts that no look made.
		return nil, fmt.Errorf("nothing is written that nobody could open: %w", err)
	}
	return t, nil
}

func firstCause(t *report.Target) string {
	for _, c := range t.Causes {
		if c.State == string(checks.Active) {
			return c.Name
		}
	}
	return ""
}

// search looks for everything that was to be masked in what a receiver would find
// in the archive. The error names the file and the kind, never the value.
func (t *ticket) search() error {
	if t.key == nil {
		return nil
	}
	for _, name := range append(t.opened.Names(), bundle.ManifestFile) {
		if name == bundle.PacketsFile {
			continue
		}
		leaks := t.key.Leaks(name, t.opened.File(name))
		if len(leaks) == 0 {
			continue
		}
		return fmt.Errorf("what was to be masked is still there (%s in %s, line %d); please report it", leaks[0].Kind, name, leaks[0].Line)
	}
	return t.searchPackets()
}

// searchPackets reads each address of the packets. To look for the bytes of one
// would find it where there is none: the window scale of every SYN and the length
// of its block are 0a 00 00 6c, or 10.0.0.108.
func (t *ticket) searchPackets() error {
	data := t.opened.File(bundle.PacketsFile)
	if data == nil {
		return nil
	}
	there, err := capture.ReadPcapng(bytes.NewReader(data))
	if err != nil {
		return err
	}
	for _, e := range t.key.Entries {
		if a, err := netip.ParseAddr(e.Original); err == nil && slices.Contains(there, a) && !t.standsIn(a) {
			return fmt.Errorf("what was to be masked is still there (%s in %s); please report it", e.Kind, bundle.PacketsFile)
		}
	}
	return nil
}

// masks tells whether a word of the person was found, be it as a user or a host.
func (t *ticket) masks(word string) bool {
	return slices.ContainsFunc(t.key.Entries, func(e redact.Entry) bool {
		return strings.EqualFold(e.Original, strings.TrimSpace(word)) && e.Count > 0
	})
}

// standsIn tells whether an address is the pseudonym of another one.
func (t *ticket) standsIn(a netip.Addr) bool {
	return slices.ContainsFunc(t.key.Entries, func(e redact.Entry) bool { return e.Pseudonym == a.String() })
}

// summary is the answer for the person who sends it.
func (t *ticket) summary() string {
	var all []string
	for i := range t.original.Targets {
		all = append(all, t.original.Targets[i].Brief())
	}
	return strings.Join(all, " ")
}

func times(n int) string {
	if n == 1 {
		return "once"
	}
	return fmt.Sprintf("%d times", n)
}

// masked counts what was masked, by kind.
func (t *ticket) masked() string {
	var kinds []redact.Kind
	values, count := map[redact.Kind]int{}, map[redact.Kind]int{}
	for _, e := range t.key.Entries {
		if values[e.Kind] == 0 {
			kinds = append(kinds, e.Kind)
		}
		values[e.Kind]++
		count[e.Kind] += e.Count
	}
	var parts []string
	for _, k := range kinds {
		parts = append(parts, fmt.Sprintf("%s: %d, replaced %s", k, values[k], times(count[k])))
	}
	return cmp.Or(strings.Join(parts, "\n"), "nothing")
}

const readmeFiles = `WHAT IS IN IT

    report.html     the report as a page, for any browser; it loads nothing
    report.md       the same in Markdown, for an issue tracker
    report.json     the same for programs
    facts.json      everything that was seen, to be judged again:
                    loopdoctor --replay facts.json
%s    manifest.json   what the archive is, with the size and the SHA-256 of each file
`

const readmePackets = `    packets.pcapng  %s on loopback, for Wireshark or tcpdump -r. It holds HEADERS
                    ONLY: what stands behind them was never kept. Lengths are the
                    original ones, checksums and options that identify somebody
                    are blank. A packet on the interface lo-lost was seen leaving,
                    and did not arrive
`

// readme is for who receives the archive. It has no word that was masked.
func (t *ticket) readme() string {
	var b strings.Builder
	r := t.report
	b.WriteString("LOOPDOCTOR BUNDLE\n\n")
	for i := range r.Targets {
		b.WriteString(r.Targets[i].Brief() + "\n")
	}
	fmt.Fprintf(&b, "\nLooked at %s with loopdoctor %s, on %s %s (%s).\n", r.Time.UTC().Format("2006-01-02 15:04:05 MST"),
		report.Clean(cmp.Or(t.facts.Version, "of an unknown version")), r.Host.OS, r.Host.Kernel, r.Host.Arch)
	if v := r.Vantage(); v != "" {
		b.WriteString(v + "\n")
	}
	b.WriteString(`
HOW TO OPEN IT

    loopdoctor open ticket.zip

verifies that no file was changed, judges the facts again with your version, and says
what came out differently. It works on any system, and looks at nothing there.
Without loopdoctor, open report.html.

`)
	packets := fmt.Sprintf("    (packets.pcapng is missing: %s)\n", t.noPackets())
	if t.packets > 0 {
		n := fmt.Sprintf("%d packets", t.packets)
		if t.packets == 1 {
			n = "1 packet"
		}
		packets = fmt.Sprintf(readmePackets, n)
	}
	fmt.Fprintf(&b, readmeFiles, packets)
	b.WriteString("\nWHAT IS MASKED\n\n")
	if t.key == nil {
		b.WriteString(`NOTHING IS MASKED (--no-redact): user names, host names, paths and addresses are the
real ones. Secrets in arguments and URLs are left out even so. Do not post this file.
`)
		return b.String()
	}
	for line := range strings.Lines(t.masked()) {
		b.WriteString("    " + strings.TrimSuffix(line, "\n") + "\n")
	}
	b.WriteString(`
A pseudonym stands for the same value throughout. It keeps what a diagnosis needs:
loopback addresses and port numbers are the real ones, a private address stays a
private one. What it stands for is known only to who made this file; it is not in it.
`)
	if len(t.changes) > 0 {
		b.WriteString("\nMasking changed the diagnosis: on the machine itself it was another one. Ask for it.\n")
	}
	return b.String()
}

// noPackets says why there are none.
func (t *ticket) noPackets() string {
	for _, f := range t.facts.Facts {
		if a, ok := f.Absent[facts.GroupPackets]; ok && a.Reason != "" {
			return "nothing was captured: " + report.Clean(a.Reason)
		}
		if f.Packets != nil && len(f.Packets.Conversations) > 0 {
			return "the recording is of an older loopdoctor, which kept no headers"
		}
	}
	return "nothing was captured"
}
