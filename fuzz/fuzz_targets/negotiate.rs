#![no_main]
//! Every request has a format and a language, whatever it accepts.

use anteroom::page::{Format, Language, negotiate};
use anteroom_fuzz::fields;
use http::Method;
use libfuzzer_sys::fuzz_target;

fuzz_target!(|bytes: &[u8]| {
    let fields = fields(bytes);
    let format = negotiate::format(&fields);
    let language = Language::of(&fields);
    assert!(Language::all().any(|known| known == language));
    if negotiate::is_navigation(&Method::GET, &fields) {
        assert_eq!(format, Format::Html, "who looks at a blank tab gets a page");
    }
    if fields.get("sec-fetch-mode").is_some_and(|mode| mode == "navigate") {
        assert!(negotiate::is_navigation(&Method::POST, &fields));
    }
});
