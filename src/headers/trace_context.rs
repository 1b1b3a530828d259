//! W3C's Trace Context: `traceparent` passes untouched, and its trace id goes into the log, where it leads to what others
//! have recorded of the same request.

use http::HeaderMap;

const TRACEPARENT: &str = "traceparent";
/// Where the trace id stands in `00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01`.
const ID: std::ops::Range<usize> = 3..35;
const LENGTH: usize = 55;

/// A trace's number, in hex digits.
#[derive(Clone, Copy)]
pub struct TraceId([u8; ID.end - ID.start]);

impl TraceId {
    /// As it is written.
    pub fn as_str(&self) -> &str {
        str::from_utf8(&self.0).unwrap_or_default()
    }
}

/// The trace id, if the header is well-formed (W3C Trace Context §3.2): from the same client may come anything.
pub fn trace_id(headers: &HeaderMap) -> Option<TraceId> {
    let mut lines = headers.get_all(TRACEPARENT).iter();
    // Two of them are as good as none.
    let (value, None) = (lines.next()?.as_bytes(), lines.next()) else { return None };
    let id = value.get(ID).filter(|_| is_well_formed(value))?;
    id.try_into().ok().map(TraceId)
}

fn is_well_formed(value: &[u8]) -> bool {
    let Some((known, more)) = value.split_at_checked(LENGTH) else { return false };
    let is_hex = |byte: &u8| matches!(byte, b'0'..=b'9' | b'a'..=b'f');
    let is_number = |part: &[u8]| part.iter().all(is_hex);
    let (version, id, parent) = (&known[..2], &known[ID], &known[36..52]);
    let is_zero = |part: &[u8]| part.iter().all(|byte| *byte == b'0');
    [known[2], known[35], known[52]] == [b'-'; 3]
        && [version, id, parent, &known[53..]].into_iter().all(is_number)
        && !is_zero(id)
        && !is_zero(parent)
        // Later versions may have more behind another dash; `ff` is none.
        && version != b"ff"
        && (more.is_empty() || version != b"00" && more[0] == b'-')
}

#[cfg(test)]
mod tests {
    use super::super::headers;
    use super::*;

    const GOOD: &str = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01";

    fn id(values: &[&str]) -> Option<String> {
        let lines: Vec<_> = values.iter().map(|value| (TRACEPARENT, *value)).collect();
        trace_id(&headers(&lines)).map(|id| id.as_str().to_owned())
    }

    #[test]
    fn the_trace_id_is_read_from_what_is_well_formed() {
        let expected = Some("4bf92f3577b34da6a3ce929d0e0e4736".to_owned());
        assert_eq!(id(&[GOOD]), expected);
        assert_eq!(id(&[&GOOD.replacen("00", "cc", 1)]), expected, "a later version");
        assert_eq!(id(&[&format!("{}-what-comes", GOOD.replacen("00", "cc", 1))]), expected);
    }

    #[test]
    fn anything_else_is_none() {
        for wrong in [
            "",
            "00",
            &GOOD[..54],
            &format!("{GOOD}-more"),
            &format!("{GOOD}0"),
            &format!("{}0", GOOD.replacen("00", "cc", 1)),
            &GOOD.replacen("00", "ff", 1),
            &GOOD.replace('b', "B"),
            &GOOD.replace('-', "_"),
            &GOOD.replace("4bf92f3577b34da6a3ce929d0e0e4736", &"0".repeat(32)),
            &GOOD.replace("00f067aa0ba902b7", &"0".repeat(16)),
            &GOOD.replace("4bf92f35", "4bf9 f35"),
        ] {
            assert_eq!(id(&[wrong]), None, "{wrong:?}");
        }
        assert_eq!(id(&[GOOD, GOOD]), None);
    }
}
