package compare

import (
	"encoding/json"
	"os"
	"path/filepath"
	"testing"

	"github.com/loopdoctor/loopdoctor/checks/facts"
	"github.com/loopdoctor/loopdoctor/report/redact"
)

// What somebody masked before sending is the same case: a colleague compares it with
// what the machine itself says, or with another ticket of it.
func TestRedactedIsTheSame(t *testing.T) {
	for i, file := range recorded(t) {
		if testing.Short() && i%20 != 0 {
			continue
		}
		t.Run(filepath.Base(file), func(t *testing.T) {
			t.Parallel()
			data, err := os.ReadFile(file)
			if err != nil {
				t.Fatal(err)
			}
			var r facts.Recording
			if err := json.Unmarshal(data, &r); err != nil {
				t.Fatal(err)
			}
			masked, key := redact.Redact(&r)
			open, closed := judged("open", r.Facts), judged("closed", masked.Facts)
			// As a bundle does, whose manifest says it.
			closed.Redacted = true
			for name, sides := range map[string][2]Side{"open and masked": {open, closed}, "masked and open": {closed, open}, "masked twice": {closed, closed}} {
				if c := New("1", sides[0], sides[1]); c.Status != ExitSame {
					t.Errorf("%s: %s\n%s\n%v", name, c.Summary, show(c.Targets), key.Entries)
				}
			}
			// Single files do not say it: what is masked in them has to show it.
			if Redacted(r.Facts, nil) {
				t.Error("as it was, it looks redacted")
			}
		})
	}
}
