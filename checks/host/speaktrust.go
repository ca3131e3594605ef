package host

import (
	"crypto/x509"
	"io"
	"path/filepath"
	"time"

	"github.com/loopdoctor/loopdoctor/checks/host/internal/speak"
)

// maxAuthorities is how much of a file of certificates is read; those of systems have
// 250 KiB.
const maxAuthorities = 4 << 20

// trust is what the client takes a certificate on: the authorities of the system, or
// those that its variables name instead, and what single programs add to them.
func (l *look) trust() speak.Trust {
	t := speak.Trust{Now: time.Now()}
	value := func(name string) string {
		if l.f.Environment != nil {
			for _, v := range l.f.Environment.Variables {
				if v.Name == name {
					return v.Value
				}
			}
		}
		return ""
	}
	l.readAs(l.f.Host.As[0], func() { readTrust(&t, value) })
	return t
}

// readTrust reads the files that the client's variables name.
func readTrust(t *speak.Trust, value func(string) string) {
	// OpenSSL and Go read these two; each takes the place of the system's own.
	if file, dir := value("SSL_CERT_FILE"), value("SSL_CERT_DIR"); file != "" || dir != "" {
		t.Roots = x509.NewCertPool()
		addAuthorities(t.Roots, file)
		if dir != "" {
			files, _ := filepath.Glob(filepath.Join(dir, "*"))
			for _, f := range files[:min(len(files), 1000)] {
				addAuthorities(t.Roots, f)
			}
		}
	} else {
		t.Roots, _ = x509.SystemCertPool()
	}
	for _, name := range []string{"NODE_EXTRA_CA_CERTS", "CURL_CA_BUNDLE", "REQUESTS_CA_BUNDLE", "GIT_SSL_CAINFO"} {
		if file := value(name); file != "" {
			pool := x509.NewCertPool()
			addAuthorities(pool, file)
			t.Extra = append(t.Extra, speak.Extra{Name: name, Roots: pool})
		}
	}
}

// addAuthorities reads a file of PEM. What is no file might never end.
func addAuthorities(pool *x509.CertPool, name string) {
	f, err := openRegular(name)
	if err != nil {
		return
	}
	defer f.Close()
	data, _ := io.ReadAll(io.LimitReader(f, maxAuthorities))
	pool.AppendCertsFromPEM(data)
}
