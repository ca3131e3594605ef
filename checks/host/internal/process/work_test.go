package process

import (
	"bytes"
	"maps"
	"strings"
	"testing"
	"time"
)

func TestParseSchedstat(t *testing.T) {
	ran, queued, err := parseSchedstat([]byte("63511165 39305 11\n"))
	if err != nil || ran != 63511165*time.Nanosecond || queued != 39305*time.Nanosecond {
		t.Errorf("%v, %v, %v", ran, queued, err)
	}
	for _, bad := range []string{"", "1 2", "1 x 3", "x 1 2", "99999999999999999999 1 2"} {
		if _, _, err := parseSchedstat([]byte(bad)); err == nil {
			t.Errorf("%q: no error", bad)
		}
	}
}

func TestParseOpenFiles(t *testing.T) {
	const head = "Limit                     Soft Limit           Hard Limit           Units     \n"
	for text, want := range map[string][2]int{
		"Max open files            1024                 524288               files     ": {1024, 524288},
		"Max open files            unlimited            unlimited            files     ": {0, 0},
		"Max open files            1024                 unlimited            files     ": {1024, 0},
	} {
		soft, hard, err := parseOpenFiles(strings.NewReader(head + text + "\nMax locked memory  8  8  bytes\n"))
		if err != nil || soft != want[0] || hard != want[1] {
			t.Errorf("%q: %d, %d, %v", text, soft, hard, err)
		}
	}
	for _, bad := range []string{"", head, "Max open files\n", "Max open files x y files\n", "Max open files -1 5 files\n"} {
		if _, _, err := parseOpenFiles(strings.NewReader(bad)); err == nil {
			t.Errorf("%q: no error", bad)
		}
	}
}

func TestParseKeyed(t *testing.T) {
	got, err := parseKeyed(strings.NewReader("nr_periods 12\nnr_throttled 3\n\nthrottled_time x\n 4\nfull\n"))
	if err != nil || !maps.Equal(got, map[string]int64{"nr_periods": 12, "nr_throttled": 3}) {
		t.Errorf("%v, %v", got, err)
	}
}

func TestParsePressure(t *testing.T) {
	got, err := parsePressure(strings.NewReader("some avg10=40.80 avg60=37.80 avg300=34.96 total=251468709\nfull avg10=1.00 avg60=0.00 avg300=0.00 total=0\n"))
	if err != nil || got != 40.8 {
		t.Errorf("%v, %v", got, err)
	}
	for _, bad := range []string{"", "full avg10=1.00", "some avg10=x", "some avg10=-1", "some avg10=101 a", "some avg10=NaN"} {
		if v, err := parsePressure(strings.NewReader(bad)); err == nil {
			t.Errorf("%q: %v and no error", bad, v)
		}
	}
}

func TestParseMax(t *testing.T) {
	for text, want := range map[string]int64{"16777216\n": 16777216, "max\n": 0, "9223372036854771712\n": 0, "-1\n": 0, "": 0} {
		if got := parseMax([]byte(text)); got != want {
			t.Errorf("%q: %d, want %d", text, got, want)
		}
	}
}

func TestParseWchan(t *testing.T) {
	for text, want := range map[string]string{"do_epoll_wait": "do_epoll_wait", "poll_schedule_timeout.constprop.0": "poll_schedule_timeout", "0": "", "": "", strings.Repeat("x", 100): ""} {
		if got := parseWchan([]byte(text)); got != want {
			t.Errorf("%q: %q, want %q", text, got, want)
		}
	}
}

func FuzzWork(f *testing.F) {
	for _, seed := range []string{"63511165 39305 11\n", "Max open files 1024 524288 files\n", "nr_throttled 3\n", "some avg10=40.80 avg60=37.80\n", "max\n", "poll_schedule_timeout.constprop.0"} {
		f.Add([]byte(seed))
	}
	f.Fuzz(func(t *testing.T, b []byte) {
		_, _, _ = parseSchedstat(b)
		if soft, hard, err := parseOpenFiles(bytes.NewReader(b)); err == nil && (soft < 0 || hard < 0) {
			t.Errorf("%q: %d, %d", b, soft, hard)
		}
		if m, _ := parseKeyed(bytes.NewReader(b)); len(m) > 100 {
			t.Errorf("%d keys", len(m))
		}
		if v, err := parsePressure(bytes.NewReader(b)); err == nil && !(v >= 0 && v <= 100) {
			t.Errorf("%q: %v", b, v)
		}
		if n := parseMax(b); n < 0 {
			t.Errorf("%q: %d", b, n)
		}
		if s := parseWchan(b); len(s) > 300 {
			t.Errorf("%q: %q", b, s)
		}
	})
}
