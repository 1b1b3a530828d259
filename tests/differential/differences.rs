//! What is known to differ, and why. A difference that is gone has to go from here as well.

use std::collections::BTreeSet;

/// How anteroom differs from a peer.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Kind {
    /// It passes less.
    Stricter,
    /// It passes more.
    Laxer,
    /// It passes as many requests, and at least one with another meaning.
    Other,
}

/// One difference.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Known {
    pub case: String,
    pub peer: &'static str,
    pub kind: Kind,
}

/// All that are known.
pub fn known() -> BTreeSet<Known> {
    let mut known = BTreeSet::new();
    for Reason { cases, .. } in REASONS {
        for (peer, kind, cases) in *cases {
            known.extend(cases.iter().map(|case| Known { case: (*case).to_owned(), peer, kind: *kind }));
        }
    }
    known
}

struct Reason {
    /// For people.
    #[expect(dead_code, reason = "it is read here")]
    why: &'static str,
    cases: &'static [(&'static str, Kind, &'static [&'static str])],
}

const REASONS: &[Reason] = &[
    Reason {
        why: "RFC 9112 §2.2, §5.2, §7.1: a recipient may take a bare LF for a line end and a fold for \
              a space. Who takes which is what smuggling is about; we take neither.",
        cases: &[
            (
                "nginx",
                Kind::Stricter,
                &[
                    "start line: leading bare LF",
                    "field: CR before CR LF",
                    "field: bare LF",
                    "coding: bare LF before the name",
                    "chunks: extension with a bare LF",
                    "chunks: bare LF behind the size",
                    "chunks: bare LF behind the data",
                    "chunks: bare LF at the end",
                    "chunks: bare LFs at the end",
                    "chunks: trailer with a bare LF",
                    "whole: bare LFs alone",
                    "whole: empty line with a bare LF",
                ],
            ),
            (
                "haproxy",
                Kind::Stricter,
                &[
                    "start line: leading bare LF",
                    "host: folded",
                    "field: bare LF",
                    "field: folded",
                    "field: folded with a tab",
                    "field: first line folded",
                    "length: folded",
                    "coding: folded",
                    "coding: folded behind another field",
                    "coding: bare LF before the name",
                    "chunks: extension with a bare LF",
                    "chunks: bare LF behind the size",
                    "chunks: bare LF behind the data",
                    "chunks: bare LF at the end",
                    "chunks: bare LFs at the end",
                    "chunks: trailer with a bare LF",
                    "whole: bare LFs alone",
                    "whole: empty line with a bare LF",
                    "whole: space in the empty line",
                ],
            ),
        ],
    },
    Reason {
        why: "RFC 9112 §3: one space between three words. A request line that is put right may be put \
              right otherwise behind us.",
        cases: &[
            (
                "nginx",
                Kind::Stricter,
                &[
                    "start line: two spaces",
                    "start line: two spaces before the version",
                    "start line: trailing space",
                    "start line: no version",
                ],
            ),
            (
                "haproxy",
                Kind::Stricter,
                &["start line: two spaces", "start line: two spaces before the version", "start line: tab for space"],
            ),
        ],
    },
    Reason {
        why: "Versions other than 1.0 and 1.1 are not spoken: nobody sends them who means well.",
        cases: &[
            ("nginx", Kind::Stricter, &["start line: HTTP/1.2", "start line: HTTP/1.10"]),
            ("haproxy", Kind::Stricter, &["start line: HTTP/1.2", "start line: HTTP/0.9", "start line: HTTP/2.0"]),
        ],
    },
    Reason {
        why: "RFC 3986 has no such characters in a target.",
        cases: &[
            (
                "nginx",
                Kind::Stricter,
                &["start line: angle brackets", "start line: quote in the query", "start line: beyond ASCII"],
            ),
            ("haproxy", Kind::Stricter, &["start line: angle brackets", "start line: quote in the query"]),
        ],
    },
    Reason {
        why: "RFC 9112 §3.2: the target has one of four forms, a path begins with a slash, and a URL \
              of HTTP names no user (RFC 9110 §4.2.4).",
        cases: &[
            (
                "haproxy",
                Kind::Stricter,
                &[
                    "start line: relative target",
                    "start line: asterisk with GET",
                    "start line: absolute form with credentials",
                    "start line: absolute form of another scheme",
                ],
            ),
            ("nginx", Kind::Stricter, &["start line: absolute form of another scheme"]),
        ],
    },
    Reason {
        why: "No tunnels to anywhere, and no echo of what proxies have added (RFC 9110 §9.3.8).",
        cases: &[("haproxy", Kind::Stricter, &["start line: CONNECT", "start line: TRACE"])],
    },
    Reason {
        why: "RFC 9112 §3.2: exactly one `Host`, which RFC 3986 can write. Who is asked must not \
              depend on who reads.",
        cases: &[
            (
                "haproxy",
                Kind::Stricter,
                &[
                    "host: none",
                    "host: empty",
                    "host: two that agree",
                    "host: a list",
                    "host: with a space",
                    "host: with a path",
                    "host: with credentials",
                    "host: with a bad port",
                    "host: with a port that is too large",
                    "host: with an open bracket",
                    "host: with a NUL",
                ],
            ),
            (
                "nginx",
                Kind::Stricter,
                &[
                    "host: with credentials",
                    "host: with a bad port",
                    "host: with a port that is too large",
                    "host: with an open bracket",
                ],
            ),
        ],
    },
    Reason {
        why: "RFC 9110 §5.1, §5.5: what is no name and no value. nginx drops such lines, HAProxy \
              passes some; both leave it to others what they mean.",
        cases: &[
            ("haproxy", Kind::Stricter, &["field: NUL", "field: control", "field: DEL"]),
            (
                "nginx",
                Kind::Stricter,
                &[
                    "field: control",
                    "field: DEL",
                    "field: no colon",
                    "field: quote in the name",
                    "field: bracket in the name",
                    "field: name beyond ASCII",
                    "coding: dotless i in the name",
                    "chunks: malformed trailer",
                    "chunks: a request within",
                ],
            ),
        ],
    },
    Reason {
        why: "RFC 9112 §6.3 allows equal lengths to be made one; we refuse what says a length twice.",
        cases: &[("haproxy", Kind::Stricter, &["length: a list that agrees", "length: two that agree"])],
    },
    Reason {
        why: "RFC 9112 §7.1 has no space around a chunk's size.",
        cases: &[
            ("nginx", Kind::Stricter, &["chunks: space behind the size", "chunks: tab behind the size"]),
            ("haproxy", Kind::Stricter, &["chunks: space behind the size", "chunks: tab behind the size"]),
        ],
    },
    Reason {
        why: "RFC 9112 §6.1: HTTP/1.0 has no transfer codings.",
        cases: &[("haproxy", Kind::Stricter, &["whole: HTTP/1.0 with chunks"])],
    },
    Reason {
        why: "A target passes byte for byte; what its escapes and dots mean is the service's affair. \
              nginx resolves paths.",
        cases: &[(
            "nginx",
            Kind::Laxer,
            &[
                "start line: dots that leave the root",
                "start line: escaped dots",
                "start line: bad escape",
                "start line: escaped NUL",
            ],
        )],
    },
    Reason {
        why: "RFC 9112 §3.2 knows no fragments: hyper drops one, HAProxy refuses it, nginx passes it \
              on.",
        cases: &[
            ("nginx", Kind::Other, &["start line: fragment"]),
            ("haproxy", Kind::Laxer, &["start line: fragment"]),
        ],
    },
    Reason {
        why: "A method is any token (RFC 9110 §9.1); nginx wants capitals.",
        cases: &[("nginx", Kind::Laxer, &["start line: lower-case method"])],
    },
    Reason {
        why: "RFC 9112 §3.2.4: `OPTIONS *` asks about the server.",
        cases: &[("nginx", Kind::Laxer, &["start line: asterisk with OPTIONS"])],
    },
    Reason {
        why: "RFC 9112 §3.2.2: an absolute target outweighs `Host`, and goes on in origin form \
              (§3.2.1). nginx here passes the client's `Host`, HAProxy the target as it came, if it \
              agrees with `Host`.",
        cases: &[
            ("haproxy", Kind::Other, &["start line: absolute form", "start line: absolute form without a path"]),
            (
                "haproxy",
                Kind::Laxer,
                &["start line: absolute form with a query alone", "whole: absolute form against Host"],
            ),
            ("nginx", Kind::Other, &["whole: absolute form against Host"]),
        ],
    },
    Reason {
        why: "RFC 9110 §5.6.3: a tab is as good as a space before a value.",
        cases: &[("nginx", Kind::Laxer, &["coding: tab before"])],
    },
    Reason {
        why: "Upwards we speak HTTP/1.1, which wants a `Host`: it is the upstream's own.",
        cases: &[
            ("nginx", Kind::Other, &["whole: HTTP/1.0 without Host"]),
            ("haproxy", Kind::Other, &["whole: HTTP/1.0 without Host"]),
        ],
    },
];
