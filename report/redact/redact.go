// Package redact gives what tells who and where a pseudonym, so that what was seen on
// a machine can be shown to a stranger who then comes to the same diagnosis. It looks
// at nothing, and it refuses to guess what it cannot know: an ordinary word in a line
// of a log stays, even if it is somebody's name.
//
// The headers of packets are copied: those that a capture keeps have blank addresses. Who
// has some from elsewhere makes them so before he writes them (capture.HeadersOnly).
//
// Replaced, everywhere in the recording and the same everywhere: names of users (in
// paths of homes, too), names of hosts, addresses other than loopback, hardware
// addresses, secrets, fingerprints of certificates and the organizations that they
// name. Kept: the class of each (loopback, private, link-local, multicast, the endings
// .local and .internal), prefix lengths, ports, process ids, uids, times, versions of
// kernels, and the names of programs, units, images, containers and interfaces. Kept as
// well, as nothing marks them: a bare name in a sentence of a log, names of databases,
// and what GITHUB_REPOSITORY, PGSERVICE and the like name.
package redact

import (
	"errors"
	"fmt"
	"reflect"
	"sync"

	"github.com/loopdoctor/loopdoctor/checks/facts"
)

// Kind is what sort of thing an original is.
type Kind string

// The kinds.
const (
	User         Kind = "user"         // alice → user1
	Host         Kind = "host"         // db7.acme.com → host1.domain1.example
	Address      Kind = "address"      // 192.168.7.23 → 192.168.0.1
	Hardware     Kind = "hardware"     // an Ethernet address
	Secret       Kind = "secret"       // hunter2 → hidden1
	Certificate  Kind = "certificate"  // its fingerprint, by which public ones can be looked up
	Organization Kind = "organization" // in a certificate
	Word         Kind = "word"         // one that the user named: --mask
)

// String is the kind as a heading: "user names".
func (k Kind) String() string {
	switch k {
	case User, Host:
		return string(k) + " names"
	case Address:
		return "addresses"
	case Hardware:
		return "hardware addresses"
	}
	return string(k) + "s"
}

// Kinds lists every kind, in the order in which they are shown.
func Kinds() []Kind {
	return []Kind{User, Host, Address, Hardware, Secret, Certificate, Organization, Word}
}

// Entry is one original and what stands for it.
type Entry struct {
	Kind      Kind
	Original  string // as it was first seen
	Pseudonym string
	Count     int // how often it was replaced
}

// Key tells what was replaced by what. It is for the screen of the person whose data
// it is, and for Leaks; it cannot be marshalled, so that no archive gets it by mistake.
type Key struct {
	Entries []Entry
	words   []needle          // of the entries, how to find them
	stays   func(string) bool // tells names of programs, units and the like, which stay
	once    sync.Once
	index   *needles // of words
}

// MarshalJSON refuses: with its key a recording is no longer redacted.
func (k *Key) MarshalJSON() ([]byte, error) {
	return nil, errors.New("the key of a redaction is not to be written")
}

// String does not tell the originals.
func (k *Key) String() string { return fmt.Sprintf("key of %d entries", len(k.Entries)) }

// Of lists the entries of a kind, in the order in which they were first seen.
func (k *Key) Of(kind Kind) []Entry {
	var es []Entry
	for _, e := range k.Entries {
		if e.Kind == kind {
			es = append(es, e)
		}
	}
	return es
}

// Redact returns a copy of the recording in which what tells who and where is a
// pseudonym, and what was replaced. The recording is not changed. words are further
// words of the user to mask, wherever they stand and in whatever case: names of
// projects, of containers, of customers. Names of containers, images, units and
// programs are else kept: the diagnosis is about them.
//
// The same recording gives the same result, and a redacted one stays as it is. A user
// whose name is a word that loopdoctor, a packet filter or a server uses ("drop",
// "mark", "local"), that of a program or a unit, or of one or two letters, is masked
// where the place says that a user is meant (fields for users, homes, ~name, name@host,
// user=name), and only there; so is a host (fields for hosts, URLs, name@host), and an
// organization (certificates). Of words that have several parts, other ways to join
// these are masked as well: blue-whale, blue_whale, bluewhale.
func Redact(r *facts.Recording, words ...string) (*facts.Recording, *Key) {
	out, key := once(r, words)
	for range mostTurns {
		again, more := once(out, nil)
		if reflect.DeepEqual(again, out) {
			break
		}
		out = again
		key.follow(more)
	}
	return out, key
}

// mostTurns bounds how often what was redacted is read again. A pseudonym can take the
// place of a sign that kept something from being read as a name or as a secret, or bring
// two words together: ab"c may be one to mask, and no host is called ab"cab"c. One turn
// mostly finds nothing, and some texts need two.
const mostTurns = 4

// once redacts a recording in one go.
func once(r *facts.Recording, words []string) (*facts.Recording, *Key) {
	m := newMasker(words)
	m.walk(r, looking)
	m.walk(r, learning)
	m.settle()
	out := m.walk(r, writing)
	return out, m.key()
}

// follow adds what was replaced when the result was redacted again.
func (k *Key) follow(more *Key) {
	at := make([]int, len(more.Entries))
	for i, e := range more.Entries {
		at[i] = -1
		for j := range k.Entries { // an original has one entry: what stands for it in the end
			if k.Entries[j].Kind == e.Kind && k.Entries[j].Pseudonym == e.Original {
				k.Entries[j].Pseudonym = e.Pseudonym
				at[i] = j
			}
		}
		if at[i] < 0 {
			at[i] = len(k.Entries)
			k.Entries = append(k.Entries, e)
		}
	}
	for _, n := range more.words {
		n.entry = at[n.entry]
		k.words = append(k.words, n)
	}
}

// find is what finds the originals of the key in a text, and nothing else.
func (k *Key) find() *needles {
	k.once.Do(func() { k.index = newNeedles(k.words) })
	return k.index
}
