package mongostore

import (
	"strings"
	"testing"
)

func TestDatabaseOf(t *testing.T) {
	for uri, want := range map[string]string{
		"mongodb://127.0.0.1:27017/wildduck":                                   "wildduck",
		"mongodb://a:1,b:2,c/mail?replicaSet=rs0":                              "mail",
		"mongodb://jane:p%2Fss@a:1,b:2/mail?authSource=admin&tls=true":         "mail",
		"mongodb://jane:not/encoded@a:1/mail":                                  "mail",
		"mongodb+srv://jane:secret@cluster.example.org/mail?retryWrites=false": "mail",
		"mongodb://jane:secret@a:1":                                            "",
		"mongodb://jane:secret@a:1/":                                           "",
		"mongodb://jane:secret@a:1/?x=/y":                                      "",
		"postgres://jane:secret@a:1/mail":                                      "",
		"secret":                                                               "",
		"":                                                                     "",
	} {
		got, err := databaseOf(uri)
		if got != want || (err == nil) != (want != "") {
			t.Errorf("%s: %q, error %v, want %q", uri, got, err, want)
		}
		if err != nil && strings.Contains(err.Error(), "secret") {
			t.Errorf("%s: the error %v shows the password", uri, err)
		}
	}
}
