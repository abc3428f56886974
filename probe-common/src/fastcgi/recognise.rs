//! Tells from a few bytes what a connection carries, for workers whose requests have no other mark.

/// Whether the last 16 bytes of a write are an END_REQUEST record: the response is complete.
#[inline(always)]
pub fn ends_response(tail: &[u8; 16]) -> bool {
    // Version, type, two bytes of request id, content length 8, no padding, reserved; then four bytes
    // of the application's status, the protocol's status (0 to 3), three reserved.
    tail[0] == 1
        && tail[1] == 3
        && tail[2] | tail[3] != 0
        && tail[4] == 0
        && tail[5] == 8
        && tail[6] == 0
        && tail[12] <= 3
}

/// Whether the first 8 bytes of a read start an HTTP/1 request.
#[inline(always)]
pub fn starts_http_request(first: &[u8; 8]) -> bool {
    let word = u64::from_be_bytes(*first);
    // The method with its space, and the first byte of the target: a path, a URL or `*`.
    let method = |name: &[u8]| {
        let (mut want, mut i) = (0, 0);
        while i < name.len() {
            want = want << 8 | name[i] as u64;
            i += 1;
        }
        let rest = 64 - 8 * name.len() as u32;
        let target = |byte: u8| matches!(byte, b'/' | b'h' | b'H' | b'*');
        word >> rest == want && (rest == 0 || target((word >> (rest - 8)) as u8))
    };
    method(b"GET ")
        || method(b"POST ")
        || method(b"HEAD ")
        || method(b"PUT ")
        || method(b"DELETE ")
        || method(b"PATCH ")
        || method(b"OPTIONS ")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_end_of_a_response_is_recognised() {
        let end = [1, 3, 0, 1, 0, 8, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0];
        assert!(ends_response(&end));
        let mut status = end;
        status[8..12].copy_from_slice(&[0, 0, 1, 0]);
        assert!(ends_response(&status));
        for (at, value) in [(0, 2), (1, 6), (3, 0), (4, 1), (5, 16), (6, 8), (12, 4)] {
            let mut other = end;
            other[at] = value;
            assert!(!ends_response(&other), "byte {at}");
        }
    }

    #[test]
    fn http_requests_are_recognised() {
        for yes in [
            "GET / HT",
            "GET /inde",
            "POST /a ",
            "HEAD / H",
            "PUT /x H",
            "DELETE /",
            "PATCH /a",
            "OPTIONS ",
            "GET http:",
        ] {
            assert!(
                starts_http_request(yes.as_bytes()[..8].try_into().unwrap()),
                "{yes}"
            );
        }
        for no in [
            "HTTP/1.1",
            "get / HT",
            "GETX / H",
            "GET  / H",
            "GET keyy",
            "\u{1}\u{1}\0\u{1}\0\u{8}\0\0",
            "OPTIONSX",
            "PUTS /x ",
            "DELETE x",
        ] {
            assert!(
                !starts_http_request(no.as_bytes()[..8].try_into().unwrap()),
                "{no}"
            );
        }
    }
}
