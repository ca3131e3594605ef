package capture

import (
	"errors"
	"fmt"
	"io"
	"net/netip"
	"slices"
	"time"

	"github.com/google/gopacket"
	"github.com/google/gopacket/layers"
	"github.com/google/gopacket/pcapgo"

	"github.com/loopdoctor/loopdoctor/checks/facts"
)

// sides are the interfaces of the file: the format has no better place that every
// reader shows for where a packet was seen.
var sides = []struct{ name, description string }{
	{"lo", "seen leaving and arriving"},
	{"lo-lost", "seen leaving, and not arriving: it was lost in between"},
	{"lo-in", "seen arriving, and not leaving: it was changed in between, or its leaving was missed"},
}

func side(p facts.Packet) int {
	switch {
	case p.Out && p.In:
		return 0
	case p.Out:
		return 1
	}
	return 2
}

// WritePcapng writes the headers of the packets of some looks, in the order of
// their times, as one pcapng section with nanosecond times, which tcpdump and
// Wireshark read. A packet is written once, with its original length; comment
// says to the reader what the file is. It returns how many packets were written,
// and how many had no headers to write; it writes nothing at all without any.
func WritePcapng(w io.Writer, comment string, looks ...*facts.Packets) (written, left int, err error) {
	type packet struct {
		at     time.Time
		side   int
		data   []byte
		length int
	}
	var packets []packet
	for _, look := range looks {
		if look == nil {
			continue
		}
		for _, c := range look.Conversations {
			for _, p := range c.Packets {
				src, dst := c.Server.Addr(), c.Client.Addr()
				if p.FromClient {
					src, dst = dst, src
				}
				data, ok := filled(p, src, dst)
				if !ok {
					left++
					continue
				}
				packets = append(packets, packet{look.Start.Add(p.At), side(p), data, frameLength(data, p.Length)})
			}
		}
	}
	if len(packets) == 0 {
		return 0, left, nil
	}
	slices.SortStableFunc(packets, func(a, b packet) int { return a.at.Compare(b.at) })

	var ng *pcapgo.NgWriter
	for i, s := range sides {
		lo := pcapgo.NgInterface{Name: s.name, Description: s.description, LinkType: layers.LinkTypeEthernet, SnapLength: SnapLen}
		if i == 0 {
			info := pcapgo.NgSectionInfo{Application: "loopdoctor", Comment: comment}
			ng, err = pcapgo.NewNgWriterInterface(w, lo, pcapgo.NgWriterOptions{SectionInfo: info})
		} else {
			_, err = ng.AddInterface(lo)
		}
		if err != nil {
			return 0, left, fmt.Errorf("write pcapng header: %w", err)
		}
	}
	for i, p := range packets {
		ci := gopacket.CaptureInfo{Timestamp: p.at, CaptureLength: len(p.data), Length: p.length, InterfaceIndex: p.side}
		if err := ng.WritePacket(ci, p.data); err != nil {
			return 0, left, fmt.Errorf("write pcapng packet %d: %w", i+1, err)
		}
	}
	if err := ng.Flush(); err != nil {
		return 0, left, fmt.Errorf("write pcapng: %w", err)
	}
	return len(packets), left, nil
}

// ReadPcapng reads what WritePcapng wrote back and tells which addresses are in
// it. It is an error if there is more in a packet than headers.
func ReadPcapng(r io.Reader) ([]netip.Addr, error) {
	ng, err := pcapgo.NewNgReader(r, pcapgo.DefaultNgReaderOptions)
	if err != nil {
		return nil, fmt.Errorf("read pcapng: %w", err)
	}
	seen := map[netip.Addr]bool{}
	for n := 1; ; n++ {
		data, _, err := ng.ReadPacketData()
		if errors.Is(err, io.EOF) {
			break
		}
		if err != nil {
			return nil, fmt.Errorf("read pcapng packet %d: %w", n, err)
		}
		o, ok := outlined(data)
		if !ok || o.end != len(data) {
			return nil, fmt.Errorf("read pcapng packet %d: it is more than headers", n)
		}
		for _, at := range []int{offIP, o.quoted} {
			if at > 0 {
				src, dst := addresses(data[at:])
				seen[src], seen[dst] = true, true
			}
		}
	}
	list := make([]netip.Addr, 0, len(seen))
	for a := range seen {
		list = append(list, a)
	}
	slices.SortFunc(list, netip.Addr.Compare)
	return list, nil
}

// HeadersOnly takes from packets that came from elsewhere what a capture of this
// program would not have put there.
func HeadersOnly(p *facts.Packets) {
	if p == nil {
		return
	}
	for _, c := range p.Conversations {
		for i := range c.Packets {
			c.Packets[i].Header = headers(c.Packets[i].Header)
		}
	}
}
