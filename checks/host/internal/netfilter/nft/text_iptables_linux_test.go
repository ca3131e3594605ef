package nft

import (
	"os"
	"os/exec"
	"strings"
	"testing"
)

// TestTextIsThatOfIPTables compares the rules of iptables-nft and ip6tables-nft with
// what these print, and makes each again by its words.
func TestTextIsThatOfIPTables(t *testing.T) {
	for _, family := range []string{"iptables", "ip6tables"} {
		t.Run(family, func(t *testing.T) {
			enterNamespace(t)
			program := family + "-nft"
			if _, err := exec.LookPath(program); err != nil {
				t.Skipf("needs the program %s", program)
			}
			corpus, err := os.ReadFile("testdata/corpus." + family)
			if err != nil {
				t.Fatal(err)
			}
			execute(t, string(corpus), program+"-restore")
			before := execute(t, "", program+"-save")
			count := 0
			for _, table := range read(t).Tables {
				var want, got []string
				for line := range strings.Lines(execute(t, "", program, "-t", table.Name, "-S")) {
					if line = strings.TrimRight(line, "\n"); strings.HasPrefix(line, "-A ") {
						want = append(want, line)
					}
				}
				for _, c := range table.Chains {
					for _, r := range c.Rules {
						text, words := r.Whole().Print()
						got = append(got, text)
						count++
						if strings.Contains(text, "sctp") { // which nobody reads here
							if words != nil || text != "-A INPUT -p sctp -m sctp […] -j ACCEPT" {
								t.Errorf("a match that is not known: %s, %q", text, words)
							}
							got[len(got)-1] = "-A INPUT -p sctp -m sctp --dport 5 -j ACCEPT"
							continue
						}
						if words == nil && text != "-A "+c.Name || !r.Fact(c, nil).IPTables {
							t.Errorf("no words for %s: %q", text, words)
							continue
						}
						args := append([]string{"-t", table.Name, "-R", c.Name, decimal(uint64(r.Number))}, words...)
						if out, err := exec.Command(program, args...).CombinedOutput(); err != nil {
							t.Errorf("%q: %v: %s", args, err, out)
						}
					}
				}
				if len(got) != len(want) {
					t.Errorf("%s: %d rules, iptables prints %d", table.Name, len(got), len(want))
					continue
				}
				for i := range want {
					if got[i] != want[i] {
						t.Errorf("\n got %s\nwant %s", got[i], want[i])
					}
				}
			}
			if count < 20 {
				t.Errorf("only %d rules", count)
			}
			if after := execute(t, "", program+"-save"); uncommented(after) != uncommented(before) {
				t.Errorf("made again:\n%s\nit was:\n%s", after, before)
			}
		})
	}
}

// uncommented leaves out the times.
func uncommented(save string) string {
	var b strings.Builder
	for line := range strings.Lines(save) {
		if !strings.HasPrefix(line, "#") {
			b.WriteString(line)
		}
	}
	return b.String()
}
