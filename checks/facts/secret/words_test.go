package secret

import "testing"

// TestWordsOfPrograms: arguments are separated by |.
func TestWordsOfPrograms(t *testing.T) {
	for in, want := range map[string]string{
		"htpasswd|-b|/etc/x.htpasswd|ann|s3cr3t":                         "htpasswd|-b|/etc/x.htpasswd|ann|***",
		"htpasswd|-cbB|-C|10|users|ann|s3cr3t":                           "htpasswd|-cbB|-C|10|users|ann|***",
		"htpasswd|-nb|ann|s3cr3t":                                        "htpasswd|-nb|ann|***",
		"mosquitto_passwd|-c|-b|f|ann|s3cr3t":                            "mosquitto_passwd|-c|-b|f|ann|***",
		"openssl|rsa|-in|x.key|-passin|pass:s3cr3t|-out|y":               "openssl|rsa|-in|x.key|-passin|pass:***|-out|y",
		"openssl|enc|-aes-256-cbc|-pass|pass:s3cr3t|-in|x":               "openssl|enc|-aes-256-cbc|-pass|pass:***|-in|x",
		"openssl|enc|-d|-k|s3cr3t":                                       "openssl|enc|-d|-k|***",
		"openssl|passwd|-6|-salt|ab|s3cr3t":                              "openssl|passwd|-6|-salt|***|***",
		"smbpasswd|-r|fileserv7|-U|ann%s3cr3t":                           "smbpasswd|-r|fileserv7|-U|ann%***",
		"smbclient|//fileserv7/x|s3cr3t|-U|ann":                          "smbclient|//fileserv7/x|***|-U|ann",
		"mysqladmin|-u|root|password|s3cr3t":                             "mysqladmin|-u|root|password|***",
		"sudo|mysqladmin|-uroot|-pold|password|s3cr3t":                   "sudo|mysqladmin|-uroot|-p***|password|***",
		"redis-cli|-h|db7|-p|6379|AUTH|s3cr3t":                           "redis-cli|-h|db7|-p|6379|AUTH|***",
		"redis-cli|config|set|requirepass|s3cr3t":                        "redis-cli|config|set|requirepass|***",
		"rabbitmqctl|-n|rabbit@x|add_user|ann|s3cr3t":                    "rabbitmqctl|-n|rabbit@x|add_user|ann|***",
		"docker|exec|mq|rabbitmqctl|change_password|ann|s3cr3t":          "docker|exec|mq|rabbitmqctl|change_password|ann|***",
		`net|use|X:|\\fileserv7\x|s3cr3t|/user:ann`:                      `net|use|X:|\\fileserv7\x|***|/user:ann`,
		`net.exe|use|\\fileserv7\x|/user:ann|s3cr3t|/persistent:no`:      `net.exe|use|\\fileserv7\x|/user:ann|***|/persistent:no`,
		"net|user|ann|s3cr3t|/add":                                       "net|user|ann|***|/add",
		"net|user|add|ann|s3cr3t":                                        "net|user|add|ann|***",
		"nmcli|dev|wifi|connect|net7|password|s3cr3t":                    "nmcli|dev|wifi|connect|net7|password|***",
		"wpa_passphrase|net7|s3cr3t":                                     "wpa_passphrase|net7|***",
		"mc|alias|set|store|http://localhost:9000|ann|s3cr3t|--api|S3v4": "mc|alias|set|store|http://localhost:9000|ann|***|--api|S3v4",
		"db2|connect|to|shop|user|ann|using|s3cr3t":                      "db2|connect|to|shop|user|ann|using|***",
		"isql|-v|shop|ann|s3cr3t":                                        "isql|-v|shop|ann|***",
		"ldappasswd|-x|-D|cn=x|-w|s3cr3t|-a|s3cr3t|-s|s3cr3t|uid=a":      "ldappasswd|-x|-D|cn=x|-w|***|-a|***|-s|***|uid=a",
		"xfreerdp|/v:win7|/u:ann|/p:s3cr3t":                              "xfreerdp|/v:win7|/u:ann|/p:***",
		"dig|-y|hmac-sha256:k:s3cr3t|acme.com":                           "dig|-y|hmac-sha256:k:***|acme.com",
		"zip|-P|s3cr3t|x.zip|y":                                          "zip|-P|***|x.zip|y",
		"sh|-c|redis-cli -p 6379 auth s3cr3t":                            "sh|-c|redis-cli -p 6379 auth ***",
	} {
		masks(t, in, want)
	}
	for _, in := range []string{
		"htpasswd|-c|/etc/x|ann", "htpasswd|-n|ann", "htpasswd|-D|/etc/x|ann", "openssl|rsa|-passin|env:PW|-in|x", "openssl|rsa|-passin|file:/run/pw", "openssl|s_client|-connect|localhost:443|-servername|x",
		"mysqladmin|-u|root|status", "redis-cli|-p|6379|get|x|y", "rabbitmqctl|list_users|x|y", "rabbitmqctl|add_vhost|x|y", "net|use", `net|use|X:|\\fileserv7\x`, `net|use|X:|\\fileserv7\x|*`, "net|user", "net|user|ann", "net|view|x|y", "net|ads|info|x|y",
		"mc|ls|store/x|y|z|a|b", "db2|list|tables", "isql|shop", "smbclient|//fileserv7/x|-U|ann|-p|445", "smbclient|-L|fileserv7|-U|ann", "mount|-t|cifs|//fileserv7/x|/mnt", "app|add_user|ann|x", "zip|-r|x.zip|y", "7z|x|-p", "useradd|-m|ann", "xfreerdp|/v:win7|/u:ann",
	} {
		masks(t, in, in)
	}
	for _, in := range []string{"net user ann logged in", "mc alias set a b c d", "isql a b c d", "db2 using ssl"} {
		if got := Line(in, func(string) string { return Hidden }); got != in {
			t.Errorf("%s\n became %s", in, got)
		}
	}
}
