//! Who sleeps uninterruptibly, for how long, and behind what.

use std::{
    cmp::Reverse,
    collections::{BTreeMap, HashMap},
};

use super::{Asleep, MAX_JOURNAL_ROWS, Sleep, WaitsFor};
use crate::{
    aggregate::{
        Timed,
        identity::Processes,
        team::{self, Members, TeamKey},
    },
    collect::journal::{Sleeper, Sleeps, Stack},
};

type Key = (u32, Option<u32>);

/// The sums of one window.
#[derive(Clone, Debug, Default)]
pub(super) struct SleepSums {
    base: HashMap<Key, Timed>,
    now: HashMap<Key, Sleeps>,
    asleep: Vec<Sleeper>,
    stacks: HashMap<u32, Stack>,
    pub no_symbols: Option<String>,
}

impl SleepSums {
    /// Sums at a later moment. A reading of the ring alone has no rows, and says nothing of who is asleep.
    pub fn learn(
        &mut self,
        rows: Vec<Sleeps>,
        asleep: Vec<Sleeper>,
        stacks: Vec<(u32, Stack)>,
        no_symbols: Option<String>,
    ) {
        self.now
            .extend(rows.into_iter().map(|row| ((row.pid, row.stack), row)));
        self.asleep = asleep;
        self.stacks.extend(stacks);
        if no_symbols.is_some() {
            self.no_symbols = no_symbols;
        }
    }

    /// For a window that begins where this one ends.
    pub fn successor(&self) -> Self {
        let sums = self
            .now
            .iter()
            .map(|(key, row)| (*key, Timed::from(&row.sleeps)));
        Self {
            base: sums.collect(),
            ..self.clone()
        }
    }

    /// By team and reason; and the tasks asleep at the end.
    pub fn finish(&self, span: (u64, u64), processes: &Processes) -> (Vec<Sleep>, Vec<Asleep>) {
        let none = Timed::default();
        let mut rows: HashMap<(TeamKey, WaitsFor), Row> = HashMap::new();
        for (key, row) in &self.now {
            let sleeps = Timed::from(&row.sleeps).since(self.base.get(key).unwrap_or(&none));
            if sleeps.count == 0 {
                continue;
            }
            let team = team::key(processes, row.pid, &row.comm);
            let sum = rows.entry((team, self.waits_for(row.stack))).or_default();
            sum.members.add(row.pid, sleeps.total_ns);
            sum.stack(row.stack, sleeps.total_ns);
            sum.sleep.sleeps.add(&sleeps);
        }
        // A task that sleeps has the name of its thread, a sum that of its process.
        let names: HashMap<u32, &[u8]> = self.now.values().map(|r| (r.pid, &r.comm[..])).collect();
        let mut asleep = Vec::with_capacity(self.asleep.len());
        for task in &self.asleep {
            let comm = names.get(&task.pid).copied().unwrap_or(&task.comm);
            let team = team::key(processes, task.pid, comm);
            let waits_for = self.waits_for(task.stack);
            let within_ns = span.1.saturating_sub(task.since_ns.max(span.0));
            let sum = rows.entry((team, waits_for)).or_default();
            sum.members.add(task.pid, within_ns);
            sum.stack(task.stack, within_ns);
            sum.sleep.asleep += 1;
            sum.sleep.asleep_ns += within_ns;
            asleep.push(Asleep {
                pid: task.pid,
                tid: task.tid,
                comm: task.comm.clone(),
                waits_for,
                for_ns: span.1.saturating_sub(task.since_ns),
                stack: self.functions(task.stack),
            });
        }
        asleep.sort_by_key(|a| (Reverse(a.for_ns), a.tid));
        asleep.truncate(MAX_JOURNAL_ROWS);
        let mut sleeps: Vec<Sleep> = rows
            .into_iter()
            .map(|((team, waits_for), row)| Sleep {
                team: row.members.team(team),
                waits_for,
                stack: self.functions(row.most()),
                ..row.sleep
            })
            .collect();
        sleeps.sort_by_key(|s| (Reverse(s.total_ns()), s.team.name.clone(), s.waits_for));
        sleeps.truncate(MAX_JOURNAL_ROWS);
        (sleeps, asleep)
    }

    fn waits_for(&self, stack: Option<u32>) -> WaitsFor {
        let stack = stack.and_then(|id| self.stacks.get(&id));
        stack.map_or(WaitsFor::Unknown, |s| s.waits_for)
    }

    fn functions(&self, stack: Option<u32>) -> Vec<String> {
        let stack = stack.and_then(|id| self.stacks.get(&id));
        stack.map(|s| s.functions.clone()).unwrap_or_default()
    }
}

#[derive(Default)]
struct Row {
    sleep: Sleep,
    members: Members,
    /// Time by stack.
    stacks: BTreeMap<u32, u64>,
}

impl Row {
    fn stack(&mut self, id: Option<u32>, ns: u64) {
        if let Some(id) = id {
            *self.stacks.entry(id).or_default() += ns;
        }
    }

    fn most(&self) -> Option<u32> {
        let stacks = self.stacks.iter().rev();
        stacks.max_by_key(|(_, ns)| **ns).map(|(id, _)| *id)
    }
}
