package netfilter

// Registers is what the expressions of one rule hand on to each other: 64 bytes,
// addressed by nf_tables as four of 16 or as sixteen of 4 (enum nft_registers in
// linux/netfilter/nf_tables.h). Each bit is known or not.
type Registers struct {
	data [64]byte
	mask [64]byte // a bit that is set is known
}

// offset is where a register begins; false for the verdict register and for what
// is none.
func offset(reg uint32) (int, bool) {
	switch {
	case reg >= 1 && reg <= 4: // NFT_REG_1 …
		return int(reg-1) * 16, true
	case reg >= 8 && reg < 24: // NFT_REG32_00 …
		return int(reg-8) * 4, true
	}
	return 0, false
}

// SetMasked writes a value of which the bits that are set in mask are known; a nil
// mask means all. As the kernel does, it fills the last started word with zeroes.
func (r *Registers) SetMasked(reg uint32, value, mask []byte) {
	at, ok := offset(reg)
	if !ok {
		return
	}
	for i := 0; i < (len(value)+3)&^3 && at+i < len(r.data); i++ {
		r.data[at+i], r.mask[at+i] = 0, 0xff
		if i < len(value) {
			r.data[at+i] = value[i]
			if mask != nil {
				r.data[at+i], r.mask[at+i] = value[i]&mask[i], mask[i]
			}
		}
	}
}

// Set is SetMasked for whole bytes.
func (r *Registers) Set(reg uint32, value []byte, known []bool) {
	if known == nil {
		r.SetMasked(reg, value, nil)
		return
	}
	mask := make([]byte, len(value))
	for i := range mask {
		if known[i] {
			mask[i] = 0xff
		}
	}
	r.SetMasked(reg, value, mask)
}

// SetUnknown writes n bytes that nobody can foresee.
func (r *Registers) SetUnknown(reg uint32, n int) {
	n = max(0, min(n, len(r.data)))
	r.SetMasked(reg, make([]byte, n), make([]byte, n))
}

// GetMasked reads n bytes, and which of their bits are known; those that are not
// read as zero. It returns nil where they do not fit.
func (r *Registers) GetMasked(reg uint32, n int) (value, mask []byte) {
	value, mask = r.View(reg, n)
	return append([]byte(nil), value...), append([]byte(nil), mask...)
}

// View is GetMasked without a copy, to be read before anything is set.
func (r *Registers) View(reg uint32, n int) (value, mask []byte) {
	at, ok := offset(reg)
	if !ok || n < 0 || at+n > len(r.data) {
		return nil, nil
	}
	return r.data[at : at+n], r.mask[at : at+n]
}

// Get is GetMasked for whole bytes.
func (r *Registers) Get(reg uint32, n int) (value []byte, known []bool) {
	value, mask := r.GetMasked(reg, n)
	if value == nil {
		return nil, nil
	}
	known = make([]bool, n)
	for i := range known {
		known[i] = mask[i] == 0xff
	}
	return value, known
}
