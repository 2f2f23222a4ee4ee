//! Plots of figures.

use std::path::Path;

use plotters::prelude::*;

/// One line of a plot.
pub(crate) struct Line {
    pub(crate) name: String,
    pub(crate) points: Vec<(f64, f64)>,
}

/// Draws lines over a logarithmic x axis, with a y axis from zero.
pub(crate) fn draw(file: &Path, title: &str, varied: &str, lines: &[Line]) {
    let points = || lines.iter().flat_map(|line| &line.points);
    let least = points().map(|(x, _)| x.max(1.0)).fold(f64::MAX, f64::min);
    let most = points().map(|(x, _)| *x).fold(1.0, f64::max);
    let highest = points().map(|(_, y)| *y).fold(0.0, f64::max);
    let area = SVGBackend::new(file, (800, 480)).into_drawing_area();
    let drawn = || -> Result<(), Box<dyn std::error::Error>> {
        area.fill(&WHITE)?;
        let mut chart = ChartBuilder::on(&area)
            .caption(title, ("sans-serif", 22))
            .margin(16)
            .x_label_area_size(44)
            .y_label_area_size(64)
            .build_cartesian_2d((least..most * 1.1).log_scale(), 0.0..highest * 1.15)?;
        chart.configure_mesh().x_desc(varied).light_line_style(TRANSPARENT).draw()?;
        for (i, line) in lines.iter().enumerate() {
            let color = Palette99::pick(i).to_rgba();
            let points = || line.points.iter().map(|(x, y)| (x.max(1.0), *y));
            chart
                .draw_series(LineSeries::new(points(), color.stroke_width(2)))?
                .label(&line.name)
                .legend(move |(x, y)| {
                    PathElement::new([(x, y), (x + 16, y)], color.stroke_width(2))
                });
            chart.draw_series(points().map(|point| Circle::new(point, 3, color.filled())))?;
        }
        chart
            .configure_series_labels()
            .position(SeriesLabelPosition::UpperLeft)
            .border_style(BLACK)
            .background_style(WHITE)
            .draw()?;
        area.present()?;
        Ok(())
    };
    drawn().unwrap_or_else(|error| panic!("{}: {error}", file.display()));
}
