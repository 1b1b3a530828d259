use super::*;

/// What becomes of the bytes when they come in pieces of `size`.
fn scanned(bytes: &str, size: usize) -> (Result<(), (usize, Broken)>, Vec<u8>, Scanner) {
    let mut scanner = Scanner::default();
    let mut out = bytes.as_bytes().to_vec();
    let result = out.chunks_mut(size).try_for_each(|piece| scanner.scan(piece));
    (result, out, scanner)
}

/// However they are cut, the bytes pass unchanged, and the scanner waits for the next request.
fn passes(bytes: &str) {
    for size in 1..=bytes.len() {
        let (result, out, scanner) = scanned(bytes, size);
        assert_eq!(result, Ok(()), "{bytes:?} in pieces of {size}");
        assert_eq!(String::from_utf8_lossy(&out), bytes, "in pieces of {size}");
        assert!(!scanner.is_opaque() && !scanner.in_head(), "{bytes:?}: {scanner:?}");
    }
}

/// However they are cut, one byte of the head is made a NUL.
fn poisoned(bytes: &str) {
    for size in 1..=bytes.len() {
        let (result, out, scanner) = scanned(bytes, size);
        assert_eq!(result, Ok(()), "{bytes:?} in pieces of {size}");
        assert_eq!(out.iter().filter(|byte| **byte == 0).count(), 1, "{bytes:?} in pieces of {size}");
        assert!(scanner.is_opaque(), "{bytes:?}");
    }
}

fn broken(bytes: &str) {
    for size in 1..=bytes.len() {
        let (result, ..) = scanned(bytes, size);
        assert!(result.is_err(), "{bytes:?} in pieces of {size}");
    }
}

#[test]
fn right_requests_pass_one_after_the_other() {
    passes("GET / HTTP/1.1\r\nHost: a\r\n\r\n");
    passes("\r\nGET / HTTP/1.1\r\nHost: a\r\n\r\nGET / HTTP/1.1\r\nHost: a\r\n\r\n");
    passes("POST / HTTP/1.1\r\nContent-Length: 4\r\n\r\n\n\n\n\nGET / HTTP/1.1\r\n\r\n");
    passes("POST / HTTP/1.1\r\nContent-Length: 0\r\n\r\nGET / HTTP/1.1\r\n\r\n");
    passes(
        "POST / HTTP/1.1\r\nTRANSFER-encoding:\tChunked \r\n\r\n3;a=\"b\"\r\n\n\n\n\r\na ;x\r\n0123456789\r\n0\r\nT: x\r\n\r\nGET / HTTP/1.1\r\n\r\n",
    );
    // The name must match as a whole, and a request line is no field.
    passes("GET http://content-length: HTTP/1.1\r\nX-Content-Length: 5\r\nContent-Lengthy: 6\r\n\r\n");
}

#[test]
fn a_bare_lf_in_a_head_is_poisoned() {
    poisoned("GET / HTTP/1.1\nHost: a\r\n\r\n");
    poisoned("GET / HTTP/1.1\r\nHost: a\nX: b\r\n\r\n");
    poisoned("GET / HTTP/1.1\r\nHost: a\r\n\n");
    poisoned("\nGET / HTTP/1.1\r\nHost: a\r\n\r\n");
}

#[test]
fn a_second_framing_is_poisoned_in_any_order() {
    poisoned("POST / HTTP/1.1\r\nContent-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n");
    poisoned("POST / HTTP/1.1\r\nTransfer-Encoding: chunked\r\nContent-Length: 5\r\n\r\n");
    poisoned("POST / HTTP/1.1\r\nTransfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r\n\r\n");
    poisoned("POST / HTTP/1.1\r\nContent-Length: 5\r\nContent-Length: 5\r\n\r\n");
    poisoned("POST / HTTP/1.1\r\nContent-Length: 5\r\nX: y\r\ncontent-length: 6\r\n\r\n");
}

#[test]
fn a_length_that_is_no_number_is_poisoned() {
    for length in ["", "+5", "-1", "5, 5", "0x5", "5 5", "٣", "18446744073709551616", &"0".repeat(100)] {
        poisoned(&format!("POST / HTTP/1.1\r\nContent-Length: {length}\r\n\r\n"));
    }
    poisoned(&format!("POST / HTTP/1.1\r\nContent-Length:{}5\r\n\r\n", " ".repeat(KEPT)));
}

