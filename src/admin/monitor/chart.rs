//! Lines over time, drawn as SVG.
//!
//! A chart uses no script, and no style except the classes of the style sheet. It has a text description for screen
//! readers. The browser stretches the drawing. The labels of the axes are text of the page, so that they keep their
//! size. A value that is not a finite number is a gap.

use std::fmt::{self, Write};

use crate::telemetry::history::float;

/// The size of the drawing in its own units; the page stretches it. The highest value is at the top, 0 at the bottom.
const WIDTH: f64 = 600.0;
const HEIGHT: f64 = 200.0;

/// A chart of lines over time.
#[derive(Clone, Debug)]
pub struct Chart {
    /// Identifies the chart on its page; letters only.
    pub id: &'static str,
    /// The name.
    pub title: &'static str,
    /// The unit of the values.
    pub unit: Unit,
    /// The lines, the most important last. All have the same number of values.
    pub lines: Vec<Line>,
    /// The period, in minutes.
    pub minutes: u64,
}

/// One line.
#[derive(Clone, Debug)]
pub struct Line {
    /// The name.
    pub name: &'static str,
    /// The class in the style sheet.
    pub look: &'static str,
    /// Whether the space below the line is filled.
    pub filled: bool,
    /// The values, oldest first; `None` is a gap.
    pub values: Vec<Option<f64>>,
}

/// The unit of values.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Unit {
    /// Events per second.
    PerSecond,
    /// A share, from 0 to 1.
    Share,
    /// A duration in seconds.
    Seconds,
    /// A number.
    Count,
}

impl Chart {
    /// Returns the drawing as SVG.
    pub fn svg(&self) -> String {
        let mut svg = String::with_capacity(8 << 10);
        // Writing into a String cannot fail.
        let _ = self.draw(&mut svg);
        svg
    }

    /// Returns, for each line, the class, the name, the formatted newest value and, if there is one, the formatted
    /// highest value.
    pub fn legend(&self) -> Vec<(&'static str, &'static str, String, Option<String>)> {
        let peak = |line: &Line| bounds(&line.values).map(|(_, most)| self.unit.words(most));
        self.lines.iter().map(|line| (line.look, line.name, self.newest(line), peak(line))).collect()
    }

    /// Returns the labels of the time axis from left to right, at equal distances.
    pub fn times(&self) -> Vec<String> {
        let (minutes, parts) = (self.minutes, self.parts());
        let ago = |part: u64| format!("−{}", minutes.saturating_sub(part * minutes / parts));
        let rest = (1..parts).map(ago).chain(["now".to_owned()]);
        [format!("−{minutes} min")].into_iter().chain(rest).collect()
    }

    /// The number of parts, of whole minutes, into which the time axis is divided.
    fn parts(&self) -> u64 {
        (3..=5).rev().find(|parts| self.minutes.is_multiple_of(*parts)).unwrap_or(1)
    }

    /// Returns the labels of the horizontal grid lines from top to bottom.
    pub fn scale(&self) -> [String; 3] {
        let top = self.top();
        [self.unit.words(top), self.unit.words(top / 2.0), "0".to_owned()]
    }

    /// Returns the number of steps between the first and the last point.
    pub fn steps(&self) -> usize {
        self.lines.first().map_or(0, |line| line.values.len()).saturating_sub(1)
    }

    /// Returns all values for a script, which shows those of one point: names and formatted values of a line are
    /// separated by `|`, lines by `;`.
    pub fn values(&self) -> String {
        let words = |value: &Option<f64>| match value.filter(|value| value.is_finite()) {
            Some(value) => self.unit.words(value),
            None => "–".to_owned(),
        };
        let line = |line: &Line| {
            let values = [line.name.to_owned()].into_iter().chain(line.values.iter().map(words));
            values.collect::<Vec<_>>().join("|")
        };
        self.lines.iter().map(line).collect::<Vec<_>>().join(";")
    }

    /// The value of the upper edge.
    fn top(&self) -> f64 {
        self.unit.top(bounds(self.lines.iter().flat_map(|line| &line.values)).map_or(0.0, |(_, most)| most))
    }

