package process

import (
	"os"
	"path"
	"strconv"
	"strings"

	"github.com/loopdoctor/loopdoctor/checks/facts"
)

const (
	// maxParents is how many of those above a process are worth naming, maxAbove
	// how many are looked at: an editor stands behind a shell, a runner and its
	// own helpers.
	maxParents, maxAbove = 6, 12
	// maxUp is how many directories above its own a process's project can be.
	maxUp = 8
	// maxThreads is how many threads are asked for children.
	maxThreads = 64
)

// projectFiles mark the directory of a project.
var projectFiles = []string{".git", "package.json", "go.mod", "pyproject.toml", "Cargo.toml", "pom.xml", "build.gradle", "build.gradle.kts",
	"composer.json", "Gemfile", "manage.py", "requirements.txt", "compose.yaml", "docker-compose.yml", ".hg"}

// Origins adds to processes that were described where each one came from and
// what hangs on it. What may not be read stays empty, as does all of a process
// whose number has been given to another one meanwhile.
func Origins(ps []facts.Process) []facts.Process {
	d := newDescriber()
	out := make([]facts.Process, len(ps))
	for i, p := range ps {
		out[i] = d.origin(p)
	}
	return out
}

func (d *describer) origin(p facts.Process) facts.Process {
	st, err := statOf(p.PID)
	if err != nil || !d.boot.Add(st.start).Equal(p.Started) {
		return p
	}
	p.Terminal = terminal(st.tty)
	p.Children = children(p.PID)
	p.Project = project(p)
	chain := above(st.ppid)
	p.From = startedFrom(chain)
	for _, a := range chain[:min(len(chain), maxParents)] {
		p.Parents = append(p.Parents, facts.Ancestor{PID: a.pid, Name: a.name})
	}
	return p
}

// above is the process and those above it, the nearest first. 0 is the parent of
// process 1, and of one whose parent is outside our PID namespace.
func above(pid int) []program {
	var chain []program
	for pid > 0 && len(chain) < maxAbove {
		st, err := statOf(pid)
		if err != nil {
			break
		}
		p := program{pid: pid, name: st.comm}
		if dir, err := os.OpenRoot("/proc/" + strconv.Itoa(pid)); err == nil {
			p.args = readArgs(dir)
			p.exe = readLink(dir, pid, "exe")
			dir.Close()
		}
		chain = append(chain, p)
		pid = st.ppid
	}
	return chain
}

// children counts them; 0 also where the kernel does not list them
// (CONFIG_PROC_CHILDREN).
func children(pid int) int {
	n := 0
	threads, err := os.ReadDir("/proc/" + strconv.Itoa(pid) + "/task")
	if err != nil {
		return 0
	}
	for _, t := range threads[:min(len(threads), maxThreads)] {
		if b, err := os.ReadFile("/proc/" + strconv.Itoa(pid) + "/task/" + t.Name() + "/children"); err == nil {
			n += len(strings.Fields(string(b)))
		}
	}
	return n
}

// project is the directory of the project that a process runs in. Only names are
// looked for, no file is opened. The path is the one in the process's own mount
// namespace, so it counts only where it leads to the same directory from here.
func project(p facts.Process) string {
	if !strings.HasPrefix(p.Cwd, "/") {
		return ""
	}
	there, err1 := os.Stat("/proc/" + strconv.Itoa(p.PID) + "/cwd")
	here, err2 := os.Stat(p.Cwd)
	if err1 != nil || err2 != nil || !os.SameFile(there, here) {
		return ""
	}
	dir := path.Clean(p.Cwd)
	for range maxUp {
		if dir == "/" {
			break
		}
		for _, name := range projectFiles {
			if _, err := os.Lstat(path.Join(dir, name)); err == nil {
				return dir
			}
		}
		dir = path.Dir(dir)
	}
	return ""
}
