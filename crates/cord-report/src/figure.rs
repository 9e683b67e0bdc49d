//! What every figure shares: colours, the SVG, its legend, and why there may be none.

use plotters::coord::types::RangedCoordf64;
use plotters::drawing::DrawingAreaErrorKind;
use plotters::prelude::*;

use crate::palette::PALETTE;

/// What came of drawing.
pub(crate) type Drawn = Result<(), DrawingAreaErrorKind<std::io::Error>>;

/// A chart of two scales of numbers.
type Chart<'a, 'b> = ChartContext<'a, SVGBackend<'b>, Cartesian2d<RangedCoordf64, RangedCoordf64>>;

/// Why a figure could not be drawn.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("can't draw the figure `{title}`: {reason}")]
pub struct FigureError {
    /// The figure's heading.
    pub title: String,
    /// What the drawing library said.
    pub reason: String,
}

/// The colour of the thing at a place.
pub(crate) fn colour(place: usize) -> RGBColor {
    let (red, green, blue) = PALETTE[place % PALETTE.len()];
    RGBColor(red, green, blue)
}

/// The SVG that `draw` writes.
pub(crate) fn svg(title: &str, draw: impl FnOnce(&mut String) -> Drawn) -> Result<String, FigureError> {
    let mut text = String::new();
    draw(&mut text).map_err(|error| FigureError { title: title.to_owned(), reason: error.to_string() })?;
    Ok(text)
}

/// Draws a chart's legend.
pub(crate) fn legend<'a, 'b: 'a>(chart: &mut Chart<'a, 'b>, position: SeriesLabelPosition) -> Drawn {
    chart
        .configure_series_labels()
        .position(position)
        .background_style(WHITE.mix(0.8))
        .border_style(BLACK.mix(0.2))
        .draw()
}
