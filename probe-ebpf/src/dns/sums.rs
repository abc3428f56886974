//! The rows by process, server, name and type; what finds no place goes to rows without a name, and at last to one
//! row for everything.

use aya_ebpf::{
    macros::map,
    maps::{Array, HashMap},
};
use probe_common::{
    dns::{Name, QuestionKey, QuestionSum, TimeoutSum},
    hist, loss,
    peer::special,
    table,
};

use crate::{
    maps::{atomic_add32, atomic_add64, lost, made},
    mem,
};

#[map]
static DNS_SUMS: HashMap<QuestionKey, QuestionSum> = HashMap::with_max_entries(1, 0);

/// Rows without a name. User space has put one for everybody there.
#[map]
static DNS_OTHERS: HashMap<QuestionKey, QuestionSum> = HashMap::with_max_entries(1, 0);

/// An all-zero row, too large for the stack.
#[map]
static ZERO_QUESTION: Array<QuestionSum> = Array::with_max_entries(1, 0);

/// Names by their hash: as many as there can be rows with one.
#[map]
static DNS_NAMES: HashMap<u64, Name> = HashMap::with_max_entries(1, 0);

#[map]
static DNS_TIMEOUTS: HashMap<QuestionKey, TimeoutSum> = HashMap::with_max_entries(1, 0);

/// An all-zero row, too large for the stack.
#[map]
static ZERO_TIMEOUT: Array<TimeoutSum> = Array::with_max_entries(1, 0);

/// What is passed from one function to the next, in a map: the stack is small, and the verifier forgets what it is.
#[repr(C)]
#[derive(Clone, Copy)]
pub struct Work {
    /// The row.
    pub key: QuestionKey,
}

/// Make a row only where there is none.
const BPF_NOEXIST: u64 = 1;

/// The row of a key that was made before, made again where user space has taken it out since.
#[inline(always)]
pub fn row(key: &QuestionKey) -> Option<*mut QuestionSum> {
    if let Some(row) = find(key) {
        return Some(row);
    }
    let zero = ZERO_QUESTION.get(0)?;
    if key.name == 0 {
        let _ = DNS_OTHERS.insert(key, zero, BPF_NOEXIST);
    } else if DNS_SUMS.insert(key, zero, BPF_NOEXIST).is_ok() {
        made(table::slot::QUESTIONS);
    }
    match find(key) {
        Some(row) => {
            named(row);
            Some(row)
        }
        None => {
            lost(loss::slot::DNS_NAMES_FULL);
            None
        }
    }
}

#[inline(always)]
fn find(key: &QuestionKey) -> Option<*mut QuestionSum> {
    if key.name != 0 {
        DNS_SUMS.get_ptr_mut(key)
    } else {
        DNS_OTHERS.get_ptr_mut(key)
    }
}

/// The row for a question, made when it is not there; the key becomes that of the row.
#[inline(always)]
pub fn row_for(key: &mut QuestionKey, name: &Name) -> Option<*mut QuestionSum> {
    if let Some(row) = DNS_SUMS.get_ptr_mut(&*key) {
        return Some(row);
    }
    let zero = ZERO_QUESTION.get(0)?;
    // Another thread of the process may have been faster.
    if DNS_SUMS.insert(&*key, zero, BPF_NOEXIST).is_ok() {
        made(table::slot::QUESTIONS);
    }
    if let Some(row) = DNS_SUMS.get_ptr_mut(&*key) {
        let _ = DNS_NAMES.insert(key.name, name, BPF_NOEXIST);
        named(row);
        return Some(row);
    }
    lost(loss::slot::DNS_NAMES_FULL);
    key.name = 0;
    key.qtype = 0;
    if let Some(row) = DNS_OTHERS.get_ptr_mut(&*key) {
        return Some(row);
    }
    let _ = DNS_OTHERS.insert(&*key, zero, BPF_NOEXIST);
    if let Some(row) = DNS_OTHERS.get_ptr_mut(&*key) {
        named(row);
        return Some(row);
    }
    key.server = special::OTHER;
    key.tgid = 0;
    DNS_OTHERS.get_ptr_mut(&*key)
}

/// Notes the name of the process, which may be gone when the row is read.
#[inline(always)]
fn named(row: *mut QuestionSum) {
    // SAFETY: a live map value; only threads of one process write, and all write the same.
    mem::current_comm(unsafe { &mut (*row).comm });
}

/// Adds an answer's time.
#[inline(always)]
pub fn add_latency(row: *mut QuestionSum, ns: u64) {
    // SAFETY: a live map value. All is atomic but the maximum, which may miss one of two at once.
    unsafe {
        atomic_add64(&raw mut (*row).latency_ns, ns);
        if ns > (*row).latency_max_ns {
            (*row).latency_max_ns = ns;
        }
        add_to((&raw mut (*row).latency).cast(), ns);
    }
}

/// Adds a wait that ended without an answer.
#[inline(never)]
pub fn add_timeout(key: &mut QuestionKey, ns: u64) {
    if DNS_TIMEOUTS.get_ptr(&*key).is_none() {
        let Some(zero) = ZERO_TIMEOUT.get(0) else {
            return;
        };
        let made = DNS_TIMEOUTS.insert(&*key, zero, BPF_NOEXIST);
        if made.is_err() && DNS_TIMEOUTS.get_ptr(&*key).is_none() {
            lost(loss::slot::DNS_NAMES_FULL);
            *key = QuestionKey {
                name: 0,
                server: special::OTHER,
                tgid: 0,
                qtype: 0,
            };
        }
    }
    let Some(row) = DNS_TIMEOUTS.get_ptr_mut(&*key) else {
        return;
    };
    // SAFETY: as in `add_latency`.
    unsafe {
        atomic_add64(&raw mut (*row).count, 1);
        atomic_add64(&raw mut (*row).total_ns, ns);
        if ns > (*row).max_ns {
            (*row).max_ns = ns;
        }
        add_to((&raw mut (*row).hist).cast(), ns);
    }
}

/// Adds to a histogram that several write.
///
/// # Safety
/// `hist` is a live array of [`hist::BUCKETS`] in a map.
#[inline(always)]
unsafe fn add_to(hist: *mut u32, ns: u64) {
    let bucket = mem::opaque(hist::bucket(ns) as usize);
    if bucket < hist::BUCKETS {
        // SAFETY: the index was just checked.
        atomic_add32(unsafe { hist.add(bucket) }, 1);
    }
}
