// Package docs carries the pages of the causes into the program. It holds what
// people read and nothing else: no page is made up or changed when it is
// printed.
package docs

import (
	"embed"
	"strings"
)

//go:embed causes/*.md
var causes embed.FS

// Cause returns the page of a cause in Markdown, and whether there is one.
func Cause(name string) (string, bool) {
	if strings.ContainsAny(name, `/\`) {
		return "", false
	}
	page, err := causes.ReadFile("causes/" + name + ".md")
	return string(page), err == nil
}
