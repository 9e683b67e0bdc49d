//! `cord view`: a run as a page, served on this machine or written as one file.

mod arms;
mod file;
mod library;
mod run;
mod server;
mod source;
mod teachers;

use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::Result;
use clap::Args;

use crate::{RecipeArgs, print, say};

pub(crate) use arms::{ARMS, RunArms, publish as publish_arms};

use library::Library;
use run::Run;

/// Look at a run: its tables and figures, training curves, and every trajectory step by step.
///
/// For each problem the page shows the search as it went: what every teacher proposed at every step, how it was scored,
/// what was kept and what was chosen. Problems can be filtered by verdict and by teacher, and two arms, or two runs, stand
/// side by side. A run that is not finished shows what is there.
///
/// The page is served on this machine's own address until Ctrl-C, and asks for nothing from elsewhere; with --static it is
/// written as one file that can be sent to others.
#[derive(Args)]
pub(crate) struct ViewArgs {
    /// The folder of a run, or its recipe; several to compare them
    #[arg(value_name = "RUN", required = true)]
    runs: Vec<PathBuf>,
    /// Write the page as one HTML file: FOLDER/index.html, or a path that ends in .html
    #[arg(long = "static", value_name = "PATH")]
    to: Option<PathBuf>,
    /// The most MiB of problems in that file; beyond, texts that were not chosen are cut, and then problems left out
    #[arg(long, value_name = "MIB", default_value_t = 96, requires = "to")]
    limit: u64,
    /// The port to serve on; 0 takes a free one
    #[arg(long, value_name = "PORT", default_value_t = 8087, conflicts_with = "to")]
    port: u16,
    /// Override a key of the recipe (repeatable)
    #[arg(long = "set", value_name = "KEY=VALUE")]
    overrides: Vec<String>,
    /// The folder for results instead of the recipe's
    #[arg(long, value_name = "FOLDER")]
    out: Option<PathBuf>,
}

impl ViewArgs {
    fn open(&self) -> Result<Vec<Run>> {
        let recipe = RecipeArgs {
            recipe: PathBuf::new(),
            overrides: self.overrides.clone(),
            device: None,
            out: self.out.clone(),
            remote: None,
        };
        self.runs.iter().map(|path| Run::open(path, &recipe)).collect()
    }
}

/// Serves the page or writes it.
pub(crate) fn act(args: &ViewArgs) -> Result<ExitCode> {
    // Before there is an address: what can't be opened is said here and not on the page.
    let runs = args.open()?;
    if let Some(to) = &args.to {
        let written = file::write(Library::read(&runs, None)?, to, args.limit << 20)?;
        for note in &written.notes {
            say(note);
        }
        print(&format!("{} ({:.1} MB)", written.path.display(), written.bytes as f64 / 1e6));
        return Ok(ExitCode::SUCCESS);
    }
    drop(runs);
    server::serve(&|| args.open(), args.port, &mut |address| print(&format!("{address}  (Ctrl-C ends)")))?;
    Ok(ExitCode::SUCCESS)
}
