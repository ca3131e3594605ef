package host

import (
	"net"
	"net/netip"
	"os"
	"strings"
	"time"

	"golang.org/x/sys/unix"

	"github.com/loopdoctor/loopdoctor/checks/facts"
)

// insideVM says whether this system is a virtual machine of a desktop product, or WSL.
// On any other machine it costs a few stat(2).
func insideVM(in *facts.Inside, kernel string) {
	s := &vmSigns{kernel: kernel}
	for _, place := range vmPlaces {
		if present(place) {
			s.present = append(s.present, place)
		}
	}
	var u unix.Utsname
	if unix.Uname(&u) == nil {
		s.hostname = unix.ByteSliceToString(u.Nodename[:])
	}
	if strings.Contains(kernel, "microsoft") || s.has("/run/WSL") {
		s.wsl()
	}
	s.recognise(in)
}

// wsl reads what tells how WSL is connected.
func (s *vmSigns) wsl() {
	s.addresses = map[string][]netip.Prefix{}
	devices, _ := net.Interfaces()
	for _, d := range devices {
		s.addresses[d.Name] = nil
		addrs, _ := d.Addrs()
		for _, a := range addrs {
			if p, err := netip.ParsePrefix(a.String()); err == nil {
				s.addresses[d.Name] = append(s.addresses[d.Name], p)
			}
		}
	}
	s.gateway = defaultGateway(readHead("/proc/net/route"))
	profile := windowsProfile(os.Getenv("PATH"), automountRoot(readHead("/etc/wsl.conf")))
	if profile == "" {
		return
	}
	s.configPath = profile + "/.wslconfig"
	// The drive of Windows is a network file system, which may not answer.
	done := make(chan []byte, 1)
	go func() { done <- readHead(s.configPath) }()
	select {
	case s.config = <-done:
	case <-time.After(wslConfigTime):
	}
}

// wslConfigTime is how long Windows may take to hand over one small file.
const wslConfigTime = 150 * time.Millisecond
