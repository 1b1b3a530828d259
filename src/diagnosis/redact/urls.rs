//! Secrets by their place in an address: `user:password@`, and the paths of web hooks.

use std::borrow::Cow;
use std::ops::Range;

use super::values::{ends_word, is_quote, quote_mark};
use super::{Cuts, REMOVED};

/// How the authority of a URL begins, and what its user information ends with: plain, within JSON of some makers, and
/// within another URL's query.
const AUTHORITIES: [(&str, &str); 4] = [("://", "@"), (":\\/\\/", "@"), ("%3A%2F%2F", "%40"), ("%3a%2f%2f", "%40")];
/// After these, the rest of the address is all that it takes to write into somebody's channel.
const HOOKS: [&str; 5] =
    ["hooks.slack.com/", "/api/webhooks/", "webhook.office.com/", "hooks.zapier.com/", "jdbc:oracle:thin:"];
/// How the addresses of Go's MySQL driver go on after their credentials.
const TRANSPORTS: [&str; 3] = ["@tcp(", "@unix(", "@//"];

/// What Go, Python and libpq say of an address whose password is taken for its port or its host, since it holds a `#`, a
/// `/` or an `@`: what stands before the quoted text, and what it begins with. Of a host, what is before an `@` is the
/// password's.
const MISTAKEN: [(&str, &str); 3] = [("invalid port ", ":"), ("cast to integer value as ", ""), (HOST_NAME, "")];
const HOST_NAME: &str = "could not translate host name ";

/// The line without credentials in its addresses.
pub(super) fn without_credentials(line: &str) -> Cow<'_, str> {
    // Whatever way a quote is written.
    if !['"', '\'', '\\', '&'].iter().any(|sign| line.contains(*sign)) {
        return of_words(line);
    }
    let mut mistaken: Vec<Range<usize>> =
        MISTAKEN.iter().flat_map(|(before, begins)| taken(line, before, begins)).collect();
    if mistaken.is_empty() {
        return of_words(line);
    }
    mistaken.sort_by_key(|secret| secret.start);
    let mut cuts = Cuts::of(line);
    mistaken.into_iter().for_each(|secret| cuts.cut(secret));
    Cow::Owned(of_words(&cuts.finish()).into_owned())
}

/// What stands in quotes after these words, as much of it as may be a password's. Nobody escapes what is in it.
fn taken<'a>(line: &'a str, before: &'static str, begins: &'a str) -> impl Iterator<Item = Range<usize>> + 'a {
    line.match_indices(before).filter_map(move |(at, _)| {
        let from = at + before.len();
        let text = &line[from..line.floor_char_boundary(from + 1024)];
        let (mark, body) = text.split_at(quote_mark(text));
        let from = from + mark.len();
        if mark.is_empty() || !body.starts_with(begins) {
            return None;
        }
        let close = if before == HOST_NAME { body.find(&format!("{mark} to address")) } else { None };
        let close = close.or_else(|| body.find(mark)).or_else(|| body.find(char::is_whitespace));
        let inner = &body[..close.unwrap_or(body.len())];
        let end = if before == HOST_NAME { inner.rfind('@')? } else { inner.len() };
        (end > begins.len()).then_some(from + begins.len()..from + end)
    })
}

fn of_words(line: &str) -> Cow<'_, str> {
    // Almost every line goes by here.
    if !line.contains(['@', '%']) && !line.contains("hook") {
        return Cow::Borrowed(line);
    }
    let mut cuts = Cuts::of(line);
    let mut start = 0;
    while start < line.len() {
        let word = &line[start..];
        let end = start + length(word);
        if start < end {
            of_word(&mut cuts, line, start, end);
        }
        start = end + line[end..].chars().next().map_or(0, char::len_utf8);
    }
    cuts.finish()
}

/// As much of a text as an address and its password have.
fn near(text: &str) -> &str {
    &text[..text.floor_char_boundary(256)]
}

