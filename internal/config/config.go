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
	"reflect"
	"time"
)

// Config is the whole configuration. Field tags are the TOML keys; `doc` explains
// a key, `allow` lists the only values that it may have, `range` the least and the
// greatest, and what is `secret` is not printed.
type Config struct {
	EmailDomain     string   `toml:"emailDomain" doc:"domain of the default address of users whose name is not an address; empty: the host name"`
	MaxStorage      int64    `toml:"maxStorage" range:"0..1099511627776" doc:"default quota of an account in MiB; 0: 1024"`
	MaxRecipients   int64    `toml:"maxRecipients" range:"0..1099511627776" doc:"default of the recipients that a user may send to in a day, as the API tells it; 0: 2000"`
	MaxForwards     int64    `toml:"maxForwards" range:"0..1099511627776" doc:"default of the messages that are forwarded for a user in a day, as the API tells it; 0: 2000"`
	MaxMailboxes    int      `toml:"maxMailboxes" range:"10..1000000" doc:"mailboxes of one user"`
	MaxNamesKB      int      `toml:"maxNamesKB" range:"1..256" doc:"names of one user that are subscribed without a mailbox, in KiB of all of them together. A mailbox that is deleted by IMAP leaves its name there, if there is room"`
	ShutdownTimeout Duration `toml:"shutdownTimeout" range:"0s..10m" doc:"time that open connections have to finish what they do when the server stops"`
	ProxyTimeout    Duration `toml:"proxyTimeout" range:"100ms..1m" doc:"time that a proxy (useProxy) has to send the PROXY header of a connection"`

	Store       Store       `toml:"store"`
	DBs         DBs         `toml:"dbs"`
	Attachments Attachments `toml:"attachments"`
	Tasks       Tasks       `toml:"tasks"`
	IMAP        IMAP        `toml:"imap"`
	LMTP        LMTP        `toml:"lmtp"`
	API         API         `toml:"api"`
	TLS         TLS         `toml:"tls"`
	Auth        Auth        `toml:"auth"`
	Log         Log         `toml:"log"`
	Debug       Debug       `toml:"debug"`
}

// Store configures the embedded engine. A node of a cluster uses its directory and the
// size of its spool alone.
type Store struct {
	Path           string   `toml:"path" doc:"directory of the mail store, on a node of a cluster of what is its own: the control socket, a self-signed certificate, messages that are being received. It is made when it is not there. A relative path starts in the working directory"`
	CacheMB        int      `toml:"cacheMB" range:"0..1048576" doc:"memory for the cache of the database in MiB; 0: a sixteenth of the memory, at least 64 and at most 512"`
	MemTableMB     int      `toml:"memTableMB" range:"4..1024" doc:"memory for changes that are not yet in a table of the database, in MiB"`
	SpoolMB        int      `toml:"spoolMB" range:"1..64" doc:"messages above this size in MiB wait in a file instead of memory while they are received"`
	MailboxCacheMB int      `toml:"mailboxCacheMB" range:"0..1048576" doc:"memory, in MiB, for what is kept of mailboxes (20 octets a message) when no session has them selected any more, so that the next one only reads what has changed"`
	CachedAccounts int      `toml:"cachedAccounts" range:"100..10000000" doc:"accounts that are kept in memory with the counters of their mailboxes"`
	Compactions    int      `toml:"compactions" range:"0..256" doc:"tables of the database that are rewritten at the same time; 0: half as many as there are processors"`
	ReadAhead      int      `toml:"readAhead" range:"-1..256" doc:"answers with many messages for which another processor reads ahead, at the same time; 0: half as many as there are processors, -1: none"`
	MinFreeMB      int      `toml:"minFreeMB" range:"0..1048576" doc:"MiB of the disk that stay free: below it messages are refused, below a quarter of it all changes; 0: no limit"`
	FlagDelay      Duration `toml:"flagDelay" range:"1ms..1s" doc:"how long a change of flags may wait for the disk"`
	SyncDelay      Duration `toml:"syncDelay" range:"0s..10ms" doc:"while several messages wait for each flush of the log: how long after one flush the next begins at the earliest, so that it serves more of them; 0: at once"`
	JournalAge     Duration `toml:"journalAge" range:"1h..8760h" doc:"how long it is kept at least which messages changed and went, for clients and event streams that come back"`
	ThreadAge      Duration `toml:"threadAge" range:"24h..87600h" doc:"how long a conversation is remembered after its last message"`
}

