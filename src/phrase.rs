//! Sentences of ours with names and numbers of others in them, that can be said in more than one language.
//!
//! A [`Phrase`] keeps its English template and what stands in it apart, so that a [`Table`] can put another
//! language's template in its place. What others wrote is never translated; a sentence inside a sentence is. A
//! template is found by its English, which is also what is said where a table lacks it: a rule is written as it is
//! read, and no list of keys lies between the two.
//!
//! A template has no plural forms and no cases. Where English needs a form of its own for one, it is a template of
//! its own; a language with more of them writes the unit as an abbreviation, which has none.

use std::fmt::{self, Display, Formatter};
use std::net::IpAddr;

/// What is said in one sentence, or in a part of one. Displays in English.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Phrase(Kind);

#[derive(Clone, Debug, PartialEq, Eq)]
enum Kind {
    Foreign(Box<str>),
    Ours { template: &'static str, within: Box<[Phrase]> },
    List { joint: &'static str, items: Box<[Phrase]> },
}

/// A phrase from an English template, in which `{0}`, `{1}` ... stand for the arguments. That each argument has its
/// place is checked when it is compiled.
macro_rules! phrase {
    ($template:literal $(, $argument:expr)* $(,)?) => {{
        #[allow(unused_imports)]
        use $crate::phrase::Say as _;
        const ARGUMENTS: &[&str] = &[$(stringify!($argument)),*];
        const { assert!($crate::phrase::places($template) == (1 << ARGUMENTS.len()) - 1) };
        $crate::phrase::Phrase::ours($template, [$($argument.say()),*])
    }};
}
pub(crate) use phrase;

/// The phrases of one language, by their English, in the order of its bytes.
#[derive(Debug)]
pub struct Table(pub &'static [(&'static str, &'static str)]);

impl Table {
    /// Says everything as it was written.
    pub const ENGLISH: Self = Self(&[]);

    /// A template, a joint or a name in this language.
    pub fn find(&self, english: &'static str) -> &'static str {
        self.0.binary_search_by_key(&english, |(english, _)| english).map_or(english, |at| self.0[at].1)
    }
}

impl Phrase {
    /// For [`phrase!`], which knows that there are as many arguments as places for them.
    pub(crate) fn ours<const N: usize>(template: &'static str, within: [Self; N]) -> Self {
        Self(Kind::Ours { template, within: Box::new(within) })
    }

    /// Several, one after the other, with a joint of ours (`, `) between two of them.
    pub fn list(joint: &'static str, items: impl IntoIterator<Item = impl Say>) -> Self {
        Self(Kind::List { joint, items: items.into_iter().map(|item| item.say()).collect() })
    }

    /// What it is, where it is wholly of others.
    pub fn foreign(&self) -> Option<&str> {
        if let Kind::Foreign(text) = &self.0 { Some(text) } else { None }
    }

    /// With every text of others changed, as what may hold a secret is.
    pub fn with_foreign(&self, change: fn(&str) -> String) -> Self {
        let all = |phrases: &[Self]| phrases.iter().map(|phrase| phrase.with_foreign(change)).collect();
        Self(match &self.0 {
            Kind::Foreign(text) => Kind::Foreign(change(text).into()),
            Kind::Ours { template, within } => Kind::Ours { template, within: all(within) },
            Kind::List { joint, items } => Kind::List { joint, items: all(items) },
        })
    }

    /// In another language.
    pub fn said_in(&self, table: &Table) -> String {
        Said { phrase: self, table }.to_string()
    }
}

/// What others wrote.
impl From<&str> for Phrase {
    fn from(text: &str) -> Self {
        text.say()
    }
}

/// What others wrote.
impl From<String> for Phrase {
    fn from(text: String) -> Self {
        Self(Kind::Foreign(text.into()))
    }
}

impl Display for Phrase {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        Said { phrase: self, table: &Table::ENGLISH }.fmt(f)
    }
}

struct Said<'a> {
    phrase: &'a Phrase,
    table: &'a Table,
}

impl Display for Said<'_> {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        let say = |phrase| Said { phrase, table: self.table };
        match &self.phrase.0 {
            Kind::Foreign(text) => f.write_str(text),
            Kind::Ours { template, within } => {
                let mut rest = self.table.find(template);
                while let Some((before, place, after)) = next_place(rest) {
                    f.write_str(before)?;
                    within.get(place).map_or(Ok(()), |phrase| say(phrase).fmt(f))?;
                    rest = after;
                }
                f.write_str(rest)
            }
            Kind::List { joint, items } => {
                let joint = self.table.find(joint);
                items.iter().enumerate().try_for_each(|(index, item)| {
                    f.write_str(if index == 0 { "" } else { joint })?;
                    say(item).fmt(f)
                })
            }
        }
    }
}

