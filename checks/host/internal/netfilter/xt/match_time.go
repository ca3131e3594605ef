package xt

import (
	"fmt"
	"strings"
	"time"

	"github.com/loopdoctor/loopdoctor/checks/host/internal/netfilter"
)

const (
	wholeDay     = 24*60*60 - 1 // XT_TIME_MAX_DAYTIME
	allWeekdays  = 0xfe
	allMonthdays = 0xfffffffe
	kernelZone   = 1 // XT_TIME_LOCAL_TZ
	contiguous   = 2 // XT_TIME_CONTIGUOUS
)

// timeMatch is struct xt_time_info.
func timeMatch(d data, w *phrase) func(*netfilter.State) netfilter.Effect {
	m := window{from: int64(d.u32(0)), to: int64(d.u32(4)), start: int64(d.u32(8)), stop: int64(d.u32(12)),
		monthdays: d.u32(16), weekdays: d.u8(20), flags: d.u8(21)}
	m.print(w)
	return func(*netfilter.State) netfilter.Effect {
		if m.flags&kernelZone != 0 {
			return netfilter.Perhaps("the time zone of the kernel")
		}
		// The packet came a moment ago, or will come in one.
		now := time.Now().Unix()
		if in := m.has(now); m.has(now-2) == in && m.has(now+2) == in {
			return effect(in)
		}
		return netfilter.Perhaps("the time of day")
	}
}

type window struct {
	from, to, start, stop int64 // seconds: of the epoch, of the day
	monthdays             uint32
	weekdays, flags       uint8
}

// has follows time_mt (net/netfilter/xt_time.c), for a second of the epoch.
func (m window) has(at int64) bool {
	if at < m.from || at > m.to {
		return false
	}
	day := at % 86400
	if m.start < m.stop {
		if day < m.start || day > m.stop {
			return false
		}
	} else {
		if day < m.start && day > m.stop {
			return false
		}
		// Behind midnight it still counts as the day on which it began.
		if m.flags&contiguous != 0 && day <= m.stop {
			at -= 86400
		}
	}
	date := time.Unix(at, 0).UTC()
	weekday := (int(date.Weekday())+6)%7 + 1 // Monday is 1
	return m.weekdays>>weekday&1 == 1 && m.monthdays>>date.Day()&1 == 1
}

func (m window) print(w *phrase) {
	clock := func(s int64) string { return fmt.Sprintf("%02d:%02d:%02d", s/3600, s/60%60, s%60) }
	if m.start != 0 || m.stop != wholeDay {
		w.add("--timestart", clock(m.start), "--timestop", clock(m.stop))
	}
	if m.monthdays != allMonthdays {
		var days []string
		for i := 1; i <= 31; i++ {
			if m.monthdays>>i&1 == 1 {
				days = append(days, fmt.Sprint(i))
			}
		}
		w.add("--monthdays", strings.Join(days, ","))
	}
	if m.weekdays != allWeekdays {
		w.add("--weekdays", bits(uint32(m.weekdays>>1), "", "Mon", "Tue", "Wed", "Thu", "Fri", "Sat", "Sun"))
	}
	for _, end := range [...]struct {
		option string
		at     int64
	}{{"--datestart", m.from}, {"--datestop", m.to}} {
		if end.at != 0 {
			w.add(end.option, time.Unix(end.at, 0).UTC().Format("2006-01-02T15:04:05"))
		}
	}
	if m.flags&kernelZone != 0 {
		w.add("--kerneltz")
	}
	if m.flags&contiguous != 0 {
		w.add("--contiguous")
	}
}
