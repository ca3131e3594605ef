package host

import (
	"os"
)

// us is the client that this test is.
func us() client { return client{Identity: UID(uint32(os.Geteuid()))} }