    fn newest(&self, line: &Line) -> String {
        // If the newest point has no value, the legend shows a dash and not an older value.
        let newest = line.values.last().copied().flatten().filter(|value| value.is_finite());
        newest.map_or("–".to_owned(), |value| self.unit.words(value))
    }

    fn draw(&self, svg: &mut String) -> fmt::Result {
        let id = self.id;
        write!(
            svg,
            "<svg class=\"plot\" viewBox=\"0 0 {WIDTH} {HEIGHT}\" preserveAspectRatio=\"none\" role=\"img\" \
             aria-labelledby=\"{id}-title {id}-desc\">"
        )?;
        write!(svg, "<title id=\"{id}-title\">{}</title>", Escaped(self.title))?;
        write!(svg, "<desc id=\"{id}-desc\">In the last {} minutes.", self.minutes)?;
        for line in &self.lines {
            write!(svg, " {}: now {}", Escaped(line.name), Escaped(&self.newest(line)))?;
            if let Some((least, most)) = bounds(&line.values) {
                let (least, most) = (self.unit.words(least), self.unit.words(most));
                write!(svg, ", between {} and {}", Escaped(&least), Escaped(&most))?;
            }
            svg.push('.');
        }
        svg.push_str("</desc>");
        for y in [0.0, HEIGHT / 2.0, HEIGHT] {
            write!(svg, "<path class=\"grid\" d=\"M0 {y}H{WIDTH}\"/>")?;
        }
        let parts = self.parts();
        for part in 1..parts {
            let x = WIDTH * float(part) / float(parts);
            write!(svg, "<path class=\"grid\" d=\"M{x} 0L{x} {HEIGHT}\"/>")?;
        }
        let top = self.top();
        for line in &self.lines {
            draw_line(svg, line, top)?;
        }
        svg.push_str("</svg>");
        Ok(())
    }
}

/// Draws each piece between two gaps: a path, or a dot if the piece is a single value.
fn draw_line(svg: &mut String, line: &Line, top: f64) -> fmt::Result {
    let steps = u64::try_from(line.values.len()).unwrap_or(u64::MAX).saturating_sub(1).max(1);
    let step = WIDTH / float(steps);
    let (mut piece, mut x) = (Vec::new(), 0.0);
    for value in line.values.iter().copied().chain([None]) {
        match value.filter(|value| value.is_finite()) {
            Some(value) => piece.push((x, HEIGHT - (value / top).clamp(0.0, 1.0) * HEIGHT)),
            None => draw_piece(svg, line, &std::mem::take(&mut piece))?,
        }
        x += step;
    }
    Ok(())
}

fn draw_piece(svg: &mut String, line: &Line, piece: &[(f64, f64)]) -> fmt::Result {
    let look = line.look;
    let (first, last) = match piece {
        [] => return Ok(()),
        // A line of length zero has round ends, so it stays a dot even if the drawing is stretched.
        [(x, y)] => return write!(svg, "<path class=\"dot {look}\" d=\"M{x:.1} {y:.1}H{x:.1}\"/>"),
        [(first, _), .., (last, _)] => (first, last),
    };
    let mut path = String::with_capacity(piece.len() * 12);
    for (index, (x, y)) in piece.iter().enumerate() {
        write!(path, "{}{x:.1} {y:.1}", if index == 0 { "M" } else { "L" })?;
    }
    if line.filled {
        write!(svg, "<path class=\"area {look}\" d=\"{path}L{last:.1} {HEIGHT}L{first:.1} {HEIGHT}Z\"/>")?;
    }
    write!(svg, "<path class=\"line {look}\" d=\"{path}\"/>")
}

/// The lowest and the highest value; `None` if there is none.
fn bounds<'a>(values: impl IntoIterator<Item = &'a Option<f64>>) -> Option<(f64, f64)> {
    let values = values.into_iter().flatten().copied().filter(|value| value.is_finite());
    values.fold(None, |bounds, value| {
        let (least, most) = bounds.unwrap_or((value, value));
        Some((least.min(value), most.max(value)))
    })
}