#[test]
fn a_chunk_that_is_not_framed_exactly_breaks_the_body() {
    let head = "POST / HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n";
    for body in [
        "5\nhello\r\n",
        "5\r\nhello\n",
        "5\r\nhello!\r\n",
        "5 \r\nhello\r\n",
        " 5\r\nhello\r\n",
        "0x5\r\nhello\r\n",
        "-5\r\nhello\r\n",
        "\r\nhello\r\n",
        ";a\r\nhello\r\n",
        "5;a\nhello\r\n",
        "1000000000000000\r\n",
        "0\r\nT: x\n\r\n",
        "0\r\n\n",
    ] {
        broken(&format!("{head}{body}"));
    }
}

#[test]
fn after_an_offer_to_switch_protocols_nothing_is_looked_at() {
    let long = format!("Connection: {}\r\nUpgrade: websocket", "keep-alive, ".repeat(9));
    for head in [
        "Upgrade: websocket\r\nConnection: a, Upgrade",
        &long,
        "Transfer-Encoding: gzip",
        "Transfer-Encoding: chunked, chunked",
    ] {
        let bytes = format!("GET / HTTP/1.1\r\n{head}\r\n\r\n\n\n\n");
        let (result, out, scanner) = scanned(&bytes, 7);
        assert_eq!((result, out), (Ok(()), bytes.into_bytes()));
        assert!(scanner.is_opaque());
    }
}

#[test]
fn an_upgrade_that_connection_does_not_name_is_no_offer() {
    for head in ["Upgrade: x", "Connection: upgrade", "Connection: xupgrade\r\nUpgrade: x"] {
        broken(&format!("POST / HTTP/1.1\r\n{head}\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\n"));
    }
}

#[test]
fn a_head_is_open_from_its_first_byte_to_its_empty_line() {
    let mut scanner = Scanner::default();
    assert!(!scanner.in_head());
    for byte in b"GET / HTTP/1.1\r\nContent-Length: 1\r\n\r" {
        scanner.scan(&mut [*byte]).expect("it is right");
        assert!(scanner.in_head());
    }
    scanner.scan(&mut [b'\n']).expect("it is right");
    assert!(!scanner.in_head(), "a body");
    scanner.scan(&mut [b'x']).expect("it is right");
    assert!(!scanner.in_head(), "between two requests");
}

#[test]
fn heads_whose_names_are_not_written_as_usual_are_found_however_they_are_cut() {
    let odd = "POST / HTTP/1.1\r\nhost: a\r\nContent-Length: 21\r\n\r\n";
    let chunked = "POST / HTTP/1.1\r\nHOST: a\r\nTransfer-Encoding: chunked\r\n\r\n";
    let usual = "GET / HTTP/1.1\r\nHost: a\r\nX-Forwarded-For: b\r\n\r\n";
    let upgrade = "GET / HTTP/1.1\r\nHost: a\r\nupgrade: x\r\nConnection: upgrade\r\n\r\n";
    let body = "\r\n\r\nx-not-a: head\r\n\r\n";
    let chunks = "5\r\nx:\r\n\r\r\n0\r\ntrailer: x\r\n\r\n";
    let all = format!(
        "\r\n\r\n{usual}{odd}{body}{usual}\r\n\r\n{odd}{body}{chunked}{chunks}{chunked}{chunks}{usual}{upgrade}x: y\r\n\r\n"
    );
    let expected = [(2, odd), (4, odd), (5, chunked), (6, chunked), (8, upgrade)];
    for size in 1..=all.len() {
        let mut scanner = Scanner::default();
        let mut found = Vec::new();
        for piece in all.clone().into_bytes().chunks_mut(size) {
            assert_eq!(scanner.scan(piece), Ok(()), "in pieces of {size}");
            found.extend(scanner.take_unusual());
            assert!(
                scanner.names.part.is_empty() || scanner.in_head(),
                "of what is no head nothing is kept, in pieces of {size}"
            );
        }
        let found: Vec<_> =
            found.iter().map(|(number, head)| (*number, str::from_utf8(&head.0).expect("text"))).collect();
        assert_eq!(found, expected, "in pieces of {size}");
    }
}
