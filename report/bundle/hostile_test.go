package bundle

import (
	"bytes"
	"compress/flate"
	"encoding/binary"
	"fmt"
	"hash/crc32"
	"runtime"
	"strings"
	"testing"
	"time"
)

// part is one file of an archive made by hand; what is zero is as it should be.
type part struct {
	name, localName  string
	content          string
	flags, method    uint16
	localFlags       *uint16
	made             byte
	attributes       uint32
	extra, comment   string
	localExtra       string
	packed, size     *uint32 // in the directory
	localSize        *uint32
	offset           *uint32
	crc              *uint32
	disk             uint16
	behind, stored   string // between the files; instead of the packed content
	directoryPadding string
}

func num[T any](v T) *T { return &v }

func or[T any](p *T, v T) T {
	if p != nil {
		return *p
	}
	return v
}

// pack puts the parts together; end changes the end of the archive.
func pack(t testing.TB, parts []part, end func(b []byte)) []byte {
	t.Helper()
	var out, dir bytes.Buffer
	le := binary.LittleEndian
	for _, p := range parts {
		content := []byte(p.content)
		if p.method == 8 {
			var b bytes.Buffer
			w, err := flate.NewWriter(&b, 9)
			if err != nil {
				t.Fatal(err)
			}
			w.Write(content)
			w.Close()
			content = b.Bytes()
		}
		if p.stored != "" {
			content = []byte(p.stored)
		}
		offset := out.Len()
		local, central := make([]byte, localLength), make([]byte, directoryLength)
		name := p.name
		if p.localName != "" {
			name = p.localName
		}
		copy(local, localSignature)
		le.PutUint16(local[6:], or(p.localFlags, p.flags))
		le.PutUint16(local[8:], p.method)
		le.PutUint32(local[14:], or(p.crc, crc32.ChecksumIEEE([]byte(p.content))))
		le.PutUint32(local[18:], or(p.packed, uint32(len(content))))
		le.PutUint32(local[22:], or(p.localSize, or(p.size, uint32(len(p.content)))))
		le.PutUint16(local[26:], uint16(len(name)))
		le.PutUint16(local[28:], uint16(len(p.localExtra)))
		out.Write(local)
		out.WriteString(name + p.localExtra)
		out.Write(content)
		out.WriteString(p.behind)

		copy(central, directorySignature)
		central[5] = p.made
		le.PutUint16(central[8:], p.flags)
		le.PutUint16(central[10:], p.method)
		le.PutUint32(central[16:], or(p.crc, crc32.ChecksumIEEE([]byte(p.content))))
		le.PutUint32(central[20:], or(p.packed, uint32(len(content))))
		le.PutUint32(central[24:], or(p.size, uint32(len(p.content))))
		le.PutUint16(central[28:], uint16(len(p.name)))
		le.PutUint16(central[30:], uint16(len(p.extra)))
		le.PutUint16(central[32:], uint16(len(p.comment)))
		le.PutUint16(central[34:], p.disk)
		le.PutUint32(central[38:], p.attributes)
		le.PutUint32(central[42:], or(p.offset, uint32(offset)))
		dir.Write(central)
		dir.WriteString(p.name + p.extra + p.comment + p.directoryPadding)
	}
	start := out.Len()
	out.Write(dir.Bytes())
	e := make([]byte, endLength)
	copy(e, endSignature)
	le.PutUint16(e[8:], uint16(len(parts)))
	le.PutUint16(e[10:], uint16(len(parts)))
	le.PutUint32(e[12:], uint32(dir.Len()))
	le.PutUint32(e[16:], uint32(start))
	if end != nil {
		end(e)
	}
	out.Write(e)
	return out.Bytes()
}

// good is a small bundle, whose last part is the facts.
func good(t testing.TB) []part {
	files := map[string][]byte{JSONFile: []byte(`{"schema":1}`), FactsFile: []byte(`{"facts_schema":1}`)}
	return []part{
		{name: ManifestFile, content: string(manifestOf(t, files, nil))},
		{name: JSONFile, content: string(files[JSONFile])},
		{name: FactsFile, content: string(files[FactsFile]), method: 8},
	}
}

