//! What `--help` says beyond the options: a paragraph about the tool, and examples for every command.

/// `stallscope --help`, first paragraph.
pub const ABOUT: &str = "\
Finds what the processes of a sick Linux node wait for: which peer, disk, lock or CPU, how long, and in \
how many calls. It watches with eBPF for a while, changes nothing on the machine, leaves nothing behind, \
and prints a ranked diagnosis with the numbers and the remedies.";

/// `stallscope --help`, last part.
pub const EXAMPLES: &str = "\
Start here:
  sudo stallscope diagnose              everything on this node, 30 s
  sudo stallscope diagnose --pool www   one PHP-FPM pool
  sudo stallscope --pool www            the live view of it
  sudo stallscope workers --pool www    what each worker does right now
  sudo stallscope tcp                   sockets by state, peer, process; ports and queues
  sudo stallscope udp                   sockets that drop datagrams, and who reads them
  sudo stallscope dns                   who asks for which names; time lost to time-outs
  sudo stallscope fs                    space, who creates files, journals, fsync
  sudo stallscope count connect poll    who calls what, how often
  sudo stallscope doctor                does it work here, and if not, why

`stallscope COMMAND --help` has more.
Exit code: 0 nothing wrong found, 1 something found (diagnose), 2 it could not do its job.";

/// `diagnose --help`.
pub const DIAGNOSE: &str = "\
Examples:
  sudo stallscope diagnose                             all processes, 30 s
  sudo stallscope diagnose --pool www --duration 10s   PHP-FPM pool www
  sudo stallscope diagnose --pid 4711 --pid 4712       two processes, and their forks
  sudo stallscope diagnose --comm gunicorn             every process of that name
  sudo stallscope diagnose --cgroup system.slice/php8.2-fpm.service
  sudo stallscope diagnose --json > report.json        for the postmortem
  sudo stallscope diagnose --netns 4711                TCP of the container of 4711

Ctrl-C or SIGTERM ends the run early, with a full report of what was seen.
A second Ctrl-C stops at once. Progress is shown on stderr.
Exit code: 0 nothing at warning or above, 1 something is, 2 it could not do its job.
A reader that goes away (`| head`) does not change it.";

/// `record --help`.
pub const RECORD: &str = "\
Examples:
  sudo stallscope record shop.rec --pool shop          until Ctrl-C
  sudo stallscope record night.rec --max-size 200M -d 8h
  stallscope replay shop.rec

What was written can be read even if a full disk or kill -9 cut it short.
Exit code: 0, or 2 when it could not do its job.";

/// `replay --help`.
pub const REPLAY: &str = "\
Examples:
  stallscope replay shop.rec                 the report, as diagnose would have given it
  stallscope replay shop.rec --view          the live view; space pauses
  stallscope replay shop.rec --html > shop.html
  stallscope replay shop.rec --redact --markdown

Exit code: as of diagnose: 0 nothing found, 1 something found, 2 it failed.";

/// `demo --help`.
pub const DEMO: &str = "\
Examples:
  stallscope demo             the report on a shop whose pages take seconds
  stallscope demo --view      the same in the live view

Exit code: as of replay.";

/// `diff --help`.
pub const DIFF: &str = "\
Examples:
  sudo stallscope diagnose --json > before.json
  ...                                        # mend what it named
  sudo stallscope diagnose --json > after.json
  stallscope diff before.json after.json
  stallscope diff monday.rec tuesday.rec     # recordings, as well

A change counts when chance would hardly make it and it is a tenth or more (of drops and
failures: double or half). Watch for long enough: a median takes 8 requests on each side,
a 95th percentile 104. `stallscope diff` needs no root.
Exit code: 0 better, 1 worse (something is, whatever else is better), 3 the same,
4 not comparable, 2 it failed.";

/// `count --help`.
pub const COUNT: &str = "\
Examples:
  sudo stallscope count connect poll                    who, how often, which errors
  sudo stallscope count connect poll --wait             and how long (p50, p99)
  sudo stallscope count fsync fdatasync --comm mysqld   any call, one process name
  sudo stallscope count futex --pid 4711 --duration 1m --json

Names are the kernel's: newstat for stat(), sendfile64, ...; a wrong one is answered
with the nearest. Ctrl-C ends early with what was counted.
Exit code: 0 counted (also when nothing happened), 2 it could not do its job.";

/// `workers --help`.
pub const WORKERS: &str = "\
Examples:
  sudo stallscope workers --pool www              refreshed every second, until Ctrl-C
  sudo stallscope workers --pool www --interval 250ms
  sudo stallscope workers --count 1               one table, then end
  sudo stallscope workers --json --duration 1m    one JSON object a line
  sudo stallscope workers | grep catalog.php      piped: a plain block per interval

Exit code: 0, or 2 when it could not do its job.";

/// `tcp --help`.
pub const TCP: &str = "\
Examples:
  sudo stallscope tcp                            live, refreshed every second
  sudo stallscope tcp --duration 30s             watch for 30 s, then print once
  sudo stallscope tcp -d 10s --json | jq .census
  sudo stallscope tcp --netns 4711               in the container of process 4711
  sudo stallscope tcp --events                   a line for each change of state
  sudo stallscope tcp --events -L 80,443 -4 --json