/// The first place of a template, with what stands before and after it.
fn next_place(template: &str) -> Option<(&str, usize, &str)> {
    template.match_indices('{').find_map(|(at, _)| match template.as_bytes()[at..] {
        [_, digit @ b'0'..=b'9', b'}', ..] => Some((&template[..at], usize::from(digit - b'0'), &template[at + 3..])),
        _ => None,
    })
}

/// The places that a template has, as a set of bits.
pub const fn places(template: &str) -> u16 {
    let bytes = template.as_bytes();
    let (mut places, mut at) = (0, 0);
    while at + 2 < bytes.len() {
        if bytes[at] == b'{' && bytes[at + 1].is_ascii_digit() && bytes[at + 2] == b'}' {
            places |= 1 << (bytes[at + 1] - b'0');
        }
        at += 1;
    }
    places
}

/// What can stand in a phrase. A text is foreign, and so is a number.
pub trait Say {
    /// As a part of a phrase.
    fn say(&self) -> Phrase;
}

impl Say for Phrase {
    fn say(&self) -> Phrase {
        self.clone()
    }
}

impl Say for str {
    fn say(&self) -> Phrase {
        Phrase(Kind::Foreign(self.into()))
    }
}

impl Say for String {
    fn say(&self) -> Phrase {
        self.as_str().say()
    }
}

impl<T: Say + ?Sized> Say for &T {
    fn say(&self) -> Phrase {
        (**self).say()
    }
}

macro_rules! say_as_displayed {
    ($($displayed:ty),*) => {
        $(impl Say for $displayed {
            fn say(&self) -> Phrase {
                Phrase(Kind::Foreign(self.to_string().into()))
            }
        })*
    };
}

say_as_displayed!(u16, u32, u64, u128, usize, i64, IpAddr);

#[cfg(test)]
mod tests {
    use super::*;

    const BACKWARDS: Table = Table(&[(", ", "、"), ("{0} ago", "前{0}"), ("{0} ended {1} with {2}", "{2} {1} {0}")]);

    #[test]
    fn a_phrase_is_english_until_it_is_said_in_another_language() {
        let ago = phrase!("{0} ago", phrase!("{0} minutes", 3_u64));
        let phrase = phrase!("{0} ended {1} with {2}", "cvat_grafana", ago, 1_i64);
        assert_eq!(phrase.to_string(), "cvat_grafana ended 3 minutes ago with 1");
        assert_eq!(phrase.said_in(&BACKWARDS), "1 前3 minutes cvat_grafana", "what the table lacks stays English");
    }

    #[test]
    fn what_others_wrote_is_never_taken_for_ours() {
        let phrase = phrase!("{0} ago", "{0} ago {1} {9} {it}");
        assert_eq!(phrase.to_string(), "{0} ago {1} {9} {it} ago");
        assert_eq!(phrase.said_in(&BACKWARDS), "前{0} ago {1} {9} {it}");
        assert_eq!("{0} ago".say().said_in(&BACKWARDS), "{0} ago");
    }

    #[test]
    fn all_that_is_foreign_can_be_changed_and_nothing_else() {
        let list = Phrase::list(" b ", ["a", "b"]);
        let phrase = phrase!("{0} a {1}", "a", list).with_foreign(str::to_uppercase);
        assert_eq!(phrase.to_string(), "A a A b B");
    }

    #[test]
    fn a_list_has_a_joint_between_two_alone() {
        for (items, english, other) in [(&[][..], "", ""), (&["a"], "a", "a"), (&["a", "b", "c"], "a, b, c", "a、b、c")]
        {
            let list = Phrase::list(", ", items);
            assert_eq!((list.to_string(), list.said_in(&BACKWARDS)), (english.to_owned(), other.to_owned()));
        }
    }

    #[test]
    fn only_a_digit_in_braces_is_a_place() {
        assert_eq!(places("{0} {2} {2} {a} {} {10} {3"), 0b101);
        assert_eq!(phrase!("{a} {} {10} {0}", "x").to_string(), "{a} {} {10} x");
    }
}
