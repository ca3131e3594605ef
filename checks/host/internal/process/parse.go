package process

import (
	"bufio"
	"bytes"
	"errors"
	"fmt"
	"io"
	"strconv"
	"strings"
	"time"
)

// userHZ is the unit of times in /proc: USER_HZ of the kernel's
// include/asm-generic/param.h, which amd64 and arm64 do not change.
const userHZ = 100

// kernelThread is PF_KTHREAD of the kernel's include/linux/sched.h.
const kernelThread = 0x00200000

// stat is what loopdoctor wants of /proc/PID/stat, proc_pid_stat(5).
type stat struct {
	pid, ppid int
	tty       int32 // device number of its terminal; 0: none
	comm      string
	state     byte
	threads   int
	reaped    bool // it has had children that ended
	flags     uint64
	start     time.Duration // since boot
	cpu       time.Duration // that it has used
}

// parseStat reads /proc/PID/stat:
//
//	4121 (python3) S 4000 4121 4000 34816 4121 4194304 1021 0 0 0 3 1 0 0 20 0 1 0 8712345 …
//
// The name may hold anything, also ") R 1 (" and newlines; nothing after it
// holds a parenthesis, so the last one ends it.
func parseStat(b []byte) (stat, error) {
	open, end := bytes.IndexByte(b, '('), bytes.LastIndexByte(b, ')')
	if open < 1 || end < open {
		return stat{}, errors.New("parse stat: no name in parentheses")
	}
	pid, err := strconv.Atoi(string(bytes.TrimSpace(b[:open])))
	if err != nil {
		return stat{}, fmt.Errorf("parse stat: pid: %w", err)
	}
	f := strings.Fields(string(b[end+1:])) // f[0] is field 3 of the manual page
	if len(f) < 20 || len(f[0]) != 1 {
		return stat{}, fmt.Errorf("parse stat: %d fields after the name", len(f))
	}
	ppid, err := strconv.Atoi(f[1])
	if err != nil {
		return stat{}, fmt.Errorf("parse stat: ppid: %w", err)
	}
	tty, err := strconv.ParseInt(f[4], 10, 32)
	if err != nil {
		return stat{}, fmt.Errorf("parse stat: terminal: %w", err)
	}
	flags, err := strconv.ParseUint(f[6], 10, 64)
	if err != nil {
		return stat{}, fmt.Errorf("parse stat: flags: %w", err)
	}
	threads, err := strconv.Atoi(f[17])
	if err != nil {
		return stat{}, fmt.Errorf("parse stat: threads: %w", err)
	}
	ticks, err := strconv.ParseUint(f[19], 10, 64)
	if err != nil || ticks > uint64(1<<63-1)/uint64(time.Second/userHZ) {
		return stat{}, fmt.Errorf("parse stat: start time %q", f[19])
	}
	user, err1 := strconv.ParseUint(f[11], 10, 38)
	system, err2 := strconv.ParseUint(f[12], 10, 38)
	if err1 != nil || err2 != nil {
		return stat{}, fmt.Errorf("parse stat: times %q and %q", f[11], f[12])
	}
	return stat{
		cpu: time.Duration(user+system) * (time.Second / userHZ),
		pid: pid, ppid: ppid, tty: int32(tty), threads: threads, flags: flags, state: f[0][0],
		comm:   text(b[open+1 : end]),
		reaped: f[8] != "0", // cminflt: page faults of children that were waited for
		start:  time.Duration(ticks) * (time.Second / userHZ),
	}, nil
}

// status is what loopdoctor wants of /proc/PID/status, proc_pid_status(5).
type status struct {
	tgid   int    // the process that the thread belongs to
	uid    uint32 // the effective one
	real   uint32 // of who started it
	tracer int    // a thread; 0: none, or one outside our PID namespace
}

// parseStatus reads /proc/PID/status, lines such as
//
//	TracerPid:	0
//	Uid:	1000	1000	1000	1000
//
// The kernel escapes newlines of the Name line here, unlike in stat.
func parseStatus(r io.Reader) (status, error) {
	var s status
	var seen bool
	for line, err := range lines(r) {
		if err != nil {
			return s, fmt.Errorf("parse status: %w", err)
		}
		key, value, _ := strings.Cut(line, ":")
		f := strings.Fields(value)
		switch {
		case key == "Uid" && len(f) == 4:
			uid, err := strconv.ParseUint(f[1], 10, 32)
			if err != nil {
				return s, fmt.Errorf("parse status: uid: %w", err)
			}
			real, err := strconv.ParseUint(f[0], 10, 32)
			if err != nil {
				return s, fmt.Errorf("parse status: uid: %w", err)
			}
			s.uid, s.real, seen = uint32(uid), uint32(real), true
		case (key == "TracerPid" || key == "Tgid") && len(f) == 1:
			pid, err := strconv.Atoi(f[0])
			if err != nil {
				return s, fmt.Errorf("parse status: %s: %w", key, err)
			}
			if key == "Tgid" {
				s.tgid = pid
			} else {
				s.tracer = pid
			}
		}
	}
	if !seen {
		return s, errors.New("parse status: no line Uid")
	}
	return s, nil
}