impl Unit {
    /// Formats a value: `12.5/s`, `0.4%`, `3.2 ms`.
    pub fn words(self, value: f64) -> String {
        match self {
            Unit::PerSecond => format!("{}/s", short(value)),
            Unit::Share => format!("{}%", short(value.min(1.0) * 100.0)),
            Unit::Seconds if value >= 1.0 => format!("{} s", short(value)),
            Unit::Seconds if value >= 0.001 => format!("{} ms", short(value * 1e3)),
            Unit::Seconds => format!("{} µs", short(value * 1e6)),
            Unit::Count => short(value),
        }
    }

    /// The upper end of an axis whose highest value is this one: a round number that is not below it.
    fn top(self, highest: f64) -> f64 {
        let least = match self {
            Unit::PerSecond => 1.0,
            Unit::Share => 0.01,
            Unit::Seconds => 0.001,
            Unit::Count => 4.0,
        };
        let highest = highest.max(least);
        let base = 10_f64.powf(highest.log10().floor());
        let round =
            [1.0, 2.0, 3.0, 4.0, 6.0, 8.0, 10.0].map(|factor| factor * base).into_iter().find(|top| *top >= highest);
        let top = round.filter(|top| top.is_finite()).unwrap_or(highest);
        if self == Unit::Share { top.min(1.0) } else { top }
    }
}

/// Formats a number with about three digits: `0.25`, `12.5`, `980`, `1.2k`, `35M`.
fn short(value: f64) -> String {
    let units = [(1e12, "T"), (1e9, "G"), (1e6, "M"), (1e3, "k")];
    // From this value on, rounding would give 1000 of the smaller unit.
    let (value, unit) =
        units.iter().find(|(size, _)| value >= size * 0.9995).map_or((value, ""), |(size, unit)| (value / size, *unit));
    let text = match value {
        _ if value >= 999.5 => return format!("{value:.0e}{unit}"),
        _ if value >= 99.95 => format!("{value:.0}"),
        _ if value >= 9.995 => format!("{value:.1}"),
        _ => format!("{value:.2}"),
    };
    let text = if text.contains('.') { text.trim_end_matches('0').trim_end_matches('.') } else { &text };
    if text == "0" && value > 0.0 { format!("<0.01{unit}") } else { format!("{text}{unit}") }
}

/// Text in the drawing, escaped for SVG.
struct Escaped<'a>(&'a str);

