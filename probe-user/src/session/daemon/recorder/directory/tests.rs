//! What is touched in the directory, and what is not.

use std::os::unix::fs::{PermissionsExt as _, symlink};

use super::*;

fn scratch() -> (tempfile::TempDir, PathBuf) {
    let place = tempfile::tempdir().unwrap();
    let dir = place.path().join("deep").join("saved");
    (place, dir)
}

fn put(dir: &Path, name: &str, bytes: usize) {
    fs::write(dir.join(name), vec![b'x'; bytes]).unwrap();
}

fn list(dir: &Path) -> Vec<String> {
    let entries = fs::read_dir(dir).unwrap();
    let name = |entry: io::Result<fs::DirEntry>| entry.unwrap().file_name();
    let mut names: Vec<String> = entries
        .map(|entry| name(entry).to_string_lossy().into_owned())
        .collect();
    names.sort();
    names
}

const NAME: &str = "incident-20231114-221320-W01";

#[test]
fn it_is_made_for_its_owner_alone_and_nobody_else_may_have_it() {
    let (_place, dir) = scratch();
    let first = Directory::open(&dir).unwrap();
    assert_eq!(fs::metadata(&dir).unwrap().mode() & 0o777, 0o700);
    let why = Directory::open(&dir).map(|_| ()).unwrap_err().to_string();
    assert!(why.contains("another stallscope saves there"), "{why}");
    drop(first);
    Directory::open(&dir).unwrap();
}

#[test]
fn where_others_may_write_nothing_is_saved() {
    let (_place, dir) = scratch();
    fs::create_dir_all(&dir).unwrap();
    for mode in [0o777, 0o1777, 0o720] {
        fs::set_permissions(&dir, fs::Permissions::from_mode(mode)).unwrap();
        let why = Directory::open(&dir).map(|_| ()).unwrap_err().to_string();
        assert!(why.contains("others may write to it"), "{mode:o}: {why}");
    }
    fs::set_permissions(&dir, fs::Permissions::from_mode(0o755)).unwrap();
    Directory::open(&dir).unwrap();
    put(&dir, "file", 1);
    let why = Directory::open(&dir.join("file")).map(|_| ()).unwrap_err();
    assert!(why.to_string().starts_with("cannot save to "), "{why}");
}

#[test]
fn what_a_killed_run_left_is_put_in_order_and_nothing_else_is_touched() {
    let (_place, dir) = scratch();
    fs::create_dir_all(&dir).unwrap();
    let others = [
        "notes.txt",
        "incident-notes.json",
        "incident-20231114-221320-W01.txt",
        "incident-20231114-2213-W01.json",
        "x.part",
    ];
    for name in others {
        put(&dir, name, 1);
    }
    put(&dir, "ring.rec", 3);
    put(&dir, "before-restart.rec", 2);
    put(&dir, &format!("{NAME}.rec.part"), 1);
    put(&dir, &format!("{NAME}.json"), 1);
    let directory = Directory::open(&dir).unwrap();
    let mut there: Vec<String> = others.map(str::to_owned).to_vec();
    there.extend([format!("{NAME}.json"), "before-restart.rec".to_owned()]);
    there.sort();
    assert_eq!(list(&dir), there);
    assert_eq!(fs::read(dir.join("before-restart.rec")).unwrap().len(), 3);
    // Not even when there is no room for anything.
    assert!(directory.make_room(10, 0, 0, &[]).is_err());
    let mut left: Vec<String> = others.map(str::to_owned).to_vec();
    left.sort();
    assert_eq!(list(&dir), left);
}

#[test]
fn the_oldest_incidents_make_room_whole_and_what_is_spared_stays() {
    let (_place, dir) = scratch();
    let directory = Directory::open(&dir).unwrap();
    let stem = |n: u32| format!("incident-2023111{n}-221320-W01");
    for n in 1..=4 {
        for ending in ENDINGS {
            put(&dir, &format!("{}.{ending}", stem(n)), 100);
        }
    }
    let stems = |dir: &Path| -> Vec<String> {
        let mut stems: Vec<String> = list(dir)
            .iter()
            .filter_map(|name| super::stem(name).map(str::to_owned))
            .collect();
        stems.dedup();
        stems
    };
    directory.make_room(0, 1200, 0, &[]).unwrap();
    assert_eq!(stems(&dir).len(), 4);
    directory.make_room(1, 1200, 0, &[&stem(1)]).unwrap();
    assert_eq!(stems(&dir), [stem(1), stem(3), stem(4)]);
    // The ring has its share.
    directory.make_room(100, 1200, 500, &[]).unwrap();
    assert_eq!(stems(&dir), [stem(3), stem(4)]);
    assert!(
        directory
            .make_room(100, 600, 0, &[&stem(3), &stem(4)])
            .is_err()
    );
    assert_eq!(stems(&dir), [stem(3), stem(4)]);
}

#[test]
fn nothing_is_written_over_and_no_link_is_followed() {
    let (place, dir) = scratch();
    let directory = Directory::open(&dir).unwrap();
    let victim = place.path().join("victim");
    fs::write(&victim, "precious").unwrap();
    let name = format!("{NAME}.json");
    let write = || directory.write(&name, |file| file.write_all(b"new"));
    symlink(&victim, dir.join(&name)).unwrap();
    assert!(write().is_err());
    fs::remove_file(dir.join(&name)).unwrap();
    symlink(&victim, dir.join(format!("{name}{PART}"))).unwrap();
    assert!(write().is_err());
    assert_eq!(fs::read(&victim).unwrap(), b"precious");
    fs::remove_file(dir.join(format!("{name}{PART}"))).unwrap();
    write().unwrap();
    assert_eq!(fs::metadata(dir.join(&name)).unwrap().mode() & 0o777, 0o600);
    assert!(write().is_err());
    // A file that could not be filled leaves nothing.
    let failed = directory.write("incident-20231114-221320-W02.json", |_| {
        Err(io::ErrorKind::StorageFull.into())
    });
    assert!(failed.is_err());
    assert_eq!(list(&dir), [name]);
}

#[test]
fn a_name_is_given_once_also_when_the_clock_is_set_back() {
    let (_place, dir) = scratch();
    fs::create_dir_all(&dir).unwrap();
    put(&dir, &format!("{NAME}.json"), 1);
    let mut names = Directory::open(&dir).unwrap().names();
    assert_eq!(names.free(NAME), format!("{NAME}-2"));
    assert_eq!(names.free(NAME), format!("{NAME}-3"));
    assert_eq!(
        stem(&format!("{NAME}-3.rec")),
        Some("incident-20231114-221320-W01-3")
    );
    for n in 0..3 * NAMES {
        names.free(&format!("incident-{n:05}"));
    }
    assert_eq!(names.0.len(), NAMES);
}
