//! What is wrong with the rest of the project.

use super::facts::{self, Row};
use super::{Code, Finding, Severity, remedy};
use crate::evidence::{Evidence, Failure};
use crate::readiness::hopeless_dependency;

/// The target says that it is not healthy, and a service that it needs is not running and will not by itself.
pub(super) fn dependency_down(evidence: &Evidence) -> Option<Finding> {
    let target = facts::running(evidence)?;
    let Some(Failure::NotReady { status }) = evidence.probe else { return None };
    let dependency = hopeless_dependency(target, evidence)?;
    let decisive: Vec<Row> = vec![
        ("connection", format!("{}: {}", facts::upstream(evidence), facts::failure(&Failure::NotReady { status }))),
        ("needed by", target.name.clone().into()),
    ];
    Some(Finding {
        code: Code::DependencyDown,
        severity: Severity::Error,
        title: format!(
            "{} says that it is not healthy, and {}, which it needs, is {}",
            target.name,
            dependency.name,
            dependency.status.as_str()
        ),
        evidence: facts::rows_after(decisive, dependency),
        remedies: remedy::start(evidence, dependency).into_iter().collect(),
    })
}
