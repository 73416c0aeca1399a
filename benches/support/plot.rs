//! SVG plots of the recorded measurements.

use std::{error::Error, path::Path};

use plotters::{
    coord::Shift,
    prelude::{
        BLACK, BindKeyPoints, ChartBuilder, Circle, Color, DrawingArea, IntoDrawingArea,
        IntoLogRange, LineSeries, RGBColor, Rectangle, SVGBackend, SeriesLabelPosition, WHITE,
    },
};

type Result = std::result::Result<(), Box<dyn Error>>;
type Canvas<'a> = DrawingArea<SVGBackend<'a>, Shift>;

const SIZE: (u32, u32) = (760, 420);

/// A named series of values, one for each category; `None` where nothing was measured.
pub struct Series {
    pub name: &'static str,
    pub values: Vec<Option<f64>>,
}

/// Titles of a plot, and the categories of its horizontal axis.
pub struct Axes<'a> {
    pub title: &'a str,
    pub x: &'a str,
    pub y: &'a str,
    pub categories: &'a [&'a str],
}

/// Distance of two categories on the horizontal axis. A whole number, since plotters formats only
/// those when the marks of an axis are given.
const STEP: i32 = 600;

/// Colours that stay apart for colour-blind readers (Okabe and Ito).
const COLOURS: [RGBColor; 6] = [
    RGBColor(0, 114, 178),
    RGBColor(213, 94, 0),
    RGBColor(0, 158, 115),
    RGBColor(204, 121, 167),
    RGBColor(230, 159, 0),
    RGBColor(86, 180, 233),
];

fn canvas(path: &Path) -> std::result::Result<Canvas<'_>, Box<dyn Error>> {
    let area = SVGBackend::new(path, SIZE).into_drawing_area();
    area.fill(&WHITE)?;
    Ok(area)
}

fn bounds(series: &[Series]) -> Option<(f64, f64)> {
    let values = || series.iter().flat_map(|series| &series.values).flatten();
    let low = values().copied().min_by(f64::total_cmp)?;
    let high = values().copied().max_by(f64::total_cmp)?;
    Some((low, high))
}

/// Draws one line a series, on a logarithmic vertical axis. Draws nothing without values.
pub fn lines(path: &Path, axes: &Axes<'_>, series: &[Series]) -> Result {
    let Some((low, high)) = bounds(series) else {
        return Ok(());
    };
    let area = canvas(path)?;
    let last = position(axes.categories.len().saturating_sub(1));
    let mut chart = ChartBuilder::on(&area)
        .caption(axes.title, ("sans-serif", 18))
        .margin(14)
        .x_label_area_size(44)
        .y_label_area_size(56)
        .build_cartesian_2d(
            (-STEP / 6..last + STEP / 6).with_key_points(positions(axes)),
            (low * 0.8..high * 1.25)
                .log_scale()
                .with_key_points(logarithmic_marks(low * 0.8, high * 1.25)),
        )?;
    chart
        .configure_mesh()
        .disable_x_mesh()
        .x_labels(axes.categories.len())
        .max_light_lines(0)
        .x_desc(axes.x)
        .y_desc(axes.y)
        .x_label_formatter(&|x| category(axes.categories, *x))
        .y_label_formatter(&|y| format!("{y:.0}"))
        .draw()?;
    for (series, colour) in series.iter().zip(COLOURS) {
        let points: Vec<_> = series
            .values
            .iter()
            .enumerate()
            .filter_map(|(at, value)| Some((position(at), (*value)?)))
            .collect();
        chart
            .draw_series(LineSeries::new(points.clone(), colour.stroke_width(2)))?
            .label(series.name)
            .legend(move |(x, y)| Rectangle::new([(x, y - 4), (x + 12, y + 4)], colour.filled()));
        chart.draw_series(
            points
                .into_iter()
                .map(|point| Circle::new(point, 4, colour.filled())),
        )?;
    }
    chart
        .configure_series_labels()
        .position(SeriesLabelPosition::UpperLeft)
        .background_style(WHITE.mix(0.85))
        .border_style(BLACK.mix(0.3))
        .draw()?;
    area.present()?;
    Ok(())
}

/// Draws one group of bars a category. Draws nothing without values.
pub fn bars(path: &Path, axes: &Axes<'_>, series: &[Series]) -> Result {
    let Some((_, high)) = bounds(series) else {
        return Ok(());
    };
    let area = canvas(path)?;
    let mut chart = ChartBuilder::on(&area)
        .caption(axes.title, ("sans-serif", 18))
        .margin(14)
        .x_label_area_size(44)
        .y_label_area_size(56)
        .build_cartesian_2d(
            (-STEP / 2..position(axes.categories.len()) - STEP / 2)
                .with_key_points(positions(axes)),
            0.0..high * 1.2,
        )?;
    chart
        .configure_mesh()
        .disable_x_mesh()
        .x_labels(axes.categories.len())
        .max_light_lines(0)
        .y_label_formatter(&|y| format!("{y:.0}"))
        .x_desc(axes.x)
        .y_desc(axes.y)
        .x_label_formatter(&|x| category(axes.categories, *x))
        .draw()?;
    let width = STEP * 4 / 5 / series.len() as i32;
    for (number, (series, colour)) in series.iter().zip(COLOURS).enumerate() {
        let left = number as i32 * width - STEP * 2 / 5;
        let bars = series.values.iter().enumerate().filter_map(|(at, value)| {
            let left = position(at) + left;
            let corners = [(left, 0.0), (left + width * 19 / 20, (*value)?)];
            Some(Rectangle::new(corners, colour.filled()))
        });
        chart
            .draw_series(bars)?
            .label(series.name)
            .legend(move |(x, y)| Rectangle::new([(x, y - 4), (x + 12, y + 4)], colour.filled()));
    }
    chart
        .configure_series_labels()
        .position(SeriesLabelPosition::UpperLeft)
        .background_style(WHITE.mix(0.85))
        .border_style(BLACK.mix(0.3))
        .draw()?;
    area.present()?;
    Ok(())
}

/// Returns the position of a category on the horizontal axis.
fn position(category: usize) -> i32 {
    category as i32 * STEP
}

fn positions(axes: &Axes<'_>) -> Vec<i32> {
    (0..axes.categories.len()).map(position).collect()
}

/// Returns the marks of a logarithmic axis: 1, 2 and 5 of each decade between the bounds.
fn logarithmic_marks(low: f64, high: f64) -> Vec<f64> {
    (-3..9)
        .flat_map(|decade| [1.0, 2.0, 5.0].map(|mark| mark * 10_f64.powi(decade)))
        .filter(|mark| (low..=high).contains(mark))
        .collect()
}

/// Returns the label of the category at `x`.
fn category(categories: &[&str], x: i32) -> String {
    usize::try_from(x / STEP)
        .ok()
        .and_then(|at| categories.get(at))
        .map_or_else(String::new, |&label| label.to_owned())
}
