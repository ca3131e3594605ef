package errortext

import (
	"regexp"
	"sync"
)

// expression is a regular expression that is compiled when it is first needed:
// few runs read an error text, and to compile all of these takes about 10 ms.
type expression func() *regexp.Regexp

func regex(s string) expression {
	return sync.OnceValue(func() *regexp.Regexp { return regexp.MustCompile(s) })
}

func (e expression) MatchString(s string) bool { return e().MatchString(s) }
