//! The catalogue of metrics: one file for each area. List order is the order of every output.

mod dns;
mod findings;
mod labels;
mod own;
mod peers;
mod requests;
mod storage;
mod tcp;
mod udp;

#[cfg(test)]
mod tests;

use super::Metric;

const AREAS: [&[Metric]; 8] = [
    findings::METRICS,
    requests::METRICS,
    peers::METRICS,
    tcp::METRICS,
    udp::METRICS,
    dns::METRICS,
    storage::METRICS,
    own::METRICS,
];

static ALL: [Metric; count()] = all();

/// All metrics.
pub static CATALOGUE: &[Metric] = &ALL;

const fn count() -> usize {
    let (mut area, mut count) = (0, 0);
    while area < AREAS.len() {
        count += AREAS[area].len();
        area += 1;
    }
    count
}

const fn all() -> [Metric; count()] {
    let mut all = [AREAS[0][0]; count()];
    let (mut area, mut place) = (0, 0);
    while area < AREAS.len() {
        let mut metric = 0;
        while metric < AREAS[area].len() {
            all[place] = AREAS[area][metric];
            metric += 1;
            place += 1;
        }
        area += 1;
    }
    all
}
