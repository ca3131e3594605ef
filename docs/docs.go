// Package docs carries the pages of causes and symptoms into the program. It holds what
// people read and nothing else: no page is made up or changed when it is
// printed.
package docs

import (
	"embed"
	"strings"
)

//go:embed causes/*.md
var pages embed.FS

// Page returns the page of a cause or a symptom in Markdown, and whether there is one.
func Page(name string) (string, bool) {
	if strings.ContainsAny(name, `/\`) {
		return "", false
	}
	page, err := pages.ReadFile("causes/" + name + ".md")
	return string(page), err == nil
}
