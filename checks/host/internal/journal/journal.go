// Package journal reads the last messages of a unit from files of the systemd
// journal, as systemd's "Journal File Format" describes them. It refuses to
// write, to follow and to verify: a file may be written to while it is read, and
// what does not fit together then is passed over.
package journal

import (
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"
	"time"
)

// How far to walk. An entry of a service has about 25 fields, most of which it
// shares with its neighbours, and what is shared is read once.
const (
	maxEntries = 5000
	maxObjects = 100000
	maxFields  = 128    // of an entry
	maxField   = 4096   // bytes of one that are read
	maxArrays  = 1000   // arrays of entries: each is twice as long as the one before
	headerSize = 208    // of the oldest files
	compact    = 1 << 4 // HEADER_INCOMPATIBLE_COMPACT
	packed     = 0b111  // OBJECT_COMPRESSED_XZ, _LZ4, _ZSTD
	dataHead   = 64     // DataObject, before its payload; 8 more if compact
	entryHead  = 64     // EntryObject, before its items
	arrayHead  = 24     // EntryArrayObject, before its items
	typeData   = 1      // OBJECT_DATA
	typeEntry  = 3      // OBJECT_ENTRY
	typeArray  = 6      // OBJECT_ENTRY_ARRAY
	magic      = "LPKSHHRH"
)

// Entry is a message.
type Entry struct {
	Time time.Time
	Text string
	Own  bool // of the unit's processes; else of the manager, about the unit
}

// Last returns the newest messages of the unit and about it, at most n of each
// kind, the newest first. uid is that of the manager if it is a user's, and -1
// for the system's.
func Last(r io.ReaderAt, unit string, uid int, n int) ([]Entry, error) {
	f := &file{r: r, seen: map[uint64]meaning{}, unit: unit, uid: fmt.Sprint(max(uid, 0)), user: uid >= 0}
	arrays, err := f.open()
	if err != nil {
		return nil, err
	}
	var found []Entry
	own, about, walked := 0, 0, 0
	for _, a := range slices.Backward(arrays) {
		items := f.items(a)
		for _, at := range slices.Backward(items) {
			if walked++; walked > maxEntries || f.objects > maxObjects || own >= n {
				return found, nil
			}
			e, ok := f.entry(at)
			switch {
			case ok && e.Own:
				own++
				found = append(found, e)
			case ok && about < n:
				about++
				found = append(found, e)
			}
		}
	}
	return found, nil
}

// file is one journal file that is walked.
type file struct {
	r       io.ReaderAt
	compact bool
	objects int
	seen    map[uint64]meaning // of data objects that entries share, by their place
	unit    string
	uid     string // of the manager
	user    bool
}

// meaning is what a field says about an entry.
type meaning int

const (
	nothing meaning = iota
	ofUnit
	aboutUnit
	ofUser
	byManager
	message
)

var errNoJournal = errors.New("not a journal file")

type array struct {
	at    uint64
	items int
}

// open reads the header and the chain of arrays that leads to all entries.
func (f *file) open() ([]array, error) {
	head := make([]byte, headerSize)
	if _, err := f.r.ReadAt(head, 0); err != nil {
		return nil, fmt.Errorf("read journal header: %w", err)
	}
	if string(head[:8]) != magic {
		return nil, errNoJournal
	}
	f.compact = binary.LittleEndian.Uint32(head[12:])&compact != 0
	entries := binary.LittleEndian.Uint64(head[152:])
	var arrays []array
	at := binary.LittleEndian.Uint64(head[176:])
	for entries > 0 && at != 0 && len(arrays) < maxArrays {
		h, size, err := f.object(at, typeArray, arrayHead)
		if err != nil {
			break
		}
		n := min((size-arrayHead)/f.itemSize(), entries)
		entries -= n
		arrays = append(arrays, array{at, int(min(n, 1<<30))})
		next := binary.LittleEndian.Uint64(h[16:])
		if next <= at { // written one after the other: anything else is a loop
			break
		}
		at = next
	}
	return arrays, nil
}

