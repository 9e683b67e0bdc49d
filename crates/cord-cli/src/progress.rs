//! What a person sees while a run works: bars with rates and time left on a terminal, plain lines elsewhere.

use std::io::IsTerminal;
use std::sync::Mutex;
use std::time::{Duration, Instant};

use indicatif::{HumanBytes, MultiProgress, ProgressBar, ProgressDrawTarget, ProgressStyle};

/// The progress of a whole run.
pub(crate) struct Progress {
    bars: MultiProgress,
    terminal: bool,
    stages: usize,
}

/// The progress of one stage.
pub(crate) struct StageProgress {
    bar: ProgressBar,
    label: String,
    place: String,
    terminal: bool,
    begun: Instant,
    /// When the last line was written where there is no terminal.
    spoke: Mutex<Instant>,
}

/// How often a line is written where there is no terminal to draw a bar on.
const SPEAK_EVERY: Duration = Duration::from_secs(15);

impl Progress {
    pub(crate) fn new(stages: usize) -> Self {
        let terminal = std::io::stderr().is_terminal();
        let target = if terminal { ProgressDrawTarget::stderr() } else { ProgressDrawTarget::hidden() };
        Self { bars: MultiProgress::with_draw_target(target), terminal, stages }
    }

    /// Begins stage `index`, from 0, of `total` items.
    pub(crate) fn stage(&self, index: usize, label: &str, total: u64, unit: &str) -> StageProgress {
        let place = format!("[{}/{}]", index + 1, self.stages);
        let bar = self.bars.add(ProgressBar::new(total));
        let template =
            format!("{place} {label} {{wide_bar}} {{pos}}/{{len}} {unit} {{msg}} {{elapsed}} (left {{eta}})");
        bar.set_style(ProgressStyle::with_template(&template).expect("the template is well formed"));
        bar.enable_steady_tick(Duration::from_millis(200));
        if !self.terminal {
            // How many steps a training takes is known once its data is read.
            let items = if total > 0 { format!(": {total} {unit}") } else { String::new() };
            line(&format!("{place} {label}{items}"));
        }
        StageProgress {
            bar,
            label: label.to_owned(),
            place,
            terminal: self.terminal,
            begun: Instant::now(),
            spoke: Mutex::new(Instant::now()),
        }
    }

    /// Notes a stage that is there already.
    pub(crate) fn cached(&self, index: usize, label: &str) {
        self.say(&format!("[{}/{}] {label}: done before", index + 1, self.stages));
    }

    /// Says a line above the bars.
    pub(crate) fn say(&self, text: &str) {
        if self.terminal {
            // A bar that can't be drawn is no reason to stop.
            let _ = self.bars.println(text);
        } else {
            line(text);
        }
    }
}

impl StageProgress {
    pub(crate) fn at(&self, done: u64, message: String) {
        self.bar.set_position(done);
        if !self.terminal {
            let mut spoke = self.spoke.lock().expect("no line panicked");
            if spoke.elapsed() >= SPEAK_EVERY {
                *spoke = Instant::now();
                let of = self.bar.length().unwrap_or(0);
                line(&format!("{} {}: {done}/{of}, {message}", self.place, self.label));
            }
        }
        self.bar.set_message(message);
    }

    /// Sets the number of items once it is known.
    pub(crate) fn of(&self, total: u64) {
        self.bar.set_length(total);
    }

    pub(crate) fn finish(self, message: &str) {
        let text = format!("{} {}: {message} in {:.1} s", self.place, self.label, self.begun.elapsed().as_secs_f64());
        self.bar.finish_and_clear();
        if self.terminal {
            self.bar.println(text);
        } else {
            line(&text);
        }
    }
}

/// The progress of files that are fetched, one after the other.
pub(crate) struct Fetching {
    bar: ProgressBar,
    terminal: bool,
    /// The file that is on its way.
    file: String,
    /// When the last line was written where there is no terminal.
    spoke: Instant,
}

impl Fetching {
    pub(crate) fn new() -> Self {
        let terminal = std::io::stderr().is_terminal();
        let target = if terminal { ProgressDrawTarget::stderr() } else { ProgressDrawTarget::hidden() };
        let bar = ProgressBar::with_draw_target(None, target);
        let template = "{msg} {wide_bar} {bytes}/{total_bytes} {bytes_per_sec} (left {eta})";
        bar.set_style(ProgressStyle::with_template(template).expect("the template is well formed"));
        Self { bar, terminal, file: String::new(), spoke: Instant::now() }
    }

    /// Notes how many bytes of a file are there, and how many there are, 0 where nobody knows.
    pub(crate) fn at(&mut self, file: &str, there: u64, of: u64) {
        if self.file != file {
            file.clone_into(&mut self.file);
            self.bar.reset();
            self.bar.set_message(self.file.clone());
        } else if !self.terminal && there != of && self.spoke.elapsed() < SPEAK_EVERY {
            return;
        }
        self.bar.set_length(of.max(there));
        self.bar.set_position(there);
        if !self.terminal {
            self.spoke = Instant::now();
            let of = if of > 0 { format!(" of {}", HumanBytes(of)) } else { String::new() };
            line(&format!("{file}: {}{of}", HumanBytes(there)));
        }
        if there == of {
            self.bar.finish_and_clear();
        }
    }
}

#[expect(clippy::print_stderr, reason = "progress goes to stderr, so that stdout holds results only")]
fn line(text: &str) {
    eprintln!("{text}");
}
