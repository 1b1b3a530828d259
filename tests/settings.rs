//! Settings: every value is read or refused, all errors come at once, and none of them tells a secret.

use std::num::NonZeroUsize;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use anteroom::config::{
    Brand, Config, Detail, Fallback, HostHeader, Identity, Input, Invalid, LATER, LogFormat, SETTINGS, Spool, Support,
    Template, Tls, Unknown, UpstreamTls, parse, parse_admin_listen,
};
use anteroom::evidence::Scheme;

fn pairs(given: &[(&str, &str)]) -> Vec<(String, String)> {
    given.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect()
}

fn read(flags: &[(&str, &str)], environment: &[(&str, &str)]) -> Result<(Config, Vec<Unknown>), Vec<Invalid>> {
    let (flags, environment) = (pairs(flags), pairs(environment));
    parse(input(&flags, &environment))
}

fn input<'a>(flags: &'a [(String, String)], environment: &'a [(String, String)]) -> Input<'a> {
    Input {
        flags,
        environment,
        cores: NonZeroUsize::new(3).expect("three is not zero"),
        check_log: anteroom::telemetry::check_filter,
    }
}

fn besides_the_required<'a>(name: &'a str, value: &'a str) -> Vec<(&'a str, &'a str)> {
    let required = [("ANTEROOM_UPSTREAM", "http://grafana:3000")].into_iter().filter(|(required, _)| *required != name);
    required.chain([(name, value)]).collect()
}

/// The configuration for one variable besides the required one.
fn with(name: &str, value: &str) -> Config {
    match read(&[], &besides_the_required(name, value)) {
        Ok((config, _)) => config,
        Err(invalid) => panic!("{name}={value}: {}", text(&invalid)),
    }
}

/// What one variable is refused with.
fn refusal(name: &str, value: &str) -> String {
    match read(&[], &besides_the_required(name, value)) {
        Ok((config, _)) => panic!("{name}={value} was accepted: {config:?}"),
        Err(invalid) => {
            assert_eq!(invalid.len(), 1, "{name}={value}: {}", text(&invalid));
            text(&invalid)
        }
    }
}

fn text(invalid: &[Invalid]) -> String {
    invalid.iter().map(Invalid::to_string).collect::<Vec<_>>().join("\n")
}

#[test]
fn the_defaults_are_those_of_the_table() {
    let config = with("ANTEROOM_UPSTREAM", "http://grafana:3000");
    assert_eq!(config.listen.to_string(), "0.0.0.0:8080");
    assert_eq!(config.admin_listen.to_string(), "127.0.0.1:9090");
    assert_eq!((&*config.upstream.host, config.upstream.port), ("grafana", 3000));
    assert_eq!(config.upstream.ready_path, None);
    assert_eq!(config.patience.navigation, Duration::from_secs(2));
    assert_eq!(config.patience.request, Duration::from_secs(30));
    assert_eq!(config.grace, Duration::from_secs(10));
    assert_eq!((config.max_held, config.replay_bytes), (1024, 1 << 20));
    assert_eq!(config.spool, None);
    assert_eq!((config.connect_timeout.as_secs(), config.response_timeout.as_secs()), (2, 60));
    assert_eq!((config.host_header, config.detail), (HostHeader::Preserve, Detail::State));
    assert_eq!((config.brand, config.container, config.docker_host), (Brand::default(), None, None));
    assert_eq!((config.tls, config.upstream_tls), (None, UpstreamTls::default()));
    assert_eq!(config.threads.get(), 3, "one per core");
    assert_eq!((config.log.as_str(), config.log_format), ("info", LogFormat::Text));
}

#[test]
fn every_row_of_the_table_is_read_as_flag_and_as_variable() {
    for setting in SETTINGS {
        // A control character fits no setting, so whatever is read complains about it.
        let wrong = "\u{7}";
        let as_variable = read(&[], &besides_the_required(setting.name, wrong));
        let as_flag = read(&[(setting.flag, wrong)], &[("ANTEROOM_UPSTREAM", "http://grafana:3000")]);
        let complaint = as_variable.expect_err(setting.name);
        assert!(complaint[0].setting == setting.name, "{}", text(&complaint));
        let complaint = as_flag.expect_err(setting.flag);
        assert!(complaint[0].setting == format!("--{}", setting.flag), "{}", text(&complaint));
        assert!(complaint[0].reason.contains(setting.takes), "{}", text(&complaint));
    }
}

