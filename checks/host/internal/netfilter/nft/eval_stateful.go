package nft

import (
	"strconv"

	"github.com/loopdoctor/loopdoctor/checks/host/internal/netfilter"
)

// What counts, draws or remembers: a packet that has not been sent cannot be judged
// by it. The reasons are in the words of nft(8).

// Eval counts: nothing that a later rule sees.
func (e *Counter) Eval(*netfilter.State) netfilter.Effect { return netfilter.Continue }

// Eval remembers.
func (e *Last) Eval(*netfilter.State) netfilter.Effect { return netfilter.Continue }

// Eval writes to a log.
func (e *Log) Eval(*netfilter.State) netfilter.Effect { return netfilter.Continue }

// Eval sends a copy.
func (e *Dup) Eval(*netfilter.State) netfilter.Effect { return netfilter.Continue }

// Eval cannot know how many tokens are left.
func (e *Limit) Eval(*netfilter.State) netfilter.Effect {
	over, unit := "", ""
	if e.Inverse {
		over = "over "
	}
	if e.Bytes {
		unit = " bytes"
	}
	return netfilter.Perhaps("limit rate " + over + strconv.FormatUint(e.Rate, 10) + unit + "/" + period(e.Unit))
}

func period(seconds uint64) string {
	switch seconds {
	case 1:
		return "second"
	case 60:
		return "minute"
	case 3600:
		return "hour"
	case 86400:
		return "day"
	case 604800:
		return "week"
	}
	return strconv.FormatUint(seconds, 10) + " seconds"
}

// Eval cannot know how much is used up by the time.
func (e *Quota) Eval(*netfilter.State) netfilter.Effect {
	until := "until"
	if e.Inverse {
		until = "over"
	}
	return netfilter.Perhaps("quota " + until + " " + strconv.FormatUint(e.Bytes, 10) + " bytes")
}

// Eval cannot know the number of connections.
func (e *Connlimit) Eval(*netfilter.State) netfilter.Effect {
	over := ""
	if e.Inverse {
		over = "over "
	}
	return netfilter.Perhaps("ct count " + over + strconv.FormatUint(uint64(e.Count), 10))
}

// Eval draws a number.
func (e *Numgen) Eval(s *netfilter.State) netfilter.Effect {
	return drawn(s, e.Reg, e.Modulus, e.Offset, [2]string{"numgen inc", "numgen random"}[e.Type&1])
}

// Eval computes a hash with a seed that the kernel may have drawn.
func (e *Hash) Eval(s *netfilter.State) netfilter.Effect {
	return drawn(s, e.To, e.Modulus, e.Offset, [2]string{"jhash", "symhash"}[e.Type&1])
}

// drawn is a number that nobody can foresee, unless it can only be one.
func drawn(s *netfilter.State, reg, modulus, offset uint32, kind string) netfilter.Effect {
	if modulus == 1 {
		s.Registers.SetMasked(reg, native32(offset), nil)
	} else {
		unknown(s, reg, 4, kind)
	}
	return netfilter.Continue
}
