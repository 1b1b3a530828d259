//! `docs/problem.schema.json` is what programs are written against: it and the documents say the same.

pub(crate) mod checker;

use std::collections::BTreeSet;
use std::time::{Duration, Instant};

use serde_json::Value;

use self::checker::Schema;
use crate::config::Detail;
use crate::diagnosis::{Code, Diagnosis, diagnose, scenes};
use crate::evidence::Engine;
use crate::page::{Format, fixtures, render};
use crate::readiness::{Cause, State};
use crate::warmup::{Progress, Usual};

const SCHEMA: &str = include_str!("../../../docs/problem.schema.json");

/// Every situation there is: those made by hand, and what the rules make of every scene, in each state.
pub(super) fn situations() -> Vec<Diagnosis> {
    let since = Instant::now();
    let states = [
        State::Unknown,
        State::Ready { since, despite: None },
        State::Warming { since, attempts: 3, fell: None },
        State::Down { since, cause: Cause::Exited },
    ];
    let judged = scenes::all()
        .into_iter()
        .flat_map(|(_, evidence, _)| states.map(|state| diagnose(state, Duration::from_secs(61), evidence.clone())));
    let mut simulated = fixtures::warming();
    simulated.evidence.engine = Engine::Simulated;
    let seconds = Duration::from_secs;
    let usual = Usual { median: seconds(60), p95: seconds(90), count: 7 };
    simulated.evidence.warmup = Some(Progress { usual, elapsed: seconds(42) });
    let mut nothing = fixtures::warming();
    nothing.findings.clear();
    fixtures::all().into_iter().chain([simulated, nothing]).chain(judged).collect()
}

fn document(diagnosis: &Diagnosis, detail: Detail) -> Value {
    let page = render(diagnosis, &fixtures::someone(detail), Format::Problem);
    serde_json::from_str(&page.body).expect("a problem document is JSON")
}

#[test]
fn every_document_fits_the_schema_and_has_no_member_that_it_does_not_name() {
    let schema = Schema::read(SCHEMA);
    let (mut states, mut shown) = (BTreeSet::new(), BTreeSet::new());
    for diagnosis in situations() {
        for detail in [Detail::Summary, Detail::State, Detail::Full] {
            let document = document(&diagnosis, detail);
            let errors = schema.errors(&document);
            assert!(errors.is_empty(), "{errors:#?} in {document:#}");
            states.insert(document["state"].to_string());
            members(&document, &mut shown);
        }
    }
    assert!(states.len() >= 4, "{states:?}");
    // And the other way round: it names none that no document has.
    let mut named = BTreeSet::new();
    every_schema(schema.root(), &mut |schema| {
        named.extend(schema["properties"].as_object().into_iter().flat_map(|named| named.keys().cloned()));
    });
    assert_eq!(named, shown);
}

#[test]
fn every_member_is_described_and_more_members_are_allowed() {
    is_described(&Schema::read(SCHEMA), &["simulated", "log", "health_output"]);
}

#[test]
fn every_code_is_a_type_and_a_code_of_the_schema() {
    let schema = Schema::read(SCHEMA);
    let mut document = document(&fixtures::exited(), Detail::State);
    for code in Code::ALL {
        document["type"] = format!("{}{}", super::super::problem::FINDINGS, code.as_str()).into();
        document["findings"][0]["code"] = code.as_str().into();
        assert_eq!(schema.errors(&document), [""; 0]);
    }
    document["findings"][0]["code"] = "Target Exited".into();
    assert_eq!(schema.errors(&document).len(), 1);
}

/// Every part and every member has a sentence; all members are always there, if only as null, except these.
pub(crate) fn is_described(schema: &Schema, optional: &[&str]) {
    every_schema(schema.root(), &mut |part| {
        assert_eq!(part.get("additionalProperties"), None, "later versions add members");
        assert_eq!(part.get("unevaluatedProperties"), None, "later versions add members");
        let members = part["properties"].as_object().into_iter().flatten();
        for (name, member) in members.map(|(name, member)| (name.as_str(), member)).chain([("it", part)]) {
            let description = member["description"].as_str().unwrap_or_default();
            assert!(description.len() >= 8 && description.ends_with('.'), "{name}: {description:?}");
        }
        let required =
            part["required"].as_array().map(|names| names.iter().filter_map(Value::as_str).collect::<Vec<_>>());
        let named = part["properties"].as_object().map(|named| named.keys().map(String::as_str));
        if let Some(named) = named {
            let required = required.expect("an object says what it has");
            let missing: Vec<&str> = named.filter(|name| !required.contains(name)).collect();
            assert!(missing.iter().all(|name| optional.contains(name)), "{missing:?}");
        }
    });
}

/// The names of all members, at any depth.
pub(crate) fn members(value: &Value, names: &mut BTreeSet<String>) {
    match value {
        Value::Object(all) => all.iter().for_each(|(name, member)| {
            names.insert(name.clone());
            members(member, names);
        }),
        Value::Array(all) => all.iter().for_each(|item| members(item, names)),
        _ => {}
    }
}

/// The schema of the document, and those of all its parts.
pub(crate) fn every_schema(root: &Value, look: &mut impl FnMut(&Value)) {
    look(root);
    root["$defs"].as_object().into_iter().flatten().for_each(|(_, part)| look(part));
}
