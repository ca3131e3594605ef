package nft

import "github.com/loopdoctor/loopdoctor/checks/host/internal/netfilter"

// Set is a set or a map. Its elements are read when they are first asked for.
type Set struct {
	Table     *netfilter.Table
	Name      string
	ID        uint32
	Flags     uint32 // NFT_SET_*: 1 anonymous, 2 constant, 4 interval, 8 map, 16 timeout, 32 eval, 64 object, 128 concat
	KeyType   uint32
	KeyLen    uint32
	DataType  uint32 // 0xffffff00 is a verdict
	DataLen   uint32
	ObjType   uint32   // of a map to objects: NFT_OBJECT_*
	Fields    []uint32 // lengths of the parts of a concatenation; empty: none
	Userdata  []byte
	load      func() ([]Element, error)
	elements  []Element
	loaded    bool
	loadError error
	index     *setIndex // made by the first lookup
}

// Element is one element. Of a set with the interval flag and without Fields an
// element with the flag End closes the interval that the one before it opened
// (NFT_SET_ELEM_INTERVAL_END); of a concatenation KeyEnd is the upper end, inclusive.
type Element struct {
	Key, KeyEnd []byte
	Data        []byte
	Verdict     netfilter.Verdict // of a verdict map
	Object      string            // of a map to objects
	End         bool
	CatchAll    bool // "*"
	Exprs       []netfilter.Expr
	TimeoutMS   uint64
	Comment     string
}

// Elements returns the elements in the order of the kernel. The error says why
// they could not be read.
func (s *Set) Elements() ([]Element, error) {
	if !s.loaded && s.load != nil {
		s.elements, s.loadError = s.load()
	}
	s.loaded = true
	return s.elements, s.loadError
}
