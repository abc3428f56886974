//! Makes events on a ring as fast as the kernel can, or at a pace: the kernel side's own way of sending, in a program that
//! BPF_PROG_TEST_RUN repeats.
//!
//! Nothing on two CPUs can be traced four million times a second. What a ring and its reader can take is therefore asked of them
//! with records that are real in size and form, and of nobody's making.

use std::{
    os::fd::{AsRawFd as _, OwnedFd},
    time::{Duration, Instant},
};

use anyhow::ensure;

use crate::bpf::{self, Map};

/// Most events in one go: a pace is kept to within the time that these take.
const BATCH: u64 = 512;
/// Slots of the account.
const MADE: u32 = 0;
const LOST: u32 = 1;

/// A program that sends one record to a ring.
pub struct Storm {
    program: OwnedFd,
    /// Its own account, apart from the tool's: how many records it tried to send, and how many found no place.
    account: Map,
    _record: Map,
}

/// What a stretch of a storm was.
#[derive(Clone, Copy, Debug, Default)]
pub struct Made {
    /// Records that were to be sent.
    pub made: u64,
    /// Of these, how many found no place on the ring.
    pub lost: u64,
    /// How long it took, s.
    pub took: f64,
}

impl Made {
    /// Records a second.
    pub fn per_s(&self) -> f64 {
        if self.took > 0.0 {
            self.made as f64 / self.took
        } else {
            0.0
        }
    }
}

impl Storm {
    /// One that sends this record. Where the ring is the tool's, so is the array in which it counts what found no place, and the slot.
    pub fn new(ring: &Map, losses: Option<(&Map, u32)>, record: &[u8]) -> anyhow::Result<Self> {
        let kept = Map::make(bpf::ARRAY, record.len() as u32, 1)?;
        kept.set(0, record)?;
        let account = Map::make(bpf::ARRAY, 8, 2)?;
        let code = program(ring, losses, &kept, &account, record.len() as u32);
        Ok(Self {
            program: bpf::load(bpf::SCHED_CLS, &code)?,
            account,
            _record: kept,
        })
    }

    /// Sends for so long, on the calling thread's CPU; at most `per_s` a second where a pace is given. `go_on` is asked now and then.
    pub fn blow(
        &self,
        time: Duration,
        per_s: Option<f64>,
        mut go_on: impl FnMut() -> bool,
    ) -> anyhow::Result<Made> {
        const ASK: Duration = Duration::from_millis(50);
        let (made, lost) = (self.account.word(MADE)?, self.account.word(LOST)?);
        let begun = Instant::now();
        let (mut sent, mut ask_at) = (0, ASK);
        loop {
            let now = begun.elapsed();
            if now >= time {
                break;
            }
            if now >= ask_at {
                ask_at = now + ASK;
                if !go_on() {
                    break;
                }
            }
            let due = match per_s {
                Some(rate) => ((now.as_secs_f64() * rate) as u64).saturating_sub(sent),
                None => BATCH,
            };
            let batch = due.min(BATCH);
            if batch == 0 {
                std::hint::spin_loop();
                continue;
            }
            bpf::run(&self.program, batch as u32)?;
            sent += batch;
        }
        let took = begun.elapsed().as_secs_f64();
        let made = self.account.word(MADE)? - made;
        ensure!(
            made == sent,
            "{sent} runs were asked for, and there were {made}"
        );
        Ok(Made {
            made,
            lost: self.account.word(LOST)? - lost,
            took,
        })
    }
}

