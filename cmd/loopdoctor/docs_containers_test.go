package main

import (
	"regexp"
	"slices"
	"strings"
	"testing"
)

// engineCommand is a line of a page that a scenario can run: those of Docker and Podman.
var engineCommand = regexp.MustCompile(`^(docker|podman) `)

// The commands of Docker and Podman in docs/containers.md are those that scenarios run, and
// the image that they run is the one of docs/Containerfile.
func TestContainersPage(t *testing.T) {
	run := map[string]bool{}
	built := 0
	for _, s := range scenarios(t) {
		if !strings.HasPrefix(s.name, "healthy-image-") {
			continue
		}
		for line := range strings.Lines(string(s.archive.Comment)) {
			if _, command, ok := strings.Cut(strings.TrimSpace(line), "exec "); ok {
				run[command] = true
			}
		}
		for _, f := range s.archive.Files {
			if f.Name == "docs/Containerfile" {
				built++
				if got, want := string(f.Data), readText(t, root+"/docs/Containerfile"); got != want {
					t.Errorf("%s builds another Containerfile than docs/Containerfile:\n%s", s.name, got)
				}
			}
		}
	}
	if built < 2 {
		t.Errorf("%d scenarios build the image", built)
	}
	var said []string
	for _, m := range fenced.FindAllStringSubmatch(readText(t, root+"/docs/containers.md"), -1) {
		if m[1] == "sh" {
			for line := range strings.Lines(strings.ReplaceAll(m[2], "\\\n", " ")) {
				line, _, _ = strings.Cut(line, " #")
				if line = strings.Join(strings.Fields(line), " "); engineCommand.MatchString(line) {
					said = append(said, line)
				}
			}
		}
	}
	for _, command := range said {
		if !run[command] {
			t.Errorf("no scenario runs: %s", command)
		}
	}
	for _, engine := range []string{"docker", "podman"} {
		if n := len(slices.DeleteFunc(slices.Clone(said), func(s string) bool { return !strings.HasPrefix(s, engine) })); n < 6 {
			t.Errorf("%d commands of %s found", n, engine)
		}
	}
}
