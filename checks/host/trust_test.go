package host

import (
	"bytes"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"fmt"
	"math/big"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/loopdoctor/loopdoctor/checks/host/internal/speak"
)

// A directory of certificates is read as far as a bound, however much is in it.
func TestDirectoryOfAuthoritiesIsBounded(t *testing.T) {
	dir := t.TempDir()
	filler := bytes.Repeat([]byte("#\n"), maxAuthorities/4)
	for i := range 6 {
		if err := os.WriteFile(filepath.Join(dir, fmt.Sprintf("%d.pem", i)), filler, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	left, read := maxAuthorities, 0
	for _, name := range namesIn(dir) {
		n := addAuthorities(x509.NewCertPool(), filepath.Join(dir, name), left)
		left, read = left-n, read+n
	}
	if read != maxAuthorities || left != 0 {
		t.Errorf("%d of %d bytes were read, %d are left", read, maxAuthorities, left)
	}
	for i := range maxInDirectory + 50 {
		if err := os.WriteFile(filepath.Join(dir, fmt.Sprintf("x%d", i)), nil, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	if n := len(namesIn(dir)); n != maxInDirectory {
		t.Errorf("%d names", n)
	}
	if n := len(namesIn(filepath.Join(dir, "0.pem"))); n != 0 {
		t.Errorf("a file holds %d names", n)
	}
}

// A certificate in such a directory is trusted.
func TestDirectoryOfAuthoritiesIsRead(t *testing.T) {
	dir := t.TempDir()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	template := &x509.Certificate{SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: "dev"}, NotAfter: time.Now().Add(time.Hour), IsCA: true, BasicConstraintsValid: true}
	der, err := x509.CreateCertificate(rand.Reader, template, template, key.Public(), key)
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(dir, "0123abcd.0"), pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der}), 0o600); err != nil {
		t.Fatal(err)
	}
	var trust speak.Trust
	readTrust(&trust, func(name string) string { return map[string]string{"SSL_CERT_DIR": dir}[name] })
	want := x509.NewCertPool()
	want.AppendCertsFromPEM(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der}))
	if !trust.Roots.Equal(want) {
		t.Error("it is not among what is trusted")
	}
}
