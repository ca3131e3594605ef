package sockdiag

import (
	"bufio"
	"encoding/binary"
	"encoding/hex"
	"fmt"
	"io"
	"net/netip"
	"strconv"
	"strings"

	"github.com/loopdoctor/loopdoctor/checks/facts"
)

// ParseProcNet reads /proc/net/tcp, tcp6, udp or udp6 (proc_pid_net(5)).
// network is "tcp" or "udp", v6 tells the two layouts apart. Use it where
// sock_diag is blocked, and for /proc/PID/net of another namespace. It knows
// less: no cgroup, no device, no V6Only, no accept queue (the file has its
// length but not its limit), and no TCP socket that is bound but does not
// listen. The addresses are read in the byte order of this machine.
func ParseProcNet(r io.Reader, network string, v6 bool) ([]facts.Socket, error) {
	var list []facts.Socket
	scan := bufio.NewScanner(r)
	for n := 1; scan.Scan(); n++ {
		f := strings.Fields(scan.Text())
		if len(f) == 0 || f[0] == "sl" {
			continue
		}
		s, ok, err := parseProcLine(f, network, v6)
		if err != nil {
			return nil, fmt.Errorf("parse line %d of %s sockets: %w", n, network, err)
		}
		if ok {
			list = append(list, s)
		}
	}
	if err := scan.Err(); err != nil {
		return nil, fmt.Errorf("read %s sockets: %w", network, err)
	}
	return list, nil
}

// parseProcLine reads the fields of a line such as
//
//	0: 0100007F:1F90 00000000:0000 0A 00000000:00000000 00:00000000 00000000  1000        0 12345 1 …
//
// which are: slot, local, remote, state, send queue:receive queue,
// timer:when, retransmits, uid, timeout, inode.
func parseProcLine(f []string, network string, v6 bool) (s facts.Socket, ok bool, err error) {
	if len(f) < 10 {
		return s, false, fmt.Errorf("%d fields instead of 10", len(f))
	}
	local, err := parseProcAddr(f[1], v6)
	if err != nil {
		return s, false, err
	}
	remote, err := parseProcAddr(f[2], v6)
	if err != nil {
		return s, false, err
	}
	state, err := strconv.ParseUint(f[3], 16, 8)
	if err != nil {
		return s, false, err
	}
	if s, ok = socket(network, uint8(state), local, remote); !ok {
		return s, false, nil
	}
	_, recvQ, err := parseProcPair(f[4])
	if err != nil {
		return s, false, err
	}
	timer, when, err := parseProcPair(f[5])
	if err != nil {
		return s, false, err
	}
	uid, err := strconv.ParseUint(f[7], 10, 32)
	if err != nil {
		return s, false, err
	}
	s.UID = uint32(uid)
	if s.Inode, err = strconv.ParseUint(f[9], 10, 64); err != nil {
		return s, false, err
	}
	switch {
	case s.State == facts.Listen:
	case network == "tcp" && timer == timerTimeWait:
		s.TimerMS = int64(when) * 10 // USER_HZ is 100 on every architecture Go knows
	default:
		s.RecvQ = recvQ
	}
	return s, true, nil
}

// parseProcAddr reads "0100007F:1F90": words of 32 bits as this machine reads
// them, the port as a number.
func parseProcAddr(text string, v6 bool) (netip.AddrPort, error) {
	bad := fmt.Errorf("%q is not an address", text)
	host, port, _ := strings.Cut(text, ":")
	p, err := strconv.ParseUint(port, 16, 16)
	if err != nil {
		return netip.AddrPort{}, bad
	}
	b, err := hex.DecodeString(host)
	if err != nil || v6 && len(b) != 16 || !v6 && len(b) != 4 {
		return netip.AddrPort{}, bad
	}
	for w := b; len(w) > 0; w = w[4:] {
		binary.NativeEndian.PutUint32(w, binary.BigEndian.Uint32(w))
	}
	a, _ := netip.AddrFromSlice(b)
	return netip.AddrPortFrom(a, uint16(p)), nil
}

// parseProcPair reads "00000000:0000001C".
func parseProcPair(text string) (a, b uint32, err error) {
	first, second, _ := strings.Cut(text, ":")
	x, err := strconv.ParseUint(first, 16, 32)
	if err != nil {
		return 0, 0, err
	}
	y, err := strconv.ParseUint(second, 16, 32)
	return uint32(x), uint32(y), err
}