// DBs names the databases of a cluster.
type DBs struct {
	Mongo     string   `toml:"mongo" secret:"url" doc:"MongoDB URL of the main database, such as mongodb://10.0.0.1:27017,10.0.0.2:27017/wildduck?replicaSet=rs0; empty: mail is kept in the directory of [store]"`
	Redis     any      `toml:"redis" secret:"url" doc:"Redis of the cluster: a URL such as redis://:password@10.0.0.1:6379/3, or a table with host, port, password, db, or with name and sentinels; needed when mongo is set"`
	Users     string   `toml:"users" secret:"url" doc:"database of users, addresses and domain aliases: a name on the server of mongo, or a URL; empty: the main one"`
	GridFS    string   `toml:"gridfs" secret:"url" doc:"database of attachments, likewise"`
	Sender    string   `toml:"sender" secret:"url" doc:"database of the outbound queue, likewise"`
	WorkerID  string   `toml:"workerId" doc:"name of this node among those that are told of changes; empty: the host name. The number of the process is appended"`
	MaxPool   int      `toml:"maxPool" range:"1..10000" doc:"connections to each MongoDB server; Redis has poolSize in its table"`
	Gather    Duration `toml:"gather" range:"0s..1s" doc:"how long a message waits at most for others that come at the same time, while several are on their way into MongoDB: together they take it less time; never more than an eighth of what it usually takes; 0: each goes alone"`
	Timeout   Duration `toml:"timeout" range:"1s..5m" doc:"time for an operation on MongoDB, repetitions included"`
	DeadAfter Duration `toml:"deadAfter" range:"0s..1h" doc:"silence after which another node is taken for dead, and what it was doing is settled; more than three times timeout and lease; 0: six times timeout, at least 1m"`
	Lease     Duration `toml:"lease" range:"500ms..5m" doc:"time in which a message must be stored after its UID was taken; others wait that long for it"`
	StartWait Duration `toml:"startWait" range:"0s..24h" doc:"how long the start waits for MongoDB and Redis to answer; an attempt on MongoDB that has begun may take timeout longer"`

	AccountLifetime Duration `toml:"accountLifetime" range:"0s..10s" doc:"time for which deliveries may see an account's quota, and whether it is disabled, as they were before another node changed them; 0: none"`
	HeadroomMB      int64    `toml:"headroomMB" range:"0..65536" doc:"garbage in MiB that a busy node may have in memory before it is collected, where the default of Go is less; 0: as Go does"`

	SearchIndexMB      int64 `toml:"searchIndexMB" range:"0..1048576" doc:"memory for what searches have found out about messages, in MiB: 200 octets a message, and 2 to 13 per cent of its text; 0: every search reads that"`
	SearchTextMB       int64 `toml:"searchTextMB" range:"0..1048576" doc:"memory for the texts of messages that searches have looked into, in MiB"`
	DescriptionCacheMB int   `toml:"descriptionCacheMB" range:"0..1048576" doc:"memory for what clients show of messages in lists, in MiB, taken as it is needed; a message takes 4 to 8 kB; 0: none"`
	ContentCacheMB     int   `toml:"contentCacheMB" range:"0..1048576" doc:"memory for the text of messages that came or were read last, in MiB, taken as it is needed; messages above 1 MiB, or an eighth of it, are left out; 0: none"`
}

// Attachments says how parts of messages are kept in MongoDB.
type Attachments struct {
	Type         string `toml:"type" doc:"where attachments are kept" allow:"gridstore"`
	Bucket       string `toml:"bucket" doc:"name of the GridFS bucket"`
	DecodeBase64 bool   `toml:"decodeBase64" doc:"keep base64 attachments decoded where encoding them again gives the same octets"`
}

