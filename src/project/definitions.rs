//! What a project's compose files define, as far as a diagnosis asks: which services there are, and of which images.
//!
//! Only compose itself knows everything (its files are templates, include each other, and are merged by rules of their
//! own), and to run it would mean to run what a label names. So the files are read as YAML, and where one of them needs
//! more than that, nothing is claimed at all: a service that is defined elsewhere must not be called an orphan.

use std::collections::BTreeMap;

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

/// In bytes, of one file: CVAT's largest has 12 KiB. A document's aliases may multiply it, so it is bounded well below
/// what could hurt.
pub const FILE_MOST: usize = 256 << 10;

/// Reads a project's files in the order in which compose was given them; later ones add to earlier ones.
///
/// `None` if one of them is no compose file, or names further files.
pub fn read(files: &[String], variable: &dyn Fn(&str) -> Option<String>) -> Option<Vec<Definition>> {
    let mut services: BTreeMap<String, Definition> = BTreeMap::new();
    for text in files {
        for (service, body) in services_of(text)? {
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
    (!services.is_empty()).then(|| services.into_values().collect())
}

fn services_of(text: &str) -> Option<Vec<(String, Hash)>> {
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

fn definition(service: &str, body: &Hash, variable: &dyn Fn(&str) -> Option<String>) -> Definition {
    let given = |key: &str| !value(body, key).is_badvalue() && !value(body, key).is_null();
    let image = value(body, "image").as_str().filter(|_| !given("build"));
    Definition {
        service: service.to_owned(),
        image: image.and_then(|image| filled(image, variable)),
        image_is_missing: false,
        optional: given("profiles") || value(body, "scale").as_i64() == Some(0) || replicas(body) == Some(0),
    }
}

fn replicas(body: &Hash) -> Option<i64> {
    value(value(body, "deploy").as_hash()?, "replicas").as_i64()
}

/// The value of a key: its own, or one that was merged in (`<<`, YAML 1.1). `BadValue` if there is none.
fn value<'a>(map: &'a Hash, key: &str) -> &'a Yaml {
    const NONE: &Yaml = &Yaml::BadValue;
    let own = |map: &'a Hash| map.iter().find(|(name, _)| name.as_str() == Some(key)).map(|(_, value)| value);
    let merged = || match own_of(map, "<<") {
        Some(Yaml::Hash(one)) => own(one),
        Some(Yaml::Array(several)) => several.iter().filter_map(Yaml::as_hash).find_map(own),
        _ => None,
    };
    own(map).or_else(merged).unwrap_or(NONE)
}

fn own_of<'a>(map: &'a Hash, key: &str) -> Option<&'a Yaml> {
    map.iter().find(|(name, _)| name.as_str() == Some(key)).map(|(_, value)| value)
}

/// Compose's variables put into a text: `$A`, `${A}`, `${A:-otherwise}`, `${A-otherwise}`. `None` if one is not known,
/// or is written in one of its rarer forms.
fn filled(text: &str, variable: &dyn Fn(&str) -> Option<String>) -> Option<String> {
    let (before, rest) = match text.split_once('$') {
        None => return Some(text.to_owned()),
        Some(parts) => parts,
    };
    let is_name = |c: char| c.is_ascii_alphanumeric() || c == '_';
    let (found, rest) = if let Some(braced) = rest.strip_prefix('{') {
        let (inside, rest) = braced.split_once('}')?;
        let end = inside.find(|c| !is_name(c)).unwrap_or(inside.len());
        let (name, otherwise) = inside.split_at(end);
        let found = variable(name);
        let found = match otherwise {
            "" => found,
            _ if otherwise.starts_with(":-") => {
                found.filter(|it| !it.is_empty()).or_else(|| Some(otherwise[2..].to_owned()))
            }
            _ if otherwise.starts_with('-') => found.or_else(|| Some(otherwise[1..].to_owned())),
            _ => None,
        };
        (found?, rest)
    } else {
        let end = rest.find(|c| !is_name(c)).unwrap_or(rest.len());
        (variable(&rest[..end])?, &rest[end..])
    };
    Some(format!("{before}{found}{}", filled(rest, variable)?))
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
    fn aliases_that_multiply_do_not_hurt() {
        let mut bomb = "a0: &a0 [x, x, x, x, x, x, x, x, x]\n".to_owned();
        for level in 1..3 {
            let before = level - 1;
            bomb += &format!("a{level}: &a{level} [{}]\n", vec![format!("*a{before}"); 9].join(", "));
        }
        assert_eq!(names(read_all(&[&format!("{bomb}services: {{a: {{image: one}}}}")])), ["a"]);
    }
}
