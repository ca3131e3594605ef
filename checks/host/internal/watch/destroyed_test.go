package watch

import (
	"encoding/binary"
	"testing"
)

func destroyedMessage(family byte) []byte {
	b := make([]byte, diagLen)
	b[0] = family
	binary.BigEndian.PutUint16(b[4:], 40000)
	binary.BigEndian.PutUint16(b[6:], 3000)
	if family == 2 {
		copy(b[8:], []byte{127, 0, 0, 2})
		copy(b[24:], []byte{127, 0, 0, 1})
	} else {
		b[23], b[39] = 1, 1
	}
	return b
}

func TestParseDestroyed(t *testing.T) {
	for family, want := range map[byte]string{2: "127.0.0.2:40000 127.0.0.1:3000", 10: "[::1]:40000 [::1]:3000"} {
		d, ok := parseDestroyed(destroyedMessage(family))
		if got := d.local.String() + " " + d.remote.String(); !ok || got != want {
			t.Errorf("%d: %v %s", family, ok, got)
		}
	}
	if _, ok := parseDestroyed(destroyedMessage(2)[:diagLen-1]); ok {
		t.Error("a message that is too short is one")
	}
	if _, ok := parseDestroyed(destroyedMessage(1)); ok {
		t.Error("a UNIX socket is one of TCP")
	}
}

func FuzzParseDestroyed(f *testing.F) {
	f.Add(destroyedMessage(2))
	f.Add(destroyedMessage(10))
	f.Fuzz(func(t *testing.T, b []byte) {
		if d, ok := parseDestroyed(b); ok && !d.remote.IsValid() {
			t.Errorf("%x: %+v", b, d)
		}
	})
}
