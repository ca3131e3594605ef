package redact

import (
	"fmt"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/loopdoctor/loopdoctor/checks/facts"
)

// large is a recording of a busy machine: many targets, processes, rules and lines of logs.
func large(t testing.TB) *facts.Recording {
	r := &facts.Recording{Schema: facts.Schema, Version: "devel"}
	files, _ := filepath.Glob(filepath.Join(replays, "*.root.json"))
	for i := 0; i < len(files); i += 10 {
		r.Facts = append(r.Facts, sow(t, slurp(t, files[i]), seeds[i/10%len(seeds)]).Facts...)
	}
	u := &facts.Units{From: "systemd"}
	for i := range 2000 {
		u.Units = append(u.Units, facts.Unit{Name: fmt.Sprintf("app%d.service", i), Log: []string{
			fmt.Sprintf(`Nov 30 02:00:01 web%d-muc app[%d]: user "emp%d" from 81.%d.%d.%d:4431 via host%d.acmecorp.de failed: token=abc%dxyz99`, i, i, i%500, i%250, i%256, i/256, i%300, i),
			fmt.Sprintf("open /home/emp%d/src/app/config.yaml: no such file or directory; connect to [2a01:4f8:%x::%d]:443 refused", i%500, i%1000, i)}})
	}
	r.Facts[0].Units = u
	return r
}

func BenchmarkRedact(b *testing.B) {
	r := large(b)
	b.SetBytes(int64(len(write(b, r))))
	b.ReportAllocs()
	for b.Loop() {
		Redact(r)
	}
}

func BenchmarkLeaks(b *testing.B) {
	r := large(b)
	to, key := Redact(r)
	data := []byte(write(b, to))
	b.SetBytes(int64(len(data)))
	for b.Loop() {
		if l := key.Leaks("facts.json", data); len(l) > 0 {
			b.Fatalf("%d leaks: %v", len(l), l[0].Entry)
		}
	}
}

// BenchmarkLongLines is of a log of 50 lines of 60 KiB each: the time for a byte is to be
// that of short ones, also if half of the lines are secrets which the other half resembles.
func BenchmarkLongLines(b *testing.B) {
	for name, part := range map[string]string{"words": "pass key ", "secrets": "pass key ", "homes": "/home/pass ", "logins": "a:b@c "} {
		b.Run(name, func(b *testing.B) {
			line := strings.Repeat(part, 60<<10/len(part))
			var lines []string
			for i := range 50 {
				lines = append(lines, line+fmt.Sprint(i))
				if name == "secrets" && i%2 == 0 {
					lines[i] = "Cookie: " + line + fmt.Sprint(i)
				}
			}
			r := around(lines...)
			b.SetBytes(50 * int64(len(line)))
			for b.Loop() {
				to, key := Redact(r)
				key.Leaks("facts.json", []byte(write(b, to)))
			}
		})
	}
}

// TestLeaksIsFastEnough: a bundle of 10 MB is scanned in less than two seconds, with
// thousands of originals. The machine may do other things meanwhile: -thorough says
// that it does not.
func TestLeaksIsFastEnough(t *testing.T) {
	if testing.Short() {
		t.Skip("measures time")
	}
	to, key := Redact(large(t))
	data := []byte(strings.Repeat(write(t, to), 1+10<<20/len(write(t, to))))
	if len(key.Entries) < 2000 || len(data) < 10<<20 {
		t.Fatalf("%d entries, %d bytes: too little to measure", len(key.Entries), len(data))
	}
	best := time.Hour // of three: the machine does other things, too
	for range 3 {
		start := time.Now()
		if l := key.Leaks("facts.json", data); len(l) > 0 {
			t.Fatalf("%d leaks: %v", len(l), l[0].Entry)
		}
		best = min(best, time.Since(start))
	}
	t.Logf("%d bytes, %d originals: %v", len(data), len(key.Entries), best)
	limit := 10 * time.Second
	if *thorough {
		limit = 2 * time.Second
	}
	if best > limit {
		t.Errorf("%d bytes took %v", len(data), best)
	}
}

// TestHostileTexts: a recording may come from anybody. What takes twice the time is of
// twice the size.
func TestHostileTexts(t *testing.T) {
	if testing.Short() {
		t.Skip("measures time")
	}
	for _, part := range []string{"a:", "1.", "1.2.3.4", "::", "a.", "a-.", "_", "/home/a/", "~a/", "x@a.b.c ", "//a@", "://a:b@", "password=", "host=", "-----BEGIN PRIVATE KEY-----", "bearer ", "user=\"", "alice", "alice:",
		"gh", "ghp_", "eyJ", "Host: ", "%2f", "\\", "C:\\Users\\", "ip-1-2-3-4-", "é", "\x00", "cafe:", "10.2.*", "AKIA", "'a'@'b'", "a%40b.de ", "/home/a.de/b/", "C:/Users/A B/", "AA-BB-CC-12-34-", "aabb.cc12.", "//target", "names"} {
		small, big := 1<<11, 1<<15
		took := func(n int) time.Duration {
			line := strings.Repeat(part, n/len(part))
			if part == "names" { // all of them others
				var b strings.Builder
				for i := 0; b.Len() < n; i++ {
					fmt.Fprintf(&b, "/home/emp%d/ web-%d.acme.com ", i, i)
				}
				line = b.String()
			}
			r := around(line)
			best := time.Hour
			for range 2 {
				start := time.Now()
				to, key := Redact(r)
				key.Leaks("x", []byte(to.Facts[0].Units.Units[0].Log[0]))
				best = min(best, time.Since(start))
			}
			return best
		}
		a, b := took(small), took(big)
		if b > 100*a && b > 200*time.Millisecond { // sixteen times the size
			t.Errorf("%q: %d bytes took %v, %d took %v", part, small, a, big, b)
		}
		t.Logf("%-10q %v %v", part, a, b)
	}
}
