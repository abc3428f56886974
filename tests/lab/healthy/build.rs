//! A build: thousands of small files are written, compiled, packed, unpacked and read, and nobody waits for the disk.

use std::{
    fs,
    path::{Path, PathBuf},
    process::{Command, Stdio},
    time::{Duration, Instant},
};

use anyhow::{Context as _, ensure};
use probe_tests::{
    child::Spawned,
    lab::{Lab, Outcome, Truth},
    report::Report,
    web,
};

use super::silent;

/// What a build does, as a shell has it done: over and over until there is a file `enough`, then it says so in `finished`.
const BUILD: &str = r#"
read begin
rounds=0
while [ ! -e enough ]; do
    mkdir obj copy || exit 1
    make -s -j"$JOBS" program || exit 1
    ./program || exit 1
    tar -cf all.tar src notes obj || exit 1
    tar -xf all.tar -C copy || exit 1
    cat copy/src/* copy/notes/* > /dev/null || exit 1
    rm -r obj copy all.tar program || exit 1
    rounds=$((rounds + 1))
done
echo $rounds > finished
read end
"#;

/// What `make` reads: an object for each source, and a program of all.
const MAKEFILE: &str = "OBJECTS := $(patsubst src/%.c,obj/%.o,$(wildcard src/*.c))\n\
    program: $(OBJECTS)\n\tcc -o $@ $^\n\
    obj/%.o: src/%.c\n\tcc -O1 -c -o $@ $<\n";

/// Sources that are compiled, and files that are only packed, unpacked and read.
struct Sources {
    dir: PathBuf,
    modules: u64,
    notes: u64,
}

impl Sources {
    fn write(at: &Path, modules: u64, notes: u64) -> anyhow::Result<Self> {
        let dir = at.join("build");
        let (src, texts) = (dir.join("src"), dir.join("notes"));
        fs::create_dir_all(&src)?;
        fs::create_dir_all(&texts)?;
        fs::write(dir.join("Makefile"), MAKEFILE)?;
        let (mut declared, mut summed) = (String::new(), String::new());
        for n in 0..modules {
            let text = format!(
                "int part_{n}(int x) {{ int sum = 0; for (int i = 0; i < x; i++) sum += i ^ {n}; return sum; }}\n"
            );
            fs::write(src.join(format!("part_{n}.c")), text)?;
            declared.push_str(&format!("int part_{n}(int);\n"));
            summed.push_str(&format!(" + part_{n}(argc)"));
        }
        let main = format!("{declared}int main(int argc) {{ return (0{summed}) < 0; }}\n");
        fs::write(src.join("main.c"), main)?;
        for n in 0..notes {
            fs::write(
                texts.join(format!("note_{n}.txt")),
                "a note\n".repeat(n as usize % 99 + 1),
            )?;
        }
        Ok(Self {
            dir,
            modules,
            notes,
        })
    }

    /// Files that a round makes, by the process that makes them: the assembler the objects; tar the archive, and then all again.
    fn made_by(&self, name: &str) -> u64 {
        let sources = self.modules + 1;
        match name {
            "as" => sources,
            _ => 1 + 2 * sources + self.notes,
        }
    }
}

pub(super) fn play(lab: &mut Lab) -> anyhow::Result<Outcome> {
    let modules = lab.number("sources", 40..=120);
    let notes = lab.number("small files beside them", 2_000..=6_000);
    let jobs = lab.number("jobs", 2..=4);
    let sources = Sources::write(lab.dir(), modules, notes)?;
    for (name, package) in [("make", "make"), ("cc", "gcc"), ("tar", "tar")] {
        web::program(name, package)?;
    }
    let log = fs::File::create(sources.dir.join("log"))?;
    let mut shell = Spawned::start(
        Command::new("sh")
            .args(["-c", BUILD])
            .env("JOBS", jobs.to_string())
            .current_dir(&sources.dir)
            .stdin(Stdio::piped())
            .stdout(log.try_clone()?)
            .stderr(log),
    )?;
    let watch = lab.watch(&["--pid", &shell.process.id().to_string()])?;
    let stdin = shell.process.stdin.as_mut().context("no pipe")?;
    std::io::Write::write_all(stdin, b"begin\n")?;
    std::thread::sleep(lab.healthy_for());
    fs::write(sources.dir.join("enough"), "")?;
    let finished = sources.dir.join("finished");
    let begun = Instant::now();
    while fs::read_to_string(&finished).map_or(true, |text| !text.ends_with('\n')) {
        ensure!(
            begun.elapsed() < Duration::from_secs(60) && shell.process.try_wait()?.is_none(),
            "the build does not end well: {}",
            fs::read_to_string(sources.dir.join("log"))?
        );
        std::thread::sleep(Duration::from_millis(20));
    }
    let said = watch.end()?;
    let rounds: u64 = fs::read_to_string(finished)?.trim().parse()?;
    let created = |name| created(&said.report, &sources.dir, name);
    let made = |name| (rounds * sources.made_by(name)) as f64;
    let truths = vec![
        Truth::exact(
            "files that tar made",
            created("tar"),
            made("tar"),
            "what was packed",
        ),
        Truth::exact("objects", created("as"), made("as"), "what was compiled"),
    ];
    silent(said, truths)
}

/// How many files the report says that processes of a name created in and below a directory.
fn created(report: &Report, below: &Path, name: &str) -> Option<f64> {
    let rows = report.0["files"]["directories"].as_array()?.iter();
    let own = rows.filter(|row| {
        let at = row["file.directory"].as_str();
        row["who"]["name"] == name && at.is_some_and(|at| Path::new(at).starts_with(below))
    });
    own.map(|row| row["created"].as_f64()).sum()
}
