//! What a project's compose files define, as far as a diagnosis asks: which services there are, and of which images.
//!
//! Only compose itself knows everything (its files are templates, include each other, and are merged by rules of their
//! own), and to run it would mean to run what a label names. So the files are read as YAML, and where one of them needs
//! more than that, nothing is claimed at all: a service that is defined elsewhere must not be called an orphan.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::{self, Display, Formatter};

use yaml_rust2::parser::{Event, Parser};
use yaml_rust2::yaml::Hash;
use yaml_rust2::{Yaml, YamlLoader};

/// One service that the files define.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Definition {
    pub service: String,
    /// The image that it is made from; `None` where it is built, or where a variable in its name is not known.
    pub image: Option<String>,
    /// The engine says that it has no such image.
    pub image_is_missing: bool,
    /// Not started by a plain `up`: it is in a profile, or scaled to none.
    pub optional: bool,
}

/// Why it is not known what the files define.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Unread {
    /// They are on the host of an engine that is not ours.
    Elsewhere,
    /// They did not come in time.
    Slow,
    /// In words.
    Because(String),
}

impl Display for Unread {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        match self {
            Self::Elsewhere => f.write_str("they are on another host"),
            Self::Slow => f.write_str("their file system does not answer"),
            Self::Because(reason) => f.write_str(reason),
        }
    }
}

/// In bytes, of one file: CVAT's largest has 12 KiB.
pub const FILE_MOST: usize = 256 << 10;

/// Reads a project's files in the order in which compose was given them; later ones add to earlier ones.
///
/// `None` if one of them is no compose file, or names further files.
pub fn read(files: &[String], variable: &dyn Fn(&str) -> Option<String>) -> Option<Vec<Definition>> {
    let mut services: BTreeMap<String, Definition> = BTreeMap::new();
    // Whichever file says so: an image that is named beside it is what the result is called.
    let mut built = BTreeSet::new();
    for text in files {
        for (service, body) in services_of(text)? {
            if given(&body, "build") {
                built.insert(service.clone());
            }
            let found = definition(&service, &body, variable);
            match services.get_mut(&service) {
                Some(known) => {
                    known.image = found.image.or(known.image.take());
                    known.optional |= found.optional;
                }
                None => drop(services.insert(service, found)),
            }
        }
    }
    for (_, service) in services.iter_mut().filter(|(name, _)| built.contains(*name)) {
        service.image = None;
    }
    (!services.is_empty()).then(|| services.into_values().collect())
}

fn services_of(text: &str) -> Option<Vec<(String, Hash)>> {
    if !is_bearable(text) {
        return None;
    }
    let documents = YamlLoader::load_from_str(text).ok()?;
    let root = documents.first()?.as_hash()?;
    if !value(root, "include").is_badvalue() {
        return None;
    }
    match value(root, "services") {
        // A file may define networks alone.
        Yaml::BadValue | Yaml::Null => Some(Vec::new()),
        Yaml::Hash(services) => services
            .iter()
            .map(|(name, body)| match (name.as_str(), body) {
                // What another file says of it is not known, but its name is.
                (Some(name), Yaml::Hash(body)) => Some((name.to_owned(), body.clone())),
                (Some(name), Yaml::Null) => Some((name.to_owned(), Hash::new())),
                _ => None,
            })
            .collect(),
        _ => None,
    }
}

/// Of a document, what its aliases stand for counted wherever they stand: bytes, and so many for each node. CVAT's has
/// some 1,500 nodes.
const SIZE_MOST: usize = 2 << 20;
const NODE: usize = 16;

/// Levels of a document: what makes, copies or drops it goes down by a call for each. Compose's own have ten.
const LEVELS_MOST: usize = 64;

/// Whether a document stays small once its aliases are put in: a few lines of them can multiply without end.
fn is_bearable(text: &str) -> bool {
    let (mut parser, mut measure) = (Parser::new_from_str(text), Measure::default());
    while measure.open.len() <= LEVELS_MOST {
        // Not `load`, which goes down by a call for each level before anybody could stop it.
        match parser.next_token() {
            Ok((Event::StreamEnd, _)) => {
                return measure.whole.size <= SIZE_MOST && measure.whole.levels <= LEVELS_MOST;
            }
            Ok((event, _)) => measure.note(&event),
            Err(_) => return false,
        }
    }
    false
}

#[derive(Clone, Copy, Default)]
struct Extent {
    size: usize,
    levels: usize,
}

impl Extent {
    const NODE: Self = Self { size: NODE, levels: 1 };

    fn contains(&mut self, inner: Self) {
        self.size = self.size.saturating_add(inner.size);
        self.levels = self.levels.max(inner.levels.saturating_add(1));
    }
}

#[derive(Default)]
struct Measure {
    whole: Extent,
    anchors: BTreeMap<usize, Extent>,
    /// The collections that are open, each with its anchor and its extent so far.
    open: Vec<(usize, Extent)>,
}

