package host

import (
	"golang.org/x/sys/windows"

	"github.com/loopdoctor/loopdoctor/checks/facts"
)

// On Windows loopdoctor connects, and no more yet: see docs/platforms.md.
var here = sources{dial: netDial, ask: netAsk}

var errnos = []errnoRow{
	{windows.WSAECONNREFUSED, "WSAECONNREFUSED", facts.Refused},
	{windows.WSAECONNRESET, "WSAECONNRESET", facts.Refused},
	{windows.WSAETIMEDOUT, "WSAETIMEDOUT", facts.Timeout},
	{windows.WSAEACCES, "WSAEACCES", facts.Denied},
	{windows.WSAENETUNREACH, "WSAENETUNREACH", facts.Unreachable},
	{windows.WSAEHOSTUNREACH, "WSAEHOSTUNREACH", facts.Unreachable},
	{windows.WSAEADDRNOTAVAIL, "WSAEADDRNOTAVAIL", facts.Unreachable},
}
