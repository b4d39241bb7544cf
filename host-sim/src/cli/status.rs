//! `host-sim status`: one look at a running Envoy.

use super::{Outcome, problem};
use anyhow::Result;
use host_sim::status::admin::Admin;
use host_sim::status::{Status, Watcher, report};
use host_sim::{configuration, environment};
use pointsman_core::config::Config;
use std::io::{IsTerminal, Write};
use std::path::PathBuf;
use std::thread;
use std::time::Duration;

/// Shows what a running Envoy does: which configuration is live, pools and targets, limits, and what
/// should be zero.
#[derive(clap::Args)]
pub(crate) struct Arguments {
    /// Its admin address: `http://127.0.0.1:9901`, `edge-1:8001`. The port is 9901 unless it is
    /// given.
    url: String,
    /// Look again each second, with rates; Ctrl-C ends it.
    #[arg(long)]
    watch: bool,
    /// With --watch: look so many times.
    #[arg(short = 'n', long, value_name = "NUMBER", requires = "watch", value_parser = clap::value_parser!(u32).range(1..))]
    times: Option<u32>,
    /// Exit status 1 as long as the configuration in this file is not live.
    #[arg(long, value_name = "FILE")]
    expect: Option<PathBuf>,
    /// Print one JSON object, with --watch one a line.
    #[arg(long)]
    json: bool,
}

/// Prints each look to stdout. Found: something is not as it should be at the last one.
pub(crate) fn run(arguments: &Arguments) -> Result<Outcome> {
    let expected = expected(arguments)?;
    let mut watcher = Watcher::new(Admin::open(&arguments.url)?);
    let mut looks = 0;
    loop {
        let mut status = watcher.look()?;
        if let Some((file, configs)) = &expected {
            status.expect(file, configs.iter());
        }
        show(arguments, &status, looks == 0)?;
        looks += 1;
        if !arguments.watch || arguments.times.is_some_and(|times| looks >= times) {
            return Ok(match status.findings.is_empty() {
                true => Outcome::Good,
                false => Outcome::Found,
            });
        }
        thread::sleep(PERIOD);
    }
}

/// From one look to the next.
const PERIOD: Duration = Duration::from_secs(1);

/// What `--expect` names: the file, and what is in it.
fn expected(arguments: &Arguments) -> Result<Option<(String, Vec<Config>)>> {
    let Some(path) = &arguments.expect else {
        return Ok(None);
    };
    let file = path.display().to_string();
    let unread = |text: &str, error| problem::unread(path, text, error);
    let text = configuration::text_of(path).map_err(|error| unread("", error))?;
    let parts = configuration::parts_of(&text, path).map_err(|error| unread(&text, error))?;
    let configs = parts
        .iter()
        .map(|part| environment::load_anywhere(&part.tree));
    let configs: Result<Vec<_>, _> = configs.collect();
    let configs = configs.map_err(|problems| problem::refused_text(path, &text, &problems))?;
    Ok(Some((file, configs)))
}

fn show(arguments: &Arguments, status: &Status, is_first: bool) -> Result<()> {
    if arguments.json {
        let mut out = std::io::stdout().lock();
        match arguments.watch {
            true => writeln!(out, "{}", serde_json::to_string(status)?)?,
            false => writeln!(out, "{}", serde_json::to_string_pretty(status)?)?,
        }
        return Ok(());
    }
    let terminal = std::io::stdout()
        .is_terminal()
        .then(terminal_size)
        .flatten();
    let columns = std::env::var("COLUMNS").ok().and_then(|it| it.parse().ok());
    let width = columns
        .or(terminal.map(|(columns, _)| columns))
        .unwrap_or(WIDTH);
    let text = report::text(status, width);
    let mut out = anstream::stdout().lock();
    match terminal {
        // As `top`: from the upper left corner, and no more than the screen has.
        Some((_, rows)) if arguments.watch => {
            write!(out, "\x1b[H\x1b[2J")?;
            let rows = rows.saturating_sub(1).max(2);
            let lines: Vec<_> = text.lines().collect();
            let shown = match lines.len() > rows {
                true => rows - 1,
                false => lines.len(),
            };
            for line in &lines[..shown] {
                writeln!(out, "{line}")?;
            }
            if shown < lines.len() {
                writeln!(out, "… {} lines more", lines.len() - shown)?;
            }
        }
        _ => {
            if !is_first {
                writeln!(out)?;
            }
            write!(out, "{text}")?;
        }
    }
    Ok(out.flush()?)
}

/// Where it is neither a terminal nor said, in characters.
const WIDTH: usize = 100;

/// The columns and rows of the terminal at stdout. None: it does not say.
fn terminal_size() -> Option<(usize, usize)> {
    let size = rustix::termios::tcgetwinsize(std::io::stdout()).ok()?;
    (size.ws_col > 0 && size.ws_row > 0).then(|| (size.ws_col.into(), size.ws_row.into()))
}
