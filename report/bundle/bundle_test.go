package bundle

import (
	"archive/zip"
	"bytes"
	"encoding/json"
	"errors"
	"io"
	"maps"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/santhosh-tekuri/jsonschema/v6"
)

var about = Manifest{
	Version: "1.2.3", Time: time.Date(2026, 1, 2, 4, 4, 5, 6, time.FixedZone("", 3600)), Redacted: true, SameDiagnosis: true,
	Targets: []Target{{"localhost:62893", "broken", "no-listener"}},
}

func sample() map[string][]byte {
	return map[string][]byte{
		ReadmeFile: []byte("read me\n"), HTMLFile: []byte("<p>report"), MarkdownFile: []byte("# report"), JSONFile: []byte(`{"schema":1}`),
		FactsFile: []byte(`{"facts_schema":1}`), PacketsFile: bytes.Repeat([]byte{0}, 1000),
	}
}

func written(t testing.TB, m Manifest, files map[string][]byte) []byte {
	t.Helper()
	var b bytes.Buffer
	if err := Write(&b, m, files); err != nil {
		t.Fatal(err)
	}
	return b.Bytes()
}

func TestWriteAndOpen(t *testing.T) {
	data := written(t, about, sample())
	if again := written(t, about, sample()); !bytes.Equal(data, again) {
		t.Error("the same input gives other bytes")
	}
	a, err := Open(data)
	if err != nil {
		t.Fatal(err)
	}
	if !Is(data) || Is([]byte("{}")) {
		t.Error("an archive is not told from JSON")
	}
	m := a.Manifest
	if m.Schema != Schema || m.Version != "1.2.3" || !m.Time.Equal(about.Time) || m.Time.Location() != time.UTC || !m.Redacted || !m.SameDiagnosis || !slices.Equal(m.Targets, about.Targets) {
		t.Errorf("the manifest is %+v", m)
	}
	if want := []string{ReadmeFile, HTMLFile, MarkdownFile, JSONFile, FactsFile, PacketsFile}; !slices.Equal(a.Names(), want) {
		t.Errorf("the files are %v, want %v", a.Names(), want)
	}
	for name, want := range sample() {
		if !bytes.Equal(a.File(name), want) {
			t.Errorf("%s is %q", name, a.File(name))
		}
	}
	if a.File("x") != nil {
		t.Error("there is a file that is none")
	}
	z, err := zip.NewReader(bytes.NewReader(data), int64(len(data)))
	if err != nil {
		t.Fatal(err)
	}
	for i, f := range z.File {
		if f.Name != order[i] || !f.Modified.Equal(time.Date(2026, 1, 2, 3, 4, 4, 0, time.UTC)) || f.Mode() != 0o644 {
			t.Errorf("file %d is %s of %v, %v", i, f.Name, f.Modified, f.Mode())
		}
	}
}

func TestManifestKeepsItsSchema(t *testing.T) {
	schema, err := jsonschema.NewCompiler().Compile("../../docs/bundle.schema.json")
	if err != nil {
		t.Fatal(err)
	}
	data := written(t, about, sample())
	z, err := zip.NewReader(bytes.NewReader(data), int64(len(data)))
	if err != nil {
		t.Fatal(err)
	}
	f, err := z.Open(ManifestFile)
	if err != nil {
		t.Fatal(err)
	}
	doc, err := jsonschema.UnmarshalJSON(f)
	if err != nil {
		t.Fatal(err)
	}
	if err := schema.Validate(doc); err != nil {
		t.Error(err)
	}
	doc.(map[string]any)["files"].([]any)[0].(map[string]any)["sha256"] = "ABC"
	if schema.Validate(doc) == nil {
		t.Error("the schema takes any hash")
	}
}

func TestWriteRefuses(t *testing.T) {
	for hint, change := range map[string]func(map[string][]byte){
		"has no file":             func(f map[string][]byte) { f["../x"] = nil },
		`has no file "manifest.`:  func(f map[string][]byte) { f[ManifestFile] = nil },
		"without facts.json":      func(f map[string][]byte) { delete(f, FactsFile) },
		"no more than 32 MiB are": func(f map[string][]byte) { f[HTMLFile] = make([]byte, 32<<20+1) },
	} {
		files := sample()
		change(files)
		if err := Write(io.Discard, about, files); err == nil || !strings.Contains(err.Error(), hint) {
			t.Errorf("%v, want: %s", err, hint)
		}
	}
	if err := Write(fullDisk{}, about, sample()); !errors.Is(err, errFull) {
		t.Errorf("a full disk: %v", err)
	}
	for _, at := range []time.Time{{}, time.Date(9999, 1, 1, 0, 0, 0, 0, time.UTC)} {
		m := about
		m.Time = at
		if a, err := Open(written(t, m, sample())); err != nil || !a.Manifest.Time.Equal(at) {
			t.Errorf("a look of %v: %v", at, err)
		}
	}
}

type fullDisk struct{}

func (fullDisk) Write([]byte) (int, error) { return 0, errFull }

var errFull = errors.New("no space left")

// What docs/bundle.md says: common tools read a bundle and verify it, and what
// they pack again is one.
func TestOtherTools(t *testing.T) {
	for _, tool := range []string{"unzip", "zip", "sha256sum", "python3"} {
		if _, err := exec.LookPath(tool); err != nil {
			t.Skip(err)
		}
	}
	dir := t.TempDir()
	if err := os.WriteFile(filepath.Join(dir, "ticket.zip"), written(t, about, sample()), 0o600); err != nil {
		t.Fatal(err)
	}
	const script = `set -e
unzip -tq ticket.zip
mkdir out
unzip -q ticket.zip -d out
cd out
python3 -c 'import json; [print(f["sha256"] + "  " + f["name"]) for f in json.load(open("manifest.json"))["files"]]' | sha256sum -c --quiet
zip -q ../again.zip *
zip -q -0 -X ../stored.zip *
python3 -m zipfile -c ../python.zip *
zip -q - * | cat >../streamed.zip`
	cmd := exec.Command("sh", "-c", script)
	cmd.Dir = dir
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	for _, name := range []string{"again.zip", "stored.zip", "python.zip", "streamed.zip"} {
		data, err := os.ReadFile(filepath.Join(dir, name))
		if err != nil {
			t.Fatal(err)
		}
		if _, err := Open(data); err != nil {
			t.Errorf("%s: %v", name, err)
		}
	}
}

// manifestOf makes the manifest of files, changed.
func manifestOf(t testing.TB, files map[string][]byte, change func(m map[string]any)) []byte {
	t.Helper()
	var list []any
	for _, name := range slices.Sorted(maps.Keys(files)) {
		list = append(list, map[string]any{"name": name, "size": len(files[name]), "sha256": digest(files[name])})
	}
	m := map[string]any{"bundle_schema": 1, "version": "1", "files": list}
	if change != nil {
		change(m)
	}
	b, err := json.Marshal(m)
	if err != nil {
		t.Fatal(err)
	}
	return b
}