#[test]
fn every_default_in_the_table_is_a_value_that_is_accepted() {
    for setting in SETTINGS {
        if let Fallback::Value(value) = setting.default {
            with(setting.name, value);
        }
    }
}

#[test]
fn an_operators_own_page_is_two_files_and_two_texts() {
    assert_eq!(with("ANTEROOM_PAGE_CSS", "/a/b.css").brand.css.as_deref(), Some(Path::new("/a/b.css")));
    assert_eq!(with("ANTEROOM_PAGE_LOGO", "logo.svg").brand.logo.as_deref(), Some(Path::new("logo.svg")));
    assert_eq!(
        with("ANTEROOM_PAGE_NOTE", "Back on <b>Monday</b>.").brand.note.as_deref(),
        Some("Back on <b>Monday</b>.")
    );
    let link = Support::Link { target: "mailto:ops@example.org".into(), shown: "ops@example.org".into() };
    assert_eq!(with("ANTEROOM_PAGE_SUPPORT", "mailto:ops@example.org").brand.support, Some(link));
    let words = Support::Words("javascript:alert(1)".into());
    assert_eq!(with("ANTEROOM_PAGE_SUPPORT", "javascript:alert(1)").brand.support, Some(words));
    assert!(
        refusal("ANTEROOM_PAGE_NOTE", &"long ".repeat(100)).contains("is too long. It takes a sentence of at most")
    );
    assert!(refusal("ANTEROOM_PAGE_SUPPORT", "a\nb").contains("has a line break"));
}

#[test]
fn flags_and_variables_have_the_same_names() {
    let named = SETTINGS.iter().map(|s| (s.name, s.flag)).chain(LATER.iter().map(|l| (l.name, l.flag)));
    for (name, flag) in named {
        let expected = name.strip_prefix("ANTEROOM_").unwrap_or(name).to_lowercase().replace('_', "-");
        assert_eq!(flag, expected);
    }
}

#[test]
fn a_flag_wins_over_the_environment_and_an_empty_value_is_unset() {
    let environment = [("ANTEROOM_UPSTREAM", "http://grafana:3000"), ("ANTEROOM_GRACE", "5s"), ("ANTEROOM_LOG", " ")];
    let (config, _) = read(&[("grace", "7s")], &environment).expect("all of it is right");
    assert_eq!((config.grace.as_secs(), config.log.as_str()), (7, "info"));
    let (config, _) = read(&[("grace", "")], &environment).expect("all of it is right");
    assert_eq!(config.grace.as_secs(), 5, "an empty flag is no flag");
}

#[test]
fn values_are_read_with_their_units() {
    assert_eq!(with("ANTEROOM_GRACE", "500ms").grace, Duration::from_millis(500));
    assert_eq!(with("ANTEROOM_GRACE", "1m 30s").grace, Duration::from_secs(90));
    assert_eq!(with("ANTEROOM_GRACE", "0s").grace, Duration::ZERO);
    for (value, bytes) in
        [("0", 0), ("1048576", 1 << 20), ("64KiB", 64 << 10), ("64 KiB", 64 << 10), ("12B", 12), ("64MiB", 64 << 20)]
    {
        assert_eq!(with("ANTEROOM_REPLAY_BYTES", value).replay_bytes, bytes, "{value}");
    }
    let most = [("1099511627776", 1 << 40), ("1099511627776KiB", 1 << 50)];
    for (value, bytes) in most {
        assert_eq!(with("ANTEROOM_MAX_BODY_BYTES", value).limits.body_bytes, Some(bytes), "{value}");
    }
    assert_eq!(with("ANTEROOM_LISTEN", "[::]:0").listen.to_string(), "[::]:0");
    assert_eq!(with("ANTEROOM_THREADS", "2").threads.get(), 2);
    assert_eq!(with("ANTEROOM_MAX_HELD", "0").max_held, 0);
    assert_eq!(with("ANTEROOM_HOST_HEADER", "upstream").host_header, HostHeader::Upstream);
    assert_eq!(with("ANTEROOM_DETAIL", "summary").detail, Detail::Summary);
    assert_eq!(with("ANTEROOM_LOG_FORMAT", "json").log_format, LogFormat::Json);
    assert_eq!(
        with("ANTEROOM_READY_PATH", "/api/health?full=1").upstream.ready_path.as_deref(),
        Some("/api/health?full=1")
    );
    let needed = with("ANTEROOM_DEPENDS_ON", "clickhouse, vector,").upstream.depends_on.expect("it is set");
    assert_eq!(needed.iter().map(|needed| &*needed.service).collect::<Vec<_>>(), ["clickhouse", "vector"]);
    assert_eq!(with("ANTEROOM_CONTAINER", "/cvat_grafana").container.as_deref(), Some("cvat_grafana"));
    for filter in ["debug", "OFF", "info,anteroom::watch=trace", "hyper=off", "3", "info,", "hyper = off, info"] {
        assert_eq!(with("ANTEROOM_LOG", filter).log, filter);
    }
    for host in ["unix:///run/podman/podman.sock", "tcp://socket-proxy:2375", "http://10.0.0.1:2375/"] {
        assert_eq!(with("DOCKER_HOST", host).docker_host.as_deref(), Some(host));
    }
}

