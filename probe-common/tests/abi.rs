//! The layout of every shared struct, blessed as text in abi.txt, so that a change shows in review.
//! `BLESS=1` writes the file (`cargo xtask bless`).

use std::{env, fmt::Write as _, fs, path::Path};

use probe_common::{
    config, count, dns, fastcgi, files, journal, peer, request, stat, table, task, tcp, udp,
};

/// Name, size, alignment and fields (name, offset, size) of a struct.
type Layout = (
    &'static str,
    usize,
    usize,
    &'static [(&'static str, usize, usize)],
);

macro_rules! layouts {
    ($($name:ty),* $(,)?) => {
        &[$((stringify!($name), size_of::<$name>(), align_of::<$name>(), <$name>::LAYOUT)),*]
    };
}

const ALL: &[Layout] = layouts![
    config::Config,
    config::Offsets,
    count::CountKey,
    count::WaitSum,
    dns::Asked,
    dns::AskedKey,
    dns::ClaimKey,
    dns::DnsConfig,
    dns::Name,
    dns::Open,
    dns::OpenKey,
    dns::QuestionKey,
    dns::QuestionSum,
    dns::RecentKey,
    dns::Step,
    dns::TimeoutSum,
    dns::Totals,
    dns::Waiting,
    dns::message::Scratch,
    fastcgi::Reader,
    fastcgi::Scratch,
    files::Created,
    files::DirId,
    files::DirKey,
    files::DirPath,
    files::DirSum,
    files::FileCall,
    files::FilesConfig,
    files::OpenFile,
    files::OpenKey,
    files::Refused,
    files::RefusedKey,
    files::UnlinkKey,
    files::Unlinked,
    journal::Commit,
    journal::HandleSum,
    journal::JournalConfig,
    journal::JournalSum,
    journal::SleepKey,
    journal::SleepSum,
    journal::Sleeper,
    journal::SyncSum,
    journal::Syncing,
    journal::TimeSum,
    journal::WorkKey,
    peer::EpollKey,
    peer::PeerKey,
    request::Exit,
    request::PeerUse,
    request::Request,
    request::Span,
    stat::ErrCount,
    stat::Stat,
    stat::StatKey,
    table::Made,
    task::CachedPeer,
    task::Task,
    tcp::CensusKey,
    tcp::CensusRow,
    tcp::CensusTotals,
    tcp::Connect,
    tcp::FinWait2,
    tcp::Holder,
    tcp::Listener,
    tcp::Listening,
    tcp::Owner,
    tcp::TcpCall,
    tcp::TcpSocket,
    tcp::TimewaitSum,
    tcp::Transition,
    tcp::TransitionKey,
    tcp::TransitionSum,
    udp::UdpAddress,
    udp::UdpConfig,
    udp::UdpDrops,
    udp::UdpHolder,
    udp::UdpKey,
    udp::UdpSocket,
    udp::UdpStep,
    udp::UdpTotals,
];

fn here() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

#[test]
fn layouts_are_as_blessed() {
    let mut text = String::from(
        "Shared structs: size, alignment, then offset and size of each field, in bytes.\n",
    );
    for (name, size, align, fields) in ALL {
        let _ = writeln!(text, "\n{name} size {size} align {align}");
        for (field, offset, size) in *fields {
            let _ = writeln!(text, "{offset:>6} {size:>5}  {field}");
        }
    }
    let file = here().join("abi.txt");
    if env::var_os("BLESS").is_some() {
        fs::write(&file, &text).unwrap();
    }
    let blessed = fs::read_to_string(&file).unwrap_or_default();
    assert_eq!(
        blessed, text,
        "the shared layout has changed: run `cargo xtask bless` and read the diff"
    );
}

#[test]
fn every_shared_struct_is_listed() {
    let mut declared = Vec::new();
    let mut folders = vec![here().join("src")];
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(folder).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                folders.push(path);
                continue;
            }
            let text = fs::read_to_string(&path).unwrap();
            // A block ends where a line holds nothing but its closing brace.
            for block in text.split("\nshared! {").skip(1) {
                let block = block.split("\n}").next().unwrap_or_default();
                declared.extend(block.lines().filter_map(|line| {
                    let name = line
                        .strip_prefix("    pub struct ")?
                        .split([' ', '{'])
                        .next()?;
                    Some(name.to_owned())
                }));
            }
        }
    }
    declared.sort();
    let mut listed: Vec<String> = ALL
        .iter()
        .map(|(name, ..)| name.rsplit("::").next().unwrap_or(name).trim().to_owned())
        .collect();
    listed.sort();
    assert_eq!(listed, declared);
}
