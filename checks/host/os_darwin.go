package host

import (
	"syscall"

	"github.com/loopdoctor/loopdoctor/checks/facts"
)

// On macOS loopdoctor connects, and no more yet: see docs/platforms.md.
var here = sources{dial: netDial, ask: netAsk}

var errnos = []errnoRow{
	{syscall.ECONNREFUSED, "ECONNREFUSED", facts.Refused},
	{syscall.ECONNRESET, "ECONNRESET", facts.Refused},
	{syscall.ETIMEDOUT, "ETIMEDOUT", facts.Timeout},
	{syscall.EACCES, "EACCES", facts.Denied},
	{syscall.EPERM, "EPERM", facts.Denied},
	{syscall.ENETUNREACH, "ENETUNREACH", facts.Unreachable},
	{syscall.EHOSTUNREACH, "EHOSTUNREACH", facts.Unreachable},
	{syscall.EADDRNOTAVAIL, "EADDRNOTAVAIL", facts.Unreachable},
}
