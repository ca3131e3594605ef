package compare

import (
	"fmt"
	"slices"
	"strings"

	"github.com/loopdoctor/loopdoctor/checks"
	"github.com/loopdoctor/loopdoctor/checks/facts"
	"github.com/loopdoctor/loopdoctor/report"
)

// headline is the answer for the whole.
func (c *Comparison) headline() string {
	if len(c.Targets) == 1 {
		return c.Targets[0].Summary
	}
	if !slices.ContainsFunc(c.Targets, func(t Target) bool { return t.A != nil && t.B != nil }) {
		return fmt.Sprintf("Nothing can be compared: A is about %s, and B about %s.", c.A.About, c.B.About)
	}
	n := 0
	for i := range c.Targets {
		if c.Targets[i].Differs() {
			n++
		}
	}
	if n == 0 {
		return fmt.Sprintf("Nothing that matters differs, of any of the %d targets.", len(c.Targets))
	}
	first := &c.Targets[0]
	return fmt.Sprintf("%d of %d targets %s; first of all %s: %s", n, len(c.Targets), report.Plural(n, "differs", "differ"), first.Name(), first.Summary)
}

// Name is what both sides call the target, or each of them.
func (t *Target) Name() string {
	switch {
	case t.A == nil:
		return t.B.Target
	case t.B == nil || t.A.Target == t.B.Target:
		return t.A.Target
	}
	return t.A.Target + " (A), " + t.B.Target + " (B)"
}

// how is what a verdict means for somebody, after "A".
func how(a *About) string {
	words := map[checks.Verdict]string{checks.Works: "works", checks.Partly: "works in part only", checks.Broken: "does not work"}
	if a.Intent == facts.ToBind {
		words = map[checks.Verdict]string{checks.Works: "can take the port", checks.Partly: "can take the port in part only", checks.Broken: "cannot take the port"}
	}
	return words[a.Verdict]
}

// both is the same of two sides: "both work".
func both(a *About) string {
	words := map[checks.Verdict]string{checks.Works: "both work", checks.Partly: "both work in part only", checks.Broken: "both are broken"}
	if a.Intent == facts.ToBind {
		words = map[checks.Verdict]string{checks.Works: "both can take the port", checks.Partly: "both can take the port in part only", checks.Broken: "neither can take the port"}
	}
	return words[a.Verdict]
}

// because is what is wrong: "a rule of a packet filter drops the connection
// (filter-drops-loopback)".
func because(name string) string {
	if c := checks.ByName(name); c != nil {
		return c.Doc + " (" + name + ")"
	}
	return name
}

// why is why a side does not work, as far as it is known.
func (a *About) why() string {
	var words []string
	for _, c := range a.Causes {
		words = append(words, because(c))
	}
	if len(words) == 0 {
		return "nothing explains it"
	}
	return report.Join(words, "and")
}

// The verdicts by how good they are.
var order = []checks.Verdict{checks.Works, checks.Partly, checks.Broken, checks.Unknown}

func (t *Target) headline() string {
	switch {
	case t.A == nil:
		return "Only B has " + t.B.Target + ": it " + orUnknown(t.B) + "."
	case t.B == nil:
		return "Only A has " + t.A.Target + ": it " + orUnknown(t.A) + "."
	case t.A.Verdict != t.B.Verdict:
		return t.verdicts()
	}
	switch t.A.Verdict {
	case checks.Works:
		if !t.Differs() {
			return "Nothing that matters differs; " + both(t.A) + "."
		}
		if one, name := t.remarked(); name != "" {
			return fmt.Sprintf("%s, with a remark on %s alone: %s.", title(both(t.A)), one, because(name)) + t.also()
		}
		return title(both(t.A)) + "; what differs is " + t.topics() + "."
	case checks.Unknown:
		if !t.Differs() {
			return "Nothing that matters differs, and of neither it could be told whether it works."
		}
		return "Of neither it could be told whether it works; what differs is " + t.topics() + "."
	}
	return t.broken()
}

