// Package style is the look that the pages about several reports share. It
// refuses scripts, fonts and requests: a page has to be whole in one file.
package style

import (
	_ "embed"
	"html/template"
)

//go:embed style.css
var css string

// Head stands in the head of each page. The policy forbids all that the page does
// not carry itself.
func Head() template.HTML {
	return template.HTML(`<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<meta http-equiv="Content-Security-Policy" content="default-src 'none'; style-src 'unsafe-inline'">
<style>
` + css + `</style>`)
}
