//! The figure of who writes what part of a trajectory, as SVG and as data: the paper's figures 2 and 5.

use cord_eval::{Estimate, PROGRESS_PARTS, TeacherShare};
use plotters::prelude::*;
use serde::{Deserialize, Serialize};

use crate::csv::line;
use crate::palette::PALETTE;
use crate::paper::PaperFigure;
use crate::table::Recipe;

/// A panel's width and height in pixels.
const PANEL: (u32, u32) = (420, 320);

/// Each teacher's share of the chosen steps over a trajectory's progress, one panel for each arm.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct CollaborationFigure {
    /// Its heading.
    pub title: String,
    /// The recipe that it belongs to.
    pub recipe: Recipe,
    /// The commit of the program that made it.
    pub commit: String,
    /// The paper's figure that it stands for.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub paper: Option<PaperFigure>,
    /// The panels, in order.
    pub arms: Vec<ArmShares>,
}

/// The teachers of an arm.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ArmShares {
    /// The arm's name.
    pub arm: String,
    /// Its teachers' shares, in the recipe's order.
    pub teachers: Vec<TeacherShare>,
}

/// Why a figure could not be drawn.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("can't draw the figure `{title}`: {reason}")]
pub struct FigureError {
    /// The figure's heading.
    pub title: String,
    /// What the drawing library said.
    pub reason: String,
}

impl CollaborationFigure {
    /// `figure.svg`: for each arm a panel with a line for each teacher, and the 95 % intervals as bands.
    ///
    /// # Errors
    /// What the drawing library has to say against it; a string takes all that is written to it.
    pub fn svg(&self) -> Result<String, FigureError> {
        let mut text = String::new();
        let drawn = self.draw(&mut text);
        drawn.map_err(|error| FigureError { title: self.title.clone(), reason: error.to_string() })?;
        Ok(text)
    }

    fn draw(&self, text: &mut String) -> Result<(), Box<dyn std::error::Error + '_>> {
        let panels = self.arms.len().max(1);
        let size = (PANEL.0 * panels as u32, PANEL.1 + 32);
        let root = SVGBackend::with_string(text, size).into_drawing_area();
        root.fill(&WHITE)?;
        let root = root.titled(&self.title, ("sans-serif", 18))?;
        for (area, arm) in root.split_evenly((1, panels)).iter().zip(&self.arms) {
            let mut chart = ChartBuilder::on(area)
                .caption(&arm.arm, ("sans-serif", 15))
                .margin(8)
                .x_label_area_size(36)
                .y_label_area_size(44)
                .build_cartesian_2d(0.0..100.0f64, 0.0..100.0f64)?;
            chart
                .configure_mesh()
                .x_desc("progress of the trajectory, %")
                .y_desc("share of chosen steps, %")
                .x_labels(6)
                .y_labels(6)
                .x_label_formatter(&|x| format!("{x:.0}"))
                .y_label_formatter(&|y| format!("{y:.0}"))
                .light_line_style(TRANSPARENT)
                .draw()?;
            for (place, one) in arm.teachers.iter().enumerate() {
                let (red, green, blue) = PALETTE[place % PALETTE.len()];
                let colour = RGBColor(red, green, blue);
                let points = |pick: fn(&Estimate) -> f64| {
                    one.parts.iter().enumerate().map(move |(part, of)| (middle(part), 100.0 * pick(of)))
                };
                let low = points(|of| of.low);
                let mut band: Vec<(f64, f64)> = points(|of| of.high).collect();
                band.extend(low.collect::<Vec<_>>().into_iter().rev());
                chart.draw_series([Polygon::new(band, colour.mix(0.15))])?;
                let line = LineSeries::new(points(|of| of.value), colour.stroke_width(2));
                let key = move |(x, y): (i32, i32)| PathElement::new([(x, y), (x + 16, y)], colour.stroke_width(2));
                chart.draw_series(line)?.label(&one.teacher).legend(key);
            }
            chart
                .configure_series_labels()
                .position(SeriesLabelPosition::UpperRight)
                .background_style(WHITE.mix(0.8))
                .border_style(BLACK.mix(0.2))
                .draw()?;
        }
        root.present()?;
        Ok(())
    }

    /// `figure.csv` (RFC 4180, with `\n`): a line for each arm, teacher and part of the progress, in shares from 0 to 1.
    pub fn csv(&self) -> String {
        let mut out = String::new();
        line(&mut out, ["arm", "teacher", "from", "to", "share", "low", "high", "n"].into_iter().map(str::to_owned));
        for arm in &self.arms {
            for one in &arm.teachers {
                for (part, of) in one.parts.iter().enumerate() {
                    let bound = |part: usize| (part as f64 / PROGRESS_PARTS as f64).to_string();
                    let (names, bounds) = ([arm.arm.clone(), one.teacher.clone()], [bound(part), bound(part + 1)]);
                    let values = [of.value, of.low, of.high].map(|value| value.to_string());
                    line(&mut out, names.into_iter().chain(bounds).chain(values).chain([of.n.to_string()]));
                }
            }
        }
        out
    }

    /// `figure.json`: everything that the figure holds. Reads back with serde to the same figure.
    ///
    /// # Panics
    /// Never: names and finite numbers can be written.
    pub fn json(&self) -> String {
        let mut text = serde_json::to_string_pretty(self).expect("a figure can be written as JSON");
        text.push('\n');
        text
    }

    /// The figure in words: each arm and teacher with its share, and how it changes from the first two fifths to the last.
    pub fn lines(&self) -> Vec<String> {
        let percent =
            |of: &Estimate| format!("{:.1} [{:.1}, {:.1}]", 100.0 * of.value, 100.0 * of.low, 100.0 * of.high);
        let of_arm = |arm: &ArmShares| {
            let of = |one: &TeacherShare| {
                let (whole, drift) = (percent(&one.whole), percent(&one.late_minus_early.difference));
                format!(
                    "{}: {} wrote {whole} % of the chosen steps; last fifth minus first two: {drift} points",
                    arm.arm, one.teacher
                )
            };
            arm.teachers.iter().map(of).collect::<Vec<_>>()
        };
        self.arms.iter().flat_map(of_arm).collect()
    }
}

/// The middle of a part of the progress, in percent.
fn middle(part: usize) -> f64 {
    100.0 * (part as f64 + 0.5) / PROGRESS_PARTS as f64
}
