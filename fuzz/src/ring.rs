//! Records of the ring, and what iterators write out: bytes that only our own programs write, but a record may be longer or
//! shorter than this version knows.
//!
//! The first byte says what: records, each with its length in two bytes, or what an iterator wrote. With its highest bit, the
//! records end in a report, which takes some hundred times as long as reading them.

use stallscope::{
    collect::{
        Reading,
        fuzzing::{Written, decode, decode_written, made, recording, tcp, udp},
        recording::{Frame, Full, Header},
    },
    session::fuzzing::Fold,
};

use probe_common::{
    request::Request,
    tcp::{FinWait2, Holder, Listener},
    udp::{UdpHolder, UdpSocket},
};

use crate::{input::Input, memory, outputs};

/// Gives it to who reads it.
pub fn run(bytes: &[u8]) {
    let mut input = Input(bytes);
    let first = input.byte();
    match first % 3 {
        0 => records(input, first >= 128),
        1 => written::<tcp::Written>(input.0, |all| {
            all.fin_wait2.len() * size_of::<FinWait2>()
                + all.listeners.len() * size_of::<Listener>()
                + all.holders.len() * size_of::<Holder>()
        }),
        _ => written::<udp::Written>(input.0, |all| {
            all.sockets.len() * size_of::<UdpSocket>() + all.holders.len() * size_of::<UdpHolder>()
        }),
    }
}

/// Each record is at most one thing in a reading, which is written and read as it is, and may be folded into a window.
fn records(mut input: Input<'_>, report: bool) {
    let (mut reading, mut count) = (Reading::default(), 0);
    while !input.is_empty() {
        let len = input.short();
        let record = input.take(len.into());
        count += 1;
        // The largest, in a list that doubles and is copied; a list begins with four.
        let most = memory::ALWAYS + 3 * (count + 4) * size_of::<Request>();
        memory::within(most, || decode(record, &mut reading));
        if let Some(made) = made(record) {
            assert!(record.len() >= size_of_val(&made));
        }
        assert!(things(&reading) <= count);
    }
    let bytes = recording::encode(&reading, Vec::new()).expect("it can be written");
    let again: Reading = recording::decode(&bytes).expect("it can be read");
    let twice = recording::encode(&again, Vec::new()).expect("it can be written");
    assert!(bytes == twice, "it comes back as something else");
    if !report {
        return;
    }
    let full = |at_ns| {
        Frame::Full(Box::new(Full {
            reading: Reading {
                at_ns,
                ..Reading::default()
            },
            probes: Vec::new(),
            cost: Default::default(),
            unix_ns: at_ns,
        }))
    };
    let mut fold = Fold::new(Header::default(), true);
    fold.push(full(1_000_000_000_000));
    fold.push(Frame::Events(Box::new(reading)));
    fold.push(full(1_010_000_000_000));
    outputs::reports(&fold.finish());
}

/// Everything in a reading that comes from the ring.
fn things(reading: &Reading) -> usize {
    let tcp = reading.tcp.as_ref();
    let signals = [
        tcp.map_or(0, |tcp| {
            tcp.events.len() + tcp.connects.len() + tcp.listening.len()
        }),
        reading.udp.as_ref().map_or(0, |udp| udp.steps.len()),
        reading.dns.as_ref().map_or(0, |dns| dns.steps.len()),
        reading.files.as_ref().map_or(0, |files| files.steps.len()),
        reading
            .journal
            .as_ref()
            .map_or(0, |journal| journal.each.len()),
    ];
    reading.requests.len() + reading.exits.len() + signals.iter().sum::<usize>()
}

/// What is read in one piece and what is read in two is the same.
fn written<W: Written>(bytes: &[u8], size: impl Fn(&W) -> usize) {
    let mut whole = W::default();
    let most = memory::ALWAYS + 4 * bytes.len();
    let used = memory::within(most, || decode_written(bytes, &mut whole));
    assert!(used <= bytes.len() && size(&whole) <= used);
    let (mut parts, half) = (W::default(), bytes.len() / 2);
    let first = decode_written(&bytes[..half], &mut parts);
    assert!(first <= half);
    decode_written(&bytes[first..], &mut parts);
    // Nonsense ends what is there at once, but not what comes after: then there may be more.
    assert!(
        size(&parts) >= size(&whole),
        "{} of {}",
        size(&parts),
        size(&whole)
    );
}