#[test]
fn an_upstream_is_a_host_and_perhaps_a_port() {
    for (value, scheme, host, port) in [
        ("http://grafana:3000", Scheme::Http, "grafana", 3000),
        ("http://grafana:3000/", Scheme::Http, "grafana", 3000),
        ("HTTP://grafana", Scheme::Http, "grafana", 80),
        ("http://cvat_grafana:3000", Scheme::Http, "cvat_grafana", 3000),
        ("http://10.0.0.7:3000", Scheme::Http, "10.0.0.7", 3000),
        ("http://[fd00::7]:3000", Scheme::Http, "fd00::7", 3000),
        ("https://grafana", Scheme::Https, "grafana", 443),
        ("https://10.0.0.7:3000", Scheme::Https, "10.0.0.7", 3000),
    ] {
        let upstream = with("ANTEROOM_UPSTREAM", value).upstream;
        assert_eq!((upstream.scheme, &*upstream.host, upstream.port), (scheme, host, port), "{value}");
    }
}

#[test]
fn the_files_of_tls_are_read_by_name_only() {
    let file = |name: &str| -> Arc<Path> { Path::new(name).into() };
    let identity = |certificate, key| Identity { certificate: file(certificate), key: file(key) };
    let environment = [
        ("ANTEROOM_UPSTREAM", "https://grafana"),
        ("ANTEROOM_TLS_CERT", "/no/such/cert.pem"),
        ("ANTEROOM_TLS_KEY", "key.pem"),
        ("ANTEROOM_TLS_CLIENT_CA", "/clients.pem"),
        ("ANTEROOM_UPSTREAM_CA", "/roots.pem"),
        ("ANTEROOM_UPSTREAM_CERT", "/me.pem"),
        ("ANTEROOM_UPSTREAM_KEY", "/my key.pem"),
    ];
    let (config, _) = read(&[], &environment).expect("what is in the files is not looked at here");
    let served = Tls { identity: identity("/no/such/cert.pem", "key.pem"), client_ca: Some(file("/clients.pem")) };
    assert_eq!(config.tls, Some(served));
    let towards = UpstreamTls { ca: Some(file("/roots.pem")), identity: Some(identity("/me.pem", "/my key.pem")) };
    assert_eq!(config.upstream_tls, towards);
}

#[test]
fn a_spool_is_a_folder_and_a_limit() {
    let spool = |bytes| Some(Spool { folder: Path::new("/var/spool/a b").into(), bytes });
    assert_eq!(with("ANTEROOM_SPOOL_DIR", "/var/spool/a b").spool, spool(1 << 30));
    let folder = ("ANTEROOM_SPOOL_DIR", "/var/spool/a b");
    let both = [("ANTEROOM_UPSTREAM", "http://grafana"), folder, ("ANTEROOM_SPOOL_BYTES", "20GiB")];
    assert_eq!(read(&[], &both).expect("all of it is right").0.spool, spool(20 << 30));
    assert_eq!(with("ANTEROOM_SPOOL_BYTES", "20GiB").spool, None, "a limit alone limits nothing");
}

