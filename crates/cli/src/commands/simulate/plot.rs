//! A picture of one rollout: targets by status, what is in flight against the limit, faults.

use std::path::Path;

use hedgerow_core::Timestamp;
use hedgerow_sim::simulate::{Report, Sample};
use plotters::coord::Shift;
use plotters::prelude::*;

use super::CommandError;

/// Width and height.
const SIZE: (u32, u32) = (1_100, 680);
const FONT: &str = "sans-serif";
const INK: RGBColor = RGBColor(40, 44, 52);
const FAINT: RGBColor = RGBColor(205, 208, 214);
/// From the bottom: what is done, what is under way, what waits.
const STATUSES: [(&str, RGBColor); 5] = [
    ("successful", RGBColor(67, 147, 108)),
    ("failed", RGBColor(196, 78, 82)),
    ("cancelled", RGBColor(140, 140, 150)),
    ("in progress", RGBColor(233, 168, 65)),
    ("idle", RGBColor(214, 222, 233)),
];
const FAULT: RGBColor = RGBColor(150, 60, 120);
const LIMIT: RGBColor = RGBColor(60, 90, 160);

type Area<'a> = DrawingArea<SVGBackend<'a>, Shift>;
type Drawn<T> = Result<T, Box<dyn std::error::Error>>;

/// Draws the run of a report.
pub(super) fn draw(path: &Path, report: &Report) -> Result<(), CommandError> {
    let mut text = String::new();
    let drawn = {
        let area = SVGBackend::with_string(&mut text, SIZE).into_drawing_area();
        picture(&area, report)
    };
    let failed = |detail: String| CommandError::Plot { path: path.to_path_buf(), detail };
    drawn.map_err(|error| failed(error.to_string()))?;
    std::fs::write(path, text).map_err(|error| failed(error.to_string()))
}

fn picture(area: &Area<'_>, report: &Report) -> Drawn<()> {
    area.fill(&WHITE)?;
    let verdict = match &report.violation {
        Some(violation) => format!("{} did not hold", violation.invariant.name()),
        None => "every invariant held".to_owned(),
    };
    let title = format!(
        "Seed {}, profile {}: {} faults, {} events, {verdict}",
        report.seed, report.profile, report.faults, report.events
    );
    let text = TextStyle::from((FONT, 21).into_font()).color(&INK);
    area.draw(&Text::new(title, (22, 14), text))?;
    let body = area.margin(44, 8, 12, 24);
    let (upper, rest) = body.split_vertically(330);
    let (middle, lower) = rest.split_vertically(190);
    let span = span(report);
    by_status(&upper, report, span)?;
    in_flight(&middle, report, span)?;
    faults(&lower, report, span)?;
    area.present()?;
    Ok(())
}

/// How many minutes are shown: until nothing changes any more.
fn span(report: &Report) -> f64 {
    let last = report.samples.last().map(|sample| sample.at);
    let last = last.max(report.marks.last().copied());
    last.map_or(1.0, |at| minutes(report, at)).max(1.0) * 1.02
}

fn minutes(report: &Report, at: Timestamp) -> f64 {
    let first = report.samples.first().map_or(at, |sample| sample.at);
    at.since(first).as_secs_f64() / 60.0
}

/// Targets of these statuses, in the order of [`STATUSES`].
fn counts(sample: &Sample) -> [u32; 5] {
    let targets = sample.targets;
    [targets.successful, targets.failed, targets.cancelled, targets.in_progress, targets.idle]
}

/// A line that goes on level until it steps.
fn steps(report: &Report, span: f64, height: impl Fn(&Sample) -> u32) -> Vec<(f64, f64)> {
    let mut points = Vec::with_capacity(report.samples.len() * 2 + 1);
    let mut level = 0.0;
    for sample in &report.samples {
        let at = minutes(report, sample.at);
        points.push((at, level));
        level = f64::from(height(sample));
        points.push((at, level));
    }
    points.push((span, level));
    points
}

fn label<'a>() -> TextStyle<'a> {
    TextStyle::from((FONT, 13).into_font()).color(&INK)
}

/// Where the legend at the right begins.
fn legend(area: &Area<'_>) -> i32 {
    let (width, _) = area.dim_in_pixel();
    i32::try_from(width).unwrap_or(0) - 118
}

