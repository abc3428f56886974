//! Alerts about the tool itself: while it is ill, nobody is told of anything else.

/// An alert. Metrics stand in the expression as `<name>`.
pub struct Own {
    /// Name, behind `Stallscope`.
    pub name: &'static str,
    /// `info`, `warning`.
    pub severity: &'static str,
    /// How long it must be so, as Prometheus writes it.
    pub wait: &'static str,
    /// PromQL.
    pub expr: &'static str,
    /// What is the matter.
    pub summary: &'static str,
    /// What it means and what to do.
    pub description: &'static str,
    /// Series (metric, labels, values a minute) of a tool that has been ill for an hour, for its test, ...
    pub sick: &'static [Series],
    /// ... and of one that is well.
    pub well: &'static [Series],
}

/// A series of a test: the metric, `up` included, labels beside job and instance, and its values.
pub type Series = (&'static str, &'static str, &'static str);

const BUILD: Series = ("stallscope.build.info", r#", service_version="1""#, "1x70");

/// All of them.
pub const OWN: &[Own] = &[
    Own {
        name: "Down",
        severity: "warning",
        wait: "2m",
        expr: "up == 0 and on (job, instance) last_over_time(<stallscope.build.info>[1d])",
        summary: "stallscope cannot be scraped",
        description: "{{ $labels.instance }} gave metrics of stallscope within the last day and does not answer now: `systemctl status stallscope` and its log say why.",
        sick: &[
            ("up", "", "1 0x70"),
            (
                "stallscope.build.info",
                r#", service_version="1""#,
                "1 stale",
            ),
        ],
        well: &[("up", "", "1x70"), BUILD],
    },
    Own {
        name: "Stalled",
        severity: "warning",
        wait: "1m",
        expr: "time() - <stallscope.look.timestamp> > 300",
        summary: "stallscope answers, but has not looked for five minutes",
        description: "Its metrics on {{ $labels.instance }} are of the past. With an --interval above 100 s this alert needs another limit; else restart it, and keep its log.",
        sick: &[("stallscope.look.timestamp", "", "0x70")],
        well: &[("stallscope.look.timestamp", "", "0+60x70")],
    },
    Own {
        name: "ProbesOff",
        severity: "info",
        wait: "15m",
        expr: r#"count by (job, instance) (<stallscope.probe.active>{stallscope_probe!="exact_timewait"} == 0)"#,
        summary: "some probes of stallscope are off",
        description: "On {{ $labels.instance }}, what they would see is not seen, and rules that need them cannot look. `stallscope doctor` says which, and why. exact_timewait, which refines a number where there are kprobes, is not counted.",
        sick: &[
            (
                "stallscope.probe.active",
                r#", stallscope_probe="calls""#,
                "1x70",
            ),
            (
                "stallscope.probe.active",
                r#", stallscope_probe="peers""#,
                "0x70",
            ),
        ],
        well: &[
            (
                "stallscope.probe.active",
                r#", stallscope_probe="calls""#,
                "1x70",
            ),
            (
                "stallscope.probe.active",
                r#", stallscope_probe="exact_timewait""#,
                "0x70",
            ),
        ],
    },
    Own {
        name: "Losing",
        severity: "warning",
        wait: "15m",
        expr: "sum by (job, instance) (rate(<stallscope.losses>[10m])) > 0",
        summary: "stallscope loses events",
        description: "For a quarter of an hour {{ $labels.instance }} has lost what should be counted, so its numbers are too low; the dashboard of the tool itself shows where.",
        sick: &[(
            "stallscope.losses",
            r#", stallscope_loss="ring_full""#,
            "0+5x70",
        )],
        well: &[(
            "stallscope.losses",
            r#", stallscope_loss="ring_full""#,
            "5x70",
        )],
    },
    Own {
        name: "Dear",
        severity: "warning",
        wait: "30m",
        expr: "rate(<process.cpu.time>[10m]) + on (job, instance) (rate(<stallscope.kernel.time>[10m]) or on (job, instance) 0 * rate(<process.cpu.time>[10m])) > 0.05 and on (job, instance) <stallscope.build.info>",
        summary: "stallscope takes more than 5 % of a CPU",
        description: "Kernel side included, for half an hour on {{ $labels.instance }}. It is built for 2 % at 20,000 requests a second: name fewer targets, or say what it watches in a report of a fault.",
        sick: &[("process.cpu.time", "", "0+6x70"), BUILD],
        well: &[
            ("process.cpu.time", "", "0+1x70"),
            ("stallscope.kernel.time", "", "0+1x70"),
            BUILD,
        ],
    },
    Own {
        name: "SavesFail",
        severity: "warning",
        wait: "0m",
        expr: r#"increase(<stallscope.saves>{stallscope_outcome="failure"}[1h]) > 0"#,
        summary: "stallscope could not save a finding",
        description: "On {{ $labels.instance }} the directory for findings is full or cannot be written to; the log says which.",
        sick: &[(
            "stallscope.saves",
            r#", stallscope_outcome="failure""#,
            "0x30 1x40",
        )],
        well: &[
            (
                "stallscope.saves",
                r#", stallscope_outcome="failure""#,
                "1x70",
            ),
            (
                "stallscope.saves",
                r#", stallscope_outcome="success""#,
                "0+1x70",
            ),
        ],
    },
    Own {
        name: "HooksFail",
        severity: "warning",
        wait: "0m",
        expr: r#"increase(<stallscope.hooks>{stallscope_outcome="failure"}[1h]) > 0"#,
        summary: "the program for findings failed",
        description: "What --on-finding names on {{ $labels.instance }} ended with an error or took too long; the log has its last words.",
        sick: &[(
            "stallscope.hooks",
            r#", stallscope_outcome="failure""#,
            "0x30 1x40",
        )],
        well: &[(
            "stallscope.hooks",
            r#", stallscope_outcome="success""#,
            "0+1x70",
        )],
    },
    Own {
        name: "OtlpDropped",
        severity: "warning",
        wait: "5m",
        expr: r#"sum by (job, instance) (increase(<stallscope.otlp.messages>{stallscope_outcome=~"dropped|rejected"}[15m])) > 0"#,
        summary: "a collector does not take what stallscope sends",
        description: "{{ $labels.instance }} gave up messages, or parts of them, in the last quarter of an hour; the log says what the other end answered.",
        sick: &[(
            "stallscope.otlp.messages",
            r#", stallscope_outcome="dropped""#,
            "0+1x70",
        )],
        well: &[(
            "stallscope.otlp.messages",
            r#", stallscope_outcome="retried""#,
            "0+1x70",
        )],
    },
];