func (f *file) itemSize() uint64 {
	if f.compact {
		return 4
	}
	return 8
}

// items are the places of an array's last entries.
func (f *file) items(a array) []uint64 {
	size := int(f.itemSize())
	from := max(0, a.items-maxEntries)
	b := make([]byte, (a.items-from)*size)
	n, _ := f.r.ReadAt(b, int64(a.at)+arrayHead+int64(from*size))
	var items []uint64
	for b = b[:n]; len(b) >= size; b = b[size:] {
		if f.compact {
			items = append(items, uint64(binary.LittleEndian.Uint32(b)))
		} else {
			items = append(items, binary.LittleEndian.Uint64(b))
		}
	}
	return items
}

// object reads the head of an object of that type.
func (f *file) object(at uint64, kind byte, head int) ([]byte, uint64, error) {
	f.objects++
	b := make([]byte, head)
	if at >= 1<<62 {
		return nil, 0, errNoJournal
	}
	if _, err := f.r.ReadAt(b, int64(at)); err != nil {
		return nil, 0, err
	}
	size := binary.LittleEndian.Uint64(b[8:])
	if b[0] != kind || size < uint64(head) || size >= 1<<62 {
		return nil, 0, errNoJournal
	}
	return b, size, nil
}

// entry reads one entry, if it is of the unit or about it.
func (f *file) entry(at uint64) (e Entry, ok bool) {
	head, size, err := f.object(at, typeEntry, entryHead)
	if err != nil {
		return e, false
	}
	item := 16
	if f.compact {
		item = 4
	}
	b := make([]byte, min((size-entryHead)/uint64(item), maxFields)*uint64(item))
	if _, err := f.r.ReadAt(b, int64(at)+entryHead); err != nil {
		return e, false
	}
	var said uint64
	is := map[meaning]bool{}
	for ; len(b) >= item; b = b[item:] {
		place := uint64(binary.LittleEndian.Uint32(b))
		if !f.compact {
			place = binary.LittleEndian.Uint64(b)
		}
		m, known := f.seen[place]
		if !known {
			m = f.means(f.field(place, 256))
			f.seen[place] = m
		}
		if m == message {
			said = place
		}
		is[m] = true
	}
	e.Own = is[ofUnit]
	// Only the manager speaks about its units: anybody may claim to.
	about := is[aboutUnit] && is[byManager] && is[ofUser]
	if said == 0 || !e.Own && !about || f.user && !is[ofUser] {
		return e, false
	}
	e.Text = strings.TrimPrefix(f.field(said, maxField), "MESSAGE=")
	e.Time = time.UnixMicro(int64(binary.LittleEndian.Uint64(head[24:]) & (1<<62 - 1))).UTC()
	return e, e.Text != ""
}

// means judges one field. Fields that begin with _ are journald's own: nobody
// can claim them.
func (f *file) means(field string) meaning {
	name, value, _ := strings.Cut(field, "=")
	unit, about := "_SYSTEMD_UNIT", "UNIT"
	if f.user {
		unit, about = "_SYSTEMD_USER_UNIT", "USER_UNIT"
	}
	switch {
	case name == "MESSAGE":
		return message
	case name == unit && value == f.unit:
		return ofUnit
	case name == about && value == f.unit:
		return aboutUnit
	case name == "_UID" && value == f.uid:
		return ofUser
	case name == "_COMM" && value == "systemd":
		return byManager
	}
	return nothing
}

// field reads a data object, up to a length; empty if it is compressed, since
// only long ones are.
func (f *file) field(at uint64, length int) string {
	head := dataHead
	if f.compact {
		head += 8
	}
	b, size, err := f.object(at, typeData, head)
	if err != nil || b[1]&packed != 0 {
		return ""
	}
	text := make([]byte, min(size-uint64(head), uint64(length)))
	n, _ := f.r.ReadAt(text, int64(at)+int64(head))
	return string(text[:n])
}
