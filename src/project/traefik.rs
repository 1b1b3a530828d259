//! What Traefik is told, and what it says of it: routers in labels and mounted files, and its log's complaints.
//!
//! Files of the file provider are templates of Go's, so they are no YAML before Traefik has filled them in. What is
//! wanted of them are two kinds of lines, which are read as lines.

use super::Member;
use crate::evidence::Container;

/// Where CVAT's Traefik has its dashboard, if that is enabled.
pub const DASHBOARD: u16 = 8090;

/// A router's rule.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Rule {
    /// Where it stands: a router's name with its provider, or a file.
    pub router: String,
    pub rule: String,
}

impl Rule {
    /// The path that it asks for, if it asks for one: `/analytics` of ``Host(`localhost`) && PathPrefix(`/analytics`)``.
    pub fn path(&self) -> Option<&str> {
        quoted(&self.rule, "PathPrefix(").or_else(|| quoted(&self.rule, "Path(")).filter(|path| path.starts_with('/'))
    }

    /// The host that it asks for, if that is a name and no template.
    pub fn host(&self) -> Option<&str> {
        quoted(&self.rule, "Host(").filter(|host| is_host(host))
    }
}

fn is_host(text: &str) -> bool {
    !text.is_empty() && text.chars().all(|c| c.is_ascii_alphanumeric() || ".-_:[]".contains(c))
}

/// The first argument of a matcher.
fn quoted<'a>(rule: &'a str, matcher: &str) -> Option<&'a str> {
    let rest = rule.split_once(matcher)?.1.trim_start();
    let quote = rest.chars().next().filter(|c| matches!(c, '`' | '"' | '\''))?;
    let inside = &rest[quote.len_utf8()..];
    inside.split_once(quote).map(|(argument, _)| argument)
}

/// The rules of a file of the file provider.
pub fn rules(file: &str, text: &str) -> Vec<Rule> {
    let lines = text.lines().filter_map(|line| {
        let line = line.trim().trim_start_matches("- ");
        let rule = line.strip_prefix("rule:").or_else(|| line.strip_prefix("rule ="))?.trim();
        // Of the quotes of YAML or TOML, a pair.
        let bare = ['"', '\''].iter().find_map(|q| rule.strip_prefix(*q)?.strip_suffix(*q)).unwrap_or(rule);
        Some(Rule { router: file.to_owned(), rule: bare.to_owned() })
    });
    lines.take(RULES_MOST).collect()
}

/// Of one file: CVAT's has two.
const RULES_MOST: usize = 64;

/// What Traefik says of a router, service or middleware that it cannot use: a router with an error takes no requests.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Complaint {
    /// `grafana@docker`, a container as Traefik calls it, or a provider as `@file`; empty if the line does not say.
    pub router: String,
    /// Its own words.
    pub message: String,
}

impl Complaint {
    /// Whether it is about a router of a member, or about its container, whose name Traefik makes of service, project and
    /// id (`cvat-grafana-cvat-5f0c…`).
    pub fn is_about(&self, member: &Member) -> bool {
        let Container { id, name, .. } = &member.container;
        let is_its = |rule: &Rule| self.names(rule);
        member.setup.routers.iter().any(is_its) || self.router == **name || self.router.ends_with(&format!("-{id}"))
    }

    /// Whether it is about a router that a label makes.
    pub fn names(&self, rule: &Rule) -> bool {
        // What is said while the configuration is put together names no provider.
        let bare = |router: &str| router.split('@').next().unwrap_or_default().to_ascii_lowercase();
        bare(&rule.router) == bare(&self.router) && !self.is_of_files()
    }

    /// Whether it is about an entry point that Traefik does not have: in its words, and in those of its older versions.
    pub fn is_of_entry_points(&self) -> bool {
        // What the API tells of a router is joined.
        self.message.split("; ").all(|one| one.contains("ntryPoint"))
    }

    /// Whether it is about what the file provider has read.
    pub fn is_of_files(&self) -> bool {
        self.router.ends_with("@file")
    }
}

