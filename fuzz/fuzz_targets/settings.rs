#![no_main]
//! Settings are read or refused, and what is said of a wrong one shows no password.

use std::num::NonZeroUsize;

use anteroom::config::{Input, SETTINGS, parse};
use libfuzzer_sys::fuzz_target;

const SECRET: &str = "hunter2planted";

fuzz_target!(|input: Vec<(u8, String)>| {
    let upstream = input.first().map_or(String::new(), |(_, text)| format!("http://robot:{SECRET}@{text}"));
    let mut environment = vec![("ANTEROOM_UPSTREAM".to_owned(), upstream)];
    environment.extend(
        input.into_iter().map(|(choice, text)| (SETTINGS[usize::from(choice) % SETTINGS.len()].name.to_owned(), text)),
    );
    let input = Input { flags: &[], environment: &environment, cores: NonZeroUsize::MIN, check_log: |_| Ok(()) };
    if let Err(wrong) = parse(input) {
        for wrong in wrong {
            assert!(!wrong.to_string().contains(SECRET), "{wrong}");
        }
    }
});
