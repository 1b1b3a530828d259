//! The table of settings: help text, messages and documentation are made from it, so that they cannot disagree.

/// One setting of `anteroom serve`.
#[derive(Clone, Copy, Debug)]
pub struct Setting {
    /// The environment variable.
    pub name: &'static str,
    /// The flag, without its dashes.
    pub flag: &'static str,
    /// What stands for the value in help, e.g. `DURATION`.
    pub value: &'static str,
    /// What holds when it is not set.
    pub default: Fallback,
    /// What a value looks like: unit and an example.
    pub takes: &'static str,
    pub meaning: &'static str,
}

/// What holds when a setting is not set.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fallback {
    /// It must be set.
    Required,
    /// As if this had been given.
    Value(&'static str),
    /// Nothing, or found at run time: in words.
    Otherwise(&'static str),
}

const DURATION: &str = "a duration with its unit, e.g. 2s or 500ms, at most 1day";
const TIMEOUT: &str = "a duration with its unit, e.g. 2s or 500ms, longer than 0, at most 1day";
const PEM: &str = "the path of a PEM file, e.g. /run/secrets/tls.pem; it is read again when it changes";
const ADDRESS: &str = "an IP address and a port, e.g. 0.0.0.0:8080 or [::]:8080; port 0 lets the system choose";

/// Every setting, in the order in which help shows them.
pub const SETTINGS: &[Setting] = &[
    Setting {
        name: "ANTEROOM_UPSTREAM",
        flag: "upstream",
        value: "URL",
        default: Fallback::Required,
        takes: "http://, https:// or h2c:// with host:port, without credentials, path and query; \
                the port may be left out where it is the usual one",
        meaning: "the service behind anteroom",
    },
    Setting {
        name: "ANTEROOM_LISTEN",
        flag: "listen",
        value: "ADDRESS",
        default: Fallback::Value("0.0.0.0:8080"),
        takes: ADDRESS,
        meaning: "where requests arrive",
    },
    Setting {
        name: "ANTEROOM_ADMIN_LISTEN",
        flag: "admin-listen",
        value: "ADDRESS",
        default: Fallback::Value("127.0.0.1:9090"),
        takes: ADDRESS,
        meaning: "where /healthz, /readyz, /metrics and /status answer",
    },
    Setting {
        name: "ANTEROOM_READY_PATH",
        flag: "ready-path",
        value: "PATH",
        default: Fallback::Otherwise("a TCP connection is enough"),
        takes: "a path that begins with /, e.g. /api/health",
        meaning: "the path of the upstream that answers 2xx or 3xx, each time within 2 s, once it is ready",
    },
    Setting {
        name: "ANTEROOM_PATIENCE_NAVIGATION",
        flag: "patience-navigation",
        value: "DURATION",
        default: Fallback::Value("2s"),
        takes: DURATION,
        meaning: "how long a page view is held before it gets the waiting page",
    },
    Setting {
        name: "ANTEROOM_PATIENCE_REQUEST",
        flag: "patience-request",
        value: "DURATION",
        default: Fallback::Value("30s"),
        takes: DURATION,
        meaning: "how long any other request is held",
    },
    Setting {
        name: "ANTEROOM_PATIENCE_STREAM",
        flag: "patience-stream",
        value: "DURATION",
        default: Fallback::Value("2m"),
        takes: DURATION,
        meaning: "how long a WebSocket or an event stream is held",
    },
    Setting {
        name: "ANTEROOM_GRACE",
        flag: "grace",
        value: "DURATION",
        default: Fallback::Value("10s"),
        takes: DURATION,
        meaning: "how long a target that was ready and died may stay away before waiting counts as pointless",
    },
    Setting {
        name: "ANTEROOM_MAX_HELD",
        flag: "max-held",
        value: "COUNT",
        default: Fallback::Value("1024"),
        takes: "a number of requests from 0 to 1000000",
        meaning: "how many requests are held at once; more are answered at once",
    },
    Setting {
        name: "ANTEROOM_REPLAY_BYTES",
        flag: "replay-bytes",
        value: "SIZE",
        default: Fallback::Value("1MiB"),
        takes: "a size in bytes, e.g. 1MiB, 64KiB or 1048576, at most 64MiB",
        meaning: "how much of a request's body is read while it is held, and kept for a retry",
    },
    Setting {
        name: "ANTEROOM_SPOOL_DIR",
        flag: "spool-dir",
        value: "FOLDER",
        default: Fallback::Otherwise("none: the client has to wait with the rest"),
        takes: "the path of a folder that files can be made in, e.g. /var/spool/anteroom",
        meaning: "where what is beyond that of a held request's body is kept, until it ends",
    },
    Setting {
        name: "ANTEROOM_SPOOL_BYTES",
        flag: "spool-bytes",
        value: "SIZE",
        default: Fallback::Value("1GiB"),
        takes: "a size in bytes, e.g. 1GiB or 512MiB, at least 1",
        meaning: "how much all bodies together may take of ANTEROOM_SPOOL_DIR",
    },
    Setting {
        name: "ANTEROOM_CONNECT_TIMEOUT",
        flag: "connect-timeout",
        value: "DURATION",
        default: Fallback::Value("2s"),
        takes: TIMEOUT,
        meaning: "how long a connection to the upstream may take",
    },
    Setting {
        name: "ANTEROOM_RESPONSE_TIMEOUT",
        flag: "response-timeout",
        value: "DURATION",
        default: Fallback::Value("60s"),
        takes: TIMEOUT,
        meaning: "how long the head of an answer may take; streams and upgrades have no limit",
    },
    Setting {
        name: "ANTEROOM_MAX_CONNECTIONS",
        flag: "max-connections",
        value: "COUNT",
        default: Fallback::Value("16384"),
        takes: "a number of connections from 1 to 1000000",
        meaning: "how many connections of clients are open at once; more wait until one ends",
    },
    Setting {
        name: "ANTEROOM_MAX_HEADER_BYTES",
        flag: "max-header-bytes",
        value: "SIZE",
        default: Fallback::Value("64KiB"),
        takes: "a size in bytes, e.g. 64KiB, from 8KiB to 1MiB",
        meaning: "how long the head of a request may be; a longer one is answered with 431",
    },
    Setting {
        name: "ANTEROOM_MAX_HEADERS",
        flag: "max-headers",
        value: "COUNT",
        default: Fallback::Value("100"),
        takes: "a number of header fields from 10 to 10000",
        meaning: "how many header fields a request may have; one with more is answered with 431",
    },
    Setting {
        name: "ANTEROOM_HEADER_TIMEOUT",
        flag: "header-timeout",
        value: "DURATION",
        default: Fallback::Value("10s"),
        takes: TIMEOUT,
        meaning: "how long a head may take from its first byte to its last; then the connection is closed",
    },
    Setting {
        name: "ANTEROOM_IDLE_TIMEOUT",
        flag: "idle-timeout",
        value: "DURATION",
        default: Fallback::Value("100s"),
        takes: TIMEOUT,
        meaning: "how long a connection may be silent between requests, or take nothing of its answer",
    },
    Setting {
        name: "ANTEROOM_MAX_REQUESTS",
        flag: "max-requests",
        value: "COUNT",
        default: Fallback::Otherwise("no limit"),
        takes: "a number of requests, 1 or more",
        meaning: "how many requests a connection carries before it is closed",
    },
    Setting {
        name: "ANTEROOM_MAX_BODY_BYTES",
        flag: "max-body-bytes",
        value: "SIZE",
        default: Fallback::Otherwise("no limit"),
        takes: "bytes, KiB, MiB or GiB",
        meaning: "the longest body of a request; a longer one gets 413",
    },
    Setting {
        name: "ANTEROOM_HOST_HEADER",
        flag: "host-header",
        value: "WHICH",
        default: Fallback::Value("preserve"),
        takes: "preserve or upstream",
        meaning: "which Host the upstream sees: the client's, or its own",
    },
    Setting {
        name: "ANTEROOM_TRUSTED_PEERS",
        flag: "trusted-peers",
        value: "NETWORKS",
        // Loopback, private and link-local addresses (RFC 1122, 1918, 3927, 4193, 4291): a proxy beside us.
        default: Fallback::Value(
            "127.0.0.0/8,10.0.0.0/8,172.16.0.0/12,192.168.0.0/16,169.254.0.0/16,::1,fc00::/7,fe80::/10",
        ),
        takes: "addresses and networks, e.g. 172.20.0.0/16,fd00::/8, or one of the words all and none",
        meaning: "whose X-Forwarded-* and Forwarded headers are kept; those of anyone else are replaced",
    },
    Setting {
        name: "ANTEROOM_DETAIL",
        flag: "detail",
        value: "LEVEL",
        default: Fallback::Value("state"),
        takes: "summary, state or full",
        meaning: "how much a page tells: what happened; also names, findings and remedies; or also the target's last log lines",
    },
    Setting {
        name: "ANTEROOM_PAGE_CSS",
        flag: "page-css",
        value: "FILE",
        default: Fallback::Otherwise("anteroom's own look"),
        takes: "the path of a CSS file of at most 32 KiB, e.g. /etc/anteroom/page.css; it is read at the start",
        meaning: "a style sheet for the page, after its own",
    },
    Setting {
        name: "ANTEROOM_PAGE_LOGO",
        flag: "page-logo",
        value: "FILE",
        default: Fallback::Otherwise("none"),
        takes: "the path of an SVG, PNG or WebP file of at most 16 KiB, e.g. /etc/anteroom/logo.svg; \
                it is read at the start",
        meaning: "a logo for the page",
    },
    Setting {
        name: "ANTEROOM_PAGE_SUPPORT",
        flag: "page-support",
        value: "TEXT",
        default: Fallback::Otherwise("nobody is named"),
        takes: "at most 300 characters: words, or a link that begins with https:// or mailto:",
        meaning: "whom a visitor can turn to",
    },
    Setting {
        name: "ANTEROOM_PAGE_NOTE",
        flag: "page-note",
        value: "TEXT",
        default: Fallback::Otherwise("none"),
        takes: "a sentence of at most 300 characters",
        meaning: "something more to tell a visitor",
    },
    Setting {
        name: "ANTEROOM_CONTAINER",
        flag: "container",
        value: "NAME",
        default: Fallback::Otherwise("found by the upstream's host name"),
        takes: "the name or id of a container",
        meaning: "the container that serves the upstream, where it cannot be found",
    },
    Setting {
        name: "ANTEROOM_DEPENDS_ON",
        flag: "depends-on",
        value: "SERVICES",
        default: Fallback::Otherwise("what compose's labels say"),
        takes: "names of services of the target's compose project, separated by commas, e.g. cvat_clickhouse,cvat_vector",
        meaning: "the services that the upstream needs",
    },
    Setting {
        name: "ANTEROOM_STATE_DIR",
        flag: "state-dir",
        value: "DIRECTORY",
        default: Fallback::Otherwise("warm-up times are forgotten when anteroom stops"),
        takes: "the path of a directory that anteroom may write to, e.g. /var/lib/anteroom",
        meaning: "where warm-up times are remembered over a restart of anteroom",
    },
    Setting {
        name: "ANTEROOM_THREADS",
        flag: "threads",
        value: "COUNT",
        default: Fallback::Otherwise("one per core"),
        takes: "a number of threads from 1 to 512",
        meaning: "worker threads",
    },
    Setting {
        name: "ANTEROOM_LOG",
        flag: "log",
        value: "FILTER",
        default: Fallback::Value("info"),
        takes: "a level, or levels by module, e.g. debug or info,anteroom::watch=trace",
        meaning: "what is logged",
    },
    Setting {
        name: "ANTEROOM_LOG_FORMAT",
        flag: "log-format",
        value: "FORMAT",
        default: Fallback::Value("text"),
        takes: "text or json",
        meaning: "how it is logged",
    },
    Setting {
        name: "ANTEROOM_TLS_CERT",
        flag: "tls-cert",
        value: "FILE",
        default: Fallback::Otherwise("plain HTTP"),
        takes: PEM,
        meaning: "serve TLS with this certificate, followed by those that lead from it to its root",
    },
    Setting {
        name: "ANTEROOM_TLS_KEY",
        flag: "tls-key",
        value: "FILE",
        default: Fallback::Otherwise("plain HTTP"),
        takes: PEM,
        meaning: "the private key of ANTEROOM_TLS_CERT",
    },
    Setting {
        name: "ANTEROOM_TLS_CLIENT_CA",
        flag: "tls-client-ca",
        value: "FILE",
        default: Fallback::Otherwise("clients need no certificate"),
        takes: PEM,
        meaning: "clients must show a certificate that one of these has signed",
    },
    Setting {
        name: "ANTEROOM_UPSTREAM_CA",
        flag: "upstream-ca",
        value: "FILE",
        default: Fallback::Otherwise("the system's roots"),
        takes: PEM,
        meaning: "the roots that an https:// upstream is trusted by, instead of the system's",
    },
    Setting {
        name: "ANTEROOM_UPSTREAM_CERT",
        flag: "upstream-cert",
        value: "FILE",
        default: Fallback::Otherwise("none"),
        takes: PEM,
        meaning: "the certificate to show to an https:// upstream",
    },
    Setting {
        name: "ANTEROOM_UPSTREAM_KEY",
        flag: "upstream-key",
        value: "FILE",
        default: Fallback::Otherwise("none"),
        takes: PEM,
        meaning: "the private key of ANTEROOM_UPSTREAM_CERT",
    },
    Setting {
        name: "ANTEROOM_NOTIFY_URL",
        flag: "notify-url",
        value: "URL",
        default: Fallback::Otherwise("nobody is told"),
        takes: "http:// or https:// with host, path and query, e.g. https://hooks.example.org/T1/B2; user:password@ \
                before the host becomes an Authorization header",
        meaning: "where a message is posted when the upstream is down, and when it is back",
    },
    Setting {
        name: "ANTEROOM_NOTIFY_FORMAT",
        flag: "notify-format",
        value: "FORMAT",
        default: Fallback::Value("json"),
        takes: "json, slack or text",
        meaning: "how such a message is written",
    },
    Setting {
        name: "ANTEROOM_NOTIFY_AFTER",
        flag: "notify-after",
        value: "DURATION",
        default: Fallback::Value("5s"),
        takes: DURATION,
        meaning: "how long the upstream must be down, or back, before that is told",
    },
    Setting {
        name: "ANTEROOM_NOTIFY_KEY_FILE",
        flag: "notify-key-file",
        value: "FILE",
        default: Fallback::Otherwise("messages are not signed"),
        takes: "the path of a file with a key of 16 to 1024 bytes in it, e.g. /run/secrets/notify-key; it is read at \
                the start",
        meaning: "sign messages with this key (HMAC-SHA-256), so that a receiver can tell whose they are",
    },
    Setting {
        name: "ANTEROOM_NOTIFY_CA",
        flag: "notify-ca",
        value: "FILE",
        default: Fallback::Otherwise("the system's roots"),
        takes: PEM,
        meaning: "the roots that an https:// receiver is trusted by, instead of the system's",
    },
    Setting {
        name: "DOCKER_HOST",
        flag: "docker-host",
        value: "URL",
        default: Fallback::Otherwise("unix:///var/run/docker.sock"),
        takes: "unix:///path, tcp://host:port or http://host:port",
        meaning: "the container engine; it is only read",
    },
];

/// A setting that a later version will have. Refused rather than ignored: whoever sets it relies on it.
#[derive(Clone, Copy, Debug)]
pub struct Later {
    /// The environment variable.
    pub name: &'static str,
    /// The flag, without its dashes.
    pub flag: &'static str,
    /// What it will do.
    pub meaning: &'static str,
}

impl Later {
    /// Whether a value asks for it. `DOCKER_TLS_VERIFY` is the one among them whose usual value can say no.
    pub fn is_asked_by(&self, value: &str) -> bool {
        !(value.is_empty() || self.name == "DOCKER_TLS_VERIFY" && value == "0")
    }
}

const fn later(name: &'static str, flag: &'static str, meaning: &'static str) -> Later {
    Later { name, flag, meaning }
}

/// What is refused with "not yet".
pub const LATER: &[Later] = &[later("DOCKER_TLS_VERIFY", "docker-tls-verify", "TLS towards the container engine")];

/// The row of a setting that this program itself names.
pub(super) fn setting(name: &str) -> &'static Setting {
    SETTINGS.iter().find(|setting| setting.name == name).expect("callers name rows of the table, and a test reads all")
}

