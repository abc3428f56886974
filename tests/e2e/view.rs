//! The live view in a terminal: it shows what runs, goes where keys say, and leaves the terminal as it was.

use anyhow::ensure;
use probe_tests::{
    programs,
    pty::Terminal,
    tool,
    web::{FastCgi, Settings, Stack},
};

/// The usual terminal, with a little more room.
const SIZE: (u16, u16) = (100, 30);
/// Who may do nothing.
const NOBODY: u32 = 65534;

fn pool(name: &str) -> anyhow::Result<(String, Stack)> {
    let pool = format!("{name}{}", std::process::id());
    let stack = Stack::start(Settings {
        pool: &pool,
        workers: 3,
        fastcgi: FastCgi::Unix,
        keep_conn: false,
    })?;
    Ok((pool, stack))
}

/// It ended without an error, and left its own screen and the settings of the terminal.
fn ended_well(view: &mut Terminal) -> anyhow::Result<()> {
    let (status, left) = view.finish()?;
    ensure!(status.code() == Some(0), "{status}: {left:?}");
    ensure!(
        left.contains("\x1b[?1049l"),
        "still on its own screen: {left:?}"
    );
    ensure!(view.is_as_before()?, "the terminal is not as it was");
    Ok(())
}

pub fn it_shows_the_pool_and_keys_change_the_screen() -> anyhow::Result<()> {
    let (pool, stack) = pool("seen")?;
    let mut view = Terminal::start(&["--pool", &pool], SIZE, None)?;
    view.wait_for("causes")?;
    ensure!(!view.is_as_before()?, "the terminal was not taken");
    for _ in 0..5 {
        probe_tests::web::get(stack.addr, "/fast.php")?;
    }
    view.wait_for(&format!("pool {pool}"))?;
    view.keys("2")?;
    view.wait_for("waits for")?;
    view.keys("4")?;
    view.wait_for("established")?;
    view.keys("\x1b[C")?;
    view.wait_for("peers")?;
    view.keys("?")?;
    view.wait_for("sort by the next column")?;
    // In the filter, q is a letter.
    view.keys("\x1b")?;
    view.wait_for("enter")?;
    view.keys("7/qq\r")?;
    view.wait_for("Nothing has")?;
    view.keys("q")?;
    ended_well(&mut view)
}

pub fn sigterm_gives_the_terminal_back_and_leaves_nothing() -> anyhow::Result<()> {
    let (pool, _stack) = pool("told")?;
    let mut view = Terminal::start(&["--pool", &pool], SIZE, None)?;
    view.wait_for("causes")?;
    let (of_programs, of_maps) = programs::held_by(view.pid());
    ensure!(!of_programs.is_empty(), "nothing is loaded");
    view.signal(libc::SIGTERM);
    ended_well(&mut view)?;
    programs::wait_until_let_go(&of_programs, &of_maps)
}

pub fn a_recording_is_shown_to_whoever_may_read_it() -> anyhow::Result<()> {
    let (pool, stack) = pool("kept")?;
    let dir = tempfile::tempdir()?;
    probe_tests::web::open_to_all(dir.path())?;
    let file = dir.path().join("pool.rec");
    let path = file.display().to_string();
    let tool = tool::Tool::start_attached(&["record", &path, "--pool", &pool])?;
    for _ in 0..5 {
        probe_tests::web::get(stack.addr, "/fast.php")?;
    }
    std::thread::sleep(std::time::Duration::from_secs(3));
    let recorded = tool.interrupt()?;
    ensure!(recorded.code == Some(0), "{}", recorded.stderr);
    std::fs::set_permissions(&file, std::os::unix::fs::PermissionsExt::from_mode(0o644))?;
    let mut view = Terminal::start(&["replay", &path, "--view"], SIZE, Some(NOBODY))?;
    view.wait_for(&format!("pool {pool}"))?;
    view.wait_for("REPLAY")?;
    view.keys(">")?;
    view.wait_for("REPLAY: END")?;
    view.keys("q")?;
    ended_well(&mut view)
}

pub fn without_a_terminal_it_says_what_to_do() -> anyhow::Result<()> {
    let output = tool::run(&[])?;
    ensure!(output.code == Some(2), "{:?}", output.code);
    ensure!(
        output.stderr.lines().count() == 1 && output.stderr.contains("stallscope diagnose"),
        "{}",
        output.stderr
    );
    Ok(())
}
