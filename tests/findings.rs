//! `docs/findings.md` is where each problem document's `type` leads: it has a section for every code, and for no other.

use anteroom::diagnosis::Code;

const FINDINGS: &str = include_str!("../docs/findings.md");

/// The sections: heading and body.
fn sections() -> Vec<(&'static str, &'static str)> {
    let sections = FINDINGS.split("\n## ").skip(1);
    sections.map(|section| section.split_once('\n').expect("a heading is a line")).collect()
}

#[test]
fn every_code_has_its_section_and_every_section_its_code() {
    let headings: Vec<&str> = sections().into_iter().map(|(heading, _)| heading).collect();
    assert_eq!(headings, Code::ALL.map(Code::as_str));
}

#[test]
fn every_section_says_what_how_it_is_told_and_what_mends_it() {
    for (code, body) in sections() {
        let lines: Vec<&str> = body.trim_end().lines().collect();
        assert!((3..=6).contains(&lines.len()), "{code} has {} lines", lines.len());
        let at = |word: &str| lines.iter().position(|line| line.starts_with(word));
        let (told, mended) = (at("**Told by:** "), at("**Mended by:** "));
        assert!(told > Some(0) && mended > told, "{code}: {told:?} {mended:?}");
        assert!(lines.iter().all(|line| line.chars().count() <= 130), "{code} has a line that is too long");
    }
}
