//! Messages to somebody: `docs/notification.schema.json` describes them, their disclosure is a page's, and no format
//! lets a foreign string leave its place.

use std::collections::BTreeSet;
use std::time::Duration;

use serde_json::Value;

use super::schema::{checker::Schema, every_schema, members, situations};
use crate::config::{Detail, Template};
use crate::diagnosis::Diagnosis;
use crate::diagnosis::redact::fixtures::{SECRETS, planted, survives};
use crate::evidence::Engine;
use crate::page::fixtures;
use crate::page::notice::{Notice, Occasion};
use crate::phrase::Say as _;

const SCHEMA: &str = include_str!("../../../docs/notification.schema.json");
const LEVELS: [Detail; 3] = [Detail::Summary, Detail::State, Detail::Full];
const TEMPLATES: [Template; 3] = [Template::Json, Template::Slack, Template::Text];

fn occasion() -> Occasion {
    Occasion { id: "00ff00ff00ff00ff-1".into(), since: "2026-11-23T17:20:55Z".into(), outage: Duration::from_secs(65) }
}

/// Both messages of an outage.
fn notices(diagnosis: &Diagnosis, detail: Detail) -> [Notice; 2] {
    let fell = || Notice::fell(diagnosis, detail, occasion());
    [fell(), fell().recovered(&fixtures::back(), detail, occasion())]
}

fn written(notice: &Notice, template: Template) -> String {
    notice.write(template).1
}

#[test]
fn every_message_fits_the_schema_and_has_no_member_that_it_does_not_name() {
    let schema = Schema::read(SCHEMA);
    let (mut shown, mut named) = (BTreeSet::new(), BTreeSet::new());
    for diagnosis in situations() {
        for notice in LEVELS.into_iter().flat_map(|detail| notices(&diagnosis, detail)) {
            let message: Value = serde_json::from_str(&written(&notice, Template::Json)).expect("JSON");
            let errors = schema.errors(&message);
            assert!(errors.is_empty(), "{errors:#?} in {message:#}");
            members(&message, &mut shown);
        }
    }
    every_schema(schema.root(), &mut |schema| {
        assert_eq!(schema.get("additionalProperties"), None, "later versions add members");
        for (name, member) in schema["properties"].as_object().into_iter().flatten() {
            assert!(member["description"].as_str().is_some_and(|told| told.ends_with('.')), "{name}");
        }
        named.extend(schema["properties"].as_object().into_iter().flat_map(|named| named.keys().cloned()));
    });
    assert_eq!(named, shown);
}

#[test]
fn a_channel_is_told_the_sentence_the_cause_the_command_and_since_when() {
    let [fell, recovered] = notices(&fixtures::exited(), Detail::State);
    let text = |notice| serde_json::from_str::<Value>(&written(notice, Template::Slack)).expect("JSON")["text"].clone();
    assert_eq!(
        text(&fell),
        "\
:red_circle: *Analytics is not available right now.*
<https://github.com/anteroom/anteroom/blob/main/docs/findings.md#target-exited|target-exited>: The container cvat_grafana \
has exited with code 1, and nothing will start it again.
Starts the container again.
```
cd /home/annotation/cvat &amp;&amp;
docker compose -p cvat -f docker-compose.yml -f docker-compose.override.yml up -d cvat_grafana
```
Lets the engine start it again after every exit and every reboot. Put it into docker-compose.override.yml.
```
services:
  cvat_grafana:
    restart: always
```
_Down since 2026-11-23T17:20:55Z, grafana:3000_"
    );
    let text = text(&recovered);
    let text = text.as_str().expect("a text");
    assert!(text.starts_with(":large_green_circle: *Analytics is ready.*\nIt was <https://"), "{text}");
    assert!(text.ends_with("    restart: always\n```\n_Down for 1 min 5 s, grafana:3000_"), "{text}");
    assert!(!text.contains("up -d"), "what mends it once is over");
}

#[test]
fn plain_lines_are_told_the_same() {
    let [fell, recovered] = notices(&fixtures::exited(), Detail::State);
    let text = written(&fell, Template::Text);
    assert!(text.starts_with("Analytics is not available right now.\ntarget-exited: The container cvat_grafana"));
    assert!(
        text.contains(
            "\n\nStarts the container again.\n    cd /home/annotation/cvat &&\n    docker compose -p cvat -f"
        )
    );
    assert!(text.ends_with("\n\nDown since 2026-11-23T17:20:55Z, grafana:3000\nhttps://github.com/anteroom/anteroom/blob/main/docs/findings.md#target-exited\n"));
    assert!(written(&recovered, Template::Text).starts_with("Analytics is ready.\nIt was target-exited: "));
}