#[test]
fn who_is_told_is_a_url_and_how_it_is_told() {
    let url = ("ANTEROOM_NOTIFY_URL", "https://hooks.example.org/T1/B2");
    let all = [
        ("ANTEROOM_UPSTREAM", "http://grafana"),
        url,
        ("ANTEROOM_NOTIFY_FORMAT", "slack"),
        ("ANTEROOM_NOTIFY_AFTER", "1m"),
        ("ANTEROOM_NOTIFY_KEY_FILE", "/key"),
        ("ANTEROOM_NOTIFY_CA", "/roots.pem"),
    ];
    let notify = read(&[], &all).expect("all of it is right").0.notify.expect("it is set");
    assert_eq!((&*notify.receiver.host, &*notify.receiver.target), ("hooks.example.org", "/T1/B2"));
    assert_eq!((notify.template, notify.settles), (Template::Slack, Duration::from_secs(60)));
    assert_eq!((notify.key.as_deref(), notify.ca.as_deref()), (Some(Path::new("/key")), Some(Path::new("/roots.pem"))));
    let notify = with(url.0, url.1).notify.expect("it is set");
    assert_eq!((notify.template, notify.settles.as_secs(), notify.key), (Template::Json, 5, None));
    assert_eq!(with("ANTEROOM_NOTIFY_AFTER", "1m").notify, None, "nobody is told");
    for name in ["ANTEROOM_NOTIFY_KEY_FILE", "ANTEROOM_NOTIFY_CA"] {
        assert!(refusal(name, "/file").contains("needs ANTEROOM_NOTIFY_URL."), "{name}");
    }
    let plain = [all[0], ("ANTEROOM_NOTIFY_URL", "http://ntfy/a"), ("ANTEROOM_NOTIFY_CA", "/roots.pem")];
    let refused = text(&read(&[], &plain).expect_err("there is nothing to trust"));
    assert!(
        refused.contains("ANTEROOM_NOTIFY_CA=\"/roots.pem\" needs an ANTEROOM_NOTIFY_URL that begins"),
        "{refused}"
    );
}

#[test]
fn nothing_of_a_receivers_url_is_ever_shown() {
    for wrong in ["ftp://me:s3cret@hooks/s3cret?s3cret", "s3cret", "https://hooks/s3 cret", "https://hooks/s3cret#x"] {
        let refused = refusal("ANTEROOM_NOTIFY_URL", wrong);
        assert!(refused.starts_with("ANTEROOM_NOTIFY_URL has ") && !refused.contains("s3"), "{refused}");
    }
    let config = with("ANTEROOM_NOTIFY_URL", "https://me:s3cret@hooks/s3cret?s3cret");
    assert!(!format!("{config:?}").contains("s3cret"), "{config:?}");
}

#[test]
fn half_of_what_tls_needs_is_refused() {
    let https = ("ANTEROOM_UPSTREAM", "https://grafana");
    for (given, complaint) in [
        (vec![("ANTEROOM_TLS_CERT", "/c")], "ANTEROOM_TLS_CERT=\"/c\" needs ANTEROOM_TLS_KEY too."),
        (vec![("ANTEROOM_TLS_KEY", "/k")], "ANTEROOM_TLS_KEY=\"/k\" needs ANTEROOM_TLS_CERT too."),
        (vec![("ANTEROOM_TLS_CLIENT_CA", "/a")], "ANTEROOM_TLS_CLIENT_CA=\"/a\" needs ANTEROOM_TLS_CERT and"),
        (vec![("ANTEROOM_UPSTREAM_CERT", "/c")], "ANTEROOM_UPSTREAM_CERT=\"/c\" needs ANTEROOM_UPSTREAM_KEY too."),
        (vec![("ANTEROOM_UPSTREAM_KEY", "/k")], "ANTEROOM_UPSTREAM_KEY=\"/k\" needs ANTEROOM_UPSTREAM_CERT too."),
    ] {
        let environment: Vec<_> = given.into_iter().chain([https]).collect();
        let invalid = read(&[], &environment).expect_err(complaint);
        assert!(invalid.len() == 1 && text(&invalid).starts_with(complaint), "{}", text(&invalid));
    }
}

#[test]
fn tls_towards_an_upstream_that_speaks_none_is_refused() {
    for name in ["ANTEROOM_UPSTREAM_CA", "ANTEROOM_UPSTREAM_CERT", "ANTEROOM_UPSTREAM_KEY"] {
        assert!(refusal(name, "/pem").contains("begins with https://, not http://"), "{name}");
    }
}

