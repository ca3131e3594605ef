package systemd

import (
	"slices"
	"strings"
)

// Network is the setting that gives the unit another network than its manager has;
// empty if none does. Of two the manager takes the one that is asked for first here
// (systemd.exec(5)); JoinsNamespaceOf= is worth nothing without PrivateNetwork=.
func (u Unit) Network() string {
	if v := u.value("Service", "NetworkNamespacePath"); v != "" {
		return "NetworkNamespacePath=" + v
	}
	v := u.value("Service", "PrivateNetwork")
	if !slices.Contains([]string{"yes", "true", "on", "1"}, strings.ToLower(v)) {
		return ""
	}
	if of := u.Values("Unit", "JoinsNamespaceOf"); len(of) > 0 {
		return "JoinsNamespaceOf=" + strings.Join(of, " ")
	}
	return "PrivateNetwork=" + v
}
