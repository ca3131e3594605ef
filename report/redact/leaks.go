package redact

import (
	"bytes"
	"net/netip"
	"path"
	"slices"
	"strings"

	"github.com/loopdoctor/loopdoctor/checks/facts/secret"
)

// Leak is an original, or something with the shape of a secret, that stands in a file.
type Leak struct {
	File   string // as it was named to Leaks
	Line   int    // 1 is the first; of a file that is no text: 0
	Kind   Kind
	Entry  *Entry // nil: a secret that nobody learned of
	Offset int    // in bytes
}

// maxLeaks bounds what is told of one file: one is enough to refuse it.
const maxLeaks = 100

// Leaks lists every original of the key that still stands in a file, and what has the
// shape of a secret although nobody learned of it; none of it means that the file is
// clean. It reads as Redact does: an original is found where Redact would have replaced
// it, in any case of letters, escaped for JSON, HTML or a URL, and secrets in Base64,
// too. What is a pseudonym as well is no leak. In a capture addresses are looked for
// as bytes, too.
func (k *Key) Leaks(name string, data []byte) []Leak {
	if k == nil {
		return nil
	}
	var leaks []Leak
	text := unsaid(name, string(data))
	isCapture := path.Ext(name) == ".pcapng" || path.Ext(name) == ".pcap"
	at := 0 // where the scan is
	add := func(kind Kind, e *Entry, found string) {
		if len(leaks) >= maxLeaks {
			return
		}
		l := Leak{File: name, Kind: kind, Entry: e, Offset: at + max(strings.Index(text[at:], found), 0)}
		if !isCapture {
			l.Line = 1 + strings.Count(text[:l.Offset], "\n")
		}
		leaks = append(leaks, l)
	}
	pseudonyms, stands := map[string]bool{}, map[netip.Addr]bool{}
	for _, e := range k.Entries {
		pseudonyms[strings.ToLower(e.Pseudonym)] = true
		if a, ok := addressOf(e.Pseudonym); ok {
			stands[a] = true
		}
	}
	addresses, macs := map[netip.Addr]*Entry{}, map[string]*Entry{}
	for i := range k.Entries {
		e := &k.Entries[i]
		switch {
		case pseudonyms[strings.ToLower(e.Original)]:
		case e.Kind == Address:
			if a, ok := addressOf(e.Original); ok && !stands[a] {
				addresses[a] = e
			}
		case e.Kind == Hardware:
			macs[plainMAC(e.Original)] = e
		}
	}
	sc := scan{words: k.find(),
		addr: func(a netip.Addr, _ int, text string) string {
			e := addresses[a.WithZone("")]
			if in, ok := embedded(a); ok && e == nil {
				e = addresses[in]
			}
			if e != nil {
				add(Address, e, text)
			}
			return text
		},
		mac: func(text string) string {
			if e := macs[plainMAC(text)]; e != nil {
				add(Hardware, e, text)
			}
			return text
		},
		word: func(n *needle, found string) string {
			e, end := &k.Entries[n.entry], at+len(found)
			// Four letters in the middle of Base64 or of a digest are chance.
			chance := e.Kind == Word && len(found) < 6 && !begins(text, at) && wordAt(text, end) > 0
			if !chance && !n.common && !pseudonyms[strings.ToLower(found)] {
				add(e.Kind, e, found)
			}
			return found
		}}
	sc.at = &at
	sc.run(text)
	for _, x := range k.remaining(text) {
		if at = x.at; !pseudonyms[strings.ToLower(x.entry.Original)] && !slices.ContainsFunc(leaks, func(l Leak) bool { return l.Offset == at }) {
			add(x.entry.Kind, x.entry, "")
		}
	}
	at = 0
	for _, s := range secret.Shaped(text) {
		if _, value, _ := inner(s); !hides(value) {
			add(Secret, nil, s)
		}
	}
	if isCapture {
		for a, e := range addresses {
			if i := inPackets(data, a); i >= 0 {
				at = i
				add(Address, e, "")
			}
		}
	}
	return leaks
}

// addressOf reads an address, or that of a prefix.
func addressOf(s string) (netip.Addr, bool) {
	s, _, _ = strings.Cut(s, "/")
	a, err := netip.ParseAddr(s)
	return a, err == nil
}

// inPackets finds an address in the header of a packet, or returns -1. The four bytes of
// an IPv4 address stand by chance in options and lengths, too: only where they are
// source or destination of what looks like a header they are one.
func inPackets(data []byte, a netip.Addr) int {
	want := a.AsSlice()
	for from := 0; ; {
		i := bytes.Index(data[from:], want)
		if i < 0 {
			return -1
		}
		i += from
		if a.Is6() {
			return i
		}
		for _, back := range []int{12, 16} {
			if h := i - back; h >= 0 && data[h]>>4 == 4 && data[h]&15 >= 5 && slices.Contains([]byte{protoICMP, protoTCP, protoUDP}, data[h+9]) {
				return i
			}
		}
		from = i + 1
	}
}
