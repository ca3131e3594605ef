package main

import (
	"errors"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/loopdoctor/loopdoctor/checks/facts"
	"github.com/loopdoctor/loopdoctor/report"
)

// A pipe stays a pipe: to rename a file over /dev/null would be worse.
func TestFileIsPipe(t *testing.T) {
	path := filepath.Join(t.TempDir(), "pipe")
	if err := syscall.Mkfifo(path, 0o600); err != nil {
		t.Fatal(err)
	}
	r, err := os.OpenFile(path, os.O_RDWR, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer r.Close()
	f, err := create(path, 0o666, nil)
	if err != nil {
		t.Fatal(err)
	}
	defer f.abandon()
	fmt.Fprint(f, "report")
	if err := f.commit(); err != nil {
		t.Fatal(err)
	}
	b := make([]byte, 6)
	if _, err := r.Read(b); err != nil || string(b) != "report" {
		t.Errorf("%q, %v", b, err)
	}
	if info, err := os.Lstat(path); err != nil || info.Mode()&os.ModeNamedPipe == 0 {
		t.Errorf("it was replaced: %v", info.Mode())
	}
}

// The standard output by another name is what it is: what else a shell wrote there stays.
func TestFileIsStream(t *testing.T) {
	log, err := os.OpenFile(filepath.Join(t.TempDir(), "log"), os.O_RDWR|os.O_CREATE, 0o600)
	if err != nil {
		t.Fatal(err)
	}
	defer log.Close()
	for _, args := range [][]string{{"--replay", dropped, "-q", "-o", "/dev/stdout"}, {"--no-capture", "-q", "--record", "/dev/stderr", "127.0.0.1:1"}, {"open", dropped, "-o", log.Name()}} {
		cmd := exec.Command("/proc/self/exe", args...)
		cmd.Args[0], cmd.Stdout, cmd.Stderr = "loopdoctor", log, log
		fmt.Fprintln(log, "before")
		_ = cmd.Run() // its status is that of the fault
		fmt.Fprintln(log, "after")
	}
	b, err := os.ReadFile(log.Name())
	lines := strings.Split(string(b), "\n")
	if err != nil || strings.Count(string(b), "before\n") != 3 || strings.Count(string(b), "after\n") != 3 || len(lines) < 20 || !strings.Contains(string(b), `"facts_schema"`) {
		t.Errorf("%v, the log holds %.300q", err, b)
	}
	if len(folder(t, filepath.Dir(log.Name()))) != 1 {
		t.Errorf("beside it is %v", folder(t, filepath.Dir(log.Name())))
	}
}

// A disk without space leaves nothing, and nothing of an earlier time changes.
func TestFileOnFullDisk(t *testing.T) {
	dir := t.TempDir()
	for _, name := range []string{"new", "old"} {
		old := filepath.Join(dir, "old")
		if err := os.WriteFile(old, []byte("old"), 0o600); err != nil {
			t.Fatal(err)
		}
		f, err := create(filepath.Join(dir, name), 0o600, nil)
		if err != nil {
			t.Fatal(err)
		}
		full, err := os.OpenFile("/dev/full", os.O_WRONLY, 0)
		if err != nil {
			t.Fatal(err)
		}
		f.Writer = full
		if err := saveRecording(f, &facts.Recording{}); !errors.Is(err, syscall.ENOSPC) {
			t.Errorf("%s: %v", name, err)
		}
		f.abandon()
		full.Close()
		if b, err := os.ReadFile(old); string(b) != "old" || len(folder(t, dir)) != 1 {
			t.Errorf("%s: %v in %v, old holds %q", name, err, folder(t, dir), b)
		}
	}
}

// A file keeps who may read and write it; one that may not be written stays.
func TestFileKeepsMode(t *testing.T) {
	dir := t.TempDir()
	for mode, want := range map[os.FileMode]os.FileMode{0o600: 0o600, 0o640: 0o640, 0o666: 0o644, 0o444: 0o444} {
		path := filepath.Join(dir, mode.String())
		if err := errors.Join(os.WriteFile(path, []byte("old"), 0o600), os.Chmod(path, mode)); err != nil {
			t.Fatal(err)
		}
		if mode == 0o444 && os.Geteuid() != 0 {
			if f, err := create(path, 0o644, nil); !errors.Is(err, os.ErrPermission) {
				t.Errorf("%v, %v", f, err)
			}
			continue
		}
		f, err := create(path, 0o644, nil)
		if err != nil {
			t.Fatal(err)
		}
		fmt.Fprint(f, "new")
		if err := f.commit(); err != nil {
			t.Fatal(err)
		}
		if info, err := os.Stat(path); err != nil || info.Mode().Perm() != want {
			t.Errorf("%v became %v, %v", mode, info.Mode(), err)
		}
	}
	// What a link leads to is made there.
	link := filepath.Join(dir, "link")
	if err := os.Symlink("later", link); err != nil {
		t.Fatal(err)
	}
	f, err := create(link, 0o600, nil)
	if err != nil {
		t.Fatal(err)
	}
	fmt.Fprint(f, "new")
	if err := f.commit(); err != nil {
		t.Fatal(err)
	}
	if b, err := os.ReadFile(filepath.Join(dir, "later")); string(b) != "new" {
		t.Errorf("%q, %v", b, err)
	}
}

// everybodys is a directory to which everybody may add, such as /tmp.
func everybodys(t *testing.T) string {
	t.Helper()
	dir := filepath.Join(t.TempDir(), "everybodys")
	if err := errors.Join(os.Mkdir(dir, 0o700), os.Chmod(dir, 0o777|os.ModeSticky)); err != nil {
		t.Fatal(err)
	}
	return dir
}

// Root writes to no file that somebody else chose.
func TestFileBehindForeignLink(t *testing.T) {
	if os.Geteuid() != 0 {
		t.Skip("NOT RUN: only root can make a link of somebody else's")
	}
	dir, victim := everybodys(t), filepath.Join(t.TempDir(), "victim")
	first, second := filepath.Join(dir, "ticket.zip"), filepath.Join(t.TempDir(), "second")
	err := errors.Join(os.WriteFile(victim, []byte("old"), 0o600), os.Symlink(victim, first), os.Lchown(first, 1000, 1000), os.Symlink(first, second))
	if err != nil {
		t.Fatal(err)
	}
	for _, link := range []string{first, second} {
		status, stdout, stderr := do("", "bundle", "--replay", dropped, "-o", link)
		oneLine(t, first+" is a link that somebody else left in a directory of everybody", exitUsage, status, stdout, stderr)
	}
	if old, err := os.ReadFile(victim); err != nil || string(old) != "old" || len(folder(t, dir)) != 1 {
		t.Errorf("the victim holds %q, beside the link %v: %v", old, folder(t, dir), err)
	}
	// One of one's own leads where it did, also out of such a directory.
	if err := os.Lchown(first, 0, 0); err != nil {
		t.Fatal(err)
	}
	status, _, stderr := do("", "bundle", "--replay", dropped, "-o", second)
	if info, err := os.Lstat(victim); status != report.ExitFault || stderr != "" || err != nil || info.Size() < 1000 {
		t.Errorf("exit status %d, %s, behind one's own link: %v", status, stderr, err)
	}
}

// Who calls sudo can send the ticket, and gets nothing else.
func TestFileOfSudo(t *testing.T) {
	if os.Geteuid() != 0 {
		t.Skip("NOT RUN: only root can give a file away")
	}
	env := func(name string) string { return map[string]string{"SUDO_UID": "1000", "SUDO_GID": "1001"}[name] }
	packed := func(file string, env func(string) string) *syscall.Stat_t {
		t.Helper()
		var out, errs strings.Builder
		if status := run([]string{"bundle", "--replay", dropped, "-o", file}, nil, &out, &errs, env); status != report.ExitFault {
			t.Fatalf("exit status %d: %s", status, errs.String())
		}
		info, err := os.Lstat(file)
		if err != nil || info.Mode().Perm() != 0o600 {
			t.Fatalf("%v, %v", info, err)
		}
		return info.Sys().(*syscall.Stat_t)
	}
	roots, theirs := t.TempDir(), t.TempDir()
	if err := errors.Join(os.Chmod(roots, 0o755), os.Chown(theirs, 1000, 1000)); err != nil {
		t.Fatal(err)
	}
	for range 2 { // also in the place of an earlier one
		if s := packed(filepath.Join(theirs, "ticket.zip"), env); s.Uid != 1000 || s.Gid != 1001 {
			t.Errorf("in a directory of who called sudo it belongs to %d:%d", s.Uid, s.Gid)
		}
		if s := packed(filepath.Join(everybodys(t), "ticket.zip"), env); s.Uid != 1000 || s.Gid != 1001 {
			t.Errorf("in a directory of everybody it belongs to %d:%d", s.Uid, s.Gid)
		}
	}
	if s := packed(filepath.Join(roots, "ticket.zip"), env); s.Uid != 0 || s.Gid != uint32(os.Getegid()) {
		t.Errorf("in root's directory it belongs to %d:%d", s.Uid, s.Gid)
	}
	if err := os.WriteFile(filepath.Join(theirs, "roots.zip"), nil, 0o600); err != nil {
		t.Fatal(err)
	}
	if s := packed(filepath.Join(theirs, "roots.zip"), env); s.Uid != 0 {
		t.Errorf("root's own file was given away to %d", s.Uid)
	}
	for _, uid := range []string{"", "0", "-1", "x", "4294967295"} {
		if s := packed(filepath.Join(theirs, "root"+uid+".zip"), func(string) string { return uid }); s.Uid != 0 {
			t.Errorf("SUDO_UID=%s: it belongs to %d", uid, s.Uid)
		}
	}
}

// The end of an ssh session leaves nothing behind.
func TestFileAfterHangup(t *testing.T) {
	dir := t.TempDir()
	cmd := exec.Command("/proc/self/exe", "--timeout", "30s", "--patience", "20s", "--no-capture", "--speak=http", "-o", filepath.Join(dir, "out"), "--record", filepath.Join(dir, "seen"))
	cmd.Args[0] = "loopdoctor"
	l, err := net.Listen("tcp4", "127.0.0.1:0") // it never answers
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	cmd.Args = append(cmd.Args, l.Addr().String())
	var stderr strings.Builder
	cmd.Stderr = &stderr
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	for end := time.Now().Add(20 * time.Second); len(folder(t, dir)) < 2; time.Sleep(5 * time.Millisecond) {
		if time.Now().After(end) {
			_ = cmd.Process.Kill()
			t.Fatal("it prepares no file")
		}
	}
	if err := cmd.Process.Signal(syscall.SIGHUP); err != nil {
		t.Fatal(err)
	}
	_ = cmd.Wait()
	half := slices.ContainsFunc(folder(t, dir), func(name string) bool { return strings.HasSuffix(name, ".tmp") })
	if !cmd.ProcessState.Exited() || half { // what was seen by then is told
		t.Errorf("%v, %s, left behind: %v", cmd.ProcessState, stderr.String(), folder(t, dir))
	}
}
