package bundle

import (
	"bytes"
	"cmp"
	"encoding/binary"
	"errors"
	"fmt"
	"slices"
)

// What a zip file is made of: APPNOTE.TXT 6.3.10, sections 4.3.7, 4.3.12, 4.3.16.
const (
	localSignature     = "PK\x03\x04"
	directorySignature = "PK\x01\x02"
	endSignature       = "PK\x05\x06"

	localLength, directoryLength, endLength = 30, 46, 22

	flagEncrypted, flagStrong, flagHidden = 1 << 0, 1 << 6, 1 << 13
	flagDescriptor, flagUTF8              = 1 << 3, 1 << 11
	flagLevel                             = 3 << 1 // how hard deflate tried

	extraZip64, extraUnicodePath = 0x0001, 0x7075
)

// ratio is how many times smaller than its content a larger file may be packed;
// reports and facts get some 10 to 30 times smaller, a bomb a thousand.
const (
	ratio     = 200
	ratioFrom = 1 << 20
)

// entry is one file as the directory at the end of the archive describes it.
type entry struct {
	name           string
	flags, method  uint16
	packed, size   int
	offset, behind int // of its local header, and of what follows its content
}

// layout reads the directory and compares it with the archive, before anything is
// unpacked or allocated. It is stricter than the format: readers of zip files
// differ in what they make of two names, of something between two files, or in
// front of the first. Where they could differ, there is no bundle.
func layout(data []byte) ([]entry, error) {
	if len(data) < endLength || !bytes.HasPrefix(data[len(data)-endLength:], []byte(endSignature)) {
		switch at := bytes.LastIndex(data, []byte(endSignature)); {
		case at >= 0:
			return nil, errors.New("something stands behind the end of the archive")
		case bytes.HasPrefix(data, []byte(localSignature)):
			return nil, errors.New("the archive has no end: it is cut off")
		}
		return nil, errors.New("this is no zip file")
	}
	end := data[len(data)-endLength:]
	n := le16(end[10:])
	size, start := int64(le32(end[12:])), int64(le32(end[16:]))
	switch {
	case le16(end[20:]) != 0:
		return nil, errors.New("a damaged archive: its end is not where it says")
	case n == 0xffff || size == 0xffffffff || start == 0xffffffff:
		return nil, errors.New("an archive in the zip64 format: no bundle is that large")
	case le16(end[4:]) != 0 || le16(end[6:]) != 0 || le16(end[8:]) != n:
		return nil, errors.New("a part of an archive that is split")
	case n > maxFiles:
		return nil, fmt.Errorf("an archive of %d files: a bundle has no more than %d", n, maxFiles)
	case start+size != int64(len(data)-endLength):
		return nil, errors.New("something was put in front of the archive, or into it")
	}
	entries, err := directory(data[start:start+size], int(n))
	if err != nil {
		return nil, err
	}
	total := 0
	seen := map[string]bool{}
	for i := range entries {
		e := &entries[i]
		if total += e.size; total > maxTotal {
			return nil, fmt.Errorf("more than %d MiB in all, unpacked", maxTotal>>20)
		}
		if seen[e.name] {
			return nil, fmt.Errorf("two files are called %s", e.name)
		}
		seen[e.name] = true
		if err := e.local(data[:start]); err != nil {
			return nil, fmt.Errorf("%s: %w", e.name, err)
		}
	}
	return entries, gapless(entries, int(start))
}

// directory reads n entries, which have to fill it.
func directory(b []byte, n int) ([]entry, error) {
	var entries []entry
	for range n {
		if len(b) < directoryLength || !bytes.HasPrefix(b, []byte(directorySignature)) {
			return nil, errors.New("a damaged archive: its directory has fewer files than it says")
		}
		name, extra, comment := int(le16(b[28:])), int(le16(b[30:])), int(le16(b[32:]))
		if len(b) < directoryLength+name+extra+comment {
			return nil, errors.New("a damaged archive: its directory is cut off")
		}
		e := entry{name: string(b[directoryLength:][:name]), flags: le16(b[8:]), method: le16(b[10:])}
		packed, size, offset := le32(b[20:]), le32(b[24:]), le32(b[42:])
		attributes := le32(b[38:])
		if err := plain(e.name); err != nil {
			return nil, err
		}
		err := extras(b[directoryLength+name:][:extra])
		switch {
		case err != nil:
		case e.flags&(flagEncrypted|flagStrong|flagHidden) != 0:
			err = errors.New("it is encrypted")
		case e.flags&^(flagDescriptor|flagUTF8|flagLevel) != 0:
			err = fmt.Errorf("unknown flags %#x", e.flags)
		case e.method != 0 && e.method != 8:
			err = fmt.Errorf("packed by method %d: a bundle is deflated", e.method)
		case !regular(attributes):
			err = errors.New("it is a link, a folder or a device, and not a file")
		case le16(b[34:]) != 0:
			err = errors.New("it is in another part of a split archive")
		case packed == 0xffffffff || size == 0xffffffff || offset == 0xffffffff:
			err = errors.New("its size is in the zip64 format: no bundle is that large")
		case int64(size) > int64(limit(e.name)):
			err = fmt.Errorf("it has %d bytes, unpacked: more than %d MiB are not read", size, limit(e.name)>>20)
		case size > ratioFrom && int64(size) > ratio*int64(packed):
			err = fmt.Errorf("%d bytes unpack to %d: that is no report", packed, size)
		case e.method == 0 && packed != size:
			err = errors.New("it is not packed, and has two sizes")
		}
		if err != nil {
			return nil, fmt.Errorf("%s: %w", e.name, err)
		}
		e.packed, e.size, e.offset = int(packed), int(size), int(offset)
		entries = append(entries, e)
		b = b[directoryLength+name+extra+comment:]
	}
	if len(b) > 0 {
		return nil, errors.New("a damaged archive: its directory has more files than it says")
	}
	return entries, nil
}

