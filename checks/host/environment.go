package host

import (
	"context"
	"fmt"
	"os"
	"slices"
	"strings"

	"github.com/loopdoctor/loopdoctor/checks/facts"
	"github.com/loopdoctor/loopdoctor/checks/host/internal/process"
)

// session are the variables that tell whether the person sits before this machine
// or before another one.
var session = []string{
	"SSH_CONNECTION", "SSH_TTY", "CODESPACES", "CODESPACE_NAME", "REMOTE_CONTAINERS", "VSCODE_IPC_HOOK_CLI", "TERM_PROGRAM", "WSL_DISTRO_NAME",
	"DISPLAY", "WAYLAND_DISPLAY",
}

// telling are the others that are kept. Of all that is in neither list not even the
// name is.
var telling = []string{
	"USER", "SUDO_USER",
	// where servers listen and clients connect
	"PORT", "HOST", "KUBECONFIG", "DOCKER_HOST", "DATABASE_URL", "PGHOST", "PGPORT", "MYSQL_HOST", "MYSQL_TCP_PORT", "REDIS_URL",
	// how programs resolve and connect
	"NODE_OPTIONS", "GODEBUG", "JAVA_TOOL_OPTIONS", "RES_OPTIONS", "LOCALDOMAIN", "HOSTALIASES", "LD_PRELOAD",
	// whose certificates they trust
	"SSL_CERT_FILE", "SSL_CERT_DIR", "NODE_EXTRA_CA_CERTS", "NODE_TLS_REJECT_UNAUTHORIZED", "CURL_CA_BUNDLE", "REQUESTS_CA_BUNDLE", "GIT_SSL_CAINFO",
}

// presence are those of which only counts that they are set: their values name the
// person's machine or session, and no check reads them.
var presence = []string{"SSH_TTY", "CODESPACE_NAME", "VSCODE_IPC_HOOK_CLI"}

// maxValue is how much of a value is kept.
const maxValue = 512

// environment looks at the variables of the main client: those of its process, or
// else our own.
func (l *look) environment(ctx context.Context) {
	pid, from := l.f.Host.As[0].PID, "loopdoctor's own"
	if pid != 0 {
		from = fmt.Sprintf("process %d", pid)
	}
	var environ []string
	get(ctx, l, facts.GroupEnvironment, &environ, func() ([]string, error) {
		if l.sources.environ == nil {
			return os.Environ(), nil
		}
		return l.sources.environ(pid)
	})
	if a, failed := l.f.Absent[facts.GroupEnvironment]; failed {
		l.absent(facts.GroupProxies, a)
		return
	}
	l.beginProxies(environ, from)
	l.f.Environment = &facts.Environment{From: from, Variables: tellingVariables(environ)}
}

// tellingVariables are the ones of the list, the first of each name: that is the
// one getenv(3) finds.
func tellingVariables(environ []string) []facts.Variable {
	vars := []facts.Variable{}
	for _, kv := range environ {
		name, value, ok := strings.Cut(kv, "=")
		known := slices.ContainsFunc(vars, func(v facts.Variable) bool { return v.Name == name })
		if !ok || known || !slices.Contains(telling, name) && !slices.Contains(session, name) {
			continue
		}
		if slices.Contains(presence, name) && value != "" {
			value = "set"
		}
		vars = append(vars, facts.Variable{Name: name, Value: maskValue(name, value)})
	}
	slices.SortFunc(vars, func(a, b facts.Variable) int { return strings.Compare(a.Name, b.Name) })
	return vars
}

// maskValue masks a value twice: as a URL, and as the arguments that some of them
// hold.
func maskValue(name, value string) string {
	if strings.Contains(value, "://") {
		value = maskURL(value)
	}
	masked := process.Mask([]string{name + "=" + value})[0]
	_, value, _ = strings.Cut(masked, "=")
	if len(value) > maxValue {
		value = strings.ToValidUTF8(value[:maxValue], "") + "…"
	}
	return value
}