fn by_status(area: &Area<'_>, report: &Report, span: f64) -> Drawn<()> {
    let total = report.samples.iter().map(|sample| counts(sample).iter().sum()).max();
    let top = f64::from(total.unwrap_or(1).max(1)) * 1.06;
    let mut chart = ChartBuilder::on(area)
        .margin_right(130)
        .margin_top(24)
        .set_label_area_size(LabelAreaPosition::Left, 62)
        .set_label_area_size(LabelAreaPosition::Bottom, 8)
        .build_cartesian_2d(0.0..span, 0.0..top)?;
    chart
        .configure_mesh()
        .disable_x_mesh()
        .x_labels(0)
        .y_label_formatter(&whole)
        .light_line_style(TRANSPARENT)
        .bold_line_style(FAINT)
        .axis_style(FAINT)
        .y_desc("targets of all campaigns")
        .axis_desc_style(label())
        .label_style(label())
        .draw()?;
    // From the top down, so that each covers what is above it.
    for (place, (_, color)) in STATUSES.iter().enumerate().rev() {
        let height = |sample: &Sample| counts(sample)[..=place].iter().sum();
        chart.draw_series(AreaSeries::new(steps(report, span, height), 0.0, color.filled()))?;
    }
    let left = legend(area);
    for (row, (name, color)) in (0_i32..).zip(STATUSES.iter().rev()) {
        let y = 34 + row * 22;
        area.draw(&Rectangle::new([(left, y), (left + 13, y + 13)], color.filled()))?;
        area.draw(&Text::new(*name, (left + 20, y), label()))?;
    }
    Ok(())
}

fn in_flight(area: &Area<'_>, report: &Report, span: f64) -> Drawn<()> {
    let most = report.samples.iter().map(|sample| sample.limit.max(sample.targets.in_progress));
    let top = f64::from(most.max().unwrap_or(1).max(1)) * 1.15;
    let mut chart = ChartBuilder::on(area)
        .margin_right(130)
        .margin_top(8)
        .set_label_area_size(LabelAreaPosition::Left, 62)
        .set_label_area_size(LabelAreaPosition::Bottom, 8)
        .build_cartesian_2d(0.0..span, 0.0..top)?;
    chart
        .configure_mesh()
        .disable_x_mesh()
        .x_labels(0)
        .y_labels(5)
        .y_label_formatter(&whole)
        .light_line_style(TRANSPARENT)
        .bold_line_style(FAINT)
        .axis_style(FAINT)
        .y_desc("in flight")
        .axis_desc_style(label())
        .label_style(label())
        .draw()?;
    let (_, color) = STATUSES[3];
    let flying = steps(report, span, |sample| sample.targets.in_progress);
    chart.draw_series(AreaSeries::new(flying, 0.0, color.filled()))?;
    let limit = steps(report, span, |sample| sample.limit);
    chart.draw_series(LineSeries::new(limit, LIMIT.stroke_width(2)))?;
    let left = legend(area);
    area.draw(&Rectangle::new([(left, 18), (left + 13, 31)], color.filled()))?;
    area.draw(&Text::new("in progress", (left + 20, 18), label()))?;
    area.draw(&PathElement::new([(left, 47), (left + 13, 47)], LIMIT.stroke_width(2)))?;
    area.draw(&Text::new("limits together", (left + 20, 40), label()))?;
    Ok(())
}

fn faults(area: &Area<'_>, report: &Report, span: f64) -> Drawn<()> {
    let mut chart = ChartBuilder::on(area)
        .margin_right(130)
        .margin_top(8)
        .set_label_area_size(LabelAreaPosition::Left, 62)
        .set_label_area_size(LabelAreaPosition::Bottom, 40)
        .build_cartesian_2d(0.0..span, 0.0..1.0)?;
    chart
        .configure_mesh()
        .disable_mesh()
        .y_labels(0)
        .x_label_formatter(&whole)
        .axis_style(FAINT)
        .x_desc("virtual minutes")
        .y_desc("faults")
        .axis_desc_style(label())
        .label_style(label())
        .draw()?;
    let marks = report.marks.iter().map(|at| {
        let at = minutes(report, *at);
        PathElement::new([(at, 0.08), (at, 0.92)], FAULT.mix(0.45).stroke_width(1))
    });
    chart.draw_series(marks)?;
    let left = legend(area);
    area.draw(&PathElement::new([(left + 6, 12), (left + 6, 28)], FAULT.stroke_width(1)))?;
    area.draw(&Text::new("a fault", (left + 20, 13), label()))?;
    Ok(())
}

// A formatter is handed a reference.
#[expect(clippy::trivially_copy_pass_by_ref, reason = "the signature is the library's")]
fn whole(value: &f64) -> String {
    format!("{value:.0}")
}
