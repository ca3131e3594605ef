package nft

import (
	"os"
	"regexp"
	"slices"
	"strings"
	"testing"
)

// handled is a line of "nft -a list ruleset" that is a rule.
var handled = regexp.MustCompile(`^\t\t(.+) # handle (\d+)$`)

// unsaid are the rules of the corpus that have no words: the time zone is not known
// here, and fields of part of a byte are not written.
var unsaid = []string{
	`meta time > "2024-01-01 00:00:00" drop`, `meta hour "09:00"-"17:00" drop`,
	"ip dscp set cs1", "vlan id 5 drop",
}

// TestTextIsThatOfNFT compares every rule of the corpus with what nft prints, and
// makes each again by its words.
func TestTextIsThatOfNFT(t *testing.T) {
	enterNamespace(t)
	corpus, err := os.ReadFile("testdata/corpus.nft")
	if err != nil {
		t.Fatal(err)
	}
	load(t, string(corpus))
	var want []string
	for line := range strings.Lines(execute(t, "", "nft", "-a", "list", "ruleset")) {
		if m := handled.FindStringSubmatch(strings.TrimRight(line, "\n")); m != nil {
			want = append(want, m[1])
		}
	}
	before := execute(t, "", "nft", "-s", "list", "ruleset")
	var got, none []string
	r := read(t)
	for _, table := range r.Tables {
		for _, c := range table.Chains {
			for _, rule := range c.Rules {
				text, words := rule.Whole().Print()
				got = append(got, text)
				if words == nil {
					none = append(none, text)
				}
			}
		}
	}
	if len(got) != len(want) {
		t.Fatalf("%d rules, nft prints %d", len(got), len(want))
	}
	for i := range want {
		if got[i] != want[i] && !slices.Contains(unsaid, want[i]) {
			t.Errorf("\n got %s\nwant %s", got[i], want[i])
		}
	}
	if len(none) != len(unsaid) {
		t.Errorf("%d rules have no words: %q", len(none), none)
	}
	// In front of each rule goes what its words make, and then it is deleted. "replace"
	// ends nft 1.0.6 with an assertion where an interval is in a set.
	var script strings.Builder
	for _, table := range r.Tables {
		for _, c := range table.Chains {
			for _, rule := range c.Rules {
				if _, words := rule.Whole().Print(); words != nil {
					at := strings.Join([]string{"rule", table.Family.String(), table.Name, c.Name, "handle", decimal(rule.Handle)}, " ")
					script.WriteString("insert " + at + " " + strings.Join(words, " ") + "\ndelete " + at + "\n")
				}
			}
		}
	}
	load(t, script.String())
	after := strings.Split(execute(t, "", "nft", "-s", "list", "ruleset"), "\n")
	for i, line := range strings.Split(before, "\n") {
		if i >= len(after) || after[i] != line {
			t.Errorf("made again: %q, it was %q", after[i], line)
		}
	}
}
