#![no_main]
//! Whatever a compose file says, it is read in bounds: what is known of it is no larger than what was read.

use anteroom::project::definitions;
use libfuzzer_sys::fuzz_target;

fuzz_target!(|text: &str| {
    let variable = |name: &str| (name == "A").then(|| "a".repeat(600));
    let Some(known) = definitions::read(&[text.to_owned()], &variable) else { return };
    for definition in known {
        assert!(definition.image.is_none_or(|image| image.len() <= definitions::FILE_MOST));
        assert!(!definition.image_is_missing, "an engine says that");
    }
});
