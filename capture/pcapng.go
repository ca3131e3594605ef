package capture

import (
	"fmt"
	"io"

	"github.com/google/gopacket"
	"github.com/google/gopacket/layers"
	"github.com/google/gopacket/pcapgo"
)

// WritePcapng writes the frames as one pcapng section with nanosecond times,
// which tcpdump and Wireshark read. Both copies of a packet are written; the
// format's mark for the direction (epb_flags) is not.
func WritePcapng(w io.Writer, frames []Frame) error {
	lo := pcapgo.NgInterface{Name: "lo", LinkType: layers.LinkTypeEthernet, SnapLength: SnapLen}
	ng, err := pcapgo.NewNgWriterInterface(w, lo, pcapgo.NgWriterOptions{SectionInfo: pcapgo.NgSectionInfo{Application: "loopdoctor"}})
	if err != nil {
		return fmt.Errorf("write pcapng header: %w", err)
	}
	for i, f := range frames {
		// InterfaceIndex is that of the section, not the kernel's.
		ci := gopacket.CaptureInfo{Timestamp: f.At, CaptureLength: len(f.Data), Length: f.Length, InterfaceIndex: 0}
		if err := ng.WritePacket(ci, f.Data); err != nil {
			return fmt.Errorf("write pcapng packet %d: %w", i+1, err)
		}
	}
	if err := ng.Flush(); err != nil {
		return fmt.Errorf("write pcapng: %w", err)
	}
	return nil
}
