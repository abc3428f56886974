//! A kernel's type information: a walk over types and members, which may lie about every length and lead back to themselves.

use stallscope::attach::fuzzing::Btf;

use crate::memory;

/// What the tool looks for in a kernel, and what the smallest seed has.
const STRUCTURES: [&str; 5] = ["outer", "task_struct", "sock", "files_struct", "file"];
const MEMBERS: [&str; 8] = [
    "a",
    "b",
    "a.b",
    "__sk_common.skc_state",
    "__sk_common.skc_daddr",
    "sk_socket.file",
    "f_path.dentry",
    "fdt.max_fds",
];

/// Reads it, and asks for members.
pub fn run(bytes: &[u8]) {
    let data = bytes.to_vec();
    // An index of four bytes for each type, of which the smallest has twelve; the index doubles when it grows.
    let most = memory::ALWAYS + bytes.len();
    let read = memory::within(most, || Btf::parse(data, &STRUCTURES));
    let Ok(btf) = read else { return };
    for structure in STRUCTURES {
        for member in MEMBERS {
            let found = memory::within(memory::ALWAYS, || btf.member(structure, member));
            let Some(found) = found else { continue };
            // Twice the same.
            assert_eq!(btf.member(structure, member), Some(found));
            assert!(found.offset <= u32::MAX / 8);
        }
        // A structure that was not found has no members; a function has a number that is not void's.
        assert_ne!(btf.function(structure), Some(0));
    }
}