Without -d, a terminal gets live pages of the last 5 to 10 seconds, until Ctrl-C. A pipe
gets one page after 10 s, or live pages with -i or -n.
`stayed` is how long the sockets that left a state had been in it; fin_wait_2 and
time_wait are counted once a second, so theirs is right to about a second.
Exit code: 0, or 2 when it could not do its job.";

/// `udp --help`.
pub const UDP: &str = "\
Examples:
  sudo stallscope udp                            live, refreshed every second
  sudo stallscope udp --duration 30s             watch for 30 s, then print once
  sudo stallscope udp -d 10s --json | jq .sockets
  sudo stallscope udp --netns 4711               in the container of process 4711

Without -d, a terminal gets live pages of the last 5 to 10 seconds, until Ctrl-C. A pipe
gets one page after 10 s, or live pages with -i or -n.
`at worst` is the worst tenth of a second; `lasts` is how long the buffer holds a burst
in which so many more arrive than are read.
Exit code: 0, or 2 when it could not do its job.";

/// `dns --help`.
pub const DNS: &str = "\
Examples:
  sudo stallscope dns                            all processes, live
  sudo stallscope dns --pool www --duration 30s  one PHP-FPM pool, once
  sudo stallscope dns --comm crawler -d 10s --json | jq .dns.names
  sudo stallscope dns --pid 4711 -n 10           ten pages, then end

Without -d, a terminal gets live pages of the last 5 to 10 seconds, until Ctrl-C. A pipe
gets one page after 10 s, or live pages with -i or -n.
`same`: asked for by anyone here less than a second before. `no answer`: messages that
got none, and that nobody waits for any more. `lost`: time that threads waited in vain.
Questions are those to port 53; lookups through nscd or systemd-resolved's own socket
are seen as questions of those.
Exit code: 0, or 2 when it could not do its job.";

/// `fs --help`.
pub const FS: &str = "\
Examples:
  sudo stallscope fs                        live, refreshed every second
  sudo stallscope fs --duration 1m          watch for a minute, then print once
  sudo stallscope fs -d 10s --json | jq .files.file_systems

It watches all processes of this machine. Without -d, a terminal gets live pages of the
last 5 to 10 seconds, until Ctrl-C. A pipe gets one page after 10 s, or live pages with
-i or -n.
`taken` is what the file system gave out, less what it got back; the time left takes that
pace to go on, and the range beside it is that of the slowest and the fastest quarter of
the time watched. Commits are those of ext4 and ext3. Network and FUSE file systems are
not asked how full they are, because asking may hang.
Exit code: 0, or 2 when it could not do its job.";

/// `watch --help`.
pub const WATCH: &str = "\
Examples:
  sudo stallscope watch                          save what is found to /var/lib/stallscope
  sudo stallscope watch --pool www --dir /var/tmp/stalls --severity critical
  sudo stallscope watch --on-finding /usr/local/bin/page-me
  sudo stallscope watch --config /etc/stallscope/stallscope.toml
  stallscope replay /var/lib/stallscope/incident-20231114-221320-W01.rec --view

It keeps the last minutes in a ring on disk. When a finding appears, report (JSON, HTML)
and recording are saved; `stallscope replay FILE` shows what led to it. A finding counts
when it lasts, and as over when it has been gone for a while. Files: incident-TIME-RULE.*

The program of --on-finding has STALLSCOPE_RULE, _SEVERITY, _HEADLINE and _FILE (the saved
report) in its environment. SIGHUP reads the file of --config again. A disk that fills up
ends no watching: a twentieth of it, at most 1 GB, is left free.
Exit code: 0 when it is told to end, 2 when it could not do its job.";

/// `serve --help`.
pub const SERVE: &str = "\
Examples:
  sudo stallscope serve                          http://127.0.0.1:9777/metrics
  sudo stallscope serve --otlp http://127.0.0.1:4317
  sudo stallscope serve --dir /var/lib/stallscope    with the flight recorder of `watch`
  sudo stallscope serve --config /etc/stallscope/stallscope.toml

A port on any other address than the loopback ones must be asked for by --listen; use
--tls-cert and --basic-auth with it. SIGHUP reads the configuration again.
Exit code: 0 when it is told to end, 2 when it could not do its job.";

/// `doctor --help`.
pub const DOCTOR: &str = "\
Examples:
  sudo stallscope doctor              attach everything for 1 s and say what was seen
  stallscope doctor                   without root: says what is missing
  sudo stallscope doctor --json

Exit code: 0 the essential probes work here, 2 they do not.";

/// `explain --help`.
pub const EXPLAIN: &str = "\
Examples:
  stallscope explain W01
  stallscope explain blocking-upstream

Needs no root. `stallscope rules` lists what there is.
Exit code: 0, or 2 for an unknown rule.";

/// `rules --help`.
pub const RULES: &str = "\
Examples:
  stallscope rules
  stallscope rules --json

Needs no root.";

/// `completions --help`.
pub const COMPLETIONS: &str = "\
Examples:
  stallscope completions bash > /etc/bash_completion.d/stallscope
  stallscope completions zsh > \"${fpath[1]}/_stallscope\"
  stallscope completions fish > ~/.config/fish/completions/stallscope.fish";

/// `man --help`.
pub const MAN: &str = "\
Examples:
  stallscope man > stallscope.1 && man ./stallscope.1
  stallscope man > /usr/local/share/man/man1/stallscope.1";
