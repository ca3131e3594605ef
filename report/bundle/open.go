package bundle

import (
	"archive/zip"
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"slices"

	"github.com/loopdoctor/loopdoctor/report"
)

const (
	// MaxSize is how large an archive may be.
	MaxSize = 128 << 20

	maxTotal = 192 << 20 // of all files together, unpacked
	maxFiles = 16
)

// required are the files without which there is nothing to open.
var required = []string{FactsFile, JSONFile}

// limit is how many bytes of a file are unpacked.
func limit(name string) int {
	switch name {
	case FactsFile:
		return 64 << 20
	case ManifestFile:
		return 1 << 20
	}
	return 32 << 20
}

// Archive is a bundle whose files are those of its manifest, byte for byte. The
// files are what somebody sent: what is in them is still to be judged.
type Archive struct {
	Manifest Manifest // its strings are safe to print
	files    map[string][]byte
}

// File is the content of a file, also of the manifest; nil if there is none of that
// name.
func (a *Archive) File(name string) []byte { return a.files[name] }

// Names are the files of the archive but the manifest, in its order.
func (a *Archive) Names() []string {
	var names []string
	for _, f := range a.Manifest.Files {
		names = append(names, f.Name)
	}
	return names
}

// Is tells whether data is, or was, a zip file: whether Open is to be asked what
// is wrong with it.
func Is(data []byte) bool {
	return bytes.HasPrefix(data, []byte(localSignature)) || bytes.LastIndex(data, []byte(endSignature)) >= 0
}

// Open reads an archive and verifies it. It takes MaxSize bytes at most, and
// unpacks no more than a bundle can have. The error is a clause that says what
// is wrong, safe to print.
func Open(data []byte) (*Archive, error) {
	if len(data) > MaxSize {
		return nil, fmt.Errorf("more than %d MiB: this is no bundle", MaxSize>>20)
	}
	entries, err := layout(data)
	if err != nil {
		return nil, err
	}
	z, err := zip.NewReader(bytes.NewReader(data), int64(len(data)))
	if err != nil {
		return nil, fmt.Errorf("a damaged archive: %w", err)
	}
	if len(z.File) != len(entries) {
		return nil, errors.New("a damaged archive: its files cannot be counted")
	}
	a := &Archive{files: map[string][]byte{}}
	for i, f := range z.File {
		if f.Name != entries[i].name {
			return nil, errors.New("a damaged archive: its files cannot be told apart")
		}
		if a.files[f.Name], err = unpack(f, entries[i].size); err != nil {
			return nil, fmt.Errorf("%s: %w", f.Name, err)
		}
	}
	if a.Manifest, err = readManifest(a.files[ManifestFile]); err != nil {
		return nil, err
	}
	return a, a.verify()
}

// unpack does not believe the size that is written in the archive.
func unpack(f *zip.File, size int) ([]byte, error) {
	r, err := f.Open()
	if err != nil {
		return nil, fmt.Errorf("unpack it: %w", err)
	}
	defer r.Close()
	data, err := io.ReadAll(io.LimitReader(r, int64(size)+1))
	if err == nil && len(data) != size {
		err = errors.New("it has more")
	}
	if err != nil {
		return nil, fmt.Errorf("unpack it to %d bytes: %w", size, err)
	}
	return data, nil
}

func readManifest(data []byte) (Manifest, error) {
	var m Manifest
	if data == nil {
		return m, fmt.Errorf("this is a zip file, and no bundle: %s is missing", ManifestFile)
	}
	// The schema first: a newer manifest may not fit in our types.
	var head struct {
		Schema  *int   `json:"bundle_schema"`
		Version string `json:"version"`
	}
	err := json.Unmarshal(data, &head)
	var syntax *json.SyntaxError
	switch {
	case errors.As(err, &syntax):
		return m, fmt.Errorf("%s is not JSON (%w)", ManifestFile, err)
	case err != nil || head.Schema == nil:
		return m, fmt.Errorf("%s has no bundle_schema", ManifestFile)
	case *head.Schema > Schema:
		return m, fmt.Errorf("loopdoctor %s wrote it with bundle_schema %d, and this loopdoctor reads up to %d: use a newer one", report.Clean(head.Version), *head.Schema, Schema)
	case *head.Schema < 1:
		return m, fmt.Errorf("there is no bundle_schema %d", *head.Schema)
	}
	if err := json.Unmarshal(data, &m); err != nil {
		return m, fmt.Errorf("%s is damaged: %w", ManifestFile, err)
	}
	m.Version = report.Clean(m.Version)
	for i, t := range m.Targets {
		m.Targets[i] = Target{report.Clean(t.Target), report.Clean(t.Verdict), report.Clean(t.Cause)}
	}
	return m, nil
}

// verify compares the files with the manifest.
func (a *Archive) verify() error {
	listed := map[string]bool{}
	for _, f := range a.Manifest.Files {
		data, ok := a.files[f.Name]
		switch {
		case f.Name == ManifestFile || !slices.Contains(order, f.Name):
			return fmt.Errorf("%s lists %q, which is no file of a bundle", ManifestFile, f.Name)
		case listed[f.Name]:
			return fmt.Errorf("%s lists %s twice", ManifestFile, f.Name)
		case !ok:
			return fmt.Errorf("%s is missing: %s lists it", f.Name, ManifestFile)
		case f.Size != int64(len(data)):
			return fmt.Errorf("%s was changed: it has %d bytes instead of %d", f.Name, len(data), f.Size)
		case f.SHA256 != digest(data):
			return fmt.Errorf("%s was changed: its SHA-256 is not that of %s", f.Name, ManifestFile)
		}
		listed[f.Name] = true
	}
	for _, name := range order {
		if _, ok := a.files[name]; ok && !listed[name] && name != ManifestFile {
			return fmt.Errorf("%s was added: %s does not list it", name, ManifestFile)
		}
	}
	for _, name := range required {
		if !listed[name] {
			return fmt.Errorf("%s is missing", name)
		}
	}
	return nil
}
