//! As much of JSON Schema (draft 2020-12) as `docs/problem.schema.json` uses. A keyword that is not known here is an
//! error: what is not checked must not look as if it were.

use serde_json::{Map, Value};

/// Annotations, which assert nothing. `format` is one as well, unless a vocabulary says otherwise.
const ANNOTATIONS: [&str; 7] = ["$schema", "$id", "$defs", "title", "description", "format", "required"];

/// A schema, and what has to be heard of it.
pub struct Schema {
    root: Value,
}

/// What does not fit, each with its place.
pub type Errors = Vec<String>;

impl Schema {
    pub fn read(text: &str) -> Self {
        Self { root: serde_json::from_str(text).expect("the schema is JSON") }
    }

    pub fn root(&self) -> &Value {
        &self.root
    }

    /// Everything in a document that the schema does not allow, and every member that it does not name.
    pub fn errors(&self, document: &Value) -> Errors {
        let mut errors = vec![];
        self.check(&self.root, document, "", &mut errors);
        errors
    }

    /// Where a reference within the schema leads.
    pub fn follow<'a>(&'a self, schema: &'a Value) -> &'a Value {
        match schema.get("$ref").and_then(Value::as_str) {
            Some(reference) => {
                let pointer = reference.strip_prefix('#').expect("references stay within the schema");
                self.root.pointer(pointer).unwrap_or_else(|| panic!("{reference} leads nowhere"))
            }
            None => schema,
        }
    }

    fn check(&self, schema: &Value, value: &Value, place: &str, errors: &mut Errors) {
        let rules = self.follow(schema).as_object().expect("a schema is an object");
        for (keyword, rule) in rules {
            let fits = match keyword.as_str() {
                "type" => types(rule).any(|name| is_of_type(value, name)),
                "enum" => rule.as_array().expect("a list").contains(value),
                "const" => rule == value,
                "minimum" => value.as_f64().is_none_or(|number| number >= rule.as_f64().expect("a number")),
                "minLength" => value.as_str().is_none_or(|text| text.chars().count() >= size(rule)),
                "maxLength" => value.as_str().is_none_or(|text| text.chars().count() <= size(rule)),
                "minItems" => value.as_array().is_none_or(|items| items.len() >= size(rule)),
                "maxItems" => value.as_array().is_none_or(|items| items.len() <= size(rule)),
                "pattern" => value.as_str().is_none_or(|text| matches(rule.as_str().expect("a pattern"), text)),
                "anyOf" => self.any_of(rule, value, place, errors),
                "items" => {
                    for (index, item) in value.as_array().into_iter().flatten().enumerate() {
                        self.check(rule, item, &format!("{place}/{index}"), errors);
                    }
                    true
                }
                "properties" => self.members(rules, value, place, errors),
                known if ANNOTATIONS.contains(&known) => true,
                unknown => panic!("the keyword {unknown} is not checked"),
            };
            if !fits {
                errors.push(format!("{place}: {value} against {keyword} {rule}"));
            }
        }
    }

    /// The errors of the closest alternative, so that a mistake deep in one is named there.
    fn any_of(&self, rule: &Value, value: &Value, place: &str, errors: &mut Errors) -> bool {
        let alternatives = rule.as_array().expect("a list").iter().map(|schema| {
            let mut errors = vec![];
            self.check(schema, value, place, &mut errors);
            let is_other_type = errors.iter().any(|error| error.starts_with(&format!("{place}: ")));
            (is_other_type, errors)
        });
        let (_, least) = alternatives.min_by_key(|(other, errors)| (*other, errors.len())).expect("an alternative");
        errors.extend(least);
        true
    }

    fn members(&self, rules: &Map<String, Value>, value: &Value, place: &str, errors: &mut Errors) -> bool {
        let Some(members) = value.as_object() else { return true };
        let named = rules["properties"].as_object().expect("an object");
        for required in rules.get("required").and_then(Value::as_array).into_iter().flatten() {
            if !members.contains_key(required.as_str().expect("a name")) {
                errors.push(format!("{place}: {required} is missing"));
            }
        }
        for (name, member) in members {
            match named.get(name) {
                Some(schema) => self.check(schema, member, &format!("{place}/{name}"), errors),
                // A reader has to bear it, but nobody has described it.
                None => errors.push(format!("{place}/{name}: not in the schema")),
            }
        }
        true
    }
}

fn types(rule: &Value) -> impl Iterator<Item = &str> {
    rule.as_str().into_iter().chain(rule.as_array().into_iter().flatten().filter_map(Value::as_str))
}

fn is_of_type(value: &Value, name: &str) -> bool {
    match name {
        "null" => value.is_null(),
        "boolean" => value.is_boolean(),
        "integer" => value.is_i64() || value.is_u64(),
        "string" => value.is_string(),
        "array" => value.is_array(),
        "object" => value.is_object(),
        other => panic!("the type {other} is not known"),
    }
}

fn size(rule: &Value) -> usize {
    rule.as_u64().and_then(|size| usize::try_from(size).ok()).expect("a size")
}

/// Matches the whole text: `^…$` with classes, groups of alternatives, `.`, `?`, `+` and `*`.
fn matches(pattern: &str, text: &str) -> bool {
    let whole = pattern.strip_prefix('^').and_then(|rest| rest.strip_suffix('$')).expect("patterns match the whole");
    ends(whole, text).contains(&text.len())
}

