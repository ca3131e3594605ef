package report

import (
	"reflect"
	"strings"
	"unicode"
	"unicode/utf8"
)

// Clean makes a string from the machine safe to print: one line of valid UTF-8
// without control characters (C0, DEL, C1) and without the invisible ones that
// reorder or hide text (Unicode category Cf: bidi controls, zero-width
// characters, tags). Line breaks and tabs become spaces. Clean(Clean(s)) is
// Clean(s).
func Clean(s string) string { return clean(s, false) }

// cleanLines is Clean for text of several lines: line feeds and tabs stay.
func cleanLines(s string) string { return clean(s, true) }

func clean(s string, lines bool) string {
	var b strings.Builder
	b.Grow(len(s))
	for i := 0; i < len(s); {
		r, n := utf8.DecodeRuneInString(s[i:])
		i += n
		switch {
		case r == utf8.RuneError && n == 1: // invalid UTF-8
		case lines && (r == '\n' || r == '\t'):
			b.WriteRune(r)
		case r == '\n', r == '\t', r == '\r', r == '\u0085', r == '\u2028', r == '\u2029':
			b.WriteByte(' ')
		case unicode.Is(unicode.Cc, r), unicode.Is(unicode.Cf, r):
		default:
			b.WriteRune(r)
		}
	}
	return b.String()
}

// scrub cleans every string below v, in place, and makes nil lists empty so
// that JSON says [] instead of null. It is applied once, to the whole report:
// a new field cannot be forgotten.
func scrub(v reflect.Value, lines bool) {
	switch v.Kind() {
	case reflect.String:
		v.SetString(clean(v.String(), lines))
	case reflect.Pointer:
		if !v.IsNil() {
			scrub(v.Elem(), lines)
		}
	case reflect.Slice:
		if v.IsNil() {
			v.Set(reflect.MakeSlice(v.Type(), 0, 0))
		}
		for i := range v.Len() {
			scrub(v.Index(i), lines)
		}
	case reflect.Struct:
		for i := range v.NumField() {
			f, t := v.Field(i), v.Type().Field(i)
			optional := strings.Contains(t.Tag.Get("json"), "omitzero") && f.IsZero()
			if t.IsExported() && !optional {
				scrub(f, t.Tag.Get("clean") == "lines")
			}
		}
	}
}
