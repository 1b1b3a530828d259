#![no_main]
//! The bytes of a connection mean the same however they are cut.

use anteroom::server::grammar::Scanner;
use anteroom::spelling::Spelling;
use libfuzzer_sys::fuzz_target;

/// What became of the bytes.
#[derive(Debug, PartialEq, Eq)]
struct Scan {
    /// What the parser behind gets to see.
    seen: Vec<u8>,
    broken: bool,
    /// Where the scanner stands.
    in_head: bool,
    is_opaque: bool,
    /// Heads whose names are to be restored, by the number of the request.
    unusual: Vec<(usize, Vec<u8>)>,
}

fn scan(bytes: &[u8], mut size: impl FnMut() -> usize) -> Scan {
    let mut scanner = Scanner::default();
    let mut seen = bytes.to_vec();
    let (mut at, mut unusual) = (0, Vec::new());
    while at < seen.len() {
        let end = seen.len().min(at + size());
        if let Err((well, _)) = scanner.scan(&mut seen[at..end]) {
            seen.truncate(at + well);
            return Scan { seen, broken: true, in_head: false, is_opaque: false, unusual: Vec::new() };
        }
        unusual.extend(scanner.take_unusual().into_iter().map(|(number, Spelling(head))| (number, head.to_vec())));
        at = end;
    }
    Scan { seen, broken: false, in_head: scanner.in_head(), is_opaque: scanner.is_opaque(), unusual }
}

fuzz_target!(|input: (&[u8], Vec<u8>)| {
    let (bytes, sizes) = input;
    let whole = scan(bytes, || usize::MAX / 2);
    let mut sizes = sizes.iter().cycle();
    let cut = scan(bytes, || sizes.next().map_or(1, |size| usize::from(*size).max(1)));
    assert_eq!(whole.broken, cut.broken);
    // Of a line that is refused, more may have passed before that was known.
    let refused = |seen: &[u8]| seen.contains(&0) && !bytes.contains(&0);
    assert_eq!(refused(&whole.seen), refused(&cut.seen));
    if whole.broken {
        assert!(cut.seen.starts_with(&whole.seen) || refused(&cut.seen));
    } else if !refused(&whole.seen) {
        assert_eq!(whole, cut);
    }
});
