package style

import (
	"math"
	"regexp"
	"strconv"
	"strings"
	"testing"
)

// luminance is that of WCAG 2.2, of "#abc" or "#aabbcc".
func luminance(t *testing.T, hex string) float64 {
	t.Helper()
	hex = strings.TrimPrefix(hex, "#")
	if len(hex) == 3 {
		hex = string([]byte{hex[0], hex[0], hex[1], hex[1], hex[2], hex[2]})
	}
	var l float64
	for i, weight := range []float64{0.2126, 0.7152, 0.0722} {
		n, err := strconv.ParseUint(hex[2*i:2*i+2], 16, 8)
		if err != nil {
			t.Fatal(err)
		}
		c := float64(n) / 255
		if c <= 0.04045 {
			c /= 12.92
		} else {
			c = math.Pow((c+0.055)/1.055, 2.4)
		}
		l += weight * c
	}
	return l
}

// Text can be read by everybody (WCAG 2.2 AA: 4.5 to 1), marks can be seen (3 to 1), in
// light and in dark.
func TestContrast(t *testing.T) {
	colors := map[string][2]string{}
	for _, m := range regexp.MustCompile(`--(\w+): light-dark\((#\w+), (#\w+)\)`).FindAllStringSubmatch(css, -1) {
		colors[m[1]] = [2]string{m[2], m[3]}
	}
	for _, c := range []struct {
		name, on string
		least    float64
	}{
		{"text", "page", 4.5}, {"text", "mark", 4.5}, {"dim", "page", 4.5}, {"dim", "mark", 4.5},
		{"works", "page", 3}, {"partly", "page", 3}, {"broken", "page", 3},
	} {
		if colors[c.name][0] == "" || colors[c.on][0] == "" {
			t.Fatalf("no color %s or %s", c.name, c.on)
		}
		for i, mode := range []string{"light", "dark"} {
			a, b := luminance(t, colors[c.name][i]), luminance(t, colors[c.on][i])
			if ratio := (math.Max(a, b) + 0.05) / (math.Min(a, b) + 0.05); ratio < c.least {
				t.Errorf("%s on %s, %s: %.2f to 1", c.name, c.on, mode, ratio)
			}
		}
	}
}

// A page asks for nothing and runs nothing.
func TestNothingIsFetched(t *testing.T) {
	head := string(Head())
	for _, word := range []string{"url(", "@import", "<script", "<link", "http"} {
		if strings.Contains(strings.ReplaceAll(head, "http-equiv", ""), word) {
			t.Errorf("it has %q", word)
		}
	}
	if !strings.Contains(head, "default-src 'none'") {
		t.Error("no policy")
	}
}
