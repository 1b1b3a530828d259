//! A notice for people: for a channel of Slack or of whoever takes Slack's webhooks (Mattermost, Rocket.Chat,
//! Discord under `/slack`), and as plain lines.

use std::fmt::Write;

use serde_json::json;

use super::Notice;
use crate::page::problem::Remedy;

/// The smallest one that mends and the one that lasts; whoever needs more opens the page.
const REMEDIES_SHOWN: usize = 2;

/// In the text alone, which all of them read, and not in blocks, which only Slack does. Nothing that it links to is
/// fetched: a name may look like a link.
pub(super) fn slack(notice: &Notice) -> String {
    let sign = if notice.is_down() { ":red_circle:" } else { ":large_green_circle:" };
    let mut text = format!("{sign} *{}*", mrkdwn(&notice.sentence));
    if notice.simulated {
        text.push_str(" (simulated)");
    }
    if let Some(finding) = &notice.finding {
        let code = match &notice.documentation {
            Some(link) => format!("<{link}|{}>", finding.code),
            None => finding.code.to_owned(),
        };
        let was = if notice.is_down() { "" } else { "It was " };
        append(&mut text, format_args!("\n{was}{code}: {}", mrkdwn(&finding.title)));
        for remedy in shown(&finding.remedies) {
            append(&mut text, format_args!("\n{}", mrkdwn(&remedy.effect)));
            if let Some(command) = remedy.command.as_deref().filter(|command| !command.contains("```")) {
                append(&mut text, format_args!("\n```\n{}\n```", entities(command)));
            }
        }
    }
    append(&mut text, format_args!("\n_{}_", mrkdwn(&notice.when())));
    json!({ "text": text, "unfurl_links": false, "unfurl_media": false }).to_string()
}

/// For receivers that show a body as it is, such as ntfy.
pub(super) fn text(notice: &Notice) -> String {
    let mut text = format!("{}\n", notice.sentence);
    if notice.simulated {
        text.push_str("(simulated)\n");
    }
    if let Some(finding) = &notice.finding {
        let was = if notice.is_down() { "" } else { "It was " };
        append(&mut text, format_args!("{was}{}: {}\n", finding.code, finding.title));
        for remedy in shown(&finding.remedies) {
            append(&mut text, format_args!("\n{}\n", remedy.effect));
            for line in remedy.command.iter().flat_map(|command| command.lines()) {
                append(&mut text, format_args!("    {line}\n"));
            }
        }
    }
    append(&mut text, format_args!("\n{}\n", notice.when()));
    notice.documentation.iter().for_each(|link| append(&mut text, format_args!("{link}\n")));
    text
}

fn shown(remedies: &[Remedy]) -> impl Iterator<Item = &Remedy> {
    remedies.iter().take(REMEDIES_SHOWN)
}

fn append(text: &mut String, more: std::fmt::Arguments<'_>) {
    text.write_fmt(more).expect("a string takes whatever is written to it");
}

/// Prose for Slack and its kin. Besides Slack's own three characters it takes out what would begin code, and keeps
/// apart what is a mention, an image or a link elsewhere (`@all`, `![](…)`, `https://…`), by a word joiner (U+2060), which
/// nobody sees.
fn mrkdwn(text: &str) -> String {
    let text = entities(text).replace('`', "'").replace('@', "@\u{2060}");
    text.replace("](", "]\u{2060}(").replace("://", ":\u{2060}//")
}

/// The three that Slack asks to be escaped, in code too: <https://docs.slack.dev/messaging/formatting-message-text>.
fn entities(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;")
}