/// Of the word at the start. A quote in it may be a password's: `scheme://user:it's@host`.
fn length(text: &str) -> usize {
    let end = text.find(ends_word).unwrap_or(text.len());
    let word = &text[..end];
    let after = text[end..].strip_prefix(is_quote).and_then(|after| after.chars().next());
    let goes_on = after.is_some_and(|c| !ends_word(c) && !",:;)]}>\\".contains(c));
    if !goes_on || !word.contains("://") || word.contains('@') {
        return end;
    }
    let near = near(text);
    let whole = near.find(char::is_whitespace).unwrap_or(near.len());
    if near[..whole].contains('@') { whole.max(end) } else { end }
}

fn of_word(cuts: &mut Cuts<'_>, line: &str, start: usize, end: usize) {
    let word = &line[start..end];
    // A password may hold unescaped slashes and at signs, so everything up to the last one goes.
    for (opens, closes) in AUTHORITIES {
        let Some(from) = word.find(opens).map(|colon| colon + opens.len()) else { continue };
        // The digest of an image is no host.
        let address = word[from..].find("@sha256:").map_or(&word[from..], |digest| &word[from..from + digest]);
        let Some(at) = address.rfind(closes) else { continue };
        let before = &word[from..from + at];
        if before == REMOVED {
            return;
        }
        if holds_credentials(&word[..from], before) {
            return cuts.cut(start + from..start + from + at);
        }
    }
    for hook in HOOKS {
        let Some(from) = word.find(hook).map(|at| at + hook.len()) else { continue };
        let path = &word[from..];
        let length = if hook.starts_with("jdbc") { path.rfind('@').unwrap_or(0) } else { path.len() };
        return cuts.cut(start + from..start + from + length);
    }
    if let Some(at) = TRANSPORTS
        .iter()
        .find_map(|transport| word.find(transport))
        .or_else(|| before_host_and_port(word))
        .or_else(|| before_host_and_path(word).filter(|_| line[..start].ends_with(is_quote)))
    {
        let name = word[..at].rfind('=').map_or(0, |equals| equals + 1);
        cuts.cut(start + name..start + at);
    }
}

/// Whether what stands before the last at sign of a URL can be user information. In `https://unpkg.com/@scope/name` and
/// `http://host:3000/@scope` it belongs to the path.
fn holds_credentials(scheme: &str, before: &str) -> bool {
    let Some((authority, _)) = before.split_once('/') else { return true };
    // `file:///app/node_modules/@scope`
    if authority.is_empty() {
        return false;
    }
    let scheme = scheme.trim_end_matches(['/', ':', '\\']).to_ascii_lowercase();
    let web = scheme.ends_with("http") || scheme.ends_with("https");
    let port = authority.rsplit_once(':').map(|(_, port)| port);
    match port {
        _ if authority.contains('@') => true,
        None => !web,
        Some(port) => !web || port.is_empty() || !port.bytes().all(|b| b.is_ascii_digit()),
    }
}

/// `user:password@host:5432` without a scheme. An image (`name:tag@sha256:…`) and an address for mail look like it.
fn before_host_and_port(word: &str) -> Option<usize> {
    let at = word.rfind('@')?;
    let (host, port) = word[at + 1..].split_once(':')?;
    let port = &port[..port.find(|c: char| !c.is_ascii_digit()).unwrap_or(port.len())];
    let host = !host.is_empty() && !host.contains('/') && !host.starts_with("sha") && !host.contains(is_quote);
    (host && (1..=5).contains(&port.len()) && word[..at].contains(':')).then_some(at)
}

/// `user:password@host/database`, where a parser quotes it. An address for mail or chat looks like it.
fn before_host_and_path(word: &str) -> Option<usize> {
    let at = word.rfind('@')?;
    let (user, secret) = word[..at].split_once(':')?;
    let (host, path) = word[at + 1..].split_once('/')?;
    let plain = |text: &str| !text.is_empty() && text.bytes().all(|b| b.is_ascii_alphanumeric() || b"._-".contains(&b));
    let is_other = ["mailto", "xmpp", "sip", "sips", "acct", "npm", "git"].contains(&user);
    (plain(user) && plain(host) && !path.is_empty() && !secret.contains('/') && !is_other).then_some(at)
}
