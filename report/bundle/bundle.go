// Package bundle is the archive that a person sends to another one: a zip file
// of a report, of the facts behind it, and of a manifest that says what is in
// it. It refuses to touch a machine: it makes bytes and reads bytes, and what it
// reads is never extracted to a disk. What is in the files, and whether
// something in them has to be masked, it does not know.
//
// docs/bundle.md describes the format.
package bundle

import (
	"archive/zip"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"io"
	"slices"
	"time"
)

// Schema is the version of the format. A reader accepts this and older ones and
// refuses newer ones; another file in the archive makes another version, another
// member of the manifest does not.
const Schema = 1

// The files of a bundle. All but the facts, the report in JSON and the manifest
// may be missing.
const (
	ReadmeFile   = "README.txt"
	ManifestFile = "manifest.json"
	HTMLFile     = "report.html"
	MarkdownFile = "report.md"
	JSONFile     = "report.json"
	FactsFile    = "facts.json"
	PacketsFile  = "packets.pcapng"
)

// order is that of the archive.
var order = []string{ReadmeFile, ManifestFile, HTMLFile, MarkdownFile, JSONFile, FactsFile, PacketsFile}

// Manifest says what a bundle is.
type Manifest struct {
	Schema        int       `json:"bundle_schema"`
	Version       string    `json:"version"`        // of the loopdoctor that wrote it
	Time          time.Time `json:"time"`           // when the first look began, UTC
	Redacted      bool      `json:"redacted"`       // names, addresses and secrets are masked
	SameDiagnosis bool      `json:"same_diagnosis"` // masking changed no verdict and no cause
	Targets       []Target  `json:"targets"`
	Files         []File    `json:"files"` // all but the manifest, in the order of the archive; Write fills them in
}

// Target is what was asked about, and the answer in short.
type Target struct {
	Target  string `json:"target"`
	Verdict string `json:"verdict"`
	Cause   string `json:"cause"` // the first active one; empty: none
}

// File is a file of the archive.
type File struct {
	Name   string `json:"name"`
	Size   int64  `json:"size"`
	SHA256 string `json:"sha256"` // 64 lower-case hexadecimal digits
}

// The times that a zip file can hold.
var (
	firstTime = time.Date(1980, 1, 1, 0, 0, 0, 0, time.UTC)
	lastTime  = time.Date(2099, 12, 31, 23, 59, 58, 0, time.UTC)
)

// Write writes the archive of some files, by their names, and the manifest that
// it makes of m. The same input gives the same bytes. It is an error to write
// what Open would not read.
func Write(w io.Writer, m Manifest, files map[string][]byte) error {
	m.Schema, m.Files = Schema, []File{}
	m.Time = m.Time.UTC()
	if m.Targets == nil {
		m.Targets = []Target{}
	}
	total := 0
	for name, data := range files {
		if name == ManifestFile || !slices.Contains(order, name) {
			return fmt.Errorf("a bundle has no file %q", name)
		}
		if len(data) > limit(name) {
			return fmt.Errorf("%s has %d bytes: no more than %d MiB are read again", name, len(data), limit(name)>>20)
		}
		if total += len(data); total > maxTotal-limit(ManifestFile) {
			return fmt.Errorf("no more than %d MiB are read again", maxTotal>>20)
		}
	}
	for _, name := range required {
		if files[name] == nil {
			return fmt.Errorf("a bundle without %s", name)
		}
	}
	for _, name := range order {
		if data, ok := files[name]; ok {
			m.Files = append(m.Files, File{Name: name, Size: int64(len(data)), SHA256: digest(data)})
		}
	}
	manifest, err := json.MarshalIndent(m, "", "  ")
	if err != nil {
		return err
	}
	modified := m.Time.Truncate(2 * time.Second) // zip knows even seconds
	if modified.Before(firstTime) {
		modified = firstTime
	} else if modified.After(lastTime) {
		modified = lastTime
	}
	z := zip.NewWriter(w)
	for _, name := range order {
		data, ok := files[name]
		if name == ManifestFile {
			data, ok = append(manifest, '\n'), true
		}
		if !ok {
			continue
		}
		h := &zip.FileHeader{Name: name, Method: zip.Deflate, Modified: modified}
		h.SetMode(0o644)
		f, err := z.CreateHeader(h)
		if err != nil {
			return err
		}
		if _, err := f.Write(data); err != nil {
			return err
		}
	}
	return z.Close()
}

func digest(data []byte) string {
	sum := sha256.Sum256(data)
	return hex.EncodeToString(sum[:])
}