// hostile are the archives that are refused, by what is said of them and why.
func hostile(t testing.TB) map[string][]byte {
	facts := func(change func(p *part)) []byte {
		parts := good(t)
		change(&parts[2])
		return pack(t, parts, nil)
	}
	more := func(p part) []byte { return pack(t, append(good(t), p), nil) }
	end := func(change func(b []byte)) []byte { return pack(t, good(t), change) }
	manifest := func(content string) []byte {
		parts := good(t)
		parts[0].content = content
		return pack(t, parts, nil)
	}
	changed := func(change func(m map[string]any)) []byte {
		files := map[string][]byte{JSONFile: []byte(`{"schema":1}`), FactsFile: []byte(`{"facts_schema":1}`)}
		return manifest(string(manifestOf(t, files, change)))
	}
	first := func(m map[string]any) map[string]any { return m["files"].([]any)[0].(map[string]any) }
	whole := pack(t, good(t), nil)
	const none = "a bundle has no such file"

	all := map[string][]byte{
		"no zip file|empty":                           {},
		"no zip file|text":                            []byte("hello"),
		"no end|cut off in a file":                    whole[:40],
		"no end|cut off before its end":               whole[:len(whole)-endLength],
		"no end|cut off in its end":                   whole[:len(whole)-endLength+3],
		"no zip file|a tail":                          whole[50 : len(whole)-endLength],
		"behind the end|trailing":                     append(bytes.Clone(whole), "more"...),
		"in front|prepended":                          append([]byte("#!/bin/sh\n"), whole...),
		"not where it says|comment":                   append(end(func(b []byte) { b[20] = 4 })[:len(whole)-4], "more"...),
		"zip64|count":                                 end(func(b []byte) { copy(b[8:], "\xff\xff\xff\xff") }),
		"zip64|size":                                  end(func(b []byte) { copy(b[12:], "\xff\xff\xff\xff") }),
		"zip64|offset":                                end(func(b []byte) { copy(b[16:], "\xff\xff\xff\xff") }),
		"split|disk":                                  end(func(b []byte) { b[4] = 1 }),
		"split|two counts":                            end(func(b []byte) { b[8] = 1 }),
		"has no more than 16|60000":                   end(func(b []byte) { copy(b[8:], "\x60\xea\x60\xea") }),
		"fewer files|count":                           end(func(b []byte) { b[8], b[10] = 4, 4 }),
		"more files|count":                            end(func(b []byte) { b[8], b[10] = 2, 2 }),
		"in front|offset":                             end(func(b []byte) { b[16]++ }),
		"in front|size":                               end(func(b []byte) { copy(b[12:], "\xf0\xff\xff\x7f") }),
		"missing|none":                                pack(t, nil, nil),
		none + "|parent":                              more(part{name: "../../etc/passwd"}),
		none + "|absolute":                            more(part{name: "/etc/passwd"}),
		none + "|backslash":                           more(part{name: `..\x`}),
		none + "|drive":                               more(part{name: `C:\x`}),
		none + "|device":                              more(part{name: "CON"}),
		none + "|stream":                              more(part{name: "facts.json:x"}),
		none + "|NUL":                                 more(part{name: "facts.json\x00.exe"}),
		none + "|escape":                              more(part{name: "\x1b[2J\n"}),
		none + "|upper case":                          more(part{name: "Facts.json"}),
		none + "|other":                               more(part{name: "evil.exe"}),
		none + "|folder":                              more(part{name: "x/"}),
		none + "|empty":                               more(part{}),
		none + "|long":                                more(part{name: strings.Repeat("x", 60000)}),
		"two files are called facts.json|again":       more(part{name: FactsFile}),
		"link, a folder or a device|link":             facts(func(p *part) { p.made, p.attributes = 3, 0o120777<<16 }),
		"link, a folder or a device|pipe":             facts(func(p *part) { p.made, p.attributes = 3, 0o010644<<16 }),
		"link, a folder or a device|device":           facts(func(p *part) { p.attributes = 0o060644 << 16 }),
		"link, a folder or a device|folder":           facts(func(p *part) { p.attributes = 0x10 }),
		"encrypted|flag":                              facts(func(p *part) { p.flags = 1 }),
		"encrypted|strong":                            facts(func(p *part) { p.flags = 0x41 }),
		"encrypted|directory":                         facts(func(p *part) { p.flags = 1 << 13 }),
		"unknown flags|flag":                          facts(func(p *part) { p.flags = 1 << 5 }),
		"packed by method 12|bzip2":                   facts(func(p *part) { p.method = 12 }),
		"zip64|extra":                                 facts(func(p *part) { p.extra = "\x01\x00\x04\x00abcd" }),
		"zip64|local extra":                           facts(func(p *part) { p.localExtra = "\x01\x00\x04\x00abcd" }),
		"second name|extra":                           facts(func(p *part) { p.extra = "\x75\x70\x04\x00abcd" }),
		"cut off|extra":                               facts(func(p *part) { p.extra = "\x99\x00\xff\x00abcd" }),
		"zip64|packed size":                           facts(func(p *part) { p.packed = num[uint32](0xffffffff) }),
		"zip64|offset of a file":                      facts(func(p *part) { p.offset = num[uint32](0xffffffff) }),
		"split archive|disk of a file":                facts(func(p *part) { p.disk = 2 }),
		"more than 64 MiB are not read|large":         facts(func(p *part) { p.size = num[uint32](65 << 20) }),
		"more than 1 MiB are not read|large":          manifest(strings.Repeat(" ", 1<<20+1)),
		"that is no report|bomb":                      facts(func(p *part) { p.content = strings.Repeat(" ", 16<<20) }),
		"in all, unpacked|sum":                        many(t),
		"unpack it to 5 bytes|undeclared size":        facts(func(p *part) { p.size = num[uint32](5) }),
		"unpack it to 6 bytes|a bomb that tells less": facts(func(p *part) { p.content, p.size = strings.Repeat(" ", 16<<20), num[uint32](6) }),
		"has two sizes|stored":                        facts(func(p *part) { p.method, p.size = 0, num[uint32](5) }),
		"checksum|crc":                                facts(func(p *part) { p.crc = num[uint32](1) }),
		"unpack it|no deflate":                        facts(func(p *part) { p.stored = "\xff\xff\xff\xff\xff" }),
		"two things|name":                             facts(func(p *part) { p.localName = "facts.jso_" }),
		"two things|size":                             facts(func(p *part) { p.localSize = num[uint32](1) }),
		"two things|flags":                            facts(func(p *part) { p.localFlags = num[uint16](2) }),
		"overlap|same content":                        facts(func(p *part) { *p = part{name: ReadmeFile, localName: JSONFile} }),
		"not where the archive says|offset":           facts(func(p *part) { p.offset = num[uint32](3) }),
		"not where the archive says|far away":         facts(func(p *part) { p.offset = num[uint32](0x7fffffff) }),
		"is cut off|packed size":                      facts(func(p *part) { p.packed = num[uint32](100000) }),
		"between the files|gap":                       facts(func(p *part) { p.behind = "hidden" }),
		"between the files|gap like a descriptor":     facts(func(p *part) { p.behind = "twelve bytes" }),
		"between the files|no descriptor":             facts(func(p *part) { p.flags = 8 }),
		"fewer files|padding in the directory":        pack(t, padded(t), nil),
		"was changed: its SHA-256|content":            facts(func(p *part) { p.content = `{"facts_schema":2}` }),
		"was changed: it has 2 bytes|content":         facts(func(p *part) { p.content = `{}` }),
		"README.txt was added|extra":                  more(part{name: ReadmeFile, content: "x"}),
		"facts.json is missing: manifest|file":        pack(t, good(t)[:2], nil),
		"manifest.json is missing|manifest":           pack(t, good(t)[1:], nil),
		"not JSON|empty manifest":                     manifest(""),
		"not JSON|manifest":                           manifest("{"),
		"no bundle_schema|null":                       manifest("null"),
		"no bundle_schema|array":                      manifest("[]"),
		"no bundle_schema|other":                      manifest(`{"schema":1}`),
		"bundle_schema 7, and this|newer":             changed(func(m map[string]any) { m["bundle_schema"], m["files"], m["version"] = 7, "new", "\x1b[2J9.9\n" }),
		"no bundle_schema 0|zero":                     changed(func(m map[string]any) { m["bundle_schema"] = 0 }),
		"is damaged|types":                            changed(func(m map[string]any) { m["files"] = "x" }),
		"facts.json is missing|lists nothing":         pack(t, []part{{name: ManifestFile, content: `{"bundle_schema":1}`}}, nil),
		"report.json was added|lists nothing":         changed(func(m map[string]any) { m["files"] = nil }),
		"is no file of a bundle|unknown":              changed(func(m map[string]any) { first(m)["name"] = "../x" }),
		"is no file of a bundle|itself":               changed(func(m map[string]any) { first(m)["name"] = ManifestFile }),
		"README.txt is missing|unpacked":              changed(func(m map[string]any) { first(m)["name"] = ReadmeFile }),
		"report.json twice|twice": changed(func(m map[string]any) {
			first(m)["name"] = JSONFile
			first(m)["size"] = 12
			first(m)["sha256"] = digest([]byte(`{"schema":1}`))
		}),
		"has 18 bytes instead of -1|size": changed(func(m map[string]any) { first(m)["size"] = -1 }),
		"its SHA-256|upper case":          changed(func(m map[string]any) { first(m)["sha256"] = strings.ToUpper(first(m)["sha256"].(string)) }),
	}
	// The overlapping one has to name a real header.
	shared := good(t)
	at := uint32(localLength + len(ManifestFile) + len(shared[0].content))
	inner := string(pack(t, []part{{name: FactsFile, content: "x"}}, nil)[:localLength+len(FactsFile)+1])
	all["overlap|same content"] = pack(t, []part{shared[0],
		{name: JSONFile, content: inner},
		{name: FactsFile, content: "x", offset: num(at + uint32(localLength+len(JSONFile)))},
	}, nil)
	return all
}