impl Measure {
    fn note(&mut self, event: &Event) {
        match event {
            Event::Scalar(text, _, anchor, _) => self.add(*anchor, Extent { size: NODE + text.len(), levels: 1 }),
            Event::Alias(anchor) => self.add(0, self.anchors.get(anchor).copied().unwrap_or(Extent::NODE)),
            Event::SequenceStart(anchor, _) | Event::MappingStart(anchor, _) => self.open.push((*anchor, Extent::NODE)),
            Event::SequenceEnd | Event::MappingEnd => {
                if let Some((anchor, extent)) = self.open.pop() {
                    self.add(anchor, extent);
                }
            }
            _ => {}
        }
    }

    fn add(&mut self, anchor: usize, extent: Extent) {
        self.anchors.insert(anchor, extent);
        self.open.last_mut().map_or(&mut self.whole, |(_, outer)| outer).contains(extent);
    }
}

fn definition(service: &str, body: &Hash, variable: &dyn Fn(&str) -> Option<String>) -> Definition {
    Definition {
        service: service.to_owned(),
        image: value(body, "image").as_str().and_then(|image| filled(image, variable)),
        image_is_missing: false,
        optional: given(body, "profiles")
            || is_none(value(body, "scale"), variable)
            || is_none(replicas(body), variable),
    }
}

fn given(body: &Hash, key: &str) -> bool {
    !value(body, key).is_badvalue() && !value(body, key).is_null()
}

fn replicas(body: &Hash) -> &Yaml {
    value(body, "deploy").as_hash().map_or(&Yaml::BadValue, |deploy| value(deploy, "replicas"))
}

/// Whether a count is 0, or is not known.
fn is_none(count: &Yaml, variable: &dyn Fn(&str) -> Option<String>) -> bool {
    match count {
        Yaml::Integer(count) => *count == 0,
        Yaml::String(text) => filled(text, variable).is_none_or(|count| count.trim().parse() == Ok(0)),
        _ => false,
    }
}

/// The value of a key: its own, or one that was merged in (`<<`, YAML 1.1). `BadValue` if there is none.
fn value<'a>(map: &'a Hash, key: &str) -> &'a Yaml {
    let merged = || match own(map, "<<") {
        Some(Yaml::Hash(one)) => own(one, key),
        Some(Yaml::Array(several)) => several.iter().filter_map(Yaml::as_hash).find_map(|one| own(one, key)),
        _ => None,
    };
    own(map, key).or_else(merged).unwrap_or(&Yaml::BadValue)
}

fn own<'a>(map: &'a Hash, key: &str) -> Option<&'a Yaml> {
    map.iter().find(|(name, _)| name.as_str() == Some(key)).map(|(_, value)| value)
}

/// In bytes: a name of an image has no more than 255, its tag 128, its digest less than that.
const FILLED_MOST: usize = 1 << 10;

/// Compose's variables put into a text: `$A`, `${A}`, `${A:-otherwise}`, `${A-otherwise}`. `None` if one is not known,
/// is written in one of its rarer forms, or if it gets longer than any name of an image.
fn filled(text: &str, variable: &dyn Fn(&str) -> Option<String>) -> Option<String> {
    let (mut result, mut rest) = (String::new(), text);
    while let Some((before, after)) = rest.split_once('$') {
        let (found, further) = substituted(after, variable)?;
        result.extend([before, &found]);
        rest = further;
        if result.len() > FILLED_MOST {
            return None;
        }
    }
    Some(result + rest)
}

/// What stands for the variable at the beginning, and what follows it.
fn substituted<'a>(text: &'a str, variable: &dyn Fn(&str) -> Option<String>) -> Option<(String, &'a str)> {
    let is_name = |c: char| c.is_ascii_alphanumeric() || c == '_';
    let name_and_rest = |text: &'a str| text.split_at(text.find(|c| !is_name(c)).unwrap_or(text.len()));
    let Some(braced) = text.strip_prefix('{') else {
        let (name, rest) = name_and_rest(text);
        return Some((variable(name)?, rest));
    };
    let (inside, rest) = braced.split_once('}')?;
    let (name, otherwise) = name_and_rest(inside);
    let found = variable(name);
    let found = if let Some(otherwise) = otherwise.strip_prefix(":-") {
        found.filter(|it| !it.is_empty()).or_else(|| Some(otherwise.to_owned()))
    } else if let Some(otherwise) = otherwise.strip_prefix('-') {
        found.or_else(|| Some(otherwise.to_owned()))
    } else {
        found.filter(|_| otherwise.is_empty())
    };
    Some((found?, rest))
}

#[cfg(test)]
mod tests {
    use super::*;

    const CVAT: &str = include_str!("../../tests/e2e/stage/cvat-2.15.yml");

    fn read_all(files: &[&str]) -> Option<Vec<Definition>> {
        let files: Vec<String> = files.iter().map(|&file| file.to_owned()).collect();
        read(&files, &|name| (name == "CVAT_VERSION").then(|| "v9".to_owned()))
    }

    fn names(definitions: Option<Vec<Definition>>) -> Vec<String> {
        definitions.into_iter().flatten().map(|it| it.service).collect()
    }

