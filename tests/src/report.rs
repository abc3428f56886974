//! What the cases read out of the JSON of `diagnose`: the only place that knows its shape.

use anyhow::{Context as _, ensure};
use serde_json::Value;

use crate::{
    harness::Unseen,
    tool::{Output, Tool},
};

/// Starts `diagnose --json` of a process; what it says of TCP is about all of the caller's network namespace.
/// It counts when this returns.
pub fn diagnose(pid: u32) -> anyhow::Result<Tool> {
    let pid = pid.to_string();
    // The recording goes with its directory; the tool writes on to what has no name.
    let dir = tempfile::tempdir()?;
    Tool::start_recording(
        &["diagnose", "--pid", &pid, "--duration", "60s", "--json"],
        &dir.path().join("recording"),
    )
}

/// A parsed report.
pub struct Report(pub Value);

/// One group of workers in it.
pub struct Group<'a>(&'a Value);

impl Report {
    /// Parses it and checks the fields that every report has.
    pub fn of(output: &Output) -> anyhow::Result<Self> {
        let json = output.json()?;
        for field in [
            "schema_version",
            "host",
            "window",
            "signals",
            "findings",
            "not_judged",
            "losses",
            "cost",
        ] {
            ensure!(
                !json[field].is_null(),
                "no {field} at the top level: {json}"
            );
        }
        Ok(Self(json))
    }

    /// The findings.
    pub fn findings(&self) -> &[Value] {
        self.0["findings"].as_array().map_or(&[], Vec::as_slice)
    }

    /// Rules of the findings, in order.
    pub fn rules(&self) -> Vec<&str> {
        self.findings()
            .iter()
            .filter_map(|f| f["rule"].as_str())
            .collect()
    }

    /// The first finding of a rule.
    pub fn finding(&self, rule: &str) -> anyhow::Result<&Value> {
        let found = self.findings().iter().find(|f| {
            let of = f["rule"].as_str();
            of.is_some_and(|of| of.starts_with(rule))
        });
        found.with_context(|| format!("no {rule}: {}", self.brief()))
    }

    /// The first finding of a rule, be it a symptom of another one.
    pub fn anywhere(&self, rule: &str) -> Option<&Value> {
        self.about(rule, "")
    }

    /// The same, but its culprit has to have this in it.
    pub fn about(&self, rule: &str, culprit: &str) -> Option<&Value> {
        fn search<'a>(among: &'a [Value], is: &dyn Fn(&Value) -> bool) -> Option<&'a Value> {
            let below = |f: &'a Value| search(f["symptoms"].as_array()?, is);
            let here = among.iter().find(|f| is(f));
            here.or_else(|| among.iter().find_map(below))
        }
        search(self.findings(), &|f| {
            let of = f["rule"].as_str();
            of.is_some_and(|of| of.starts_with(rule)) && f["culprit"].to_string().contains(culprit)
        })
    }

    /// No rule found anything, the exit code says so, and no rule of TCP could not look.
    pub fn no_finding(&self, code: Option<i32>) -> anyhow::Result<()> {
        ensure!(
            code == Some(0) && self.findings().is_empty(),
            "exit code {code:?}, {}",
            self.brief()
        );
        let not_judged = self.0["not_judged"].as_array();
        let of_tcp = not_judged.into_iter().flatten().find(|n| {
            let rule = n["rule"].as_str();
            rule.is_some_and(|rule| rule.starts_with('T'))
        });
        ensure!(of_tcp.is_none(), "not judged: {of_tcp:?}");
        Ok(())
    }

    /// The group of this name.
    pub fn group(&self, name: &str) -> anyhow::Result<Group<'_>> {
        let groups = self.0["signals"]["requests"].as_array();
        groups
            .and_then(|all| all.iter().find(|g| g["group"] == name))
            .map(Group)
            .with_context(|| format!("no group {name}: {}", self.0["signals"]))
    }

    /// The report in short, for the message of a failure.
    pub fn brief(&self) -> String {
        let mut out = format!(
            "findings {:?}, not judged {}, losses {}",
            self.rules(),
            self.0["not_judged"],
            self.0["losses"]
        );
        for finding in self.findings() {
            out.push_str(&format!("\n    {}", finding["summary"]));
        }
        for group in self.0["signals"]["requests"]
            .as_array()
            .into_iter()
            .flatten()
        {
            let mut group = group.clone();
            if let Some(fields) = group.as_object_mut() {
                fields.retain(|name, _| name != "duration" && name != "slowest" && name != "peers");
            }
            out.push_str(&format!("\n    {group}"));
        }
        out
    }

    /// What was lost, and how often, but for what the kernel itself left out.
    pub fn losses(&self) -> impl Iterator<Item = (&Value, u64)> {
        let losses = self.0["losses"].as_array().into_iter().flatten();
        losses
            .filter(|loss| loss["id"] != "switch_unseen" && loss["id"] != "sleep_unseen")
            .map(|loss| (&loss["id"], loss["count"].as_u64().unwrap_or(u64::MAX)))
    }

    /// Fails when anything was lost: with [`Unseen`] where that is only what the kernel did not show of TCP.
    pub fn ensure_kept(&self) -> anyhow::Result<()> {
        let lost: Vec<_> = self.losses().filter(|(_, count)| *count > 0).collect();
        let text = format!("lost: {lost:?}");
        ensure!(lost.iter().all(|(id, _)| *id == "transition_unseen"), text);
        match lost.is_empty() {
            true => Ok(()),
            false => Err(Unseen(text).into()),
        }
    }
}

