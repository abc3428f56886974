//! Streams that are none, are damaged, are too long, or cannot be read.

use super::*;

#[test]
fn more_parameters_than_one_read_may_hold_give_up_on_names_but_not_on_framing() {
    let mut pairs = vec![("SCRIPT_NAME", "/n"); 40];
    pairs.push(("REQUEST_URI", URI));
    let many = request(&params(&pairs, false), 65535, 1, b"x");
    let mut c = Connection::new();
    let saw = c.reads([&many[..]]);
    assert_eq!(saw, saw::BEGIN | saw::GAVE_UP | saw::PARAMS_DONE);
    assert_eq!(
        c.reads(as_php(&request(&params(&nginx(), false), 65535, 0, b""))),
        saw::BEGIN | saw::PARAMS_DONE
    );
    assert_eq!((c.script(), c.uri()), (SCRIPT, URI));
}

#[test]
fn what_is_no_fastcgi_is_told_once_and_then_costs_nothing() {
    for first in [
        &b"GET / HTTP/1.1\r\n"[..],
        b"\x16\x03\x01\x02\x00\x01\x00\x01",
        &[0; 8],
        &[1, 1, 0, 1, 0, 9, 0, 0],
        &[1, 1, 0, 0, 0, 8, 0, 0],
        &[1, 12, 0, 1, 0, 8, 0, 0],
        &[2, 1, 0, 1, 0, 8, 0, 0],
        &[1, 0, 0, 1, 0, 8, 0, 0],
    ] {
        let mut c = Connection::new();
        assert_eq!(c.feed(&Bytes::new(first)), saw::NOT_FASTCGI);
        let source = Bytes::new(&[1, 1, 0, 1, 0, 8, 0, 0]);
        assert_eq!(c.feed(&source), 0);
        assert_eq!(source.reads.get(), 0);
    }
}

#[test]
fn after_missed_bytes_the_next_request_is_found_again() {
    let stream = request(&params(&nginx(), false), 65535, 0, b"");
    let mut c = Connection::new();
    assert_eq!(c.reads([&stream[..300], &stream[400..]]), saw::BEGIN);
    // 100 bytes are missing, so the begin of the next request passes for the end of this one.
    assert_eq!(c.reads(as_php(&stream)), saw::LOST);
    assert_eq!(
        c.reads([&b"more of what is not understood"[..], b"short"]),
        0
    );
    assert_eq!(c.reads(as_php(&stream)), saw::BEGIN | saw::PARAMS_DONE);
    assert_eq!((c.script(), c.uri()), (SCRIPT, URI));
}

#[test]
fn memory_that_cannot_be_read_loses_this_request_only() {
    let stream = request(&params(&nginx(), false), 65535, 0, b"");
    let reads = as_php(&stream);
    for bad in [0, 2, 3, 4] {
        let mut c = Connection::new();
        let mut saw = 0;
        for (i, read) in reads.iter().enumerate() {
            let mut source = Bytes::new(read);
            source.fails = i == bad;
            saw |= c.feed(&source);
        }
        assert_eq!(saw & saw::READ_FAILED, saw::READ_FAILED);
        assert_eq!(
            c.reads(reads.iter().copied()),
            saw::BEGIN | saw::PARAMS_DONE
        );
        assert_eq!((c.script(), c.uri()), (SCRIPT, URI));
    }
}

#[test]
fn random_bytes_and_damaged_streams_never_leave_the_buffers() {
    let mut random = Random(42);
    let good = request(&params(&nginx_file_last(), false), 300, 3, b"body");
    for case in 0..100_000_u32 {
        let mut bytes: Vec<u8> = if case % 2 == 0 {
            good.clone()
        } else {
            (0..random.below(200))
                .map(|_| random.below(256) as u8)
                .collect()
        };
        if case % 4 == 1 {
            // Let it pass for a header, so that the rest is looked at.
            bytes.splice(
                ..bytes.len().min(24),
                begin(0).into_iter().chain([1, 4, 0, 1, 0, 150, 0, 0]),
            );
        }
        for _ in 0..random.below(6) {
            let at = random.below(bytes.len().max(1) as u64) as usize;
            if let Some(byte) = bytes.get_mut(at) {
                *byte = random.below(256) as u8;
            }
        }
        let mut c = Connection::new();
        let mut expected = Request::ZERO;
        let size = 1 + random.below(if case % 3 == 0 { 30 } else { 2000 }) as usize;
        for read in bytes.chunks(size) {
            let saw = c.feed(&Bytes::new(read));
            assert!(saw < 64);
            assert!(c.request.script_len <= 128 && c.request.uri_len <= 128);
            assert!(c.reader.held < 23 && c.reader.headed < 8 && c.reader.reserved == 0);
        }
        // Nothing but the names changed.
        expected.script = c.request.script;
        expected.script_len = c.request.script_len;
        expected.uri = c.request.uri;
        expected.uri_len = c.request.uri_len;
        assert!(c.request == expected);
    }
}

#[test]
fn a_reader_of_random_bytes_is_harmless_too() {
    let mut random = Random(9);
    let good = request(&params(&nginx(), true), 300, 3, b"body");
    for _ in 0..20_000 {
        let mut c = Connection::new();
        c.reader.hold.fill_with(|| random.below(256) as u8);
        c.reader.head.fill_with(|| random.below(256) as u8);
        c.reader.pending = random.below(1 << 32) as u32;
        c.reader.skip = random.below(300) as u32;
        c.reader.content = random.below(1 << 16) as u16;
        c.reader.padding = random.below(256) as u8;
        c.reader.held = random.below(256) as u8;
        c.reader.headed = random.below(256) as u8;
        c.reader.capture = random.below(256) as u8;
        c.reader.flags = random.below(256) as u8;
        c.request.script_len = random.below(1 << 16) as u16;
        c.request.uri_len = random.below(1 << 16) as u16;
        let mut expected = c.request;
        c.reads(good.chunks(1 + random.below(900) as usize));
        expected.script = c.request.script;
        expected.script_len = c.request.script_len;
        expected.uri = c.request.uri;
        expected.uri_len = c.request.uri_len;
        assert!(c.request == expected);
    }
}

#[test]
fn parameters_whose_begin_ends_with_the_read_are_not_given_up() {
    // The steps of the first read: one for each of these pairs, BEGIN_REQUEST and the PARAMS header.
    for pairs in 1..=15 {
        let mut all = vec![("SCRIPT_NAME", ""); pairs];
        let first = 16 + 8 + params(&all, false).len();
        all.push(("REQUEST_URI", URI));
        let stream = request(&params(&all, false), 65535, 0, b"");
        let (a, b) = stream.split_at(first);
        check([a, b], "", URI);
    }
}

#[test]
fn a_request_that_breaks_off_inside_a_pair_does_not_spoil_the_next() {
    let broken = params(
        &[
            ("REQUEST_URI", "/broken"),
            ("SCRIPT_FILENAME", "/broken.php"),
        ],
        false,
    );
    let stream = request(&params(&nginx(), false), 65535, 0, b"");
    for len in 1..broken.len() {
        let mut c = Connection::new();
        c.reads([&[begin(1), record(4, &broken[..len], 0)].concat()[..]]);
        assert_eq!(c.reads(as_php(&stream)), saw::BEGIN | saw::PARAMS_DONE);
        assert_eq!(
            (c.script(), c.uri()),
            (SCRIPT, URI),
            "broken off after {len}"
        );
    }
}