// parseBoot reads the line "btime 1700619742" of /proc/stat.
func parseBoot(r io.Reader) (time.Time, error) {
	for line, err := range lines(r) {
		if err != nil {
			return time.Time{}, fmt.Errorf("parse boot time: %w", err)
		}
		if s, ok := strings.CutPrefix(line, "btime "); ok {
			n, err := strconv.ParseInt(strings.TrimSpace(s), 10, 64)
			if err != nil {
				return time.Time{}, fmt.Errorf("parse boot time: %w", err)
			}
			return time.Unix(n, 0), nil
		}
	}
	return time.Time{}, errors.New("parse boot time: no line btime")
}

// parsePasswd reads passwd(5) and gives the first name of each uid.
func parsePasswd(r io.Reader) (map[uint32]string, error) {
	names := map[uint32]string{}
	for line, err := range lines(r) {
		if err != nil {
			return names, fmt.Errorf("parse passwd: %w", err)
		}
		f := strings.Split(line, ":")
		if len(f) < 4 || f[0] == "" || strings.ContainsAny(f[0][:1], "#+-") { // + and - are lines of NIS
			continue
		}
		uid, err := strconv.ParseUint(f[2], 10, 32)
		if _, taken := names[uint32(uid)]; err == nil && !taken {
			names[uint32(uid)] = text([]byte(f[0]))
		}
	}
	return names, nil
}

// Mount is one line of /proc/PID/mountinfo, proc_pid_mountinfo(5).
type Mount struct {
	Root  string // what of the file system is mounted: "/", or "net:[4026532204]" of an nsfs
	Point string // where
	Type  string // "cgroup2", "nsfs"
	Super string // options of the file system: "rw,freezer"
}

// ParseMountinfo reads lines such as
//
//	38 31 0:41 / /sys/fs/cgroup/unified rw,relatime shared:9 - cgroup2 cgroup2 rw
//
// and passes over those it does not understand. The error is that of the reader.
func ParseMountinfo(r io.Reader) ([]Mount, error) {
	var ms []Mount
	for line, err := range lines(r) {
		if err != nil {
			return ms, fmt.Errorf("parse mountinfo: %w", err)
		}
		// Blanks inside a field are written \040, so " - " can only be the separator.
		left, right, ok := strings.Cut(line, " - ")
		l, s := strings.Fields(left), strings.Fields(right)
		if !ok || len(l) < 6 || len(s) < 2 {
			continue
		}
		m := Mount{Root: unescape(l[3]), Point: unescape(l[4]), Type: s[0]}
		if len(s) > 2 {
			m.Super = s[2]
		}
		ms = append(ms, m)
	}
	return ms, nil
}

// unescape turns \040 and the like (mangle_path of the kernel's fs/seq_file.c)
// into the byte they stand for.
func unescape(s string) string {
	if !strings.Contains(s, `\`) {
		return s
	}
	var b strings.Builder
	for i := 0; i < len(s); i++ {
		if s[i] == '\\' && i+3 < len(s) {
			if n, err := strconv.ParseUint(s[i+1:i+4], 8, 8); err == nil {
				b.WriteByte(byte(n))
				i += 3
				continue
			}
		}
		b.WriteByte(s[i])
	}
	return b.String()
}

// parseArgs splits /proc/PID/cmdline. A program that rewrites its title pads
// it with zero bytes, which are no arguments.
func parseArgs(b []byte) []string {
	b = bytes.TrimRight(b, "\x00")
	if len(b) == 0 {
		return nil
	}
	var args []string
	for a := range bytes.SplitSeq(b, []byte{0}) {
		args = append(args, text(a))
	}
	return args
}

// text makes foreign bytes valid UTF-8 and leaves them as they are otherwise.
// Control characters stay: who prints them strips them.
func text(b []byte) string { return strings.ToValidUTF8(string(b), "\uFFFD") }

// lines gives the lines of r, and last the error of reading, if there was one.
func lines(r io.Reader) func(yield func(string, error) bool) {
	return func(yield func(string, error) bool) {
		s := bufio.NewScanner(r)
		s.Buffer(nil, 1<<20) // an overlay's line in mountinfo passes bufio's 64 KiB
		for s.Scan() {
			if !yield(s.Text(), nil) {
				return
			}
		}
		if err := s.Err(); err != nil {
			yield("", err)
		}
	}
}