// Tasks are what a node of a cluster does in the background. The embedded engine does what
// it needs by itself.
type Tasks struct {
	Enabled  bool     `toml:"enabled" doc:"on a node of a cluster: remove mail that has expired or was archived long enough, attachments that no message has, and the mail of deleted users, and date the messages of a mailbox anew whose retention has changed; a lock makes sure that one node does it at a time"`
	Interval Duration `toml:"interval" range:"1s..24h" doc:"time between two rounds"`
}

// Listener is what all services on a port have.
type Listener struct {
	Enabled bool   `toml:"enabled" doc:"serve this protocol"`
	Host    string `toml:"host" doc:"address to listen on; 0.0.0.0 or :: for all"`
	Port    int    `toml:"port" range:"0..65535" doc:"TCP port; 0: any free one"`
	Secure  bool   `toml:"secure" doc:"TLS from the first octet"`

	UseProxy []string `toml:"useProxy" doc:"addresses and networks of proxies whose connections to this port begin with a PROXY header (version 1 or 2), such as those of HAProxy; * for all connections" example:"[\"192.0.2.10\", \"198.51.100.0/24\"], [] for none"`
}

// Clients bounds the connections of a service. The limits hold for each port.
type Clients struct {
	MaxClients      int `toml:"maxClients" range:"0..10000000" doc:"connections to a port at the same time; 0: no limit"`
	MaxClientsPerIP int `toml:"maxClientsPerIP" range:"0..10000000" doc:"connections to a port from one address at the same time; 0: no limit"`
}

// Interface is a port of a service with logins.
type Interface struct {
	Listener
	Secured         bool `toml:"secured" doc:"something in front of this port does TLS: as good as TLS, and STARTTLS is not offered; with useProxy only for connections from those addresses"`
	DisableSTARTTLS bool `toml:"disableSTARTTLS" doc:"do not offer STARTTLS"`
	IgnoreSTARTTLS  bool `toml:"ignoreSTARTTLS" doc:"allow login without TLS, also from other machines"`
	MaxLineLength   int  `toml:"maxLineLength" range:"0..16777216" doc:"octets of a command without its literals, and of all its literals but messages; 0 on a further port: as on the first"`
}

// IMAP configures the IMAP server.
type IMAP struct {
	Interface
	Clients
	MaxMB            int      `toml:"maxMB" range:"1..1024" doc:"greatest message that APPEND takes, in MiB"`
	MaxConnections   int      `toml:"maxConnections" range:"1..1048576" doc:"sessions of one user at the same time"`
	MaxDownloadMB    int64    `toml:"maxDownloadMB" range:"0..1099511627776" doc:"default of what a user may download in a day in MiB, as the API tells it; 0: 10240"`
	MaxUploadMB      int64    `toml:"maxUploadMB" range:"0..1099511627776" doc:"default of what a user may upload in a day in MiB, as the API tells it; 0: 10240"`
	MaxErrors        int      `toml:"maxErrors" range:"1..1000000" doc:"bad commands after which a connection is closed"`
	MaxLogins        int      `toml:"maxLogins" range:"1..1000000" doc:"refused logins after which a connection is closed"`
	LoginTimeout     Duration `toml:"loginTimeout" range:"1s..1h" doc:"time from the connection to the login"`
	IdleTimeout      Duration `toml:"idleTimeout" range:"1m..168h" doc:"time without a command after which a session is closed; at least 30m by RFC 3501"`
	WriteTimeout     Duration `toml:"writeTimeout" range:"1s..1h" doc:"longest wait for a client to take 256 KiB"`
	KeepAlive        Duration `toml:"keepAlive" range:"0s..1h" doc:"time after which an idling client is sent something; 0: never"`
	DisableRetention bool     `toml:"disableRetention" doc:"on a node of a cluster: mail that has expired or was archived long enough is not removed by this node"`
	Name             string   `toml:"name" doc:"server name in the greeting and in ID"`
	Version          string   `toml:"version" doc:"version in ID; empty: that of the program"`
	Vendor           string   `toml:"vendor" doc:"vendor in ID"`

	NotifyUserWorkersTTL     int `toml:"notifyUserWorkersTtl" range:"30..86400" doc:"on a node of a cluster: seconds for which it counts as serving a user without saying so again"`
	NotifyUserWorkersRefresh int `toml:"notifyUserWorkersRefresh" range:"0..86400" doc:"seconds after which it says so again; 0: a quarter of notifyUserWorkersTtl"`

	TLS        Pair        `toml:"tls"`
	Interfaces []Interface `toml:"interface" doc:"further ports, as [[imap.interface]] tables"`
}