fn number(value: &Value, field: &str) -> anyhow::Result<u64> {
    value[field]
        .as_u64()
        .with_context(|| format!("no number {field} in {value}"))
}

impl Group<'_> {
    /// A number of the group.
    pub fn number(&self, field: &str) -> anyhow::Result<u64> {
        number(self.0, field)
    }

    /// Wall time of its finished requests, ns, and the sum of its parts.
    pub fn wall_and_parts(&self) -> anyhow::Result<(u64, u64)> {
        let parts = self.0["parts"].as_object().context("no parts")?;
        Ok((
            number(self.0, "wall_ns")?,
            parts.values().filter_map(Value::as_u64).sum(),
        ))
    }

    /// Share of the wall time that it could not explain.
    pub fn unexplained(&self) -> anyhow::Result<f64> {
        let wall = number(self.0, "wall_ns")?;
        Ok(number(&self.0["parts"], "unexplained_ns")? as f64 / wall.max(1) as f64)
    }

    /// A number about its dealings with one peer, in requests that ended and in those that did not; none: it had no
    /// dealings with it.
    pub fn with_peer(&self, name: &str, field: &str) -> Option<f64> {
        let mut peers = self.0["peers"].as_array()?.iter();
        let peer = peers.find(|p| p["peer"]["name"] == name)?;
        let number = |of: &str| peer[of][field].as_f64();
        Some(number("finished")? + number("incomplete")?)
    }

    /// The peer waited for most: its name, and numbers about it in finished requests.
    pub fn top_peer(&self) -> anyhow::Result<(&str, &Value)> {
        let peer = self.0["peers"]
            .get(0)
            .with_context(|| format!("no peers in {}", self.0))?;
        let name = peer["peer"]["name"]
            .as_str()
            .context("a peer without a name")?;
        Ok((name, &peer["finished"]))
    }
}

/// A number of the proof: the value of the evidence of this kind and text.
pub fn evidence(finding: &Value, about: &str, text: &str) -> Option<f64> {
    let all = finding["evidence"].as_array()?;
    let one = all
        .iter()
        .find(|e| e["about"] == about && e["text"] == text)?;
    one["value"].as_f64()
}

/// The address of the peer that a finding blames.
pub fn culprit(finding: &Value) -> &str {
    finding["culprit"]["peer"]["name"]
        .as_str()
        .unwrap_or("nobody")
}

/// The measured value of this name that made a finding fire.
pub fn measured(finding: &Value, what: &str) -> Option<f64> {
    let all = finding["measured"].as_array()?;
    let one = all
        .iter()
        .find(|m| m["what"].as_str().is_some_and(|w| w.contains(what)))?;
    one["observed"].as_f64()
}
