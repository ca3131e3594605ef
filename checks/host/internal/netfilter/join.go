package netfilter

// join is what two worlds have in common: the packet of the first, without what the
// other wrote differently. The first may be nil. Addresses stay those of the first,
// for who may have changed them was reported as a doubt.
func join(a, b *Packet) *Packet {
	if a == nil {
		c := *b
		return &c
	}
	j := *a
	if !b.MarkKnown || a.Mark != b.Mark {
		j.MarkKnown = false
	}
	if b.PriorityUnknown || a.Priority != b.Priority {
		j.PriorityUnknown = true
	}
	if b.TOSUnknown || a.TOS != b.TOS {
		j.TOSUnknown = true
	}
	if b.TOSUnknown || a.TOS != b.TOS {
		j.TOSUnknown = true
	}
	if !b.CTKnown || a.CT != b.CT {
		j.CTKnown = false
	}
	if !b.CTMarkOK || a.CTMark != b.CTMark {
		j.CTMarkOK = false
	}
	return &j
}