/// The complaints in a log, in Traefik's own text or JSON, the newest of each kind once, and only those since it last
/// read its configuration anew without them is not known: so only of the last lines.
pub fn complaints(log: &[Box<str>]) -> Vec<Complaint> {
    let mut found: Vec<Complaint> = Vec::new();
    for line in log.iter().rev() {
        let Some(complaint) = complaint(line) else { continue };
        if !found.contains(&complaint) {
            found.push(complaint);
        }
    }
    found.truncate(COMPLAINTS_MOST);
    found
}

const COMPLAINTS_MOST: usize = 8;

/// How Traefik 2 and 3 word what makes a router unusable.
const SIGNS: [&str; 11] = [
    "port is missing",
    "does not exist",
    "error while adding rule",
    "error while parsing rule",
    "unable to find the IP address for the container",
    // Traefik 3, and 2.
    "EntryPoint doesn't exist",
    "\" doesn't exist",
    "o valid entryPoint for this router",
    "field not found, node",
    "Error while building configuration",
    "Router defined multiple times with different configurations",
];

/// Whether a line of Traefik's log is such a complaint. A line about a request is none, whatever the request says: its
/// level stands where no request's words do.
pub fn complains(line: &str) -> bool {
    let is_error = match line.split_whitespace().nth(1) {
        _ if line.starts_with('{') => line.contains("\"level\":\"error\""),
        level => matches!(level, Some("ERR" | "level=error")),
    };
    is_error && SIGNS.iter().any(|sign| line.contains(sign))
}

fn complaint(line: &str) -> Option<Complaint> {
    if !complains(line) {
        return None;
    }
    // `… ERR error="…" entryPointName=web routerName=grafana@docker`, or the same as JSON.
    let field = |name: &str| {
        let rest = line.split_once(&format!("{name}=")).map(|(_, rest)| rest);
        let rest = rest.or_else(|| line.split_once(&format!("\"{name}\":")).map(|(_, rest)| rest))?;
        Some(match rest.strip_prefix('"') {
            Some(inside) => unescaped(inside),
            None => rest.split([' ', ',', '}']).next().unwrap_or_default().to_owned(),
        })
    };
    let by_provider = || field("providerName").map(|provider| format!("@{provider}"));
    let router = field("routerName").or_else(|| field("serviceName")).or_else(|| field("container"));
    let message = field("error").or_else(|| field("msg")).or_else(|| field("message")).unwrap_or_else(|| words(line));
    Some(Complaint { router: router.or_else(by_provider).unwrap_or_default(), message })
}

/// What stands between the level and the first field.
fn words(line: &str) -> String {
    let words = line.split_whitespace().skip(2).take_while(|word| !word.contains('='));
    words.collect::<Vec<_>>().join(" ")
}