    #[test]
    fn the_services_of_cvats_own_file_are_known_with_their_images() {
        let services = read_all(&[CVAT]).expect("it is a compose file");
        let image = |service: &str| services.iter().find(|it| it.service == service).and_then(|it| it.image.as_deref());
        assert!(services.len() > 15, "{services:?}");
        assert_eq!(image("cvat_server"), Some("cvat/server:v9"));
        // Merged in from an anchor.
        assert_eq!(image("cvat_worker_export"), Some("cvat/server:v9"));
        assert_eq!(image("cvat_db"), Some("postgres:15-alpine"));
    }

    #[test]
    fn later_files_add_to_earlier_ones() {
        let override_file = "services:\n  a:\n    restart: always\n  c: {image: three}\n  d:\n";
        let services = read_all(&["services: {a: {image: one}, b: {image: two, profiles: [x]}}", override_file]);
        assert_eq!(names(services.clone()), ["a", "b", "c", "d"]);
        let services = services.expect("they are compose files");
        assert_eq!(services[0].image.as_deref(), Some("one"));
        assert_eq!(services.iter().map(|it| it.optional).collect::<Vec<_>>(), [false, true, false, false]);
    }

    #[test]
    fn what_any_file_builds_is_of_no_image() {
        let (built, named) = ("services: {a: {build: .}}", "services: {a: {image: one}}");
        for files in [[built, named], [named, built]] {
            assert_eq!(read_all(&files).map(|it| it[0].image.clone()), Some(None), "{files:?}");
        }
    }

    #[test]
    fn nothing_is_claimed_where_a_file_says_not_all() {
        let sound = "services: {a: {image: one}}";
        for other in ["include: [more.yml]\nservices: {}", "services: [a]", "- a", "a: [", "", "services: {1: {}}"] {
            assert_eq!(read_all(&[sound, other]), None, "{other}");
        }
        assert_eq!(names(read_all(&[sound, "networks: {n: {}}"])), ["a"]);
        assert_eq!(read_all(&[]), None);
    }

    #[test]
    fn a_variable_is_put_in_and_an_unknown_one_makes_no_name() {
        for (text, want) in [
            ("plain:1", Some("plain:1")),
            ("a:${CVAT_VERSION:-dev}", Some("a:v9")),
            ("a:$CVAT_VERSION-x", Some("a:v9-x")),
            ("a:${OTHER:-dev}/${OTHER-b}", Some("a:dev/b")),
            ("a:${OTHER}", None),
            ("a:${OTHER:?must be set}", None),
            ("a:${OTHER", None),
            ("a:$", None),
        ] {
            assert_eq!(
                filled(text, &|name| (name == "CVAT_VERSION").then(|| "v9".to_owned())).as_deref(),
                want,
                "{text}"
            );
        }
    }

    #[test]
    fn a_service_that_is_scaled_to_none_is_optional() {
        let scaled = |how: &str| {
            read_all(&[&format!("services: {{a: {{image: one, {how}}}}}")]).is_some_and(|it| it[0].optional)
        };
        for how in ["scale: 0", "deploy: {replicas: 0}", "deploy: {replicas: '${N:-0}'}", "scale: $N"] {
            assert!(scaled(how), "{how}");
        }
        for how in ["scale: 1", "deploy: {replicas: '${N:-2}'}", "deploy: {}"] {
            assert!(!scaled(how), "{how}");
        }
    }

    #[test]
    fn aliases_that_multiply_do_not_hurt() {
        let mut bomb = "a0: &a0 [x, x, x, x, x, x, x, x, x]\n".to_owned();
        for level in 1..12 {
            let before = level - 1;
            bomb += &format!("a{level}: &a{level} [{}]\n", vec![format!("*a{before}"); 9].join(", "));
        }
        assert_eq!(read_all(&[&format!("{bomb}services: {{a: {{image: one}}}}")]), None);

        let long = format!("x-long: &long {}\nservices:\n", "x".repeat(100_000));
        let services: String = (0..1_000).map(|number| format!("  a{number}: {{image: *long}}\n")).collect();
        assert_eq!(read_all(&[&format!("{long}{services}")]), None);
    }

    #[test]
    fn a_document_that_goes_deep_is_not_followed() {
        let sound = "\nservices: {a: {image: one}}";
        assert_eq!(names(read_all(&[&format!("x-deep: {}x{}{sound}", "[".repeat(50), "]".repeat(50))])), ["a"]);
        assert_eq!(read_all(&[&"- ".repeat(100_000)]), None);
        assert_eq!(read_all(&[&format!("x-deep:\n  {}x{sound}", "- ".repeat(100_000))]), None);
        // By aliases, each of which has the one before it inside of it.
        let deep: String = (1..500).map(|level| format!("x{level}: &x{level} [*x{}]\n", level - 1)).collect();
        assert_eq!(read_all(&[&format!("x0: &x0 x\n{deep}services: {{a: {{image: one}}}}")]), None);
    }

    #[test]
    fn variables_that_multiply_do_not_hurt() {
        assert_eq!(filled(&"${-}".repeat(60_000), &|_| None).as_deref(), Some(""));
        assert_eq!(filled(&"$A".repeat(60_000), &|_| Some("a".repeat(100_000))), None);
    }
}