// LMTP configures the LMTP server.
type LMTP struct {
	Listener
	Clients
	Secured         bool     `toml:"secured" doc:"something in front of this port does TLS: STARTTLS is not offered"`
	DisableSTARTTLS bool     `toml:"disableSTARTTLS" doc:"do not offer STARTTLS"`
	MaxMB           int      `toml:"maxMB" range:"1..1024" doc:"greatest message in MiB, here and in the API"`
	MaxRecipients   int      `toml:"maxRecipients" range:"100..1048576" doc:"recipients of one message, refused ones included"`
	MaxLineLength   int      `toml:"maxLineLength" range:"512..65536" doc:"octets of a command line"`
	MaxErrors       int      `toml:"maxErrors" range:"1..1048576" doc:"refused commands since the last stored message, after which a connection is closed"`
	IdleTimeout     Duration `toml:"idleTimeout" range:"1s..24h" doc:"time for one command, and the longest pause in a message; at least 5m by RFC 5321"`
	WriteTimeout    Duration `toml:"writeTimeout" range:"1s..1h" doc:"time for a client to take a reply"`
	DataTimeout     Duration `toml:"dataTimeout" range:"1s..168h" doc:"time for one message"`
	MinRate         int64    `toml:"minRate" range:"1..1073741824" doc:"octets per second that a message must have on the average, once it has taken idleTimeout"`
	LookupTimeout   Duration `toml:"lookupTimeout" range:"0s..30s" doc:"time to find the host name of a client, which is kept with the message; 0s: it is not looked for"`
	Banner          string   `toml:"banner" doc:"text of the greeting"`
	Name            string   `toml:"name" doc:"host name in the greeting; empty: that of the machine"`
	TLS             Pair     `toml:"tls"`
}

// API configures the HTTP API.
type API struct {
	Listener
	Clients
	AccessToken   string        `toml:"accessToken" doc:"static token with role root; when set, every call needs a token" secret:"true"`
	MaxMB         int           `toml:"maxMB" range:"1..2048" doc:"greatest request body of an upload in MiB"`
	MaxParamsMB   int           `toml:"maxParamsMB" range:"1..64" doc:"greatest request body of other calls in MiB"`
	LargeBodies   int           `toml:"largeBodies" range:"1..10000" doc:"bodies above maxParamsMB that are in memory at the same time; further ones wait"`
	ReadTimeout   Duration      `toml:"readTimeout" range:"1s..1h" doc:"greatest pause of a client that sends a body"`
	WriteTimeout  Duration      `toml:"writeTimeout" range:"1s..1h" doc:"greatest pause of a client that reads a reply"`
	BodyTimeout   Duration      `toml:"bodyTimeout" range:"1s..24h" doc:"time in which a body must arrive whole"`
	SearchTimeout Duration      `toml:"searchTimeout" range:"1s..1h" doc:"greatest time of a search"`
	EventTimeout  Duration      `toml:"eventTimeout" range:"1m..168h" doc:"greatest life of an event stream, after which the client connects again"`
	MaxStreams    int           `toml:"maxStreams" range:"1..10000000" doc:"event streams at the same time"`
	UserStreams   int           `toml:"maxUserStreams" range:"1..10000000" doc:"event streams of one user at the same time"`
	AccessControl AccessControl `toml:"accessControl"`
	CORS          CORS          `toml:"cors"`
	TLS           Pair          `toml:"tls"`
}

// AccessControl configures generated access tokens.
type AccessControl struct {
	Enabled       bool   `toml:"enabled" doc:"require a valid token on every call"`
	Secret        string `toml:"secret" doc:"key of the tokens' signatures; empty: one is made and kept in the store" secret:"true"`
	TokenTTL      int    `toml:"tokenTTL" range:"1..3153600000" doc:"seconds that a token lives after its last use"`
	TokenLifetime int    `toml:"tokenLifetime" range:"1..3153600000" doc:"seconds that a token lives at most"`
	MaxTokens     int    `toml:"maxTokens" range:"1..1000000" doc:"tokens of one user; the oldest go first"`
}

