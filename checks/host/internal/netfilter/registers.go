package netfilter

// Registers is what the expressions of one rule hand on to each other: 64 bytes,
// addressed by nf_tables as four of 16 or as sixteen of 4 (enum nft_registers in
// linux/netfilter/nf_tables.h). Each byte is known or not.
type Registers struct {
	data  [64]byte
	known [64]bool
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

// Set writes a value whose bytes are known where the mask says so; a nil mask
// means all. As the kernel does, it fills the last started word with zeroes.
func (r *Registers) Set(reg uint32, value []byte, known []bool) {
	at, ok := offset(reg)
	if !ok {
		return
	}
	for i := 0; i < (len(value)+3)&^3 && at+i < len(r.data); i++ {
		r.data[at+i], r.known[at+i] = 0, true
		if i < len(value) {
			r.data[at+i], r.known[at+i] = value[i], known == nil || known[i]
		}
	}
}

// SetUnknown writes n bytes that nobody can foresee.
func (r *Registers) SetUnknown(reg uint32, n int) {
	r.Set(reg, make([]byte, n), make([]bool, n))
}

// Get reads n bytes, and which of them are known. It returns nil where they do
// not fit.
func (r *Registers) Get(reg uint32, n int) (value []byte, known []bool) {
	at, ok := offset(reg)
	if !ok || n < 0 || at+n > len(r.data) {
		return nil, nil
	}
	return append([]byte(nil), r.data[at:at+n]...), append([]bool(nil), r.known[at:at+n]...)
}
