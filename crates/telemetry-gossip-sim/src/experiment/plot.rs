//! Draws figures of the experiments as SVG.

use std::error::Error;
use std::time::Duration;

use plotters::coord::ranged1d::{AsRangedCoord, ValueFormatter};
use plotters::prelude::*;
use thiserror::Error;

use super::incident::Incident;
use super::lifeguard::{Lifeguard, LifeguardRow, Variant};
use super::telemetry::Telemetry;

const SIZE: (u32, u32) = (640, 400);
const FONT: &str = "sans-serif";

/// A figure could not be drawn.
#[derive(Debug, Error)]
#[error("the figure cannot be drawn: {0}")]
pub struct PlotError(String);

impl PlotError {
    fn of(error: impl Error) -> Self {
        Self(error.to_string())
    }
}

fn color(variant: Variant) -> RGBColor {
    match variant {
        Variant::Swim => RGBColor(0x88, 0x88, 0x88),
        Variant::LhaProbe => RGBColor(0xd9, 0x8c, 0x1f),
        Variant::LhaSuspicion => RGBColor(0x2f, 0x9e, 0x6e),
        Variant::Buddy => RGBColor(0x9a, 0x5f, 0xb0),
        Variant::Lifeguard => RGBColor(0x1f, 0x6f, 0xc4),
        Variant::Default => RGBColor(0xc8, 0x2f, 0x2f),
    }
}

struct Curve {
    variant: Variant,
    points: Vec<(f64, f64)>,
}

/// Draws the share of failures that were detected over the time since they began.
///
/// # Errors
/// Fails if the figure cannot be drawn.
pub fn detection_times(result: &Lifeguard) -> Result<String, PlotError> {
    let shown = [Variant::Swim, Variant::Lifeguard, Variant::Default];
    let rows = result.rows.iter().filter(|row| shown.contains(&row.variant));
    let curves: Vec<Curve> =
        rows.map(|row| Curve { variant: row.variant, points: steps(row) }).collect();
    let last = curves.iter().flat_map(|curve| &curve.points).map(|&(x, _)| x).fold(1.0, f64::max);
    draw(
        "Failures detected by the first healthy member, %",
        "seconds since the failure",
        0.0..last,
        0.0..100.0,
        &curves,
    )
}

/// The points of a step function, with at most 100 steps for any number of failures.
fn steps(row: &LifeguardRow) -> Vec<(f64, f64)> {
    let (times, failures) = (row.first_detections(), row.detections.len().max(1));
    let every = times.len().div_ceil(100).max(1);
    let (mut points, mut before) = (vec![(0.0, 0.0)], 0.0);
    for (place, time) in times.iter().map(Duration::as_secs_f64).enumerate() {
        if (place + 1).is_multiple_of(every) || place + 1 == times.len() {
            let share = (place + 1) as f64 * 100.0 / failures as f64;
            points.extend([(time, before), (time, share)]);
            before = share;
        }
    }
    points
}

/// Draws the average number of false positives per run over the number of anomalous members. Where
/// there are none, the curve is at the bottom.
///
/// # Errors
/// Fails if the figure cannot be drawn.
pub fn false_positives(result: &Lifeguard) -> Result<String, PlotError> {
    let plan = &result.plan;
    let runs =
        (plan.blocked_ms.len() * plan.free_ms.len()).max(1) as f64 * f64::from(plan.repeats.max(1));
    let bottom = 0.1 / runs;
    let curve = |row: &LifeguardRow| {
        let point = |&(count, alarms): &(usize, super::Alarms)| {
            (count as f64, (alarms.everywhere as f64 / runs).max(bottom))
        };
        Curve { variant: row.variant, points: row.by_anomalous.iter().map(point).collect() }
    };
    let curves: Vec<Curve> = result.rows.iter().map(curve).collect();
    let points = || curves.iter().flat_map(|curve| &curve.points);
    let last = points().map(|&(x, _)| x).fold(1.0, f64::max);
    let most = points().map(|&(_, y)| y).fold(1.0, f64::max);
    let title = "False positives per run";
    draw(title, "anomalous members", 0.0..last, (bottom..most * 2.0).log_scale(), &curves)
}

/// Draws how many entries of the average view were wrong while the registry was down, and how many
/// of the view that the registry of old gave.
///
/// # Errors
/// Fails if the figure cannot be drawn.
pub fn views_during_incident(result: &Incident) -> Result<String, PlotError> {
    let minutes = |value: fn(&super::ViewSample) -> f64| {
        result.samples.iter().map(move |sample| (sample.at_s / 60.0, value(sample)))
    };
    let gossip: Vec<(f64, f64)> = minutes(|sample| sample.wrong).collect();
    let frozen: Vec<(f64, f64)> = minutes(|sample| sample.frozen).collect();
    let last = gossip.last().map_or(1.0, |point| point.0);
    let most = gossip.iter().chain(&frozen).map(|point| point.1).fold(1.0, f64::max) * 1.15;
    let curves = [("gossip", RED, gossip), ("the registry of old", BLUE, frozen)];
    let mut svg = String::new();
    {
        let area = SVGBackend::with_string(&mut svg, SIZE).into_drawing_area();
        area.fill(&WHITE).map_err(PlotError::of)?;
        let mut chart = ChartBuilder::on(&area)
            .caption("Wrong entries of a view while the registry is down", (FONT, 16))
            .margin(10)
            .x_label_area_size(40)
            .y_label_area_size(60)
            .build_cartesian_2d(0.0..last, 0.0..most)
            .map_err(PlotError::of)?;
        chart
            .configure_mesh()
            .disable_x_mesh()
            .x_desc("minutes since the registry went down")
            .max_light_lines(0)
            .draw()
            .map_err(PlotError::of)?;
        for (name, color, points) in curves {
            let style = color.stroke_width(2);
            chart
                .draw_series(LineSeries::new(points, style))
                .map_err(PlotError::of)?
                .label(name)
                .legend(move |(x, y)| PathElement::new([(x, y), (x + 20, y)], style));
        }
        chart
            .configure_series_labels()
            .position(SeriesLabelPosition::UpperLeft)
            .background_style(WHITE)
            .border_style(BLACK)
            .label_font((FONT, 12))
            .draw()
            .map_err(PlotError::of)?;
        area.present().map_err(PlotError::of)?;
    }
    Ok(svg)
}