// CORS configures cross-origin requests.
type CORS struct {
	Origins []string `toml:"origins" doc:"origins that browsers may call from; * for all, which without a token gives every web page all mail"`
}

// Pair names a certificate of one service.
type Pair struct {
	Key  string `toml:"key" doc:"file with the private key, PEM; empty: as in [tls]"`
	Cert string `toml:"cert" doc:"file with the certificate chain, PEM"`
}

// TLS names the certificate of all services that have none of their own. Without
// one a self-signed pair is made in the store.
type TLS struct {
	Key              string   `toml:"key" doc:"file with the private key, PEM; empty: a self-signed certificate is made in the store"`
	Cert             string   `toml:"cert" doc:"file with the certificate chain, PEM"`
	MinVersion       string   `toml:"minVersion" doc:"least version of TLS" allow:"1.2,1.3"`
	HandshakeTimeout Duration `toml:"handshakeTimeout" range:"1s..5m" doc:"time that a client has for the handshake"`
}

// Auth bounds guessing of passwords.
type Auth struct {
	UserFailures  int      `toml:"userFailures" range:"0..1000000" doc:"failed logins of one user in the window before more are refused; 0: no limit"`
	UserWindow    Duration `toml:"userWindow" range:"1s..24h" doc:"window of userFailures"`
	IPFailures    int      `toml:"ipFailures" range:"0..1000000" doc:"failed logins from one address (IPv6: one /64) in the window before more are refused; 0: no limit"`
	IPWindow      Duration `toml:"ipWindow" range:"1s..24h" doc:"window of ipFailures"`
	IPExempt      []string `toml:"ipExempt" doc:"addresses and networks to which ipFailures does not apply, such as web mail servers; loopback never counts"`
	MaxHashes     int      `toml:"maxHashes" range:"0..1024" doc:"passwords that are hashed at the same time; 0: one for each processor"`
	MaxWaiting    int      `toml:"maxWaiting" range:"0..1000000" doc:"logins that wait for that before further ones are refused; 0: 256 for each processor"`
	CacheLifetime Duration `toml:"cacheLifetime" range:"0s..24h" doc:"time for which a verified password need not be hashed again; 0: never"`
	CacheSize     int      `toml:"cacheSize" range:"1..10000000" doc:"verified passwords that are remembered for that"`
	LogQueue      int      `toml:"logQueue" range:"1..10000000" doc:"cluster: events of the log of logins that may wait to be written; more are lost"`
	LastLoginStep Duration `toml:"lastLoginStep" range:"1s..24h" doc:"how often at most the last login of a user from the same address is written"`
}

