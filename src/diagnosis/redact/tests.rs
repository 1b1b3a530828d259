//! What goes, and what stays.

use std::time::{Duration, Instant};

use super::fixtures::{HARMLESS, SECRETS, planted, survives};
use super::{redact, redact_lines};

#[test]
fn secrets_are_removed_and_the_rest_of_the_error_stays() {
    for (text, want) in [
        (
            "Get \"https://robot:s3cr3t@registry.example.com/v2/\": unauthorized",
            "Get \"https://[removed]@registry.example.com/v2/\": unauthorized",
        ),
        ("dial postgres://u:p@ss/w@db:5432 failed", "dial postgres://[removed]@db:5432 failed"),
        ("exec: \"run --password=hunter2\": not found", "exec: \"run --password=[removed]\": not found"),
        ("CLICKHOUSE_PASSWORD='two words' refused", "CLICKHOUSE_PASSWORD=[removed] refused"),
        ("API_TOKEN=\"never closed", "API_TOKEN=[removed]"),
        ("first\nhttp://u:p@host\nlast@all", "first\nhttp://[removed]@host\nlast@all"),
        ("a://x:1@h b://y:2@i", "a://[removed]@h b://[removed]@i"),
        ("exec: \"run --password hunter2 -v\": not found", "exec: \"run --password [removed] -v\": not found"),
        ("run -auth-key swordfish failed", "run -auth-key [removed] failed"),
        ("{\"user\":\"u\",\"password\":\"hunter2\"}", "{\"user\":\"u\",\"password\":[removed]}"),
        ("{\"apiKey\": \"a b\", \"pin\": 1}", "{\"apiKey\": [removed], \"pin\": 1}"),
        (r#"body "{\"Token\":\"a b\",\"x\":1}" refused"#, r#"body "{\"Token\":[removed],\"x\":1}" refused"#),
        (r#"PASSWORD="a\"b" refused"#, "PASSWORD=[removed] refused"),
        ("password: hunter2", "password: [removed]"),
        ("Password = swordfish, try again", "Password = [removed] try again"),
        ("DB_PASS: swordfish", "DB_PASS: [removed]"),
        ("using password hunter2", "using password [removed]"),
        ("with secret 'sword fish' in it", "with secret [removed] in it"),
        ("Authorization: Bearer eyJhbGciOi.J9.x refused", "Authorization: [removed] refused"),
        ("-H \"authorization: basic swordfish\" failed", "-H \"authorization: [removed]\" failed"),
        ("{\"Authorization\":\"Bearer swordfish\"}", "{\"Authorization\":[removed]}"),
        ("sent Bearer eyJhbGciOi.J9.x, refused", "sent Bearer [removed] refused"),
        ("sent basic dXNlcjpwYXNz", "sent basic [removed]"),
        ("Set-Cookie: sid=1; csrf=2", "Set-Cookie: [removed]"),
        ("GET /api?token=abc&user=u", "GET /api?token=[removed]&user=u"),
        ("env AWS_SECRET_ACCESS_KEY=wJalrX/K7 run", "env AWS_SECRET_ACCESS_KEY=[removed] run"),
    ] {
        assert_eq!(redact(text), want);
    }
}

/// Where two nets meet, or one ends.
#[test]
fn a_secret_goes_as_a_whole_and_what_is_beside_it_is_judged_too() {
    for (text, want) in [
        ("Password for user 'admin': Tuna9fish \"ééééé\"", "Password for user 'admin': [removed] \"ééééé\""),
        ("password for alice is Tuna9fish \"für É\"", "password for alice is [removed] \"für É\""),
        (
            "redis-cli -a tuna ACL SETUSER alice on >sword >fish ~*",
            "redis-cli -a [removed] ACL SETUSER alice on >[removed] >[removed] ~*",
        ),
        ("curl -u a:tuna http://x/SETUSER?a->b", "curl -u [removed] http://x/SETUSER?a->b"),
        (
            "pull https://robot:tuna@r.example.org/web@sha256:5f3c",
            "pull https://[removed]@r.example.org/web@sha256:5f3c",
        ),
        ("Access denied using password 'my-secret-pw' for root", "Access denied using password [removed] for root"),
        ("passphrase: open horse battery staple", "passphrase: [removed]"),
        ("passphrase: 123 Sesame street open", "passphrase: [removed]"),
        ("DB_PASSWORD: not set, tuna", "DB_PASSWORD: [removed]"),
        ("conn.setPassword(\"/Kq9x+Lm/Zr8Tb4Yw==\")", "conn.setPassword([removed])"),
        ("Your password is:\nSUMMER_2026", "Your password is:\n[removed]"),
        ("<password> tuna9", "<password>[removed]"),
        (
            "#0 /x.php(4): mysqli_connect('db', 'root', '31415926')",
            "#0 /x.php(4): mysqli_connect('db', 'root', [removed])",
        ),
        ("#0 /x.php(4): Redis->auth('/Kq9x+Lm')", "#0 /x.php(4): Redis->auth([removed])"),
        ("Predis\\Client->auth('alice', 'tuna9')", "Predis\\Client->auth('alice', [removed])"),
        ("parse \"cvat:tuna@db.example.org/cvat\"", "parse \"[removed]@db.example.org/cvat\""),
        ("Key (tenant, api_token)=(7, tuna fish)", "Key (tenant, api_token)=([removed])"),
        ("missing credentials: profile / region not set", "missing credentials: [removed] / region not set"),
    ] {
        assert_eq!(redact(text), want);
        assert_eq!(redact(want), want);
    }
    for text in [
        " id | password | email",
        "| password | varchar(255) | NO |",
        "passwordpusher-1  | => Booting Puma",
        "2026-11-27 | WARNING | app.auth.token | refreshed for alice",
        "Twig\\Source->__construct('{% ext...', 'page.twig', '/app/x')",
        "GuzzleHttp\\Psr7\\Response->__construct(500, Array, 'upstream is dow...')",
        "ErrorException->__construct('Undefined index', 8, '/app/y.php', 12)",
        "net.connect(\"tcp\", \"localhost\", \"8080\")",
        "firebase.auth(\"default\") is not a function",
        "scp git:repo@host/path",
        "rsync backup:daily@nas/vol, \"mailto:bob@localhost/INBOX\"",
        "ffmpeg -af highpass=f=200,lowpass=f=3000 out.wav",
        "MAX_TOKENS=4k TOTAL_TOKENS=1.2M TOKENS: 12 in, 34 out",
        "easyrsa gen-req server nopass 2>&1",
        "regex \\\\u003c matched",
    ] {
        assert_eq!(redact(text), text);
    }
}

#[test]
fn harmless_text_is_left_as_it_is() {
    for text in [
        "network 0123456789ab not found",
        "driver failed: Bind for 0.0.0.0:8080 failed: port is already allocated",
        "Get \"http://proxy:2375/v1.41/info\": EOF",
        "mode=0755 uid=472 name=grafana",
        "password incorrect for user",
        "password authentication failed for user \"cvat\"",
        "Password FAILED: try again",
        "unauthorized: authentication required",
        "the token is missing or expired",
        "invalid character '<': unexpected token '<'",
        "unable to join session keyring: unable to create session key: disk quota exceeded",
        "exec: \"secret\": executable file not found in $PATH: unknown",
        "Get \"https://auth.docker.io/token\": dial tcp: lookup auth.docker.io on 10.0.0.1:53",
        "basic authentication is required",
        "WWW-Authenticate: Bearer realm=\"https://example.com\"",
        "flag needs an argument: --password",
        "--no-password --verbose: unknown flag",
        "{\"user\": \"password\", \"id\": 1}",
        "password:",
    ] {
        assert_eq!(redact(text), text);
    }
}

#[test]
fn no_kind_of_secret_survives() {
    let mut leaks = vec![];
    for (kind, template) in SECRETS {
        let (text, canaries) = planted(template);
        let clean = redact(&text);
        leaks.extend(canaries.iter().filter(|canary| survives(&clean, canary)).map(|_| format!("{kind}: {clean}")));
    }
    assert!(leaks.is_empty(), "{} leak:\n{}", leaks.len(), leaks.join("\n"));
    assert!(SECRETS.len() >= 60);
}

#[test]
fn what_a_log_says_otherwise_stays_to_the_byte() {
    let changed: Vec<String> = HARMLESS
        .iter()
        .filter(|line| redact(line) != **line)
        .map(|line| format!("{line}\n  {}", redact(line)))
        .collect();
    assert!(changed.is_empty(), "{} changed:\n{}", changed.len(), changed.join("\n"));
    assert!(HARMLESS.len() >= 40);
}

#[test]
fn what_is_clean_stays_as_it_is() {
    let cleaned = SECRETS.iter().map(|(_, template)| redact(&planted(template).0));
    let changed: Vec<_> = cleaned.map(|clean| (redact(&clean), clean)).filter(|(again, once)| again != once).collect();
    assert!(changed.is_empty(), "{changed:#?}");
}

#[test]
fn every_line_stays_in_its_place() {
    for (kind, template) in SECRETS {
        let (text, _) = planted(template);
        let lines: Vec<&str> = text.split('\n').collect();
        assert_eq!(redact_lines(lines.iter().copied()).len(), lines.len(), "{kind}");
    }
    let key = "web | up\nweb | -----BEGIN PRIVATE KEY-----\nweb | QUJD\nweb | -----END PRIVATE KEY-----\nweb | ready";
    assert_eq!(redact(key), "web | up\nweb | [removed]\nweb | [removed]\n[removed]\nweb | ready");
}

/// Names, signs and marks of all nets, to be put together in every way.
const PIECES: [&str; 48] = [
    "password",
    "token",
    "key",
    "name",
    "value",
    "Authorization",
    "Cookie",
    "bearer",
    "AUTH",
    "identified",
    "by",
    "mysql",
    "-p",
    "curl",
    "-u",
    "chpasswd",
    "kind",
    "Secret",
    "data",
    "://",
    "@",
    "%3A%2F%2F",
    "%40",
    "%3D",
    "=",
    ":",
    "：",
    "=>",
    "\"",
    "'",
    "\\",
    "\\\"",
    "\\u0022",
    "&quot;",
    "&",
    ";",
    "(",
    "[",
    "{",
    "}",
    " ",
    "\n",
    "eyJ",
    "AKIA",
    "-----BEGIN ",
    "PRIVATE KEY-----",
    "-----END ",
    "é",
];

#[test]
fn no_text_is_too_hostile() {
    let mut random = fastrand::Rng::with_seed(7);
    for _ in 0..20_000 {
        let text: String = (0..random.usize(1..24))
            .map(|_| if random.u8(..) < 24 { "\u{3000}ａ🦀x1" } else { PIECES[random.usize(..PIECES.len())] })
            .collect();
        assert_eq!(redact(&text).split('\n').count(), text.split('\n').count(), "{text:?}");
    }
}

/// What makes a net look ahead or back, to be repeated without ever coming to an end.
#[rustfmt::skip]
const TRAPS: [&str; 66] = [
    "password=\"\\", "password=(", "token ", "key=é", "\"key\":", "password: is ", "password is set to ",
    "name=password ", "Authorization: Digest ", "a@b:", "http://a:b", "&a", ";a", "AUTH \"", "identified x ",
    "rabbitmqctl ", "rabbitmqctl add_user ", "chpasswd a:b ", "A1b2", "a/", "A1/b+", "eyJ.", "sk-",
    "\\u0022password", "data:{", "\"data\":{", "kind: Secret\ndata:\n  a: b\n",
    "-----END PRIVATE KEY-----\nQUJD\n", "-----BEGIN PRIVATE KEY-----\nQUJD\n", "password:\n",
    "name=\"password\" form-data\n\nx\n", "password: |\n  x\n", "machine x\n", "QUJD\n", "0123456789abcdef",
    "x-key: [", "--p ", "token (", "cookie a ", "value=é", "key=\\", "sk-a.", "a-password:1.2/", "curl -u,",
    "-u,", "AUTH x ", "password=xx ", "key='é", "name='é", "password: is é", "password is ", "\"password\":é",
    "password", "a.key=", "Authorization: token ", "{trap:?}: {:?}",
    "% a://b\"c", "invalid port \"", "mysqli_connect('a','b',", "<password a=",
    "htpasswd -b ", "LOGIN a ", "login a:b1c2d3 ", "vault login ", "mc set ", "/srv/0123456789abcdef0123456789abcdef",
];

/// A net that read the rest of a line at each step would take minutes for what takes a part of a second.
const FAR_TOO_LONG: Duration = Duration::from_secs(10);

#[test]
fn no_trap_makes_a_net_read_a_line_again_and_again() {
    for trap in TRAPS.iter().chain(&PIECES) {
        let text = trap.repeat((64 << 10) / trap.len());
        let started = Instant::now();
        assert!(redact(&text).len() <= 8 * text.len());
        assert!(started.elapsed() < FAR_TOO_LONG, "{trap:?}: {:?}", started.elapsed());
    }
}

#[test]
fn a_mebibyte_of_traps_is_read_in_passing_as_one_line_and_as_many() {
    let traps: Vec<&str> = TRAPS.into_iter().chain(PIECES).collect();
    let each = (1 << 20) / traps.len();
    let lines: Vec<String> = traps.iter().map(|trap| trap.repeat(each / trap.len())).collect();
    for text in [lines.join("\n"), lines.concat().replace('\n', " ")] {
        assert!(text.len() > 1_000_000);
        let started = Instant::now();
        assert!(redact(&text).len() <= 8 * text.len());
        assert!(started.elapsed() < FAR_TOO_LONG, "{:?}", started.elapsed());
    }
}
