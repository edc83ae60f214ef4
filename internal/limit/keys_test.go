package limit

import "testing"

// The keys are those that WildDuck nodes use on the same Redis.
func TestKeys(t *testing.T) {
	for got, want := range map[string]string{
		FailedLogins("5f0000000000000000000001"): "auth_user:5f0000000000000000000001",
		FailedLogins("unknown@example.com"):      "auth_user:unknown@example.com",
		FailedLoginsFrom("2001:db8::1"):          "auth_ip:2001:db8::1",
		FailedTOTP("5f"):                         "auth_user:totp:5f",
		Sent("5f"):                               "wdr:5f",
		Forwarded("5f"):                          "wdf:5f",
		Autoreplied("5f"):                        "wda:5f",
		Received("5f"):                           "rl:rcpt:5f",
		ReceivedFrom("192.0.2.1", "5f"):          "rl:rcptIp:192.0.2.1:5f",
		IMAPUploaded("5f"):                       "iup:5f",
		IMAPDownloaded("5f"):                     "idw:5f",
		POP3Downloaded("5f"):                     "pdw:5f",
		GroupIMAP:                                "imap",
	} {
		if got != want {
			t.Errorf("got %q, want %q", got, want)
		}
	}
}