// plain refuses every name that is more than the name of a file of a bundle:
// one that leads out of a folder, of a device, of another file on a system that
// does not tell upper from lower case.
func plain(name string) error {
	if slices.Contains(order, name) {
		return nil
	}
	if len(name) > 80 {
		name = name[:80] + "…"
	}
	return fmt.Errorf("a file called %q: a bundle has no such file", name)
}

// regular tells a file from everything else that an archive can hold. The upper half
// is a mode of Unix, whoever wrote it: some readers look at it in any case. 0 in its
// type means that none was written.
func regular(attributes uint32) bool {
	const typeMask, typeRegular, dosDirectory, dosVolume = 0o170000, 0o100000, 0x10, 0x08
	mode := attributes >> 16 & typeMask
	return attributes&(dosDirectory|dosVolume) == 0 && (mode == 0 || mode == typeRegular)
}

// extras refuses what gives a file another name or another size than the
// directory does.
func extras(b []byte) error {
	for len(b) >= 4 {
		id, n := le16(b), int(le16(b[2:]))
		switch {
		case id == extraZip64:
			return errors.New("its size is in the zip64 format: no bundle is that large")
		case id == extraUnicodePath:
			return errors.New("it has a second name")
		case n > len(b)-4:
			return errors.New("what the archive says of it is cut off")
		}
		b = b[4+n:]
	}
	return nil
}

// local compares the entry with the header in front of its content; data ends
// where the directory begins.
func (e *entry) local(data []byte) error {
	if e.offset > len(data)-localLength || !bytes.HasPrefix(data[e.offset:], []byte(localSignature)) {
		return errors.New("it is not where the archive says")
	}
	b := data[e.offset:]
	name, extra := int(le16(b[26:])), int(le16(b[28:]))
	if len(b) < localLength+name+extra+e.packed {
		return errors.New("it is cut off")
	}
	if err := extras(b[localLength+name:][:extra]); err != nil {
		return err
	}
	// With a descriptor the sizes come behind the content, and may be 0 here.
	same := func(at int, n int) bool {
		v := le32(b[at:])
		return int64(v) == int64(n) || v == 0 && e.flags&flagDescriptor != 0
	}
	if string(b[localLength:][:name]) != e.name || le16(b[6:]) != e.flags || le16(b[8:]) != e.method || !same(18, e.packed) || !same(22, e.size) {
		return errors.New("the archive says two things of it")
	}
	e.behind = e.offset + localLength + name + extra + e.packed
	return nil
}

// gapless makes sure that the files lie one behind the other, from the beginning
// of the archive to its directory. Behind a file may be its sizes once more
// (section 4.3.9: 12 bytes, 16 with a signature).
func gapless(entries []entry, end int) error {
	sorted := slices.SortedFunc(slices.Values(entries), func(a, b entry) int { return cmp.Compare(a.offset, b.offset) })
	at, described := 0, false
	for _, e := range append(sorted, entry{offset: end}) {
		gap := e.offset - at
		switch {
		case gap < 0:
			return errors.New("two files of the archive overlap")
		case gap == 0 && !described, (gap == 12 || gap == 16) && described:
		default:
			return errors.New("something lies between the files of the archive")
		}
		at, described = e.behind, e.flags&flagDescriptor != 0
	}
	return nil
}

func le16(b []byte) uint16 { return binary.LittleEndian.Uint16(b) }
func le32(b []byte) uint32 { return binary.LittleEndian.Uint32(b) }
