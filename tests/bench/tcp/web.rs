//! What a web server with short connections still answers while it is watched.

use std::{process::Command, time::Duration};

use anyhow::{Context as _, ensure};
use probe_tests::{
    netns,
    web::{self, FastCgi, Settings, Stack},
};
use serde_json::Value;

use super::Bench;
use crate::{calls, tool::Tool};

/// How long `wrk` asks.
const TIME: Duration = Duration::from_secs(3);

/// Who watches.
#[derive(Clone, Copy)]
pub enum Variant {
    /// Nobody.
    Nothing,
    /// `stallscope tcp`.
    Tcp,
    /// `stallscope diagnose`, all processes.
    Diagnose,
}

/// All of them.
pub const VARIANTS: &[Variant] = &[Variant::Nothing, Variant::Tcp, Variant::Diagnose];

impl Variant {
    /// Its name in the result.
    pub fn id(self) -> &'static str {
        match self {
            Variant::Nothing => "nothing",
            Variant::Tcp => "tcp",
            Variant::Diagnose => "diagnose",
        }
    }
}

/// Requests answered per second, each on a connection of its own.
pub fn sample(bench: &Bench, variant: Variant) -> anyhow::Result<f64> {
    let _netns = netns::Netns::enter()?;
    calls::pin(0..bench.cpus)?;
    let stack = Stack::start(Settings {
        pool: "bench",
        workers: 1,
        fastcgi: FastCgi::Unix,
        keep_conn: false,
    })?;
    let tool = match variant {
        Variant::Nothing => None,
        watched => {
            let mut command = Command::new(&bench.stallscope);
            command.args([watched.id(), "--duration", "10m", "--json"]);
            Some(Tool::start_attached(&mut command)?)
        }
    };
    let url = format!("http://{}{}", stack.addr, web::PLAIN);
    let per_s = web::wrk_short(&url, 16, TIME)?;
    if let Some(tool) = tool {
        let output = tool.interrupt()?;
        let json: Value = serde_json::from_str(&output.stdout).context("the report")?;
        ensure!(json["schema_version"].is_string(), "no report: {json}");
    }
    Ok(per_s)
}