/// Draws the cost of each way to disseminate telemetry over the lateness of its values, if every
/// member publishes once in `period_s`.
///
/// # Errors
/// Fails if the figure cannot be drawn.
pub fn telemetry_schemes(result: &Telemetry, period_s: u32) -> Result<String, PlotError> {
    let fewest = result.plan.members.iter().copied().min().unwrap_or(0);
    let ours = result.rows.iter().filter(|row| row.members == fewest && row.period_s == period_s);
    let ours = ours.map(|row| (format!("trees, {} loss", row.loss), row.late_s, row.ratio(), RED));
    let others = result.others.iter().filter(|row| row.period_s == period_s);
    let others = others.map(|row| (row.scheme.to_string(), row.late_s, row.ratio, BLUE));
    let points: Vec<(String, f64, f64, RGBColor)> = ours.chain(others).collect();
    let mut svg = String::new();
    {
        let area = SVGBackend::with_string(&mut svg, SIZE).into_drawing_area();
        area.fill(&WHITE).map_err(PlotError::of)?;
        let last = points.iter().map(|point| point.1).fold(1.0, f64::max) * 1.6;
        let most = points.iter().map(|point| point.2).fold(2.0, f64::max) * 1.5;
        let mut chart = ChartBuilder::on(&area)
            .caption(format!("{fewest} members, each publishes every {period_s} s"), (FONT, 16))
            .margin(10)
            .x_label_area_size(40)
            .y_label_area_size(60)
            .build_cartesian_2d(0.0..last, (1.0..most).log_scale())
            .map_err(PlotError::of)?;
        chart
            .configure_mesh()
            .disable_x_mesh()
            .x_desc("99th percentile of the age beyond the period, seconds")
            .y_desc("bytes received, times the floor")
            .max_light_lines(0)
            .draw()
            .map_err(PlotError::of)?;
        let dots = points
            .iter()
            .map(|&(_, late, ratio, color)| Circle::new((late, ratio), 4, color.filled()));
        chart.draw_series(dots).map_err(PlotError::of)?;
        let names = points.iter().map(|(name, late, ratio, _)| {
            Text::new(name.clone(), (*late + last / 80.0, *ratio * 1.04), (FONT, 12))
        });
        chart.draw_series(names).map_err(PlotError::of)?;
        area.present().map_err(PlotError::of)?;
    }
    Ok(svg)
}

fn draw<Y>(
    title: &str,
    about_x: &str,
    x: std::ops::Range<f64>,
    y: Y,
    curves: &[Curve],
) -> Result<String, PlotError>
where
    Y: AsRangedCoord<Value = f64>,
    Y::CoordDescType: ValueFormatter<f64>,
{
    let mut svg = String::new();
    {
        let area = SVGBackend::with_string(&mut svg, SIZE).into_drawing_area();
        area.fill(&WHITE).map_err(PlotError::of)?;
        let mut chart = ChartBuilder::on(&area)
            .caption(title, (FONT, 16))
            .margin(10)
            .x_label_area_size(40)
            .y_label_area_size(60)
            .build_cartesian_2d(x, y)
            .map_err(PlotError::of)?;
        chart
            .configure_mesh()
            .disable_x_mesh()
            .x_desc(about_x)
            .max_light_lines(0)
            .draw()
            .map_err(PlotError::of)?;
        for Curve { variant, points } in curves {
            let style = color(*variant).stroke_width(2);
            chart
                .draw_series(LineSeries::new(points.iter().copied(), style))
                .map_err(PlotError::of)?
                .label(variant.to_string())
                .legend(move |(x, y)| PathElement::new([(x, y), (x + 20, y)], style));
        }
        chart
            .configure_series_labels()
            .position(SeriesLabelPosition::LowerRight)
            .background_style(WHITE)
            .border_style(BLACK)
            .label_font((FONT, 12))
            .draw()
            .map_err(PlotError::of)?;
        area.present().map_err(PlotError::of)?;
    }
    Ok(svg)
}

#[cfg(test)]
mod tests {
    use super::super::{LifeguardPlan, lifeguard};
    use super::*;

    #[test]
    fn figures_show_every_curve_and_are_small() {
        let plan = LifeguardPlan::default()
            .members(8)
            .anomalous(vec![1, 2])
            .blocked_ms(vec![16_384])
            .free_ms(vec![64])
            .span_s(20);
        let result = lifeguard(&plan, |_| {});
        let (detection, alarms) =
            (detection_times(&result).unwrap(), false_positives(&result).unwrap());
        for variant in [Variant::Swim, Variant::Lifeguard, Variant::Default] {
            assert!(detection.contains(&variant.to_string()), "{variant}");
        }
        for variant in Variant::ALL {
            assert!(alarms.contains(&variant.to_string()), "{variant}");
        }
        for svg in [detection, alarms] {
            assert!(
                svg.starts_with("<svg") && svg.trim_end().ends_with("</svg>") && svg.len() < 40_000
            );
        }
    }
}