#[test]
fn what_is_wrong_is_refused_and_says_why() {
    for (name, value, reason) in [
        ("ANTEROOM_UPSTREAM", "", "is not set"),
        ("ANTEROOM_UPSTREAM", "grafana:3000", "did you mean http://grafana:3000?"),
        ("ANTEROOM_UPSTREAM", "ftp://grafana", "unknown scheme"),
        ("ANTEROOM_UPSTREAM", "http://", "no valid host"),
        ("ANTEROOM_UPSTREAM", "http://graf ana", "no valid host"),
        ("ANTEROOM_UPSTREAM", "http://grafana/analytics", "has a path"),
        ("ANTEROOM_UPSTREAM", "http://grafana?x", "has a query"),
        ("ANTEROOM_UPSTREAM", "http://grafana#x", "has a query or a fragment"),
        ("ANTEROOM_UPSTREAM", "http://grafana:0", "no valid port"),
        ("ANTEROOM_UPSTREAM", "http://grafana:", "no valid port"),
        ("ANTEROOM_UPSTREAM", "http://grafana:65536", "no valid port"),
        ("ANTEROOM_UPSTREAM", "http://[::g]:80", "no valid"),
        ("ANTEROOM_LISTEN", ":8080", "did you mean 0.0.0.0:8080?"),
        ("ANTEROOM_LISTEN", "8080", "did you mean 0.0.0.0:8080?"),
        ("ANTEROOM_LISTEN", "localhost:8080", "not an address"),
        ("ANTEROOM_LISTEN", "127.0.0.1:9090", "ANTEROOM_ADMIN_LISTEN"),
        ("ANTEROOM_ADMIN_LISTEN", "0.0.0.0:8080", "is taken by ANTEROOM_LISTEN"),
        ("ANTEROOM_READY_PATH", "api/health", "does not begin with /"),
        ("ANTEROOM_READY_PATH", "/a b", "is not a path"),
        ("ANTEROOM_READY_PATH", "/a#b", "fragment"),
        ("ANTEROOM_GRACE", "5", "did you mean 5s?"),
        ("ANTEROOM_GRACE", "1.5", "did you mean 1.5s?"),
        ("ANTEROOM_GRACE", "soon", "is not a duration"),
        ("ANTEROOM_GRACE", "-1s", "is not a duration"),
        ("ANTEROOM_GRACE", "2days", "too long"),
        ("ANTEROOM_CONNECT_TIMEOUT", "0s", "would let everything fail"),
        ("ANTEROOM_RESPONSE_TIMEOUT", "0s", "would let everything fail"),
        ("ANTEROOM_MAX_HELD", "-1", "not a whole number"),
        ("ANTEROOM_MAX_HELD", "1000001", "out of range"),
        ("ANTEROOM_THREADS", "0", "out of range"),
        ("ANTEROOM_REPLAY_BYTES", "1MB", "did you mean 1MiB?"),
        ("ANTEROOM_REPLAY_BYTES", "1k", "did you mean 1KiB?"),
        ("ANTEROOM_REPLAY_BYTES", "65MiB", "too large"),
        ("ANTEROOM_REPLAY_BYTES", "99999999999999999999", "too large"),
        ("ANTEROOM_REPLAY_BYTES", "99999999999999999999kB", "has an unknown unit."),
        ("ANTEROOM_REPLAY_BYTES", "MiB", "is not a size"),
        ("ANTEROOM_SPOOL_BYTES", "0", "too small"),
        ("ANTEROOM_SPOOL_DIR", "/a\nb", "is not a path"),
        ("ANTEROOM_HOST_HEADER", "keep", "none of these words"),
        ("ANTEROOM_DETAIL", "all", "none of these words"),
        ("ANTEROOM_DETAIL", "everything", "summary, state or full"),
        ("ANTEROOM_LOG_FORMAT", "JSON", "none of these words"),
        ("ANTEROOM_LOG", "info,anteroom=loud", "is no filter"),
        ("ANTEROOM_LOG", "verbose", "that is no level"),
        ("ANTEROOM_LOG", ",", "that is no level"),
        ("ANTEROOM_LOG", "info, anteroom= ", "that is no level"),
        ("ANTEROOM_CONTAINER", "../containers", "not a name"),
        ("ANTEROOM_DEPENDS_ON", "clickhouse;vector", "not a name"),
        ("ANTEROOM_TLS_CLIENT_CA", "-----BEGIN CERTIFICATE-----", "the content of a file"),
        ("ANTEROOM_NOTIFY_FORMAT", "discord", "none of these words"),
        ("ANTEROOM_NOTIFY_AFTER", "5", "did you mean 5s?"),
        ("DOCKER_HOST", "/var/run/docker.sock", "put unix:// before it"),
        ("DOCKER_HOST", "unix://docker.sock", "no absolute path"),
        ("DOCKER_HOST", "ssh://host", "not supported yet"),
        ("DOCKER_HOST", "tcp://", "no valid host"),
    ] {
        let refusal = refusal(name, value);
        assert!(refusal.contains(reason), "{name}={value}: {refusal}");
        assert!(refusal.contains("It takes"), "{name}={value}: {refusal}");
    }
}

