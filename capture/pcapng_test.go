package capture

import (
	"bytes"
	"errors"
	"io"
	"strings"
	"testing"
	"time"

	"github.com/google/gopacket/layers"
	"github.com/google/gopacket/pcapgo"
)

func TestWritePcapng(t *testing.T) {
	frames := both(time.Microsecond+1, wire(t, client4, server4, &layers.TCP{ACK: true}, strings.Repeat("x", 1000)))
	var b bytes.Buffer
	if err := WritePcapng(&b, frames); err != nil {
		t.Fatal(err)
	}
	r, err := pcapgo.NewNgReader(&b, pcapgo.DefaultNgReaderOptions)
	if err != nil {
		t.Fatal(err)
	}
	if r.LinkType() != layers.LinkTypeEthernet {
		t.Errorf("link type %v", r.LinkType())
	}
	for i, f := range frames {
		data, ci, err := r.ReadPacketData()
		if err != nil {
			t.Fatal(err)
		}
		if !bytes.Equal(data, f.Data) || ci.Length != f.Length || !ci.Timestamp.Equal(f.At) {
			t.Errorf("packet %d: %d bytes of %d at %v, want %d of %d at %v",
				i, len(data), ci.Length, ci.Timestamp, len(f.Data), f.Length, f.At)
		}
	}
	if _, _, err := r.ReadPacketData(); err != io.EOF {
		t.Errorf("after the last packet: %v", err)
	}
}

type fullDisk struct{}

func (fullDisk) Write([]byte) (int, error) { return 0, errFull }

var errFull = errors.New("no space left")

func TestWritePcapngSaysWhatFailed(t *testing.T) {
	if err := WritePcapng(fullDisk{}, nil); !errors.Is(err, errFull) {
		t.Errorf("got %v", err)
	}
}
