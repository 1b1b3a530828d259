//! The chain as a picture, inline SVG: boxes from left to right, what the target needs below each other at the end.
//!
//! What a station is like is told three times, since colour alone tells nothing to many (WCAG 1.4.1): by its colour,
//! by the shape of box and badge, and in words. All looks are classes of `page.css`; the picture takes up the width of
//! the page, and on a narrow one the list beside it is shown instead. For a reader who hears it, it is one image with
//! a name and a description.

use std::fmt::{self, Display, Formatter};

use super::chain::{Look, break_of};
use super::foreign::Escaped;
use super::problem::Link;
use super::text::columns;
use super::words::Words;

/// All of them in the picture's own units, which are CSS pixels where the page is as wide as it gets.
const WIDTH: usize = 700;
const GAP: usize = 32;
const BOX: usize = 52;
/// From one box to the next below it: room for a line of text.
const PITCH: usize = 80;
/// Room for the badges, which stand out.
const TOP: usize = 10;
/// In columns of text, 8 units each: what fits into the narrowest box.
const FITS: usize = 15;
/// The same for the smaller text below it.
const NOTE_FITS: usize = 20;

/// Displays as an `svg` element.
pub(super) struct Drawing<'a> {
    pub links: &'a [Link],
    pub words: &'a Words,
}

/// Where a box is.
#[derive(Clone, Copy)]
struct Place {
    x: usize,
    y: usize,
    width: usize,
}

impl Place {
    fn middle(self) -> usize {
        self.y + BOX / 2
    }
}

impl Display for Drawing<'_> {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        let Self { links, words } = self;
        let broken = break_of(links);
        let behind = links.iter().filter(|link| link.role == "dependency").count();
        let row = links.len() - behind;
        let columns = row + usize::from(behind > 0);
        let width = (WIDTH - GAP * columns.saturating_sub(1)) / columns.max(1);
        let lowest = PITCH * behind.saturating_sub(1);
        let place = |index: usize| {
            let y = if index < row { lowest / 2 } else { PITCH * (index - row) };
            Place { x: index.min(row) * (width + GAP), y: TOP + y, width }
        };
        let words_below = broken.map_or(0, |at| place(at).y + PITCH);
        let height = words_below.max(TOP + lowest + BOX + 2);
        write!(
            f,
            "<svg class=\"way\" role=\"img\" aria-labelledby=\"way-name\" aria-describedby=\"way-told\" \
             viewBox=\"-12 0 {} {height}\">\n<title id=\"way-name\">{}</title>\n<desc id=\"way-told\">",
            WIDTH + 24,
            Escaped(words.chain),
        )?;
        let told = broken.map_or(links.len(), |at| at + 1);
        for (index, link) in links[..told].iter().enumerate() {
            write!(f, "{}{}", if index > 0 { " → " } else { "" }, Escaped(&link.name))?;
        }
        if let Some(link) = broken.map(|at| &links[at]) {
            write!(f, " ({}){}{}", Escaped(&link.note), words.colon, Escaped(words.breaks_here))?;
        }
        writeln!(f, "</desc>")?;
        for (index, link) in links.iter().enumerate() {
            writeln!(f, "<g class=\"{}\">", class(link.look))?;
            if index > 0 {
                edge(f, place(index.min(row) - 1), place(index), link.look)?;
            }
            station(f, place(index), link)?;
            if broken == Some(index) {
                let Place { x, y, width } = place(index);
                let (x, y) = (x + width / 2, y + BOX + 18);
                writeln!(f, "<text class=\"here\" x=\"{x}\" y=\"{y}\">▲ {}</text>", Escaped(words.breaks_here))?;
            }
            writeln!(f, "</g>")?;
        }
        writeln!(f, "</svg>")
    }
}

/// A look's name in the style sheet.
pub(super) fn class(look: Look) -> &'static str {
    match look {
        Look::Passes => "ok",
        Look::Waits => "wait",
        Look::Broken => "bad",
    }
}

