package main

import (
	"context"
	"fmt"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/chromedp/cdproto/browser"
	"github.com/chromedp/cdproto/cdp"
	"github.com/chromedp/cdproto/emulation"
	"github.com/chromedp/cdproto/input"
	"github.com/chromedp/cdproto/log"
	"github.com/chromedp/cdproto/network"
	"github.com/chromedp/cdproto/page"
	"github.com/chromedp/cdproto/runtime"
	"github.com/chromedp/chromedp"
)

// This file is the home of chromedp: a real browser that opens pages of ours, and writes
// down all that a page must not do.

// chromium is one browser for a whole test. A test without one is skipped by name, and
// fails where the lab is required.
type chromium struct{ ctx context.Context }

func newChromium(t *testing.T) *chromium {
	t.Helper()
	var program string
	for _, name := range []string{"chromium", "chromium-browser", "google-chrome"} {
		if found, err := exec.LookPath(name); err == nil {
			program = found
			break
		}
	}
	if program == "" {
		if os.Getenv("LOOPDOCTOR_LAB") == "required" {
			t.Fatal("no chromium: apt-get install chromium fonts-dejavu-core")
		}
		t.Skip("NOT TESTED: there is no chromium to open the page in")
	}
	options := append(chromedp.DefaultExecAllocatorOptions[:], chromedp.ExecPath(program), chromedp.DisableGPU,
		chromedp.Env("TMPDIR="+t.TempDir())) // where it leaves things behind
	if os.Geteuid() == 0 {
		options = append(options, chromedp.NoSandbox)
	}
	all, stop := chromedp.NewExecAllocator(context.Background(), options...)
	ctx, cancel := chromedp.NewContext(all)
	t.Cleanup(func() {
		if err := chromedp.Cancel(ctx); err != nil { // waits for its end
			t.Error(err)
		}
		cancel()
		stop()
	})
	if err := chromedp.Do(ctx); err != nil {
		t.Fatalf("start %s: %v", program, err)
	}
	return &chromium{ctx}
}

// tab is a page in the browser.
type tab struct {
	t    *testing.T
	ctx  context.Context
	file string
	mu   sync.Mutex
	bad  []string
}

// open shows a page from a file, as a person who got it by mail does.
func (c *chromium) open(t *testing.T, html string) *tab {
	t.Helper()
	file := filepath.Join(t.TempDir(), "report.html")
	if err := os.WriteFile(file, []byte(html), 0o600); err != nil {
		t.Fatal(err)
	}
	ctx, cancel := chromedp.NewContext(c.ctx)
	t.Cleanup(cancel)
	b := &tab{t: t, ctx: ctx, file: (&url.URL{Scheme: "file", Path: filepath.ToSlash(file)}).String()}
	if err := chromedp.Listen(ctx, b.hear); err != nil {
		t.Fatal(err)
	}
	call(b, network.Enable, network.EnableParams{})
	call(b, log.Enable, cdp.Empty{})
	b.do(chromedp.Navigate(b.file))
	return b
}

// hear writes down errors, violations of the policy, requests and dialogs.
func (b *tab) hear(event any) {
	var what string
	switch e := event.(type) {
	case *runtime.EventExceptionThrown:
		what = "an exception: " + e.ExceptionDetails.Text
	case *runtime.EventConsoleAPICalled:
		what = fmt.Sprintf("console.%s", e.Type)
	case *log.EventEntryAdded:
		what = fmt.Sprintf("%s %s: %s", e.Entry.Source, e.Entry.Level, e.Entry.Text)
	case *network.EventRequestWillBeSent:
		if e.Request.URL != b.file && !strings.HasPrefix(e.Request.URL, b.file+"#") {
			what = "a request: " + e.Request.URL
		}
	case *page.EventJavascriptDialogOpening:
		what = "a dialog: " + e.Message
	}
	if what != "" {
		b.mu.Lock()
		defer b.mu.Unlock()
		b.bad = append(b.bad, what)
	}
}

// misdeeds is what the page did that it must not do.
func (b *tab) misdeeds() []string {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.bad
}

func (b *tab) do(action chromedp.Action[chromedp.Void]) {
	b.t.Helper()
	ctx, cancel := context.WithTimeout(b.ctx, time.Minute)
	defer cancel()
	if err := chromedp.Do(ctx, action); err != nil {
		b.t.Fatal(err)
	}
}

// call sends a command that chromedp has no action for.
func call[P, R any](b *tab, command cdp.Command[P, R], params P) {
	b.t.Helper()
	if _, err := chromedp.Call(b.ctx, command, params); err != nil {
		b.t.Fatal(err)
	}
}

// eval runs an expression in the page, waits for it if it is a promise, and gives what it
// gives.
func eval[T any](b *tab, js string) T {
	b.t.Helper()
	ctx, cancel := context.WithTimeout(b.ctx, time.Minute)
	defer cancel()
	out, err := chromedp.Run(ctx, chromedp.Evaluate[T](js, chromedp.EvalAwaitPromise))
	if err != nil {
		b.t.Fatal(err)
	}
	return out
}

// look changes what the page is looked at with: its width and height in CSS pixels, the
// scheme "light" or "dark", and the medium "screen" or "print".
func (b *tab) look(width, height int64, scheme, medium string) {
	b.t.Helper()
	call(b, emulation.SetDeviceMetricsOverride, emulation.SetDeviceMetricsOverrideParams{Width: width, Height: height, DeviceScaleFactor: 1})
	call(b, emulation.SetEmulatedMedia, emulation.SetEmulatedMediaParams{Media: medium, Features: []*emulation.MediaFeature{
		{Name: "prefers-color-scheme", Value: scheme}, {Name: "prefers-reduced-motion", Value: "reduce"}}})
}

// clipboard lets the page write to the clipboard, as a person's click does.
func (b *tab) clipboard() {
	b.t.Helper()
	call(b, emulation.SetFocusEmulationEnabled, emulation.SetFocusEmulationEnabledParams{Enabled: true})
	for _, name := range []string{"clipboard-read", "clipboard-write"} {
		if _, err := chromedp.CallBrowser(b.ctx, browser.SetPermission, browser.SetPermissionParams{
			Permission: &browser.PermissionDescriptor{Name: name, AllowWithoutSanitization: true}, Setting: browser.PermissionSettingGranted}); err != nil {
			b.t.Fatal(err)
		}
	}
}

// png is what is seen, without scrolling.
func (b *tab) png() []byte {
	b.t.Helper()
	picture, err := chromedp.Run(b.ctx, chromedp.CaptureScreenshot())
	if err != nil {
		b.t.Fatal(err)
	}
	return picture
}

// tabKey presses Tab.
func (b *tab) tabKey() {
	b.t.Helper()
	for _, what := range []input.DispatchKeyEventType{"rawKeyDown", "keyUp"} {
		call(b, input.DispatchKeyEvent, input.DispatchKeyEventParams{Type: what, Key: "Tab", Code: "Tab", WindowsVirtualKeyCode: 9})
	}
}
