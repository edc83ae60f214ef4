package limit

// GroupIMAP is the group of the IMAP connections of an account; the key is the account's id.
const GroupIMAP = "imap"

// GroupUpdates is the group of the event streams of an account; the key is the account's id.
const GroupUpdates = "updates"

// The keys of counters. An account or address is given by its id in hexadecimal.

// FailedLogins is the key for the failed logins of an account, or of the normal form of a user name that does not exist.
func FailedLogins(accountOrName string) string { return "auth_user:" + accountOrName }

// FailedLoginsFrom is the key for the failed logins from an IP address.
func FailedLoginsFrom(ip string) string { return "auth_ip:" + ip }

// FailedTOTP is the key for the failed second factors of an account.
func FailedTOTP(account string) string { return "auth_user:totp:" + account }

// Sent is the key for the recipients that an account has sent to.
func Sent(account string) string { return "wdr:" + account }

// Forwarded is the key for the messages that an account or a forwarded address has forwarded.
func Forwarded(accountOrAddress string) string { return "wdf:" + accountOrAddress }

// Autoreplied is the key for the automatic replies of an account or a forwarded address.
func Autoreplied(accountOrAddress string) string { return "wda:" + accountOrAddress }

// Received is the key for the messages that were received for an account.
func Received(account string) string { return "rl:rcpt:" + account }

// ReceivedFrom is the key for the messages that were received for an account from an IP address.
func ReceivedFrom(ip, account string) string { return "rl:rcptIp:" + ip + ":" + account }

// IMAPUploaded is the key for the octets that an account has uploaded by IMAP.
func IMAPUploaded(account string) string { return "iup:" + account }

// IMAPDownloaded is the key for the octets that an account has downloaded by IMAP.
func IMAPDownloaded(account string) string { return "idw:" + account }

// POP3Downloaded is the key for the octets that an account has downloaded by POP3.
func POP3Downloaded(account string) string { return "pdw:" + account }
