package nft

import (
	"bytes"
	"encoding/binary"
	"slices"

	"github.com/loopdoctor/loopdoctor/checks/host/internal/netfilter"
)

// The largest value that an expression works on: NFT_DATA_VALUE_MAXLEN.
const maxValue = 64

// whatever is the effect of an expression whose registers make no sense: the kernel
// would have refused it, so it was misread.
var whatever = netfilter.Perhaps("an expression that makes no sense")

// unforeseen is why a comparison is undecided.
func unforeseen(s *netfilter.State) string {
	if s.Cause == "" {
		return "compares what cannot be foreseen"
	}
	return s.Cause
}

// matches makes an effect of a truth.
func matches(t netfilter.Truth, why string) netfilter.Effect {
	switch t {
	case netfilter.Yes:
		return netfilter.Continue
	case netfilter.No:
		return netfilter.Break
	}
	return netfilter.Perhaps(why)
}

func truth(b bool) netfilter.Truth {
	if b {
		return netfilter.Yes
	}
	return netfilter.No
}

func not(t netfilter.Truth) netfilter.Truth {
	switch t {
	case netfilter.Yes:
		return netfilter.No
	case netfilter.No:
		return netfilter.Yes
	}
	return netfilter.Unknown
}

// ends returns the smallest and the largest value that the known bits allow.
func ends(value, mask []byte) (low, high []byte) {
	low, high = value, value
	for i := range mask {
		if mask[i] != 0xff {
			low, high = make([]byte, len(value)), make([]byte, len(value))
			for j := range value {
				low[j], high[j] = value[j]&mask[j], value[j]|^mask[j]
			}
			return low, high
		}
	}
	return low, high
}

// equal compares, of which a part of the bits is known, with data.
func equal(value, mask, data []byte) netfilter.Truth {
	all := true
	for i := range data {
		if (value[i]^data[i])&mask[i] != 0 {
			return netfilter.No
		}
		all = all && mask[i] == 0xff
	}
	if all {
		return netfilter.Yes
	}
	return netfilter.Unknown
}

// Eval compares as memcmp does: nft_cmp_eval.
func (e *Cmp) Eval(s *netfilter.State) netfilter.Effect {
	value, mask := s.Registers.View(e.Reg, len(e.Data))
	if value == nil || len(e.Data) == 0 {
		return whatever
	}
	if e.Op <= 1 {
		t := equal(value, mask, e.Data)
		if e.Op == 1 {
			t = not(t)
		}
		return matches(t, unforeseen(s))
	}
	low, high := ends(value, mask)
	l, h := bytes.Compare(low, e.Data), bytes.Compare(high, e.Data)
	var atLow, atHigh bool
	switch e.Op {
	case 2:
		atLow, atHigh = l < 0, h < 0
	case 3:
		atLow, atHigh = l <= 0, h <= 0
	case 4:
		atLow, atHigh = l > 0, h > 0
	case 5:
		atLow, atHigh = l >= 0, h >= 0
	default:
		return whatever
	}
	if atLow != atHigh {
		return netfilter.Perhaps(unforeseen(s))
	}
	return matches(truth(atLow), "")
}

// within tells whether a value lies between two ends, both inclusive.
func within(low, high, from, to []byte) netfilter.Truth {
	switch {
	case bytes.Compare(low, from) >= 0 && bytes.Compare(high, to) <= 0:
		return netfilter.Yes
	case bytes.Compare(high, from) < 0 || bytes.Compare(low, to) > 0:
		return netfilter.No
	}
	return netfilter.Unknown
}

// Eval is nft_range_eval.
func (e *Range) Eval(s *netfilter.State) netfilter.Effect {
	value, mask := s.Registers.View(e.Reg, len(e.From))
	if value == nil || len(e.From) != len(e.To) || e.Op > 1 {
		return whatever
	}
	low, high := ends(value, mask)
	t := within(low, high, e.From, e.To)
	if e.Op == 1 {
		t = not(t)
	}
	return matches(t, unforeseen(s))
}

