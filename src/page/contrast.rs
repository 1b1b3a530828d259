//! Can everybody read the page? What WCAG 2.2 (level AA) asks of the style sheet, computed from what is written there.

use super::brand::STYLE;

type Rgb = [u8; 3];

/// Each set of colours that the page can have, by name.
fn themes() -> Vec<(&'static str, Vec<(&'static str, Rgb)>)> {
    let from = |start: &str| STYLE.find(start).map(|at| &STYLE[at..]).expect("the style sheet has it");
    let (light, dark, print) = (from(":root"), from("@media (prefers-color-scheme: dark)"), from("@media print"));
    let over = |under: &'static str| [variables(under), variables(print)].concat();
    vec![
        ("light", variables(light)),
        ("dark", [variables(light), variables(dark)].concat()),
        ("light, in print", over(light)),
        ("dark, in print", over(dark)),
    ]
}

/// The colours that the first `:root` of a text sets.
fn variables(text: &'static str) -> Vec<(&'static str, Rgb)> {
    let block = text.split_once(":root {").and_then(|(_, rest)| rest.split_once('}')).expect("a block").0;
    let declarations = block.split(';').filter_map(|declaration| {
        let (name, value) = declaration.split_once(':')?;
        Some((name.trim().strip_prefix("--")?, rgb(value.trim().strip_prefix('#')?)))
    });
    declarations.collect()
}

fn rgb(hex: &str) -> Rgb {
    let wide: String = if hex.len() == 3 { hex.chars().flat_map(|c| [c, c]).collect() } else { hex.to_owned() };
    let number = u32::from_str_radix(&wide, 16).expect("a colour in hexadecimal");
    let [_, red, green, blue] = number.to_be_bytes();
    [red, green, blue]
}

/// WCAG 2.2, "relative luminance".
fn luminance(colour: Rgb) -> f64 {
    let [red, green, blue] = colour.map(|part| {
        let part = f64::from(part) / 255.0;
        if part <= 0.04045 { part / 12.92 } else { ((part + 0.055) / 1.055).powf(2.4) }
    });
    0.2126 * red + 0.7152 * green + 0.0722 * blue
}

/// WCAG 2.2, "contrast ratio".
fn contrast(one: Rgb, other: Rgb) -> f64 {
    let (one, other) = (luminance(one), luminance(other));
    (one.max(other) + 0.05) / (one.min(other) + 0.05)
}

/// One colour, drawn over another with an opacity of `percent`.
fn over(above: Rgb, below: Rgb, percent: u32) -> Rgb {
    let mixed = |index: usize| {
        let sum = u32::from(above[index]) * percent + u32::from(below[index]) * (100 - percent);
        u8::try_from(sum / 100).expect("a mean of bytes is one")
    };
    [mixed(0), mixed(1), mixed(2)]
}

#[test]
fn the_ratio_is_that_of_the_recommendation() {
    assert!((contrast(rgb("000"), rgb("fff")) - 21.0).abs() < 1e-9);
    assert!((contrast(rgb("777"), rgb("ffffff")) - 4.478).abs() < 1e-3);
    assert!((contrast(rgb("abc"), rgb("aabbcc")) - 1.0).abs() < 1e-9);
}

#[test]
fn every_text_and_every_mark_can_be_told_from_what_is_behind_it() {
    for (theme, colours) in themes() {
        let last = |name: &str| colours.iter().rev().find(|(its, _)| *its == name);
        let colour = |name: &str| last(name).unwrap_or_else(|| panic!("{theme} has no {name}")).1;
        // 1.4.3: text, and 1.4.11: what marks a state, has the focus, or is drawn.
        let pairs = [
            (4.5, ["ink", "soft", "blue", "red", "amber", "green"].as_slice(), ["ground", "card", "sunk"].as_slice()),
            (4.5, &["ground"], &["ink"]),
            (3.0, &["blue"], &["line"]),
        ];
        for (least, above, below) in pairs {
            for (above, below) in above.iter().flat_map(|above| below.iter().map(move |below| (above, below))) {
                let ratio = contrast(colour(above), colour(below));
                assert!(ratio >= least, "{theme}: {above} on {below} is {ratio:.2}, less than {least}");
            }
        }
        let hovered = over(colour("ink"), colour("ground"), 85);
        assert!(contrast(colour("ground"), hovered) >= 4.5, "{theme}: a button under the pointer");
    }
}

#[test]
fn no_text_is_fainter_than_its_colour() {
    // What fades are a button under the pointer (above), and what carries no text.
    let faded: Vec<_> = STYLE.lines().filter(|line| line.contains("opacity:")).map(str::trim).collect();
    let known = [
        ".button:hover { opacity: .85; }",
        "@keyframes breathe { 50% { opacity: .35; } }",
        ".bar::after { width: 100%; opacity: .5; }",
    ];
    assert_eq!(faded, known);
}

#[test]
fn the_focus_can_be_seen_and_nothing_moves_for_those_who_asked() {
    let rule = ":focus-visible { outline: 2px solid var(--tone, currentColor); outline-offset: 3px;";
    assert!(STYLE.contains(rule) && STYLE.matches("outline:").count() == 1, "2.4.7: nothing takes the outline away");
    let still = "@media (prefers-reduced-motion: reduce) {\n  *, ::before, ::after { animation: none !important; \
                 transition: none !important; }";
    assert!(STYLE.contains(still), "2.3.3");
}

#[test]
fn what_can_be_pressed_is_large_enough() {
    // 2.5.8: 24 by 24 CSS pixels. Links within a sentence are exempt.
    let rem = |rule: &str, property: &str| -> f64 {
        let body = STYLE.split_once(rule).and_then(|(_, rest)| rest.split_once('}')).expect("a rule").0;
        let value = body.split_once(property).and_then(|(_, rest)| rest.split_once("rem")).expect("a length").0;
        value.trim().parse().expect("a number of rem")
    };
    assert!(16.0 * rem("\nbutton {", "min-height:") >= 24.0);
    assert!(16.0 * rem("\nbutton {", "min-width:") >= 24.0);
    // A line of text is 1.55 times its size.
    assert!(16.0 * (1.55 + 2.0 * rem("\n.button {", "padding:")) >= 24.0);
    assert!(16.0 * (1.55 + 2.0 * rem("\nsummary {", "padding:").max(0.0)) >= 24.0);
    assert!(16.0 * (0.8125 * 1.55 + 2.0 * rem("\nh2 a {", "padding-block:")) >= 24.0);
}