func orUnknown(a *About) string {
	if a.Verdict == checks.Unknown {
		return "could not be told whether it works"
	}
	return how(a)
}

// verdicts is the sentence of two sides that do not fare alike, the better first.
func (t *Target) verdicts() string {
	better, worse, one, other := t.A, t.B, "A", "B"
	if slices.Index(order, better.Verdict) > slices.Index(order, worse.Verdict) {
		better, worse, one, other = worse, better, other, one
	}
	if worse.Verdict == checks.Unknown {
		return fmt.Sprintf("%s %s, and of %s it could not be told.", one, how(better), other)
	}
	second := how(worse)
	if better.Verdict == checks.Works && worse.Verdict == checks.Broken {
		second = "does not"
		if worse.Intent == facts.ToBind {
			second = "cannot"
		}
	}
	text := fmt.Sprintf("%s %s and %s %s", one, how(better), other, second)
	switch {
	case better.Verdict == checks.Works:
		return text + ": " + worse.why() + "."
	case slices.Equal(better.Causes, worse.Causes):
		return text + ", by the same cause: " + worse.why() + "."
	}
	return fmt.Sprintf("%s: on %s %s; on %s %s.", text, one, better.why(), other, worse.why())
}

// broken is the sentence of two sides that are broken alike.
func (t *Target) broken() string {
	a, b := slices.Sorted(slices.Values(t.A.Causes)), slices.Sorted(slices.Values(t.B.Causes))
	head := title(both(t.A))
	switch {
	case len(a) == 0 && len(b) == 0:
		head += ", and nothing explains it"
	case slices.Equal(a, b):
		same := ", by the same " + report.Plural(len(a), "cause", "causes")
		if slices.ContainsFunc(t.Differences, func(d Difference) bool { return d.Topic == topicCauses && d.Kind != MorePrecise }) {
			return head + same + " but not in the same way: " + t.A.why() + "."
		}
		head += same + ": " + t.A.why()
	default:
		if d := t.precise(); d != nil {
			one, other, broad := "A", "B", d.B
			if slices.Contains(b, d.What) {
				one, other, broad = "B", "A", d.A
			}
			broad, _, _ = strings.Cut(broad, ":")
			head = fmt.Sprintf("%s, and %s says more precisely why: %s; %s says %s", head, one, because(d.What), other, broad)
			break
		}
		return fmt.Sprintf("%s, by different causes: on A %s; on B %s.", head, t.A.why(), t.B.why())
	}
	if !t.Differs() {
		return "Nothing that matters differs; " + strings.ToLower(head[:1]) + head[1:] + "."
	}
	return head + "." + t.also()
}

// precise finds the cause that one side names more precisely, where that is all in
// which the causes differ.
func (t *Target) precise() *Difference {
	var found *Difference
	for i := range t.Differences {
		switch d := &t.Differences[i]; {
		case d.Topic != topicCauses:
		case d.Kind != MorePrecise:
			return nil
		default:
			found = d
		}
	}
	return found
}

// remarked finds a remark that one side alone has: where both work, the clients that
// do not are what somebody is after.
func (t *Target) remarked() (side, name string) {
	for _, d := range t.Differences {
		if d.Topic == topicRemarks && d.Kind == OnlyA {
			return "A", d.What
		} else if d.Topic == topicRemarks && d.Kind == OnlyB {
			return "B", d.What
		}
	}
	return "", ""
}

func (t *Target) also() string {
	if what := t.topics(); what != "" {
		return " What differs is " + what + "."
	}
	return ""
}

// topics names what differs, in its order.
func (t *Target) topics() string {
	var names []string
	for _, d := range t.Differences {
		if d.Kind != MorePrecise && !slices.Contains(names, d.Topic) {
			names = append(names, d.Topic)
		}
	}
	if n := len(names) - 3; n > 0 {
		names = append(names[:3:3], fmt.Sprintf("%d more", n))
	}
	return report.Join(names, "and")
}
