//! Who sleeps uninterruptibly, for how long, and behind what.

use std::{
    cmp::Reverse,
    collections::{BTreeMap, HashMap, HashSet},
    sync::Arc,
};

use super::{Asleep, MAX_JOURNAL_ROWS, Sleep, WaitsFor};
use crate::{
    aggregate::{
        Timed,
        identity::Processes,
        lives::{Lives, Sum},
        team::{self, Members, TeamKey},
    },
    collect::journal::{Sleeper, Sleeps, Stack},
};

type Key = (u32, Option<u32>);

/// A row, and what of it grows.
#[derive(Clone, Debug)]
struct Slept {
    sleeps: Timed,
    row: Arc<Sleeps>,
}

impl Sum for Slept {
    type Key = Key;

    fn add(&mut self, more: &Self) {
        self.sleeps.add(&more.sleeps);
        self.row = Arc::clone(&more.row);
    }

    fn since(&self, earlier: &Self) -> Self {
        Self {
            sleeps: self.sleeps.since(&earlier.sleeps),
            row: Arc::clone(&self.row),
        }
    }

    fn other(_: &Key) -> Key {
        (0, None)
    }
}

fn slept(row: Sleeps) -> (Key, Slept) {
    let sleeps = Timed::from(&row.sleeps);
    let row = Arc::new(row);
    ((row.pid, row.stack), Slept { sleeps, row })
}

/// The sums of one window.
#[derive(Clone, Debug, Default)]
pub(super) struct SleepSums {
    rows: Lives<Slept>,
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
        self.rows.learn(rows.into_iter().map(slept));
        self.asleep = asleep;
        self.stacks.extend(stacks);
        if no_symbols.is_some() {
            self.no_symbols = no_symbols;
        }
    }

    /// For a window that begins where this one ends.
    pub fn successor(&self) -> Self {
        let rows = self.rows.successor();
        let mut used: HashSet<u32> = rows.keys().filter_map(|(_, stack)| *stack).collect();
        used.extend(self.asleep.iter().filter_map(|task| task.stack));
        let stacks = self.stacks.iter().filter(|(id, _)| used.contains(id));
        Self {
            stacks: stacks.map(|(id, stack)| (*id, stack.clone())).collect(),
            rows,
            asleep: self.asleep.clone(),
            no_symbols: self.no_symbols.clone(),
        }
    }

    /// Those of rows that were taken out before.
    pub fn end(&mut self, rows: Vec<Sleeps>) {
        self.rows.end(rows.into_iter().map(slept));
    }

    /// By team and reason; and the tasks asleep at the end.
    pub fn finish(&self, span: (u64, u64), processes: &Processes) -> (Vec<Sleep>, Vec<Asleep>) {
        let mut rows: HashMap<(TeamKey, WaitsFor), Row> = HashMap::new();
        let grown: Vec<Slept> = self.rows.grown().map(|(_, row)| row).collect();
        for Slept { sleeps, row } in &grown {
            if sleeps.count == 0 {
                continue;
            }
            let team = team::key(processes, row.pid, &row.comm);
            let sum = rows.entry((team, self.waits_for(row.stack))).or_default();
            sum.members.add(row.pid, sleeps.total_ns);
            sum.stack(row.stack, sleeps.total_ns);
            sum.sleep.sleeps.add(sleeps);
        }
        // A task that sleeps has the name of its thread, a sum that of its process.
        let names = grown.iter().map(|r| (r.row.pid, &r.row.comm[..]));
        let names: HashMap<u32, &[u8]> = names.collect();
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