#[test]
fn a_summary_tells_no_name_no_evidence_and_no_remedy_in_any_format() {
    for diagnosis in fixtures::all() {
        for notice in notices(&diagnosis, Detail::Summary) {
            for template in TEMPLATES {
                let body = written(&notice, template).replace("docs/findings.md", "").to_lowercase();
                for secret in [
                    "cvat_grafana",
                    "grafana",
                    "cvat_cvat",
                    "5f3c8d21",
                    "docker",
                    "restart",
                    "10.1.2",
                    "exit code",
                    "evil",
                ] {
                    assert!(!body.contains(secret), "{secret:?} in {body}");
                }
            }
        }
    }
}

#[test]
fn what_programs_printed_is_told_at_no_level() {
    let mut diagnosis = fixtures::not_shared();
    diagnosis.evidence.log = ["listening here".into()].into();
    for notice in LEVELS.into_iter().flat_map(|detail| notices(&diagnosis, detail)) {
        for template in TEMPLATES {
            let body = written(&notice, template);
            assert!(!body.contains("hunter") && !body.contains("listening"), "{body}");
        }
    }
}

#[test]
fn no_secret_comes_out_of_a_cause() {
    for (kind, template) in SECRETS {
        let (text, canaries) = planted(template);
        let mut diagnosis = fixtures::exited();
        let root = &mut diagnosis.findings[0];
        root.title = text.as_str().say();
        root.evidence = vec![("log", text.as_str().say())];
        root.remedies[0].effect = text.as_str().say();
        root.remedies[0].command = format!("echo '{text}'");
        for notice in LEVELS.into_iter().flat_map(|detail| notices(&diagnosis, detail)) {
            for template in TEMPLATES {
                let body = written(&notice, template);
                assert!(!canaries.iter().any(|canary| survives(&body, canary)), "{kind}: {body}");
            }
        }
    }
}

#[test]
fn no_foreign_string_becomes_a_mention_a_link_or_the_end_of_a_command() {
    let mut diagnosis = fixtures::exited();
    let evil = "<!channel> <https://evil|here> @all ![x](http://evil/x.png) `code` https://evil.example/ & more";
    diagnosis.findings[0].title = evil.say();
    diagnosis.findings[0].remedies[0].command = "echo '<b> & ok'".into();
    diagnosis.findings[0].remedies[1].command = "echo '```' @all".into();
    let [fell, _] = notices(&diagnosis, Detail::State);
    let message: Value = serde_json::from_str(&written(&fell, Template::Slack)).expect("JSON");
    let text = message["text"].as_str().expect("a text");
    assert_eq!(text.matches('<').count(), 1, "the link to the documentation alone: {text}");
    assert!(text.contains(
        "&lt;!channel&gt; &lt;https:\u{2060}//evil|here&gt; @\u{2060}all ![x]\u{2060}(http:\u{2060}//evil/x.png) 'code' \
         https:\u{2060}//evil.example/ &amp; more"
    ));
    assert_eq!(text.matches("://").count(), 1, "nor is anything else made a link of: {text}");
    assert!(text.contains("```\necho '&lt;b&gt; &amp; ok'\n```"), "{text}");
    assert_eq!(text.matches("```").count(), 2, "a command that would end its own block is left out: {text}");
    assert_eq!(message["unfurl_links"], false);
}

#[test]
fn hostile_strings_stay_small_and_harmless() {
    for notice in notices(&fixtures::hostile(), Detail::Full) {
        for template in TEMPLATES {
            let body = written(&notice, template);
            for dangerous in ['\u{1b}', '\u{202e}', '\0', '\u{7f}', '\r'] {
                assert!(!body.contains(dangerous) && !body.contains(&format!("\\u{:04x}", u32::from(dangerous))));
            }
            // Slack takes 40,000 characters.
            assert!(body.len() < 32 << 10, "{}", body.len());
        }
    }
}

#[test]
fn what_is_made_up_says_so() {
    let mut diagnosis = fixtures::exited();
    diagnosis.evidence.engine = Engine::Simulated;
    for notice in notices(&diagnosis, Detail::Summary).iter().take(1) {
        for template in TEMPLATES {
            assert!(written(notice, template).contains("simulated"));
        }
    }
}
