//! Draws states and the ways between them as SVG, on a grid.

use std::fmt::Write;

const ROW: i32 = 96;
const WIDTH: i32 = 108;
const HEIGHT: i32 = 34;
const MARGIN: i32 = 16;

/// A state, in a row and in one column or several.
pub(crate) struct State {
    pub(crate) name: &'static str,
    pub(crate) row: i32,
    pub(crate) columns: (i32, i32),
    /// How far it is from one column to the next.
    pub(crate) pitch: i32,
    pub(crate) look: Look,
}

/// How a state is drawn.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Look {
    /// Something may follow.
    Open,
    /// Nothing follows.
    Final,
    /// Not a state, but all that stand inside.
    Frame,
}

/// A way from one state to another, by the states' places in the list.
#[derive(PartialEq, Eq)]
pub(crate) struct Way {
    pub(crate) from: usize,
    pub(crate) to: usize,
    pub(crate) label: String,
}

impl State {
    fn left(&self) -> i32 {
        MARGIN + self.columns.0 * self.pitch - self.inset()
    }

    fn right(&self) -> i32 {
        MARGIN + self.columns.1 * self.pitch + WIDTH + self.inset()
    }

    fn top(&self) -> i32 {
        MARGIN + self.row * ROW - self.inset()
    }

    fn bottom(&self) -> i32 {
        MARGIN + self.row * ROW + HEIGHT + self.inset()
    }

    fn middle(&self) -> (i32, i32) {
        (i32::midpoint(self.left(), self.right()), i32::midpoint(self.top(), self.bottom()))
    }

    fn inset(&self) -> i32 {
        if self.look == Look::Frame { 12 } else { 0 }
    }
}

/// The drawing. `title` is what it is read out as.
pub(crate) fn draw(title: &str, states: &[State], ways: &[Way]) -> String {
    let right = states.iter().map(State::right).max().unwrap_or(0) + MARGIN;
    let bottom = states.iter().map(State::bottom).max().unwrap_or(0) + MARGIN;
    let mut svg = format!(
        "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 {right} {bottom}\" role=\"img\" \
         font-family=\"ui-monospace, 'DejaVu Sans Mono', Menlo, Consolas, monospace\" font-size=\"13\" text-anchor=\"middle\">\n\
         <title>{title}</title>\n\
         <defs><marker id=\"tip\" viewBox=\"0 0 10 10\" refX=\"9\" refY=\"5\" markerWidth=\"7\" \
         markerHeight=\"7\" orient=\"auto\"><path d=\"M0 0 10 5 0 10z\" fill=\"#456\"/></marker></defs>\n\
         <rect width=\"{right}\" height=\"{bottom}\" rx=\"8\" fill=\"#fff\"/>\n"
    );
    for way in ways {
        let both = ways.iter().any(|other| other.from == way.to && other.to == way.from);
        draw_way(&mut svg, &states[way.from], &states[way.to], both, &way.label);
    }
    for state in states {
        draw_state(&mut svg, state);
    }
    svg + "</svg>\n"
}

fn draw_state(svg: &mut String, state: &State) {
    let (fill, line) = match state.look {
        Look::Open => ("#eef4fb", "stroke=\"#456\""),
        Look::Final => ("#e7f3ea", "stroke=\"#456\" stroke-width=\"2.5\""),
        Look::Frame => ("none", "stroke=\"#89a\" stroke-dasharray=\"5 4\""),
    };
    let (x, y) = (state.left(), state.top());
    let (width, height) = (state.right() - x, state.bottom() - y);
    let _ = writeln!(
        svg,
        "<rect x=\"{x}\" y=\"{y}\" width=\"{width}\" height=\"{height}\" rx=\"6\" fill=\"{fill}\" {line}/>"
    );
    if state.look != Look::Frame {
        let (x, y) = state.middle();
        let _ = writeln!(svg, "<text x=\"{x}\" y=\"{}\">{}</text>", y + 4, state.name);
    }
}

/// Ways within a row go straight to a neighbour, and over the heads of others; ways between rows
/// go straight, downright if they can.
fn draw_way(svg: &mut String, from: &State, to: &State, both: bool, label: &str) {
    let (path, (x, y)) =
        if from.row == to.row { within_row(from, to, both) } else { between_rows(from, to) };
    let _ = writeln!(
        svg,
        "<path d=\"{path}\" fill=\"none\" stroke=\"#456\" marker-end=\"url(#tip)\"/>"
    );
    if !label.is_empty() {
        let _ = writeln!(
            svg,
            "<text x=\"{x}\" y=\"{y}\" font-size=\"11\" fill=\"#345\" stroke=\"#fff\" \
             stroke-width=\"4\" paint-order=\"stroke\">{label}</text>"
        );
    }
}

fn within_row(from: &State, to: &State, both: bool) -> (String, (i32, i32)) {
    let forward = from.columns.0 < to.columns.0;
    let (start, end) = if forward { (from.right(), to.left()) } else { (from.left(), to.right()) };
    let middle = i32::midpoint(start, end);
    if (from.columns.0 - to.columns.0).abs() == 1 {
        let aside = match (both, forward) {
            (false, _) => 0,
            (true, true) => -8,
            (true, false) => 8,
        };
        let y = from.middle().1 + aside;
        let label = if aside > 0 { y + 14 } else { y - 6 };
        return (format!("M{start} {y}H{end}"), (middle, label));
    }
    let (start, end) = (from.middle().0, to.middle().0);
    let step = if forward { 24 } else { -24 };
    let (start, end) = (start + step, end - step);
    let (top, peak) = (from.top(), from.top() - 56);
    let path = format!("M{start} {top}C{start} {peak} {end} {peak} {end} {top}");
    (path, (i32::midpoint(start, end), top - 46))
}

fn between_rows(from: &State, to: &State) -> (String, (i32, i32)) {
    let down = from.row < to.row;
    let (start_y, end_y) = if down { (from.bottom(), to.top()) } else { (from.top(), to.bottom()) };
    let narrow =
        if from.columns.1 - from.columns.0 < to.columns.1 - to.columns.0 { from } else { to };
    let straight = from.columns.0 <= to.columns.1 && to.columns.0 <= from.columns.1;
    let (start, end) = if straight {
        (narrow.middle().0, narrow.middle().0)
    } else {
        (from.middle().0, to.middle().0)
    };
    let path = format!("M{start} {start_y}L{end} {end_y}");
    (path, (i32::midpoint(start, end), i32::midpoint(start_y, end_y) + 4))
}