/// What the kernel side's `send` does (probe-ebpf/src/lifecycle.rs): looks how full the ring is, wakes the reader where the record passes a
/// quarter, sends, and counts where there is no place.
fn program(
    ring: &Map,
    losses: Option<(&Map, u32)>,
    record: &Map,
    account: &Map,
    bytes: u32,
) -> Vec<u64> {
    const OUTPUT: i32 = 130;
    const QUERY: i32 = 134;
    const NO_WAKEUP: i32 = 1;
    const FORCE_WAKEUP: i32 = 2;
    let quarter = ring.entries.trailing_zeros() as i32 - 2;
    let mut code = Code::default();
    code.slot(record, 0);
    code.op(MOV, 7, 0);
    code.add_one(account, MADE);

    code.map(1, ring);
    code.op_imm(MOV_IMM, 2, 0);
    code.call(QUERY);
    code.op(MOV, 8, 0);
    code.op(MOV, 9, 0);
    code.op_imm(ADD_IMM, 9, (bytes as i32 + 15) & !7);
    code.op_imm(RIGHT_IMM, 8, quarter);
    code.op_imm(RIGHT_IMM, 9, quarter);
    code.op_imm(MOV_IMM, 4, NO_WAKEUP);
    // The next instruction is skipped within one quarter.
    code.push(JUMP_EQUAL, 8, 9, 1, 0);
    code.op_imm(MOV_IMM, 4, FORCE_WAKEUP);

    code.map(1, ring);
    code.op(MOV, 2, 7);
    code.op_imm(MOV_IMM, 3, bytes as i32);
    code.call(OUTPUT);
    code.out_if_zero();
    code.add_one(account, LOST);
    if let Some((losses, slot)) = losses {
        code.add_one(losses, slot);
    }
    code.end()
}

/// BPF_FUNC_map_lookup_elem.
const LOOKUP: i32 = 1;
// Operations with their classes (include/uapi/linux/bpf.h).
const MOV: u8 = 0xbf;
const MOV_IMM: u8 = 0xb7;
const ADD_IMM: u8 = 0x07;
const RIGHT_IMM: u8 = 0x77;
const JUMP_EQUAL: u8 = 0x1d;
const JUMP_EQUAL_IMM: u8 = 0x15;
const STORE_WORD: u8 = 0x62;
const ADD_ATOMIC: u8 = 0xdb;
const LOAD_WIDE: u8 = 0x18;
const CALL: u8 = 0x85;
const EXIT: u8 = 0x95;

/// Instructions, and which of them jump to the end.
#[derive(Default)]
struct Code {
    words: Vec<u64>,
    to_end: Vec<usize>,
}

impl Code {
    fn push(&mut self, op: u8, to: u8, from: u8, offset: i16, immediate: i32) {
        self.words.push(
            u64::from(op)
                | u64::from(to | from << 4) << 8
                | u64::from(offset as u16) << 16
                | u64::from(immediate as u32) << 32,
        );
    }

    fn op(&mut self, op: u8, to: u8, from: u8) {
        self.push(op, to, from, 0, 0);
    }

    fn op_imm(&mut self, op: u8, to: u8, immediate: i32) {
        self.push(op, to, 0, 0, immediate);
    }

    fn call(&mut self, helper: i32) {
        self.push(CALL, 0, 0, 0, helper);
    }

    /// The map's address: BPF_PSEUDO_MAP_FD.
    fn map(&mut self, to: u8, map: &Map) {
        self.push(LOAD_WIDE, to, 1, 0, map.fd.as_raw_fd());
        self.words.push(0);
    }

    fn out_if_zero(&mut self) {
        self.to_end.push(self.words.len());
        self.op_imm(JUMP_EQUAL_IMM, 0, 0);
    }

    /// r0: the address of a value of an array.
    fn slot(&mut self, map: &Map, slot: u32) {
        self.push(STORE_WORD, 10, 0, -4, slot as i32);
        self.map(1, map);
        self.op(MOV, 2, 10);
        self.op_imm(ADD_IMM, 2, -4);
        self.call(LOOKUP);
        self.out_if_zero();
    }

    fn add_one(&mut self, map: &Map, slot: u32) {
        self.slot(map, slot);
        self.op_imm(MOV_IMM, 1, 1);
        self.push(ADD_ATOMIC, 0, 1, 0, 0);
    }

    fn end(mut self) -> Vec<u64> {
        let end = self.words.len();
        for jump in self.to_end {
            // The offset counts from the instruction behind the jump.
            self.words[jump] |= ((end - jump - 1) as u64) << 16;
        }
        self.words.push(u64::from(MOV_IMM));
        self.words.push(u64::from(EXIT));
        self.words
    }
}
