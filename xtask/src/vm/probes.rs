//! What `stallscope doctor --json` says in a guest about its probes.

use serde_json::Value;

/// One probe on one kernel.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Probe {
    /// Its stable id.
    pub id: String,
    /// Why it is off; none when it is attached.
    pub off: Option<String>,
}

/// The probes in the doctor's output, or why there are none.
pub fn read(lines: &[String]) -> Result<Vec<Probe>, String> {
    let document = lines
        .iter()
        .rev()
        .find_map(|l| serde_json::from_str::<Value>(l).ok());
    let document = document
        .filter(Value::is_object)
        .ok_or("the doctor printed no document")?;
    if let Some(why) = document["failed"].as_str() {
        return Err(why.to_owned());
    }
    let probes = document["probes"]
        .as_array()
        .ok_or("the doctor lists no probes")?;
    let text = |probe: &Value, key: &str| probe[key].as_str().unwrap_or("?").to_owned();
    Ok(probes
        .iter()
        .map(|p| Probe {
            id: text(p, "id"),
            off: (p["state"] == "off").then(|| text(p, "reason")),
        })
        .collect())
}

/// Which probes are off, in one line; none when all are attached.
pub fn off(lines: &[String]) -> Option<String> {
    let off: Vec<String> = read(lines)
        .ok()?
        .into_iter()
        .filter_map(|p| Some(format!("{} ({})", p.id, p.off?)))
        .collect();
    (!off.is_empty()).then(|| format!("off, where every probe should work: {}", off.join(", ")))
}

/// `probes: 5 active (calls, ...); off: epoll (no BTF)`
pub fn line(lines: &[String]) -> String {
    let probes = match read(lines) {
        Ok(probes) => probes,
        Err(why) => return format!("probes: none, {why}"),
    };
    let active: Vec<&str> = probes
        .iter()
        .filter(|p| p.off.is_none())
        .map(|p| p.id.as_str())
        .collect();
    let off: Vec<String> = probes
        .iter()
        .filter_map(|p| Some(format!("{} ({})", p.id, p.off.as_ref()?)))
        .collect();
    let mut line = format!("probes: {} active ({})", active.len(), active.join(", "));
    if !off.is_empty() {
        line += &format!("; off: {}", off.join(", "));
    }
    line
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(text: &str) -> String {
        line(&text.lines().map(str::to_owned).collect::<Vec<_>>())
    }

    #[test]
    fn active_quiet_and_off_probes_are_told_apart() {
        let document = r#"{"failed":null,"probes":[{"id":"calls","state":"active"},{"id":"peers","state":"quiet"},{"id":"epoll","state":"off","reason":"no BTF"}]}"#;
        assert_eq!(
            check(document),
            "probes: 2 active (calls, peers); off: epoll (no BTF)"
        );
    }

    #[test]
    fn a_doctor_that_could_not_attach_says_why() {
        assert_eq!(
            check(r#"{"failed":"no BTF in this kernel","probes":[]}"#),
            "probes: none, no BTF in this kernel"
        );
        assert_eq!(
            check("stallscope: not root\n"),
            "probes: none, the doctor printed no document"
        );
        assert_eq!(check("7\n"), "probes: none, the doctor printed no document");
    }
}
