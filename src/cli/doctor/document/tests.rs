//! `docs/doctor.schema.json` is what programs are written against: it and what is written say the same.

use std::collections::BTreeSet;
use std::time::Instant;

use serde_json::Value;

use super::*;
use crate::diagnosis::deployment::examine;
use crate::diagnosis::{Code, fixtures, scenes};
use crate::evidence::{Container, Evidence, Failure, Status};
use crate::page::schema::{checker::Schema, every_schema, is_described, members};
use crate::project::definitions::Unread;
use crate::project::{Answered, Asked, Setup};

const SCHEMA: &str = include_str!("../../../../docs/doctor.schema.json");

fn member(container: &Container) -> Member {
    let reach = match (container.status, container.exposed_ports.first()) {
        (Status::Running, Some(port)) => Reach::Answers { port: *port },
        _ => Reach::Untried,
    };
    let (setup, elsewhere) = (Setup::default(), None);
    Member { container: container.clone(), setup, reach, elsewhere, events: [].into(), log: [].into() }
}

/// The deployment of a scene, as a visit would find it.
fn project(evidence: &Evidence) -> Project {
    let found = evidence.target.found().into_iter();
    let containers = found.chain(evidence.others.iter()).filter(|container| container.compose.is_some());
    let mut project = Project::of("cvat", evidence.engine.clone(), evidence.seen_at);
    project.members = containers.map(member).collect();
    project.networks = evidence.networks.clone();
    project
}

fn asked(outcome: Result<u16, Failure>) -> Option<Asked> {
    let answered =
        |status| Answered { status, start: String::new(), by_anteroom: None, like_any_path: false, only_to_tls: false };
    Some(Asked { url: "http://localhost:8080/analytics/".to_owned(), supposed: true, outcome: outcome.map(answered) })
}

fn document(project: &Project) -> Value {
    let text = write(project, &examine(project, Instant::now()), false);
    serde_json::from_str(&text).expect("the document is JSON")
}

/// Every scene there is, and what users may get of it.
fn documents() -> Vec<Value> {
    let refused = fixtures::refused().expect("it is a failure");
    let answers = [None, asked(Ok(200)), asked(Ok(502)), asked(Err(refused))];
    let scenes = scenes::all().into_iter();
    let projects = scenes.flat_map(|(_, evidence, _)| {
        answers.clone().map(|asked| {
            let mut project = project(&evidence);
            // Where nothing was asked, nothing could be read, either.
            project.undefined = asked.is_none().then_some(Unread::Slow);
            project.unasked = asked.is_none().then(|| "https://localhost/analytics/".to_owned());
            project.asked = asked;
            project
        })
    });
    projects.map(|project| document(&project)).collect()
}

#[test]
fn every_document_fits_the_schema_and_has_no_member_that_it_does_not_name() {
    let schema = Schema::read(SCHEMA);
    let (mut shown, mut named, mut verdicts) = (BTreeSet::new(), BTreeSet::new(), BTreeSet::new());
    for document in documents() {
        let errors = schema.errors(&document);
        assert!(errors.is_empty(), "{errors:#?} in {document:#}");
        members(&document, &mut shown);
        verdicts.insert(document["healthy"].to_string());
    }
    every_schema(schema.root(), &mut |part| {
        named.extend(part["properties"].as_object().into_iter().flat_map(|named| named.keys().cloned()));
    });
    assert_eq!((named, verdicts.len()), (shown, 2));
}

#[test]
fn every_member_is_described_and_always_there() {
    is_described(&Schema::read(SCHEMA), &[]);
}

#[test]
fn every_code_is_a_code_of_the_schema() {
    let schema = Schema::read(SCHEMA);
    let found = |document: &Value| document["findings"].as_array().is_some_and(|findings| !findings.is_empty());
    let mut document = documents().into_iter().find(found).expect("one of them has a finding");
    for code in Code::ALL {
        document["findings"][0]["code"] = code.as_str().into();
        assert_eq!(schema.errors(&document), [""; 0]);
    }
    document["findings"][0]["code"] = "Target Exited".into();
    assert_eq!(schema.errors(&document).len(), 1);
}