// Eval is nft_bitwise_eval.
func (e *Bitwise) Eval(s *netfilter.State) netfilter.Effect {
	n := int(e.Len)
	value, mask := s.Registers.GetMasked(e.From, n)
	if n == 0 || n > maxValue || len(value) != n {
		return whatever
	}
	switch e.Op {
	case 0:
		if len(e.Mask) < n || len(e.Xor) < n {
			return whatever
		}
		for i := range value {
			value[i] = value[i]&e.Mask[i] ^ e.Xor[i]
			mask[i] |= ^e.Mask[i] // what is masked out is zero
		}
	case 1, 2:
		if e.Shift == 0 || e.Shift >= 32 {
			return whatever
		}
		value, mask = shift(value, e.Op == 1, e.Shift, false), shift(mask, e.Op == 1, e.Shift, true)
	case 3, 4, 5:
		other, known := e.Data, bytes.Repeat([]byte{0xff}, n)
		if e.Reg2 != 0 {
			other, known = s.Registers.GetMasked(e.Reg2, n)
		}
		if len(other) < n || len(known) < n {
			return whatever
		}
		for i := range value {
			a, am, b, bm := value[i], mask[i], other[i], known[i]
			switch e.Op {
			case 3:
				value[i], mask[i] = a&b, am&bm|am&^a|bm&^b
			case 4:
				value[i], mask[i] = a|b, am&bm|am&a|bm&b
			default:
				value[i], mask[i] = a^b, am&bm
			}
		}
	default:
		return whatever
	}
	s.Registers.SetMasked(e.To, value, mask)
	return netfilter.Continue
}

// shift shifts the words of a value, in the byte order of the machine, with a
// carry from one to the next: nft_bitwise_eval_lshift and _rshift. ones: what comes
// in is ones, for a mask.
func shift(v []byte, left bool, by uint32, ones bool) []byte {
	words := (len(v) + 3) / 4
	in := append(slices.Clone(v), make([]byte, words*4-len(v))...)
	out := make([]byte, words*4)
	var carry uint32
	if ones {
		carry = ^uint32(0) >> (32 - by)
		if !left {
			carry = ^uint32(0) << (32 - by)
		}
	}
	for i := range words {
		if left {
			i = words - 1 - i
		}
		w := binary.NativeEndian.Uint32(in[i*4:])
		if left {
			binary.NativeEndian.PutUint32(out[i*4:], w<<by|carry)
			carry = w >> (32 - by)
		} else {
			binary.NativeEndian.PutUint32(out[i*4:], carry|w>>by)
			carry = w << (32 - by)
		}
	}
	return out[:len(v)]
}

// Eval is nft_byteorder_eval. Both directions are the same swap.
func (e *Byteorder) Eval(s *netfilter.State) netfilter.Effect {
	n, size := int(e.Len), int(e.Size)
	value, mask := s.Registers.GetMasked(e.From, n)
	if n == 0 || n > maxValue || len(value) != n || size != 2 && size != 4 && size != 8 {
		return whatever
	}
	if littleEndian {
		for i := 0; i+size <= n; i += size {
			slices.Reverse(value[i : i+size])
			slices.Reverse(mask[i : i+size])
		}
	}
	s.Registers.SetMasked(e.To, value, mask)
	return netfilter.Continue
}

var littleEndian = binary.NativeEndian.Uint16([]byte{1, 0}) == 1

// Eval is nft_immediate_eval.
func (e *Immediate) Eval(s *netfilter.State) netfilter.Effect {
	if e.Reg == 0 {
		return netfilter.Effect{Match: netfilter.Yes, Verdict: e.Verdict}
	}
	s.Registers.SetMasked(e.Reg, e.Data, nil)
	return netfilter.Continue
}
