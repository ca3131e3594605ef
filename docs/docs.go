// Package docs carries the pages of causes and symptoms, and the manual, into the
// program. It holds what people read and nothing else: no page is made up or
// changed when it is printed.
package docs

import (
	"embed"
	"strings"
)

//go:embed causes/*.md man/*.1
var pages embed.FS

// Page returns the page of a cause or a symptom in Markdown, and whether there is one.
func Page(name string) (string, bool) {
	if strings.ContainsAny(name, `/\`) {
		return "", false
	}
	page, err := pages.ReadFile("causes/" + name + ".md")
	return string(page), err == nil
}

// ManPage returns the page of a command for man(1), "loopdoctor-run", and whether
// there is one. Of it "Jan 0001" and VERSION in the first lines are to be filled in.
func ManPage(name string) (string, bool) {
	page, err := pages.ReadFile("man/" + name + ".1")
	return string(page), err == nil
}

// Manual lists the names of all pages for man(1).
func Manual() []string {
	files, err := pages.ReadDir("man")
	if err != nil {
		panic(err) // it is embedded
	}
	var names []string
	for _, f := range files {
		names = append(names, strings.TrimSuffix(f.Name(), ".1"))
	}
	return names
}
