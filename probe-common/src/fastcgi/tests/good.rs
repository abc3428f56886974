//! Streams as nginx writes them, and PHP and libfcgi read them, cut in every way.

use super::*;

#[test]
fn nginx_parameters_read_the_way_php_and_libfcgi_read() {
    for pairs in [nginx(), nginx_file_last()] {
        for padding in [0, 1, 7, 255] {
            let stream = request(
                &params(&pairs, false),
                65535,
                padding,
                b"product=77&count=2  ",
            );
            check(as_php(&stream), SCRIPT, URI);
            check(stream.chunks(8192), SCRIPT, URI);
        }
    }
}

#[test]
fn every_split_into_two_reads() {
    for (long, piece) in [(false, 65535), (true, 65535), (false, 50), (true, 61)] {
        let mut pairs = vec![("REQUEST_URI", URI), ("HTTP_HOST", "shop.example")];
        if piece == 65535 {
            pairs.extend(nginx_file_last().split_off(14));
        } else {
            // Few, as the steps of one read do not suffice for many small records.
            pairs.push(("SCRIPT_FILENAME", SCRIPT));
        }
        let stream = request(&params(&pairs, long), piece, 5, b"body");
        for at in 0..=stream.len() {
            let (a, b) = stream.split_at(at);
            check([a, b], SCRIPT, URI);
        }
    }
}

#[test]
fn every_size_of_reads_and_of_records() {
    for long in [false, true] {
        let params = params(&nginx_file_last(), long);
        for piece in [1, 2, 3, 7, 8, 9, 22, 23, 24, 25, 100, 400] {
            let stream = request(&params, piece, 3, b"product=77&count=2  ");
            check(as_php(&stream), SCRIPT, URI);
            for size in 1..40 {
                check(stream.chunks(size), SCRIPT, URI);
            }
        }
    }
}

#[test]
fn random_cuts_of_random_records() {
    let mut random = Random(7);
    for _ in 0..3000 {
        let params = params(&nginx_file_last(), random.below(2) == 1);
        let stream = request(
            &params,
            20 + random.below(2000) as usize,
            random.below(9) as u8,
            &[7; 9000],
        );
        let (mut reads, mut rest) = (Vec::new(), &stream[..]);
        while !rest.is_empty() {
            let (read, behind) = rest.split_at((1 + random.below(90) as usize).min(rest.len()));
            reads.push(read);
            rest = behind;
        }
        check(reads, SCRIPT, URI);
    }
}

#[test]
fn long_values_are_passed_over_and_names_cut() {
    let cookie = "c".repeat(8000);
    let path = format!("/{}", "p".repeat(700));
    let pairs = [
        ("HTTP_COOKIE", &cookie[..]),
        ("REQUEST_URI", &path),
        ("HTTP_X_LONG", &cookie),
        ("SCRIPT_FILENAME", &path),
    ];
    for long in [false, true] {
        let stream = request(&params(&pairs, long), 65535, 4, b"");
        for size in [1, 7, 60, 127, 128, 129, 1023, 1024, 1025, 8192, 65536] {
            check(stream.chunks(size), &path[..NAME_LEN], &path[..NAME_LEN]);
        }
        check(as_php(&stream), &path[..NAME_LEN], &path[..NAME_LEN]);
    }
}

#[test]
fn values_around_the_buffers_size_are_whole_or_cut_exactly() {
    for len in [0, 1, 126, 127, 128, 129, 255, 256, 257] {
        let path = "u".repeat(len);
        let stream = request(
            &params(
                &[("REQUEST_URI", &path), ("SCRIPT_FILENAME", "/a.php")],
                false,
            ),
            65535,
            0,
            b"",
        );
        for size in [1, 13, 64, 4096] {
            check(stream.chunks(size), "/a.php", &path[..len.min(NAME_LEN)]);
        }
    }
}

