package process

import (
	"bytes"
	"fmt"
	"io"
	"strconv"
	"strings"
	"time"
)

// parseSchedstat reads /proc/PID/schedstat (the kernel's
// Documentation/scheduler/sched-stats.rst): time on a processor and time in the queue
// for one, in nanoseconds, and how often it came to run:
//
//	63511165 39305 11
func parseSchedstat(b []byte) (ran, queued time.Duration, err error) {
	f := strings.Fields(string(b))
	if len(f) != 3 {
		return 0, 0, fmt.Errorf("parse schedstat: %d fields", len(f))
	}
	r, err := strconv.ParseInt(f[0], 10, 64)
	if err != nil {
		return 0, 0, fmt.Errorf("parse schedstat: %w", err)
	}
	q, err := strconv.ParseInt(f[1], 10, 64)
	if err != nil {
		return 0, 0, fmt.Errorf("parse schedstat: %w", err)
	}
	return time.Duration(r), time.Duration(q), nil
}

// parseOpenFiles reads the soft and the hard limit of this line of /proc/PID/limits; 0 is
// none:
//
//	Max open files            1024                 524288               files
func parseOpenFiles(r io.Reader) (soft, hard int, err error) {
	for line, err := range lines(r) {
		if err != nil {
			return 0, 0, fmt.Errorf("parse limits: %w", err)
		}
		rest, ok := strings.CutPrefix(line, "Max open files")
		f := strings.Fields(rest)
		if !ok || len(f) < 2 {
			continue
		}
		for i, n := range []*int{&soft, &hard} {
			if f[i] == "unlimited" {
				continue
			}
			if *n, err = strconv.Atoi(f[i]); err != nil || *n < 0 {
				return 0, 0, fmt.Errorf("parse limits: open files %q", f[i])
			}
		}
		return soft, hard, nil
	}
	return 0, 0, fmt.Errorf("parse limits: no line of open files")
}

// parseKeyed reads a flat keyed file of a cgroup, such as cpu.stat and memory.events:
//
//	nr_throttled 3
func parseKeyed(r io.Reader) (map[string]int64, error) {
	values := map[string]int64{}
	for line, err := range lines(r) {
		if err != nil {
			return values, err
		}
		key, value, _ := strings.Cut(line, " ")
		if n, err := strconv.ParseInt(value, 10, 64); err == nil && key != "" && len(values) < 100 {
			values[key] = n
		}
	}
	return values, nil
}

// parsePressure reads the share of the last 10 s in which some task waited, of
// /proc/pressure and of cpu.pressure and the like:
//
//	some avg10=40.80 avg60=37.80 avg300=34.96 total=251468709
func parsePressure(r io.Reader) (float64, error) {
	for line, err := range lines(r) {
		if err != nil {
			return 0, err
		}
		rest, ok := strings.CutPrefix(line, "some avg10=")
		if value, _, _ := strings.Cut(rest, " "); ok {
			n, err := strconv.ParseFloat(value, 64)
			if err != nil || !(n >= 0 && n <= 100) { // not a number is neither
				return 0, fmt.Errorf("parse pressure: %q", value)
			}
			return n, nil
		}
	}
	return 0, fmt.Errorf("parse pressure: no line some")
}

// parseMax reads a limit of one number, "max" or, in version 1, a number that no
// memory has; 0 is none.
func parseMax(b []byte) int64 {
	n, err := strconv.ParseInt(string(bytes.TrimSpace(b)), 10, 64)
	if err != nil || n < 0 || n > 1<<60 { // PAGE_COUNTER_MAX of the kernel's include/linux/page_counter.h
		return 0
	}
	return n
}

// parseWchan reads /proc/PID/wchan; one that runs, or that may not be looked at, has "0".
func parseWchan(b []byte) string {
	s := text(bytes.TrimSpace(b))
	if s == "0" || len(s) > 80 {
		return ""
	}
	s, _, _ = strings.Cut(s, ".") // poll_schedule_timeout.constprop.0: what the compiler made of it
	return s
}