/// The line from one box to the next, with a head; one that leads to what is broken has a cross on it.
fn edge(f: &mut Formatter<'_>, from: Place, to: Place, look: Look) -> fmt::Result {
    let (start, end) = (from.x + from.width + 4, to.x - 6);
    let (high, low, bend) = (from.middle(), to.middle(), GAP / 2);
    writeln!(
        f,
        "<path class=\"edge\" d=\"M{start} {high}C{} {high} {} {low} {end} {low}\"/><path class=\"head\" d=\"M{} {}l7 4-7 4\"/>",
        start + bend,
        end - bend,
        end - 6,
        low - 4,
    )?;
    if look == Look::Broken {
        let (x, y) = ((start + end) / 2 - 4, (high + low) / 2 - 4);
        writeln!(f, "<path class=\"cross\" d=\"M{x} {y}l8 8m0-8l-8 8\"/>")?;
    }
    Ok(())
}

/// A box with a badge at its corner: round with a tick, an open ring with dots, or an octagon with a cross.
fn station(f: &mut Formatter<'_>, Place { x, y, width }: Place, link: &Link) -> fmt::Result {
    let (badge, sign) = match link.look {
        Look::Passes => ("m-9 0a9 9 0 1 0 18 0a9 9 0 1 0-18 0", "m-4 0l3 3 5-6"),
        Look::Waits => ("m-9 0a9 9 0 1 0 18 0a9 9 0 1 0-18 0", "m-4 0h0m4 0h0m4 0h0"),
        Look::Broken => ("m-4-10h8l6 6v8l-6 6h-8l-6-6v-8z", "m-3-3l6 6m0-6l-6 6"),
    };
    writeln!(f, "<title>{}\n{}</title>", Escaped(&link.name), Escaped(&link.note))?;
    writeln!(f, "<rect x=\"{x}\" y=\"{y}\" width=\"{width}\" height=\"{BOX}\" rx=\"8\"/>")?;
    writeln!(f, "<path class=\"badge\" d=\"M{x} {y}{badge}\"/><path class=\"sign\" d=\"M{x} {y}{sign}\"/>")?;
    let (left, name, note) = (x + 12, y + 23, y + 41);
    writeln!(f, "<text x=\"{left}\" y=\"{name}\">{}</text>", Escaped(&fitting(&link.name, FITS)))?;
    writeln!(f, "<text class=\"note\" x=\"{left}\" y=\"{note}\">{}</text>", Escaped(&fitting(&link.note, NOTE_FITS)))
}

