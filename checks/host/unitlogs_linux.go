package host

import (
	"bytes"
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"syscall"

	"github.com/loopdoctor/loopdoctor/checks/facts"
	"github.com/loopdoctor/loopdoctor/checks/host/internal/journal"
)

const (
	logLines = 5
	logTail  = 64 << 10 // bytes of a classic log
	maxLogs  = 4        // journal files, the newest first
)

// journal fills in the last lines of a unit: from the journal, or from the logs
// of systems without one.
func (l *unitLook) journal(ctx context.Context, u *facts.Unit) {
	uid := -1
	if u.Manager == "systemd --user" {
		uid = int(u.UID)
	}
	files, err := journals(uid)
	for _, file := range files {
		if ctx.Err() != nil {
			break
		}
		lines, e := fromJournal(file, u.Name, uid)
		if e != nil {
			err = errors.Join(err, e)
		}
		if len(lines) > 0 {
			u.Log, u.LogFrom = lines, "journal"
			return
		}
	}
	name := strings.TrimSuffix(u.Name, filepath.Ext(u.Name))
	if lines := tail(filepath.Join("/var/log", name, "error.log"), 0); len(lines) > 0 && uid < 0 {
		u.Log, u.LogFrom = lines, filepath.Join("/var/log", name, "error.log")
		return
	}
	for _, file := range []string{"/var/log/syslog", "/var/log/messages", "/var/log/daemon.log"} {
		data, e := readTail(file, 0)
		if errors.Is(e, fs.ErrPermission) {
			err = errors.Join(err, e)
		}
		if lines := ofProgram(data, name); len(lines) > 0 && uid < 0 {
			u.Log, u.LogFrom = lines, file
			return
		}
	}
	switch {
	case errors.Is(err, fs.ErrPermission):
		u.LogAbsent = "needs root, or the group systemd-journal"
	case len(files) == 0:
		u.LogAbsent = "no journal here"
	}
}

// journals lists the files that may hold what a unit said, the newest first. A
// user's services are in a file of its own, or in the system's where the journal
// is not kept.
func journals(uid int) ([]string, error) {
	id, err := os.ReadFile("/etc/machine-id")
	if err != nil {
		return nil, err
	}
	type dated struct {
		name string
		time int64
	}
	var files []dated
	for _, top := range []string{"/var/log/journal", "/run/log/journal"} {
		dir := filepath.Join(top, filepath.Base(strings.TrimSpace(string(id))))
		entries, e := os.ReadDir(dir)
		if e != nil && !errors.Is(e, fs.ErrNotExist) {
			err = errors.Join(err, e)
		}
		for _, e := range entries {
			of, _, _ := strings.Cut(strings.TrimSuffix(e.Name(), ".journal"), "@")
			if !strings.HasSuffix(e.Name(), ".journal") || of != "system" && of != "user-"+strconv.Itoa(uid) {
				continue
			}
			if info, err := e.Info(); err == nil && info.Mode().IsRegular() {
				files = append(files, dated{filepath.Join(dir, e.Name()), info.ModTime().UnixNano()})
			}
		}
	}
	slices.SortFunc(files, func(a, b dated) int { return cmp.Compare(b.time, a.time) })
	var names []string
	for _, f := range files[:min(len(files), maxLogs)] {
		names = append(names, f.name)
	}
	return names, err
}

// fromJournal returns what the unit's own processes said last; where they said
// nothing, what the manager said of it.
func fromJournal(file, unit string, uid int) ([]string, error) {
	f, err := os.Open(file)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	entries, err := journal.Last(f, unit, uid, logLines)
	if err != nil {
		return nil, fmt.Errorf("read %s: %w", file, err)
	}
	own := slices.ContainsFunc(entries, func(e journal.Entry) bool { return e.Own })
	var lines []string
	for _, e := range slices.Backward(entries) {
		if text := mask(e.Text); text != "" && e.Own == own {
			lines = append(lines, text)
		}
	}
	lines = slices.Compact(lines) // who ends again and again says the same
	return lines[max(0, len(lines)-logLines):], nil
}

// tail returns the last lines of a log file that belongs to the user, or of any
// if that is root. It is no link: a service may put one into its folder of logs.
func tail(file string, owner uint32) []string {
	data, err := readTail(file, owner)
	if err != nil {
		return nil
	}
	return lastLines(bytes.Split(data, []byte("\n")))
}

func lastLines(all [][]byte) []string {
	var lines []string
	for _, b := range slices.Backward(all) {
		if text := mask(string(b[max(0, len(b)-4096):])); text != "" && len(lines) < logLines {
			lines = append(lines, text)
		}
	}
	slices.Reverse(lines)
	return slices.Compact(lines)
}

func readTail(file string, owner uint32) ([]byte, error) {
	if !filepath.IsAbs(file) {
		return nil, fs.ErrNotExist
	}
	f, err := os.OpenFile(file, os.O_RDONLY|syscall.O_NONBLOCK|syscall.O_NOFOLLOW, 0)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	info, err := f.Stat()
	if err != nil {
		return nil, err
	}
	st, ok := info.Sys().(*syscall.Stat_t)
	if !info.Mode().IsRegular() || owner != 0 && (!ok || st.Uid != owner) {
		return nil, fs.ErrInvalid
	}
	from := max(0, info.Size()-logTail)
	data := make([]byte, min(info.Size(), logTail))
	n, err := f.ReadAt(data, from)
	if err != nil && !errors.Is(err, io.EOF) {
		return nil, err
	}
	data = data[:n]
	if from > 0 { // the first line is cut
		_, data, _ = bytes.Cut(data, []byte("\n"))
	}
	return data, nil
}

// ofProgram picks a program's lines of a syslog:
//
//	Nov 25 11:00:00 host nginx[123]: bind() to 0.0.0.0:80 failed (98: Address already in use)
func ofProgram(data []byte, name string) []string {
	var lines [][]byte
	for line := range bytes.Lines(data) {
		head, text, ok := bytes.Cut(line, []byte(": "))
		words := bytes.Fields(head)
		if !ok || len(words) == 0 {
			continue
		}
		if program, _, _ := bytes.Cut(words[len(words)-1], []byte("[")); string(program) == name {
			lines = append(lines, bytes.TrimSpace(text))
		}
	}
	return lastLines(lines)
}
