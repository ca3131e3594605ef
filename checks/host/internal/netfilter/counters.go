package netfilter

// Diff compares two readings of the same tables and returns the rules of the
// later one whose counter moved, and by how many packets. A rule is found again
// by its handle, or, in a legacy table, by its place and its text; one that is
// not, or whose counter went back, is left out: somebody changed the rules in
// between.
func Diff(before, after []*Table) map[*Rule]uint64 {
	moved := map[*Rule]uint64{}
	eachChain(before, after, func(old, c *Chain) {
		byHandle := map[uint64]*Rule{}
		for _, r := range old.Rules {
			if r.Handle != 0 {
				byHandle[r.Handle] = r
			}
		}
		for i, r := range c.Rules {
			var was *Rule
			if r.Handle != 0 {
				was = byHandle[r.Handle]
			} else if i < len(old.Rules) && len(old.Rules) == len(c.Rules) {
				was = old.Rules[i]
			}
			if was == nil || was.Whole().Packets == nil || r.Whole().Packets == nil || *r.Packets <= *was.Packets {
				continue
			}
			// Only now: text is made when it is asked for, and most counters stand still.
			if r.Handle == 0 && textOf(was) != textOf(r) {
				continue
			}
			moved[r] = *r.Packets - *was.Packets
		}
	})
	return moved
}

// DiffPolicies does the same for the counters of policies, which legacy tables
// have and iptables-nft keeps.
func DiffPolicies(before, after []*Table) map[*Chain]uint64 {
	moved := map[*Chain]uint64{}
	eachChain(before, after, func(old, c *Chain) {
		if old.Packets != nil && c.Packets != nil && *c.Packets > *old.Packets && old.Drop == c.Drop {
			moved[c] = *c.Packets - *old.Packets
		}
	})
	return moved
}

// eachChain calls f for each chain that is in both readings.
func eachChain(before, after []*Table, f func(old, c *Chain)) {
	type place struct {
		engine      string
		family      Family
		table, name string
	}
	chains := map[place]*Chain{}
	for _, t := range before {
		for _, c := range t.Chains {
			chains[place{t.Engine, t.Family, t.Name, c.Name}] = c
		}
	}
	for _, t := range after {
		for _, c := range t.Chains {
			if old := chains[place{t.Engine, t.Family, t.Name, c.Name}]; old != nil {
				f(old, c)
			}
		}
	}
}

func textOf(r *Rule) string {
	if r.Print == nil {
		return ""
	}
	text, _ := r.Print()
	return text
}