#[test]
fn names_of_more_than_127_bytes_are_passed_over() {
    let name = "N".repeat(300);
    let pairs = [
        (&name[..], "v"),
        ("SCRIPT_FILENAME", SCRIPT),
        (&name, SCRIPT),
        ("REQUEST_URI", URI),
    ];
    let stream = request(&params(&pairs, false), 65535, 0, b"");
    check(as_php(&stream), SCRIPT, URI);
    check(stream.chunks(11), SCRIPT, URI);
}

#[test]
fn the_file_wins_over_the_script_name_in_either_order() {
    for pairs in [
        [
            ("SCRIPT_NAME", "/i.php"),
            ("SCRIPT_FILENAME", SCRIPT),
            ("REQUEST_URI", URI),
        ],
        [
            ("SCRIPT_FILENAME", SCRIPT),
            ("SCRIPT_NAME", "/i.php"),
            ("REQUEST_URI", URI),
        ],
    ] {
        check(
            as_php(&request(&params(&pairs, false), 65535, 0, b"")),
            SCRIPT,
            URI,
        );
    }
    let only = [("SCRIPT_NAME", "/i.php"), ("REQUEST_URI", URI)];
    check(
        as_php(&request(&params(&only, false), 65535, 0, b"")),
        "/i.php",
        URI,
    );
}

#[test]
fn names_that_are_nearly_those_sought_are_not_taken() {
    let pairs = [
        ("SCRIPT_FILENAMF", "no"),
        ("SCRIPT_NAMF", "no"),
        ("REQUEST_URJ", "no"),
        ("REDIRECT_URI", "no"),
        ("XEQUEST_URI", "no"),
        ("script_name", "no"),
        ("SCRIPT_URI1", "no"),
    ];
    check(
        as_php(&request(&params(&pairs, false), 65535, 0, b"")),
        "",
        "",
    );
}

#[test]
fn a_kept_connection_shows_each_of_its_requests() {
    let first = request(&params(&nginx(), false), 65535, 2, &[1; 20_000]);
    let pairs = [("SCRIPT_NAME", "/b.php"), ("REQUEST_URI", "/b")];
    let second = request(&params(&pairs, false), 65535, 0, b"");
    let mut c = Connection::new();
    for _ in 0..3 {
        for size in [8192, 3, 100] {
            assert_eq!(c.reads(first.chunks(size)), saw::BEGIN | saw::PARAMS_DONE);
            assert_eq!((c.script(), c.uri()), (SCRIPT, URI));
            assert_eq!(c.reads(as_php(&second)), saw::BEGIN | saw::PARAMS_DONE);
            assert_eq!((c.script(), c.uri()), ("/b.php", "/b"));
        }
    }
}

#[test]
fn begin_and_the_end_of_the_parameters_are_told_at_the_read_that_has_them() {
    let stream = request(&params(&nginx(), false), 65535, 0, b"x");
    let mut c = Connection::new();
    let saw: Vec<u32> = as_php(&stream)
        .into_iter()
        .map(|read| c.feed(&Bytes::new(read)))
        .collect();
    assert_eq!(saw, [saw::BEGIN, 0, 0, 0, saw::PARAMS_DONE, 0, 0, 0]);
}

#[test]
fn bodies_and_parameters_behind_both_names_cost_no_reads_of_memory() {
    let stream = request(&params(&nginx(), false), 65535, 0, &[b'x'; 8192]);
    let mut c = Connection::new();
    let reads = |read: &[u8], c: &mut Connection| {
        let source = Bytes::new(read);
        c.feed(&source);
        source.reads.get()
    };
    let counts: Vec<u32> = as_php(&stream)
        .into_iter()
        .map(|read| reads(read, &mut c))
        .collect();
    // Begin, its content, header, one window and three pairs with two values, then headers only.
    assert_eq!(counts, [1, 0, 1, 6, 1, 1, 0, 1]);
}

#[test]
fn sixty_parameters_in_one_read_are_few_enough() {
    let header = [("HTTP_X_FORWARDED_THING", "value")];
    let mut pairs: Vec<_> = header.iter().cycle().take(35).copied().collect();
    pairs.extend(nginx_file_last());
    let stream = request(&params(&pairs, false), 65535, 0, b"");
    check([&stream[..]], SCRIPT, URI);
}