/// As much of a text as fits, with an ellipsis for the rest.
fn fitting(text: &str, most: usize) -> String {
    if text.chars().map(columns).sum::<usize>() <= most {
        return text.to_owned();
    }
    let mut left = most.saturating_sub(1);
    let kept = text.chars().take_while(|c| {
        let fits = columns(*c) <= left;
        left = left.saturating_sub(columns(*c));
        fits
    });
    kept.chain(['…']).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::Detail;
    use crate::diagnosis::Diagnosis;
    use crate::page::{Format, fixtures, render};

    fn drawing(diagnosis: &Diagnosis) -> String {
        let page = render(diagnosis, &fixtures::someone(Detail::State), Format::Html).body;
        let svg = page.split_once("<svg class=\"way\"").and_then(|(_, rest)| rest.split_once("</svg>"));
        svg.map(|(svg, _)| svg.to_owned()).expect("a picture")
    }

    #[test]
    fn the_first_broken_link_is_told_by_shape_and_words() {
        let octagon = "m-4-10h8l6 6v8l-6 6h-8l-6-6v-8z";
        for (diagnosis, broken) in [
            (fixtures::exited(), Some("cvat_grafana (exited, exit code 1)")),
            (fixtures::dependency_down(), Some("cvat_clickhouse (exited, exit code 137)")),
            (fixtures::no_engine(), Some("grafana:3000 (not ready)")),
            (fixtures::warming(), None),
            (fixtures::back(), None),
        ] {
            let svg = drawing(&diagnosis);
            assert_eq!(svg.matches("class=\"bad\"").count(), usize::from(broken.is_some()), "{svg}");
            for mark in [octagon, "class=\"cross\"", "▲ It breaks here."] {
                assert_eq!(svg.matches(mark).count(), usize::from(broken.is_some()), "{mark} in {svg}");
            }
            let told = broken.map(|station| format!("→ {station}: It breaks here.</desc>"));
            assert!(told.is_none_or(|told| svg.contains(&told)), "{svg}");
            assert_eq!(svg.contains("It breaks here"), broken.is_some());
        }
    }

    #[test]
    fn the_picture_has_a_name_and_a_description_in_every_language() {
        for reader in fixtures::everyone(Detail::State) {
            for diagnosis in fixtures::all() {
                let page = render(&diagnosis, &reader, Format::Html).body;
                for part in [
                    "<svg class=\"way\" role=\"img\" aria-labelledby=\"way-name\" aria-describedby=\"way-told\"",
                    &format!("<title id=\"way-name\">{}</title>", reader.language.0.chain),
                    "<desc id=\"way-told\">Traefik → ",
                ] {
                    assert_eq!(page.matches(part).count(), 1, "{part} in {page}");
                }
                assert_eq!(page.matches("<ol class=\"chain\">").count(), 1, "and a list beside it");
            }
        }
    }

    #[test]
    fn the_picture_has_no_look_of_its_own() {
        for diagnosis in fixtures::all() {
            let svg = drawing(&diagnosis);
            for own in ["style", "fill=", "stroke", "font", "href", "<script", "<image", "<foreignObject"] {
                assert!(!svg.contains(own), "{own} in {svg}");
            }
        }
    }

    #[test]
    fn what_is_needed_stands_behind_the_target_within_the_picture() {
        let svg = drawing(&fixtures::dependency_down());
        assert!(svg.contains("viewBox=\"-12 0 724 144\""), "{svg}");
        assert_eq!(svg.matches("<rect").count(), 5);
        assert_eq!(svg.matches("class=\"edge\"").count(), 4);
        // Both behind the same column, one below the other.
        for corner in ["<rect x=\"549\" y=\"10\" width=\"151\"", "<rect x=\"549\" y=\"90\" width=\"151\""] {
            assert!(svg.contains(corner), "{corner} in {svg}");
        }
        assert!(drawing(&fixtures::exited()).contains("viewBox=\"-12 0 724 90\""), "room for words below the box");
        assert!(drawing(&fixtures::warming()).contains("viewBox=\"-12 0 724 64\""));
    }

    #[test]
    fn no_hostile_name_leaves_its_place_in_the_picture() {
        let mut diagnosis = fixtures::dependency_down();
        let mut others = diagnosis.evidence.others.to_vec();
        others[0].name = "</title></svg><script>alert(1)</script>\" onload=\"x\u{1b}\u{202e}".into();
        diagnosis.evidence.others = others.into();
        let svg = drawing(&diagnosis);
        assert!(
            svg.contains(
                "&lt;/title&gt;&lt;/svg&gt;&lt;script&gt;alert(1)&lt;/script&gt;&quot; onload=&quot;x\u{fffd}"
            )
        );
        assert!(svg.contains(">&lt;/title&gt;&lt;/svg&gt;…</text>"), "{svg}");
        assert!(!svg.contains("<script") && !svg.contains("\" onload") && !svg.contains('\u{1b}'), "{svg}");
        assert_eq!(svg.matches("<g ").count(), 5);
    }

    #[test]
    fn a_long_name_is_cut_to_its_box() {
        assert_eq!(fitting("cvat_clickhouse", FITS), "cvat_clickhouse");
        assert_eq!(fitting("cvat_opa_and_a_long_tail", FITS), "cvat_opa_and_a…");
        assert_eq!(fitting("数据库数据库数据库", FITS), "数据库数据库数…");
        assert_eq!(fitting("", FITS), "");
    }
}
