package main

import (
	"encoding/json"
	"fmt"
	"os/exec"
	"regexp"
	"slices"
	"strings"

	"github.com/rogpeppe/go-internal/testscript"
)

// printedHandle stands in an undo for the handle that its step printed
// (checks.PrintedHandle). The lab has it from the format of the report.
const printedHandle = "HANDLE"

// handleLine is what nft -ae prints of a rule that it has added:
//
//	insert rule inet guard input iif "lo" accept # handle 5
var handleLine = regexp.MustCompile(`(?m)^(?:add|insert) rule .* # handle (\d+)$`)

// printed returns the handle that a step said it has given to its rule; empty
// for a step that is not asked to print one.
func printed(step []string, stdout string) (string, error) {
	if len(step) < 2 || step[0] != "nft" || !regexp.MustCompile(`^-[a-z]*a`).MatchString(step[1]) {
		return "", nil
	}
	found := handleLine.FindAllStringSubmatch(stdout, -1)
	if len(found) != 1 {
		return "", fmt.Errorf("%q printed %d handles instead of one:\n%s", step, len(found), stdout)
	}
	return found[0][1], nil
}

// withHandles puts the handles that the steps printed, in their order, where
// the undo says HANDLE. Each must be used: an undo that forgets a rule leaves it.
func withHandles(undo [][]string, handles []string) ([][]string, error) {
	var out [][]string
	left := handles
	for _, argv := range undo {
		argv = slices.Clone(argv)
		for i, word := range argv {
			if word != printedHandle {
				continue
			}
			if len(left) == 0 {
				return nil, fmt.Errorf("%q: the steps printed %d handles, the undo wants more", argv, len(handles))
			}
			argv[i], left = left[0], left[1:]
		}
		out = append(out, argv)
	}
	if len(left) > 0 {
		return nil, fmt.Errorf("the undo %q does not use the printed handle %s", undo, left[0])
	}
	return out, nil
}

// culprit compares the rules that root was told with those that the scenario
// marked. It asks nft and iptables themselves where these are.
func (l *lab) culprit(ts *testscript.TestScript, neg bool, args []string) {
	if l.last["root"] == nil {
		ts.Fatalf("culprit comes after doctor")
	}
	t := l.last["root"].Targets[0]
	if neg { // nobody is blamed who is innocent: no rule anywhere
		if len(args) > 0 {
			ts.Fatalf("usage: ! culprit")
		}
		for _, c := range slices.Concat(t.Causes, t.Remarks) {
			if named := c.rules("rule", "behind it"); len(named) > 0 {
				ts.Fatalf("%s names a rule: %q", c.Name, named)
			}
		}
		return
	}
	want, err := marked("culprit")
	ts.Check(err)
	behind, err := marked("behind")
	ts.Check(err)
	switch {
	case len(args) == 4 && args[0] == "policy":
		want = append(want, strings.Join(args[1:], " ")+": policy")
	case len(args) != 0:
		ts.Fatalf("usage: culprit [policy FAMILY|COMMAND TABLE CHAIN]")
	}
	if len(want) == 0 {
		ts.Fatalf(`no rule has the comment "culprit"`)
	}
	if len(t.Causes) == 0 {
		ts.Fatalf("root was told no cause")
	}
	first, named := t.Causes[0].rules("rule"), t.Causes[0].rules("rule", "behind it")
	if len(first) != 1 || !slices.Contains(want, first[0]) {
		ts.Fatalf("%s names the rule %q instead of %q; its evidence:\n%s", t.Causes[0].Name, first, want, t.Causes[0].quoted())
	}
	want = append(want, behind...)
	slices.Sort(want)
	slices.Sort(named)
	if !slices.Equal(want, slices.Compact(named)) {
		ts.Fatalf("%s names %q in all instead of %q; its evidence:\n%s", t.Causes[0].Name, named, want, t.Causes[0].quoted())
	}
}

// rules returns where the rules are that evidence of these sources quotes: what stands
// before the colon in "inet guard input, handle 4: tcp dport 62893 drop"; of
// "inet guard input: policy drop" also the word policy.
func (c labCause) rules(sources ...string) []string {
	var where []string
	for _, e := range c.Evidence {
		if !slices.Contains(sources, e.Source) {
			continue
		}
		place, text, _ := strings.Cut(e.Text, ": ")
		place = strings.Replace(place, "tables-nft ", "tables ", 1) // said so where iptables is the legacy one
		if strings.HasPrefix(text, "policy ") && !strings.Contains(place, ", ") {
			place += ": policy"
		}
		where = append(where, place)
	}
	return where
}

// quoted is the evidence for the log.
func (c labCause) quoted() string {
	var b strings.Builder
	for _, e := range c.Evidence {
		fmt.Fprintf(&b, "  %s: %s\n", e.Source, e.Text)
	}
	return b.String()
}

// marked returns where the rules are that have this comment, in the words that a
// report uses.
func marked(comment string) ([]string, error) {
	var where []string
	if _, err := exec.LookPath("nft"); err == nil {
		out, err := exec.Command("nft", "-a", "-j", "list", "ruleset").Output()
		if err != nil {
			return nil, fmt.Errorf("list the ruleset: %w", err)
		}
		var ruleset struct {
			Nftables []struct {
				Rule *struct {
					Family, Table, Chain, Comment string
					Handle                        uint64
				}
			}
		}
		if err := json.Unmarshal(out, &ruleset); err != nil {
			return nil, fmt.Errorf("list the ruleset: %w", err)
		}
		for _, o := range ruleset.Nftables {
			if r := o.Rule; r != nil && r.Comment == comment {
				where = append(where, fmt.Sprintf("%s %s %s, handle %d", r.Family, r.Table, r.Chain, r.Handle))
			}
		}
	}
	// Only iptables itself says the comments and numbers of its rules. Without a legacy table its -save is empty.
	for save, command := range map[string]string{
		"iptables-nft-save": "iptables", "ip6tables-nft-save": "ip6tables",
		"iptables-legacy-save": "iptables-legacy", "ip6tables-legacy-save": "ip6tables-legacy",
	} {
		out, err := exec.Command(save).Output()
		if err != nil {
			continue // not installed, or refused in a user namespace
		}
		where = append(where, markedInSave(command, comment, string(out))...)
	}
	return where, nil
}

// markedInSave finds the marked rules in what iptables-save prints:
//
//	*filter
//	:INPUT ACCEPT [0:0]
//	-A INPUT -p tcp -m tcp --dport 62893 -m comment --comment culprit -j DROP
func markedInSave(command, comment, save string) []string {
	var where []string
	table, number := "", map[string]int{}
	for line := range strings.Lines(save) {
		if name, ok := strings.CutPrefix(line, "*"); ok {
			table, number = strings.TrimSpace(name), map[string]int{}
		}
		if f := strings.Fields(line); len(f) > 2 && f[0] == "-A" {
			number[f[1]]++
			if i := slices.Index(f, "--comment"); i > 0 && i+1 < len(f) && strings.Trim(f[i+1], `"`) == comment {
				where = append(where, fmt.Sprintf("%s %s %s, rule %d", command, table, f[1], number[f[1]]))
			}
		}
	}
	return where
}
