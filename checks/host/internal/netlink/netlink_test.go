package netlink

import (
	"encoding/binary"
	"testing"
)

func TestNextSplitsMessages(t *testing.T) {
	one := message(20, []byte("abcde"))
	two := message(typeDone, binary.NativeEndian.AppendUint32(nil, 1<<32-2)) // -ENOENT
	m, rest, err := Next(append(append(one, 0, 0, 0), two...))
	if err != nil || m.Type != 20 || string(m.Body) != "abcde" {
		t.Fatalf("first: %+v, %v", m, err)
	}
	m, rest, err = Next(rest)
	if err != nil || m.Type != typeDone || m.errno() != 2 || len(rest) != 0 {
		t.Fatalf("second: %+v, %v, %d bytes left", m, err, len(rest))
	}
	for _, bad := range [][]byte{nil, one[:headerLen-1], one[:len(one)-1], make([]byte, 32)} {
		if m, _, err := Next(bad); err == nil {
			t.Errorf("read %v as %+v", bad, m)
		}
	}
}

func TestAttributesReadWhatAppendWrote(t *testing.T) {
	b := Append(nil, 1, []byte("lo\x00"))
	b = Append(b, 0x8000|2, []byte{7, 0, 0, 0}) // NLA_F_NESTED
	b = append(b, 9, 0, 0, 0, 1)                // claims more than there is
	var got []string
	for typ, v := range Attributes(b) {
		switch typ {
		case 1:
			got = append(got, String(v))
		case 2:
			if binary.NativeEndian.Uint32(v) != 7 || Uint32(v[:3]) != 0 {
				t.Errorf("number %v", v)
			}
			got = append(got, "number")
		default:
			t.Errorf("attribute %d", typ)
		}
	}
	if len(got) != 2 || got[0] != "lo" || got[1] != "number" {
		t.Errorf("got %q", got)
	}
}

func FuzzMessages(f *testing.F) {
	f.Add(message(20, Append(nil, 1, []byte("lo\x00"))))
	f.Add(message(typeError, []byte{1, 2}))
	f.Fuzz(func(t *testing.T, b []byte) {
		for len(b) > 0 {
			m, rest, err := Next(b)
			if err != nil {
				return
			}
			if len(rest) >= len(b) {
				t.Fatal("no progress")
			}
			m.errno()
			total := 0
			for _, v := range Attributes(m.Body) {
				total += 4 + len(v)
				String(v)
				Uint32(v)
			}
			if total > len(m.Body) {
				t.Fatal("attributes are longer than the message")
			}
			b = rest
		}
	})
}

func message(typ uint16, body []byte) []byte {
	b := make([]byte, headerLen, headerLen+len(body))
	binary.NativeEndian.PutUint32(b, uint32(headerLen+len(body)))
	binary.NativeEndian.PutUint16(b[4:], typ)
	return append(b, body...)
}