// many are files that are large in all, and each of them is not.
func many(t testing.TB) []byte {
	parts := good(t)
	for _, name := range []string{ReadmeFile, HTMLFile, MarkdownFile, PacketsFile} {
		parts = append(parts, part{name: name, method: 8, stored: strings.Repeat("x", 200<<10), size: num[uint32](32 << 20)})
	}
	parts[1] = part{name: JSONFile, method: 8, stored: strings.Repeat("x", 200<<10), size: num[uint32](32 << 20)}
	parts[2] = part{name: FactsFile, method: 8, stored: strings.Repeat("x", 400<<10), size: num[uint32](64 << 20)}
	return pack(t, parts, nil)
}

func padded(t testing.TB) []part {
	parts := good(t)
	parts[0].directoryPadding = "x"
	return parts
}

func TestHostileArchives(t *testing.T) {
	if _, err := Open(pack(t, good(t), nil)); err != nil {
		t.Fatalf("the one that is not hostile: %v", err)
	}
	for name, data := range hostile(t) {
		t.Run(name, func(t *testing.T) {
			hint, _, _ := strings.Cut(name, "|")
			began := time.Now()
			a, err := Open(data)
			if err == nil {
				t.Fatalf("opened: %v", a.Names())
			}
			if !strings.Contains(err.Error(), hint) || strings.ContainsFunc(err.Error(), func(r rune) bool { return r < ' ' }) || len(err.Error()) > 250 {
				t.Errorf("%q, want: %s", err, hint)
			}
			if d := time.Since(began); d > 5*time.Second {
				t.Errorf("it took %v", d)
			}
		})
	}
}

