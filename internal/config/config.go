// Package config is Mallard's configuration: its keys, defaults, limits, and how
// they are read from a TOML file and the environment.
//
// Keys have WildDuck's names where they mean the same thing. The package knows
// nothing of the services that it configures and imports no other internal
// package.
package config

import (
	"fmt"
	"os"
	"time"
)

// Config is the whole configuration. Field tags are the TOML keys; `doc` explains
// a key, `allow` lists the only values that it may have.
type Config struct {
	EmailDomain string `toml:"emailDomain" doc:"domain of the default address of users whose name is not an address; empty: the host name"`
	MaxStorage  int64  `toml:"maxStorage" doc:"default quota of an account in MiB; 0: 1024"`

	Store Store `toml:"store"`
	IMAP  IMAP  `toml:"imap"`
	LMTP  LMTP  `toml:"lmtp"`
	API   API   `toml:"api"`
	TLS   TLS   `toml:"tls"`
	Auth  Auth  `toml:"auth"`
	Log   Log   `toml:"log"`
	Debug Debug `toml:"debug"`
}

// Store configures the embedded engine.
type Store struct {
	Path       string `toml:"path" doc:"directory of the mail store"`
	CacheMB    int    `toml:"cacheMB" doc:"memory for the cache of the database in MiB"`
	MemTableMB int    `toml:"memTableMB" doc:"memory for changes that are not yet in a table of the database, in MiB"`
	SpoolMB    int    `toml:"spoolMB" doc:"messages above this size in MiB wait in a file instead of memory while they are received"`
}

// Listener is what all services on a port have.
type Listener struct {
	Enabled bool   `toml:"enabled" doc:"serve this protocol"`
	Host    string `toml:"host" doc:"address to listen on; 0.0.0.0 or :: for all"`
	Port    int    `toml:"port" doc:"TCP port"`
	Secure  bool   `toml:"secure" doc:"TLS from the first octet"`
}

// Interface is a further port of a service.
type Interface struct {
	Listener
	DisableSTARTTLS bool `toml:"disableSTARTTLS" doc:"do not offer STARTTLS"`
	IgnoreSTARTTLS  bool `toml:"ignoreSTARTTLS" doc:"allow login without TLS; only for loopback or behind a TLS proxy"`
}

// IMAP configures the IMAP server.
type IMAP struct {
	Interface
	MaxMB          int         `toml:"maxMB" doc:"greatest message that APPEND takes, in MiB"`
	MaxLineLength  int         `toml:"maxLineLength" doc:"octets of a command line without its literals"`
	MaxConnections int         `toml:"maxConnections" doc:"sessions of one user at the same time"`
	IdleTimeout    Duration    `toml:"idleTimeout" doc:"time without a command after which a session is closed; at least 30m by RFC 3501"`
	Name           string      `toml:"name" doc:"server name in the greeting and in ID"`
	Vendor         string      `toml:"vendor" doc:"vendor in ID"`
	Interfaces     []Interface `toml:"interface" doc:"further ports, as [[imap.interface]] tables"`
}

// LMTP configures the LMTP server.
type LMTP struct {
	Listener
	DisableSTARTTLS bool     `toml:"disableSTARTTLS" doc:"do not offer STARTTLS"`
	MaxMB           int      `toml:"maxMB" doc:"greatest message in MiB"`
	MaxRecipients   int      `toml:"maxRecipients" doc:"recipients of one message, refused ones included"`
	MaxLineLength   int      `toml:"maxLineLength" doc:"octets of a command line"`
	MaxErrors       int      `toml:"maxErrors" doc:"refused commands since the last stored message, after which a connection is closed"`
	IdleTimeout     Duration `toml:"idleTimeout" doc:"time for one command, and the longest pause in a message; at least 5m by RFC 5321"`
	DataTimeout     Duration `toml:"dataTimeout" doc:"time for one message"`
	MinRate         int64    `toml:"minRate" doc:"octets per second that a message must have on the average, once it has taken idleTimeout"`
	Banner          string   `toml:"banner" doc:"text of the greeting"`
	Name            string   `toml:"name" doc:"host name in the greeting; empty: that of the machine"`
}

// API configures the HTTP API.
type API struct {
	Listener
	AccessToken   string        `toml:"accessToken" doc:"static token with role root; when set, every call needs a token" secret:"true"`
	AccessControl AccessControl `toml:"accessControl"`
	MaxMB         int           `toml:"maxMB" doc:"greatest request body in MiB"`
	CORS          CORS          `toml:"cors"`
}

// AccessControl configures generated access tokens.
type AccessControl struct {
	Enabled       bool   `toml:"enabled" doc:"require a valid token on every call"`
	Secret        string `toml:"secret" doc:"key of the tokens' signatures; empty: one is made and kept in the store" secret:"true"`
	TokenTTL      int    `toml:"tokenTTL" doc:"seconds that a token lives after its last use"`
	TokenLifetime int    `toml:"tokenLifetime" doc:"seconds that a token lives at most"`
}