// Log configures logging.
type Log struct {
	Level  string `toml:"level" doc:"what is logged; silly and verbose are debug, http is info" allow:"debug,info,warn,error,silent,silly,verbose,http"`
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

// defaultHost is where services listen that are told nothing else.
const defaultHost = "127.0.0.1"

// Default returns the configuration that is in force without a file: every
// service on loopback.
func Default() *Config {
	clients := Clients{MaxClients: 20000, MaxClientsPerIP: 2000}
	c := &Config{
		MaxStorage: 1024, MaxRecipients: 2000, MaxForwards: 2000, MaxMailboxes: 1500, MaxNamesKB: 16,
		ShutdownTimeout: Duration(5 * time.Second), ProxyTimeout: Duration(5 * time.Second),
		Store: Store{
			Path: "mallard-data", MemTableMB: 16, SpoolMB: 1, MailboxCacheMB: 32, CachedAccounts: 10000, MinFreeMB: 128,
			FlagDelay: Duration(200 * time.Millisecond), SyncDelay: Duration(300 * time.Microsecond), JournalAge: Duration(12 * time.Hour), ThreadAge: Duration(180 * 24 * time.Hour),
		},
		DBs: DBs{
			Redis: "", Sender: "zone-mta", MaxPool: 100, Gather: Duration(4 * time.Millisecond), Timeout: Duration(10 * time.Second), Lease: Duration(3 * time.Second),
			StartWait: Duration(2 * time.Minute), AccountLifetime: Duration(time.Second), HeadroomMB: 32,
			SearchIndexMB: 64, SearchTextMB: 64, DescriptionCacheMB: 16, ContentCacheMB: 48,
		},
		Attachments: Attachments{Type: "gridstore", Bucket: "attachments", DecodeBase64: true},
		Tasks:       Tasks{Enabled: true, Interval: Duration(15 * time.Minute)},
		IMAP: IMAP{
			NotifyUserWorkersTTL: 120,
			Interface: Interface{
				Listener: Listener{Enabled: true, Host: defaultHost, Port: 9993, Secure: true}, MaxLineLength: 64 << 10,
			},
			Clients: clients, MaxMB: 64, MaxConnections: 100, MaxDownloadMB: 10240, MaxUploadMB: 10240, MaxErrors: 50, MaxLogins: 10,
			LoginTimeout: Duration(2 * time.Minute), IdleTimeout: Duration(35 * time.Minute),
			WriteTimeout: Duration(5 * time.Minute), KeepAlive: Duration(4 * time.Minute),
			Name: "Mallard", Vendor: "Mallard developers",
			Interfaces: []Interface{{Listener: Listener{Enabled: true, Host: defaultHost, Port: 9143}}},
		},
		LMTP: LMTP{
			Listener: Listener{Enabled: true, Host: defaultHost, Port: 2424}, Clients: clients,
			MaxMB: 64, MaxRecipients: 1000, MaxErrors: 100, MaxLineLength: 4096,
			IdleTimeout: Duration(5 * time.Minute), WriteTimeout: Duration(time.Minute), DataTimeout: Duration(time.Hour), MinRate: 100,
			LookupTimeout: Duration(time.Second), Banner: "Welcome to Mallard",
		},
		API: API{
			Listener: Listener{Enabled: true, Host: defaultHost, Port: 8080}, Clients: clients,
			MaxMB: 96, MaxParamsMB: 4, LargeBodies: 4,
			ReadTimeout: Duration(30 * time.Second), WriteTimeout: Duration(time.Minute), BodyTimeout: Duration(10 * time.Minute),
			SearchTimeout: Duration(2 * time.Minute), EventTimeout: Duration(30 * time.Minute), MaxStreams: 10000, UserStreams: 100,
			AccessControl: AccessControl{TokenTTL: 1209600, TokenLifetime: 15552000, MaxTokens: 1000},
			CORS:          CORS{Origins: []string{}},
		},
		TLS: TLS{MinVersion: "1.2", HandshakeTimeout: Duration(15 * time.Second)},
		Auth: Auth{
			UserFailures: 12, UserWindow: Duration(2 * time.Minute), IPFailures: 300, IPWindow: Duration(5 * time.Minute),
			IPExempt: []string{}, CacheLifetime: Duration(time.Minute), CacheSize: 20000, LogQueue: 10000, LastLoginStep: Duration(time.Minute),
		},
		Log: Log{Level: "info", Format: "text"},
	}
	c.fillLists()
	return c
}

// fillLists makes lists that are not there empty: both mean the same.
func (c *Config) fillLists() {
	for _, k := range c.keys() {
		if k.value.Kind() == reflect.Slice && k.value.IsNil() {
			k.value.Set(reflect.MakeSlice(k.value.Type(), 0, 0))
		}
	}
}

// Read reads a configuration that Print wrote with its secrets; name is for errors.
func Read(name string, text []byte) (*Config, error) {
	c := Default()
	lines, err := decode(c, name, text)
	if err != nil {
		return nil, err
	}
	c.fillLists()
	return c, c.validate(func(key string) string {
		if n, ok := lines[key]; ok {
			return fmt.Sprintf("%s:%d: %s", name, n, key)
		}
		return key
	})
}

// Load reads the configuration: defaults, then the file unless its name is
// empty, then MALLARD_ variables of the environment. The error names every
// problem with file and line, or with the variable.
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
	vars, err := applyEnv(c, environ)
	if err != nil {
		return nil, err
	}
	c.fillLists()
	return c, c.validate(func(key string) string {
		if v, ok := vars[key]; ok {
			return v
		}
		if n, ok := lines[key]; ok {
			return fmt.Sprintf("%s:%d: %s", file, n, key)
		}
		return key
	})
}