// What is refused is refused before it is unpacked.
func TestBombsTakeNoMemory(t *testing.T) {
	for name, data := range hostile(t) {
		if !strings.Contains(name, "bomb") && !strings.Contains(name, "sum") && !strings.Contains(name, "60000") {
			continue
		}
		var before, after runtime.MemStats
		runtime.ReadMemStats(&before)
		Open(data)
		runtime.ReadMemStats(&after)
		if n := after.TotalAlloc - before.TotalAlloc; n > 1<<20 {
			t.Errorf("%s: %d bytes for an archive of %d", name, n, len(data))
		}
	}
	if _, err := Open(make([]byte, MaxSize+1)); err == nil || !strings.Contains(err.Error(), "more than 128 MiB") {
		t.Errorf("a large file: %v", err)
	}
}

func FuzzOpen(f *testing.F) {
	f.Add(written(f, about, sample()))
	f.Add(pack(f, good(f), nil))
	for _, data := range hostile(f) {
		if len(data) < 1<<16 {
			f.Add(data)
		}
	}
	f.Fuzz(func(t *testing.T, data []byte) {
		a, err := Open(data)
		if err != nil {
			if s := err.Error(); a != nil && s == "" || strings.ContainsFunc(s, func(r rune) bool { return r < ' ' }) {
				t.Errorf("said of it: %q", s)
			}
			return
		}
		// What is opened is a bundle, through and through.
		for _, file := range a.Manifest.Files {
			if data := a.File(file.Name); int64(len(data)) != file.Size || digest(data) != file.SHA256 {
				t.Errorf("%s is not what the manifest says", file.Name)
			}
		}
		delete(a.files, ManifestFile)
		again := written(t, a.Manifest, a.files)
		if b, err := Open(again); err != nil || fmt.Sprint(b.Names()) != fmt.Sprint(a.Names()) && len(a.Names()) != len(b.Names()) {
			t.Errorf("packed again: %v", err)
		}
	})
}