/// A quoted text up to its closing quote.
fn unescaped(text: &str) -> String {
    let mut out = String::new();
    let mut chars = text.chars();
    while let Some(c) = chars.next() {
        match c {
            '"' => break,
            '\\' => out.extend(chars.next()),
            c => out.push(c),
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    const CONF: &str = include_str!("../../tests/e2e/stage/file-provider/components/analytics/grafana_conf.yml");

    #[test]
    fn the_router_of_cvats_file_is_found_and_its_template_is_no_host() {
        let rules = rules("grafana_conf.yml", CONF);
        assert_eq!(rules.len(), 1);
        assert_eq!((rules[0].path(), rules[0].host()), (Some("/analytics"), None));
    }

    #[test]
    fn a_label_tells_host_and_path() {
        let rule = |text: &str| Rule { router: "grafana@docker".to_owned(), rule: text.to_owned() };
        let cvat = rule("Host(`cvat.example.org`) && PathPrefix(`/analytics`)");
        assert_eq!((cvat.path(), cvat.host()), (Some("/analytics"), Some("cvat.example.org")));
        assert_eq!(rule("Host(`x`, `y`)").path(), None);
        assert_eq!(rule("PathPrefix(`analytics`) && Host(`a b`)").path(), None);
        assert_eq!(rule("Host(`a b`)").host(), None);
        assert_eq!(rule("Host(`").host(), None);
    }

    #[test]
    fn complaints_are_read_from_text_and_json() {
        let log = [
            "2024-10-10T08:00:00Z INF Traefik version 3.7.15",
            r#"2024-10-10T08:00:01Z ERR error="middleware \"nosuch@docker\" does not exist" entryPointName=web routerName=grafana@docker"#,
            r#"2024-10-10T08:00:01Z ERR error="service \"grafana\" error: port is missing" container=cvat_grafana-cvat-1 providerName=docker"#,
            r#"{"level":"error","routerName":"x@file","error":"error while parsing rule Hst(`a`): unsupported function: Hst","time":"2024"}"#,
            r#"10.0.0.1 - - [10/Oct/2024:08:00:02 +0000] "GET /?error=port is missing ERR level=error routerName=grafana@docker HTTP/1.1" 404 19"#,
            r#"{"RequestPath":"/\"level\":\"error\" does not exist","level":"info","msg":""}"#,
            r#"2024-10-10T08:00:02Z ERR Error calling http://cvat_server:8080/analytics error="no such host" middlewareName=auth"#,
            r#"2024-10-10T08:00:03Z ERR error="middleware \"nosuch@docker\" does not exist" entryPointName=web routerName=grafana@docker"#,
        ];
        let log: Vec<Box<str>> = log.map(Into::into).into();
        let found: Vec<_> = complaints(&log).into_iter().map(|it| (it.router, it.message)).collect();
        let want = [
            ("grafana@docker", "middleware \"nosuch@docker\" does not exist"),
            ("x@file", "error while parsing rule Hst(`a`): unsupported function: Hst"),
            ("cvat_grafana-cvat-1", "service \"grafana\" error: port is missing"),
        ];
        assert_eq!(found, want.map(|(router, message)| (router.to_owned(), message.to_owned())));
    }

    #[test]
    fn every_wording_of_traefiks_is_known() {
        for (line, router, message) in [
            (
                "2024-10-10T08:00:01Z ERR EntryPoint doesn't exist entryPointName=webb routerName=grafana@docker",
                "grafana@docker",
                "EntryPoint doesn't exist",
            ),
            (
                r#"time="2024-10-10T08:00:01Z" level=error msg="entryPoint \"webb\" doesn't exist" routerName=grafana@docker"#,
                "grafana@docker",
                "entryPoint \"webb\" doesn't exist",
            ),
            (
                "2024-10-10T08:00:01Z ERR No valid entryPoint for this router routerName=grafana@docker",
                "grafana@docker",
                "No valid entryPoint for this router",
            ),
            (
                r#"time="2024-10-10T08:00:01Z" level=error msg="no valid entryPoint for this router" routerName=a@file"#,
                "a@file",
                "no valid entryPoint for this router",
            ),
            (
                r#"2024-10-10T08:00:01Z ERR error="field not found, node: rul" container=cvat-grafana-cvat-5f0c providerName=docker"#,
                "cvat-grafana-cvat-5f0c",
                "field not found, node: rul",
            ),
            (
                r#"2024-10-10T08:00:01Z ERR Error while building configuration (for the first time) error="/etc/traefik/a.yml: yaml: line 3" providerName=file"#,
                "@file",
                "/etc/traefik/a.yml: yaml: line 3",
            ),
            (
                r#"2024-10-10T08:00:01Z ERR Router defined multiple times with different configurations configuration=["a-cvat-1","b-cvat-2"] providerName=docker routerName=grafana"#,
                "grafana",
                "Router defined multiple times with different configurations",
            ),
            (
                r#"{"level":"error","providerName":"docker","routerName":"grafana","msg":"Router defined multiple times with different configurations in [a b]"}"#,
                "grafana",
                "Router defined multiple times with different configurations in [a b]",
            ),
        ] {
            let want = Complaint { router: router.to_owned(), message: message.to_owned() };
            assert_eq!(complaints(&[line.into()]), [want], "{line}");
        }
    }

    #[test]
    fn no_request_passes_for_a_complaint_whatever_it_says() {
        for sign in SIGNS {
            let json = serde_json::json!({ "level": "info", "RequestPath": format!("/\"level\":\"error\" {sign}") });
            for line in [
                format!(
                    r#"10.0.0.1 - ERR [10/Oct/2024:08:00:02 +0000] "GET /?{sign} ERR level=error HTTP/1.1" 404 19"#
                ),
                json.to_string(),
            ] {
                assert_eq!(complaints(&[line.as_str().into()]), [], "{line}");
            }
        }
    }
}