impl fmt::Display for Escaped<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for char in self.0.chars() {
            match char {
                '&' => f.write_str("&amp;")?,
                '<' => f.write_str("&lt;")?,
                '>' => f.write_str("&gt;")?,
                '"' => f.write_str("&quot;")?,
                _ => f.write_char(char)?,
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(unit: Unit, values: &[Option<f64>]) -> Chart {
        let line = Line { name: "all", look: "c1", filled: true, values: values.to_vec() };
        Chart { id: "rate", title: "Requests", unit, lines: vec![line], minutes: 5 }
    }

    fn chart(unit: Unit, values: &[Option<f64>]) -> String {
        of(unit, values).svg()
    }

    /// All coordinates in attributes; each must be inside the drawing.
    fn places(svg: &str) -> Vec<f64> {
        let texts = svg.split(" d=\"").skip(1).filter_map(|rest| rest.split('"').next());
        let numbers =
            texts.flat_map(|text| text.split(|char: char| "MLHZ ".contains(char)).filter(|part| !part.is_empty()));
        numbers.map(|number| number.parse().unwrap()).collect()
    }

    #[test]
    fn every_value_is_drawn_within_the_drawing() {
        let odd = [
            f64::NAN,
            f64::INFINITY,
            f64::NEG_INFINITY,
            -1.0,
            -0.0,
            0.0,
            5e-324,
            1e-9,
            0.999,
            1.0,
            1e15,
            1e300,
            f64::MAX,
        ];
        for unit in [Unit::PerSecond, Unit::Share, Unit::Seconds, Unit::Count] {
            for first in odd {
                for second in odd {
                    let svg = chart(unit, &[Some(first), Some(second), None, Some(first)]);
                    for place in places(&svg) {
                        assert!((0.0..=600.0).contains(&place), "{first} {second}: {svg}");
                    }
                    let scale = of(unit, &[Some(first), Some(second)]).scale().concat();
                    let lower = (svg + &scale).to_lowercase();
                    assert!(!lower.contains("nan") && !lower.contains("inf"), "{lower}");
                }
            }
        }
    }

    #[test]
    fn no_values_make_a_drawing_without_lines() {
        for values in [&[][..], &[None, None]] {
            let svg = chart(Unit::PerSecond, values);
            assert!(
                !svg.contains("class=\"line") && !svg.contains("class=\"dot") && svg.contains("all: now –."),
                "{svg}"
            );
        }
    }

    #[test]
    fn a_value_alone_is_a_dot_and_a_gap_parts_the_line() {
        let svg = chart(Unit::PerSecond, &[Some(1.0)]);
        assert_eq!((svg.matches("class=\"dot").count(), svg.matches("class=\"line").count()), (1, 0));
        let svg = chart(
            Unit::PerSecond,
            &[Some(1.0), Some(2.0), None, Some(f64::NAN), Some(3.0), Some(4.0), None, Some(5.0)],
        );
        assert_eq!((svg.matches("class=\"dot").count(), svg.matches("class=\"line").count()), (1, 2));
    }

    #[test]
    fn the_highest_value_reaches_a_round_top_and_nothing_lies_on_the_ground() {
        let chart = of(Unit::PerSecond, &[Some(0.0), Some(20.0), Some(10.0)]);
        assert!(chart.svg().contains("d=\"M0.0 200.0L300.0 0.0L600.0 100.0\""), "{}", chart.svg());
        assert_eq!(chart.scale(), ["20/s", "10/s", "0"]);
        for (highest, top) in
            [(0.0, 1.0), (1.1, 2.0), (2.1, 3.0), (4.5, 6.0), (99.0, 100.0), (100.0, 100.0), (101.0, 200.0)]
        {
            assert_eq!(Unit::PerSecond.top(highest), top);
        }
        assert_eq!((Unit::Share.top(0.97), Unit::Share.top(0.0)), (1.0, 0.01));
    }

    #[test]
    fn its_time_labels_are_whole_minutes_and_its_legend_shows_a_dash_for_a_missing_value() {
        let chart = |minutes| Chart { minutes, ..of(Unit::PerSecond, &[Some(3.0), Some(1.0), None]) };
        assert_eq!(chart(5).times(), ["−5 min", "−4", "−3", "−2", "−1", "now"]);
        assert_eq!(chart(15).times(), ["−15 min", "−12", "−9", "−6", "−3", "now"]);
        assert_eq!(chart(60).times(), ["−60 min", "−48", "−36", "−24", "−12", "now"]);
        assert_eq!(chart(7).times(), ["−7 min", "now"]);
        assert_eq!(chart(5).legend(), [("c1", "all", "–".to_owned(), Some("3/s".to_owned()))]);
        assert_eq!(of(Unit::PerSecond, &[None]).legend()[0].3, None);
    }

    #[test]
    fn a_chart_has_a_text_description() {
        let svg = chart(Unit::Seconds, &[Some(0.25), Some(0.0031), Some(0.0005)]);
        assert!(svg.contains("role=\"img\" aria-labelledby=\"rate-title rate-desc\""));
        assert!(svg.contains("<title id=\"rate-title\">Requests</title>"));
        assert!(svg.contains(">In the last 5 minutes. all: now 500 µs, between 500 µs and 250 ms.</desc>"), "{svg}");
    }

    #[test]
    fn numbers_are_short() {
        for (number, text) in [
            (0.0, "0"),
            (0.001, "<0.01"),
            (0.25, "0.25"),
            (1.0, "1"),
            (9.99, "9.99"),
            (12.34, "12.3"),
            (99.99, "100"),
            (420.0, "420"),
            (999.9, "1k"),
            (1_234.0, "1.23k"),
            (35e6, "35M"),
            (999.9e9, "1T"),
            (1e18, "1e6T"),
        ] {
            assert_eq!(short(number), text);
        }
    }
}
