package main

import (
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// Tier F: what cannot occur here. Nothing is broken and nobody looks; the facts are those
// that another scenario recorded, and what the other system would show in their place.

// edited judges such facts, as root and as the ordinary user.
func edited(t *testing.T, s scenario) outcome {
	t.Helper()
	o := outcome{Records: map[string]json.RawMessage{}}
	for as, uid := range map[string]string{"root": "0", "user": fmt.Sprint(ordinary)} {
		record, err := s.otherFacts(as, uid)
		if err != nil {
			t.Fatal(err)
		}
		file := filepath.Join(t.TempDir(), as+".json")
		if err := os.WriteFile(file, record, 0o600); err != nil {
			t.Fatal(err)
		}
		exit, out, stderr := do("", "--replay", file, "--format", "json")
		v, err := parseReport(out)
		if err != nil {
			t.Fatalf("%v (exit status %d)\n%s%s", err, exit, out, stderr)
		}
		if err := v.consistent(exit); err != nil {
			t.Error(err)
		}
		o.Records[as] = record
		if updating() {
			o.Said = append(o.Said, said{s.first(), as, v.lines()})
		} else if want, ok := s.section(s.first(), "F", as); !ok || v.lines() != want {
			t.Errorf("as %s loopdoctor says\n%sinstead of\n%s", as, v.lines(), want)
		}
	}
	return o
}

// otherFacts are the recorded facts of the scenario that the line "# facts: NAME" names, with
// the section facts.json, and facts.user.json, merged into them (RFC 7396).
func (s scenario) otherFacts(as, uid string) ([]byte, error) {
	_, rest, ok := strings.Cut(string(s.archive.Comment), "\n# facts: ")
	base, _, _ := strings.Cut(rest, "\n")
	if !ok {
		return nil, fmt.Errorf("%s: a line \"# facts: NAME\" says which scenario they are taken from", s.file)
	}
	data, err := os.ReadFile(filepath.Join(replayDir, base+"."+as+".json"))
	if err != nil {
		return nil, err
	}
	var r map[string]any
	if err := json.Unmarshal(data, &r); err != nil {
		return nil, err
	}
	list, _ := r["facts"].([]any)
	if len(list) != 1 {
		return nil, fmt.Errorf("%s has facts of %d targets", base, len(list))
	}
	for _, name := range []string{"facts.json", "facts." + as + ".json"} {
		text, ok := s.section(name, "F", as)
		if !ok || name == "facts.json" && text == "" {
			continue
		}
		var patch any
		if err := json.Unmarshal([]byte(strings.ReplaceAll(text, "$UID", uid)), &patch); err != nil {
			return nil, fmt.Errorf("%s: %s: %w", s.file, name, err)
		}
		list[0] = merged(list[0], patch)
	}
	return json.Marshal(r)
}

// merged is MergePatch of RFC 7396, section 2.
func merged(target, patch any) any {
	p, ok := patch.(map[string]any)
	if !ok {
		return patch
	}
	t, ok := target.(map[string]any)
	if !ok {
		t = map[string]any{}
	}
	for name, value := range p {
		if value == nil {
			delete(t, name)
		} else {
			t[name] = merged(t[name], value)
		}
	}
	return t
}