// CORS configures cross-origin requests.
type CORS struct {
	Origins []string `toml:"origins" doc:"origins that browsers may call from; * for all"`
}

// TLS names the certificate. Without one a self-signed pair is made in the store.
type TLS struct {
	Key  string `toml:"key" doc:"file with the private key, PEM"`
	Cert string `toml:"cert" doc:"file with the certificate chain, PEM"`
}

// Auth bounds guessing of passwords.
type Auth struct {
	UserFailures  int      `toml:"userFailures" doc:"failed logins of one user in the window before more are refused; 0: no limit"`
	UserWindow    Duration `toml:"userWindow" doc:"window of userFailures"`
	IPFailures    int      `toml:"ipFailures" doc:"failed logins from one address in the window before more are refused; 0: no limit"`
	IPWindow      Duration `toml:"ipWindow" doc:"window of ipFailures"`
	CacheLifetime Duration `toml:"cacheLifetime" doc:"time for which a verified password need not be hashed again; 0: never"`
}

// Log configures logging.
type Log struct {
	Level  string `toml:"level" doc:"what is logged" allow:"debug,info,warn,error"`
	Format string `toml:"format" doc:"form of a line" allow:"text,json"`
}

// Debug opens doors for developers.
type Debug struct {
	Profile string `toml:"profile" doc:"host:port on loopback for Go profiles; empty: off"`
}

// Duration is a time in Go notation, such as "30m".
type Duration time.Duration

// UnmarshalText reads the notation.
func (d *Duration) UnmarshalText(b []byte) error {
	v, err := time.ParseDuration(string(b))
	if err != nil {
		return fmt.Errorf("%q is not a time such as 90s, 30m or 2h", b)
	}
	*d = Duration(v)
	return nil
}

// MarshalText writes the notation.
func (d Duration) MarshalText() ([]byte, error) { return []byte(time.Duration(d).String()), nil }

// Default returns the configuration that is in force without a file: every
// service on loopback.
func Default() *Config {
	const loopback = "127.0.0.1"
	return &Config{
		MaxStorage: 1024,
		Store:      Store{Path: "mallard-data", CacheMB: 128, MemTableMB: 64, SpoolMB: 1},
		IMAP: IMAP{
			Interface:      Interface{Listener: Listener{Enabled: true, Host: loopback, Port: 9993, Secure: true}},
			MaxMB:          64,
			MaxLineLength:  64 << 10,
			MaxConnections: 100,
			IdleTimeout:    Duration(35 * time.Minute),
			Name:           "Mallard",
			Vendor:         "Mallard developers",
			Interfaces:     []Interface{{Listener: Listener{Enabled: true, Host: loopback, Port: 9143}}},
		},
		LMTP: LMTP{
			Listener: Listener{Enabled: true, Host: loopback, Port: 2424},
			MaxMB:    64, MaxRecipients: 1000, MaxLineLength: 4096, MaxErrors: 100,
			IdleTimeout: Duration(5 * time.Minute), DataTimeout: Duration(time.Hour), MinRate: 100,
			Banner: "Welcome to Mallard",
		},
		API: API{
			Listener:      Listener{Enabled: true, Host: loopback, Port: 8080},
			AccessControl: AccessControl{TokenTTL: 1209600, TokenLifetime: 15552000},
			MaxMB:         96,
			CORS:          CORS{Origins: []string{"*"}},
		},
		Auth: Auth{
			UserFailures: 12, UserWindow: Duration(2 * time.Minute),
			IPFailures: 300, IPWindow: Duration(5 * time.Minute), CacheLifetime: Duration(time.Minute),
		},
		Log: Log{Level: "info", Format: "text"},
	}
}

// Load reads the configuration: defaults, then the file unless its name is
// empty, then MALLARD_ variables of the environment. The error names every
// problem with file and line.
func Load(file string, environ []string) (*Config, error) {
	c := Default()
	lines := map[string]int{}
	if file != "" {
		b, err := os.ReadFile(file)
		if err != nil {
			return nil, fmt.Errorf("read configuration: %w", err)
		}
		if lines, err = decode(c, file, b); err != nil {
			return nil, err
		}
	}
	origin := func(key string) string {
		if n, ok := lines[key]; ok {
			return fmt.Sprintf("%s:%d: %s", file, n, key)
		}
		return key
	}
	vars, err := applyEnv(c, environ)
	if err != nil {
		return nil, err
	}
	return c, c.validate(func(key string) string {
		if v, ok := vars[key]; ok {
			return v
		}
		return origin(key)
	})
}
