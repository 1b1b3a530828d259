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
const ADDRESS: &str = "an IP address and a port, e.g. 0.0.0.0:8080 or [::]:8080; port 0 lets the system choose";

/// Every setting, in the order in which help shows them.
pub const SETTINGS: &[Setting] = &[
    Setting {
        name: "ANTEROOM_UPSTREAM",
        flag: "upstream",
        value: "URL",
        default: Fallback::Required,
        takes: "http://host or http://host:port, without credentials, path and query",
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
        meaning: "where /healthz and /readyz answer",
    },
    Setting {
        name: "ANTEROOM_READY_PATH",
        flag: "ready-path",
        value: "PATH",
        default: Fallback::Otherwise("a TCP connection is enough"),
        takes: "a path that begins with /, e.g. /api/health",
        meaning: "the path of the upstream that answers 2xx or 3xx once it is ready",
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
        meaning: "how much of a request's body is kept for a retry",
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
        name: "ANTEROOM_HOST_HEADER",
        flag: "host-header",
        value: "WHICH",
        default: Fallback::Value("preserve"),
        takes: "preserve or upstream",
        meaning: "which Host the upstream sees: the client's, or its own",
    },
    Setting {
        name: "ANTEROOM_DETAIL",
        flag: "detail",
        value: "LEVEL",
        default: Fallback::Value("state"),
        takes: "summary or state",
        meaning: "how much a page tells: what happened, or also names, findings and remedies",
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
        takes: "a level, or a tracing filter, e.g. debug or info,anteroom::watch=trace",
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

const fn later(name: &'static str, flag: &'static str, meaning: &'static str) -> Later {
    Later { name, flag, meaning }
}

/// What is refused with "not yet".
pub const LATER: &[Later] = &[
    later("ANTEROOM_TLS_CERT", "tls-cert", "TLS towards clients"),
    later("ANTEROOM_TLS_KEY", "tls-key", "TLS towards clients"),
    later("ANTEROOM_UPSTREAM_CA", "upstream-ca", "TLS towards the upstream"),
    later("ANTEROOM_UPSTREAM_CERT", "upstream-cert", "TLS towards the upstream"),
    later("ANTEROOM_UPSTREAM_KEY", "upstream-key", "TLS towards the upstream"),
    later("ANTEROOM_DEPENDS_ON", "depends-on", "naming what the target needs"),
    later("ANTEROOM_TRUSTED_PEERS", "trusted-peers", "trusting the forwarding headers of named peers only"),
    later("ANTEROOM_SPOOL_DIR", "spool-dir", "keeping request bodies on disk"),
    later("ANTEROOM_STATE_DIR", "state-dir", "remembering warm-up times over a restart"),
    later("ANTEROOM_NOTIFY_URL", "notify-url", "notifications"),
    later("DOCKER_TLS_VERIFY", "docker-tls-verify", "TLS towards the container engine"),
];

/// The row of a setting that this program itself names.
pub(super) fn setting(name: &str) -> &'static Setting {
    SETTINGS.iter().find(|setting| setting.name == name).expect("callers name rows of the table, and a test reads all")
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