#[test]
fn what_a_later_version_will_do_is_refused_not_ignored() {
    for later in LATER {
        let refusal = refusal(later.name, "s3cret");
        assert!(refusal.contains(later.name) && refusal.contains("cannot do yet"), "{refusal}");
        assert!(!refusal.contains("s3cret"), "{refusal}");
        let flags = [("upstream", "http://grafana"), (later.flag, "x")];
        assert!(text(&read(&flags, &[]).expect_err(later.flag)).contains(&format!("--{}", later.flag)));
    }
    with("DOCKER_TLS_VERIFY", "0");
    with("DOCKER_TLS_VERIFY", "");
}

#[test]
fn all_errors_come_at_once_in_the_order_of_the_table() {
    let environment = [("ANTEROOM_GRACE", "5"), ("ANTEROOM_LISTEN", "x"), ("ANTEROOM_TLS_KEY", "/key")];
    let invalid = read(&[("threads", "many")], &environment).expect_err("five are wrong");
    let names: Vec<&str> = invalid.iter().map(|invalid| invalid.setting.as_str()).collect();
    assert_eq!(names, ["ANTEROOM_UPSTREAM", "ANTEROOM_LISTEN", "ANTEROOM_GRACE", "--threads", "ANTEROOM_TLS_KEY"]);
    assert_eq!(
        invalid[2].to_string(),
        "ANTEROOM_GRACE=\"5\" has no unit: did you mean 5s? It takes a duration with its unit, e.g. 2s or 500ms, at most 1day"
    );
}

#[test]
fn a_message_shows_neither_credentials_nor_control_characters_nor_novels() {
    let refused = refusal("ANTEROOM_UPSTREAM", "http://admin:hun@ter2@grafana:3000/?token=abc");
    assert!(!refused.contains("hun") && !refused.contains("ter2") && !refused.contains("abc"), "{refused}");
    assert!(refused.contains("http://…@grafana:3000"), "{refused}");
    assert!(!refusal("ANTEROOM_GRACE", "\u{1b}[31m5").contains('\u{1b}'));
    assert!(refusal("ANTEROOM_GRACE", &"9".repeat(10_000)).len() < 400);
}

#[test]
fn an_unknown_variable_is_reported_with_what_was_meant() {
    let environment = [
        ("ANTEROOM_UPSTREAM", "http://grafana:3000"),
        ("ANTEROOM_UPSTRAEM", "http://other"),
        ("ANTEROOM_COLOUR", "red"),
        ("ANTEROOM_PORT", "8080"),
        ("PATH", "/bin"),
    ];
    let (_, unknown) = read(&[], &environment).expect("unknown variables are no errors");
    let told: Vec<String> = unknown.iter().map(Unknown::to_string).collect();
    assert_eq!(
        told,
        [
            "ANTEROOM_UPSTRAEM is no setting and is ignored; did you mean ANTEROOM_UPSTREAM?",
            "ANTEROOM_COLOUR is no setting and is ignored",
            "ANTEROOM_PORT is no setting and is ignored",
        ]
    );
}

#[test]
fn what_kubernetes_sets_for_a_service_of_our_name_is_passed_over() {
    let environment = [
        ("ANTEROOM_UPSTREAM", "http://grafana:3000"),
        ("ANTEROOM_PORT", "tcp://10.96.0.1:8080"),
        ("ANTEROOM_PORT_8080_TCP_ADDR", "10.96.0.1"),
        ("ANTEROOM_SERVICE_HOST", "10.96.0.1"),
    ];
    let (_, unknown) = read(&[], &environment).expect("none of these is ours");
    assert_eq!(unknown, []);
}

#[test]
fn the_admin_address_can_be_read_alone() {
    let environment = pairs(&[("ANTEROOM_ADMIN_LISTEN", "[::1]:7000"), ("ANTEROOM_GRACE", "wrong")]);
    assert_eq!(parse_admin_listen(input(&[], &environment)).map(|a| a.to_string()), Ok("[::1]:7000".to_owned()));
    let flags = pairs(&[("admin-listen", "x")]);
    let invalid = parse_admin_listen(input(&flags, &environment)).expect_err("x is no address");
    assert_eq!(invalid[0].setting, "--admin-listen");
}