/// Where matches of a pattern that begin with the text can end.
fn ends(pattern: &str, text: &str) -> Vec<usize> {
    let Some((piece, rest)) = first(pattern) else { return vec![0] };
    let (piece, repeat) = match rest.chars().next() {
        Some(c @ ('?' | '+' | '*')) => (piece, Some(c)),
        _ => (piece, None),
    };
    let rest = &rest[usize::from(repeat.is_some())..];
    // Ends after none, one, two, … occurrences.
    let (mut after, mut all) = (vec![0], vec![]);
    let (least, most) = match repeat {
        None => (1, 1),
        Some('?') => (0, 1),
        Some('+') => (1, usize::MAX),
        Some(_) => (0, usize::MAX),
    };
    for count in 0..=most {
        if count >= least {
            all.extend(&after);
        }
        let next = after.iter().flat_map(|at| once(piece, &text[*at..]).into_iter().map(move |end| at + end));
        after = next.collect();
        if after.is_empty() || count == most {
            break;
        }
    }
    let all = all.into_iter().flat_map(|at| ends(rest, &text[at..]).into_iter().map(move |end| at + end));
    all.collect()
}

/// Where one occurrence of a class, a group or a character can end.
fn once(piece: &str, text: &str) -> Vec<usize> {
    if let Some(group) = piece.strip_prefix('(') {
        return alternatives(&group[..group.len() - 1]).iter().flat_map(|pattern| ends(pattern, text)).collect();
    }
    let Some(c) = text.chars().next() else { return vec![] };
    let fits = match piece.strip_prefix('[') {
        Some(class) => {
            let class: Vec<char> = class[..class.len() - 1].chars().collect();
            let is_range = |range: &&[char]| range[1] == '-' && range[0].is_alphanumeric();
            // A hyphen is itself only at the end.
            let itself = class.contains(&c) && (c != '-' || class.ends_with(&['-']));
            itself || class.windows(3).filter(is_range).any(|range| (range[0]..=range[2]).contains(&c))
        }
        None => piece == "." || piece.starts_with(c),
    };
    if fits { vec![c.len_utf8()] } else { vec![] }
}

/// The first class, group or character of a pattern, and what follows.
fn first(pattern: &str) -> Option<(&str, &str)> {
    let closing = match pattern.chars().next()? {
        '[' => pattern.find(']').expect("a class ends") + 1,
        '(' => {
            let mut depth = 0_i32;
            let close = pattern.find(|c| {
                depth += i32::from(c == '(') - i32::from(c == ')');
                depth == 0
            });
            close.expect("a group ends") + 1
        }
        c => c.len_utf8(),
    };
    Some(pattern.split_at(closing))
}

fn alternatives(group: &str) -> Vec<&str> {
    let mut depth = 0_i32;
    let parts = group.split(|c| {
        depth += i32::from(c == '(') - i32::from(c == ')');
        c == '|' && depth == 0
    });
    parts.collect()
}

#[test]
fn patterns_match_what_they_say() {
    for (pattern, fits, not) in [
        ("^[a-z][a-z-]*[a-z]$", &["ab", "target-exited"][..], &["a", "", "Ab", "a-", "a b"][..]),
        (
            "^(no|on-failure(:[0-9]+)?)$",
            &["no", "on-failure", "on-failure:30"],
            &["on-failure:", "non", "on-failure:3x"],
        ),
        (
            "^(about:blank|https://.+#[a-z]+)$",
            &["about:blank", "https://a.b/c#d"],
            &["about:blan", "https://#d", "http://a#b"],
        ),
        ("^[A-Z._~%-]*$", &["", "A%-~"], &["a", "A/"]),
    ] {
        assert!(fits.iter().all(|text| matches(pattern, text)), "{pattern}");
        assert!(!not.iter().any(|text| matches(pattern, text)), "{pattern}");
    }
}

#[test]
fn what_does_not_fit_is_named_with_its_place() {
    let schema = Schema::read(
        r##"{"type": "object", "required": ["a"], "properties": {
            "a": {"type": "array", "maxItems": 2, "items": {"type": "integer", "minimum": 1}},
            "b": {"anyOf": [{"$ref": "#/properties/c"}, {"type": "null"}]},
            "c": {"type": "object", "properties": {"d": {"type": ["string", "null"], "maxLength": 1}}},
            "e": {"enum": [1, null]}
        }}"##,
    );
    for (document, places) in [
        (r#"{"a": [1, 2], "b": null, "c": {"d": null}, "e": null}"#, &[][..]),
        (r#"{"a": [1], "b": {"d": "x"}}"#, &[]),
        (r#"{}"#, &[": "]),
        (r#"[]"#, &[": "]),
        (r#"{"a": [0, "x", 3]}"#, &["/a/0: ", "/a/1: ", "/a: "]),
        (r#"{"a": [], "b": {"d": "xy"}, "e": 2}"#, &["/b/d: ", "/e: "]),
        (r#"{"a": [], "b": 1}"#, &["/b: "]),
        (r#"{"a": [], "c": {"f": 1}}"#, &["/c/f: "]),
    ] {
        let mut errors = schema.errors(&serde_json::from_str(document).expect("JSON"));
        errors.sort();
        assert_eq!(errors.len(), places.len(), "{document}: {errors:?}");
        let mut places = places.to_vec();
        places.sort_unstable();
        assert!(errors.iter().zip(places).all(|(error, place)| error.starts_with(place)), "{document}: {errors:?}");
    }
}