/// Whether a setting's value may hold a secret where nobody could tell it from the rest: a web hook's path is one.
pub(super) fn is_secret(name: &str) -> bool {
    name == "ANTEROOM_NOTIFY_URL"
}

/// The known setting whose name is nearest to a misspelt one, if any is near.
pub(super) fn similar(name: &str) -> Option<&'static str> {
    /// Two slips, or one transposition: more would suggest settings that nobody meant.
    const NEAR: usize = 2;
    let known = SETTINGS.iter().map(|setting| setting.name).chain(LATER.iter().map(|later| later.name));
    known
        .map(|candidate| (edits(name, candidate), candidate))
        .filter(|(edits, _)| *edits <= NEAR)
        .min_by_key(|(edits, _)| *edits)
        .map(|(_, candidate)| candidate)
}

/// How many letters must be added, dropped or changed to get from one word to the other (Levenshtein).
fn edits(from: &str, to: &str) -> usize {
    let mut row: Vec<usize> = (0..=to.len()).collect();
    for (i, a) in from.bytes().enumerate() {
        let mut diagonal = row[0];
        row[0] = i + 1;
        for (j, b) in to.bytes().enumerate() {
            let changed = diagonal + usize::from(a != b);
            diagonal = row[j + 1];
            row[j + 1] = changed.min(diagonal + 1).min(row[j] + 1);
        }
    }
    row[to.len()]
}
