//! Lines over two axes, as a picture for a page.

use std::fmt::Write as _;

use crate::suite::escape::Escaped;

/// The picture's size and what is left of it around the lines, in the units of its view box.
const WIDTH: f64 = 640.0;
const HEIGHT: f64 = 300.0;
const LEFT: f64 = 72.0;
const RIGHT: f64 = 36.0;
const TOP: f64 = 12.0;
const BOTTOM: f64 = 44.0;

/// One direction of a picture.
#[derive(Clone, Debug)]
pub(super) struct Axis {
    pub(super) label: &'static str,
    pub(super) from: f64,
    pub(super) to: f64,
    /// Where there is a mark, and what stands there.
    pub(super) marks: Vec<(f64, String)>,
}

/// Points that belong together, each as far along both axes as it is.
#[derive(Clone, Debug)]
pub(super) struct Line {
    pub(super) name: &'static str,
    pub(super) points: Vec<(f64, f64)>,
}

impl Axis {
    /// From zero to a round number that is not below `greatest`, with four or five marks.
    pub(super) fn linear(label: &'static str, greatest: f64, text: impl Fn(f64) -> String) -> Self {
        let step = round_step(greatest);
        let steps = (greatest / step).ceil().max(1.0);
        let mut marks = vec![(0.0, text(0.0))];
        while let Some((last, _)) = marks.last().filter(|(last, _)| last + step / 2.0 < steps * step) {
            let next = last + step;
            marks.push((next, text(next)));
        }
        Self { label, from: 0.0, to: steps * step, marks }
    }

    /// How far along it a value is, from 0 to 1.
    fn share(&self, value: f64) -> f64 {
        ((value - self.from) / (self.to - self.from).max(f64::MIN_POSITIVE)).clamp(0.0, 1.0)
    }
}

/// A fifth to a quarter of a number, made round.
fn round_step(greatest: f64) -> f64 {
    let rough = (greatest / 5.0).max(f64::MIN_POSITIVE);
    let magnitude = 10_f64.powf(rough.log10().floor());
    [1.0, 2.0, 2.5, 5.0, 10.0].into_iter().map(|digit| digit * magnitude).find(|step| *step >= rough).unwrap_or(rough)
}

/// The picture as SVG with a legend. Lines are told apart by dashes too, not by colour alone.
pub(super) fn picture(title: &str, x: &Axis, y: &Axis, lines: &[Line]) -> String {
    let at_x = |value| LEFT + x.share(value) * (WIDTH - LEFT - RIGHT);
    let at_y = |value| HEIGHT - BOTTOM - y.share(value) * (HEIGHT - TOP - BOTTOM);
    let mut svg = format!(
        "<figure class=\"card\"><figcaption>{}</figcaption>\n<svg viewBox=\"0 0 {WIDTH} {HEIGHT}\" role=\"img\" aria-label=\"{}\">\n",
        Escaped(title),
        Escaped(title)
    );
    let (floor, end) = (HEIGHT - BOTTOM, WIDTH - RIGHT);
    for (value, text) in &y.marks {
        let at = at_y(*value);
        let _ = writeln!(
            svg,
            "<line class=\"grid\" x1=\"{LEFT}\" y1=\"{at:.1}\" x2=\"{end}\" y2=\"{at:.1}\"/>\
             <text class=\"y\" x=\"{:.1}\" y=\"{:.1}\">{}</text>",
            LEFT - 8.0,
            at + 4.0,
            Escaped(text)
        );
    }
    for (value, text) in &x.marks {
        let at = at_x(*value);
        let _ = writeln!(
            svg,
            "<line class=\"grid\" x1=\"{at:.1}\" y1=\"{TOP}\" x2=\"{at:.1}\" y2=\"{floor}\"/>\
             <text class=\"x\" x=\"{at:.1}\" y=\"{:.1}\">{}</text>",
            floor + 17.0,
            Escaped(text)
        );
    }
    let _ = writeln!(
        svg,
        "<text class=\"x soft\" x=\"{:.1}\" y=\"{:.1}\">{}</text>\
         <text class=\"x soft\" transform=\"translate(14 {:.1}) rotate(-90)\">{}</text>",
        (LEFT + end) / 2.0,
        HEIGHT - 8.0,
        Escaped(x.label),
        (TOP + floor) / 2.0,
        Escaped(y.label)
    );
    for (number, line) in lines.iter().enumerate() {
        let points: Vec<String> =
            line.points.iter().map(|(across, up)| format!("{:.1},{:.1}", at_x(*across), at_y(*up))).collect();
        let _ = writeln!(svg, "<polyline class=\"line l{number}\" points=\"{}\"/>", points.join(" "));
    }
    svg.push_str("</svg>\n<p class=\"legend\">");
    for (number, line) in lines.iter().enumerate() {
        let _ = write!(
            svg,
            "<span><svg class=\"key\" viewBox=\"0 0 28 8\"><line class=\"line l{number}\" x1=\"0\" y1=\"4\" x2=\"28\" y2=\"4\"/></svg>{}</span>",
            Escaped(line.name)
        );
    }
    svg.push_str("</p></figure>\n");
    svg
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_axis_ends_at_a_round_number() {
        let ends = |greatest| Axis::linear("", greatest, |value| value.to_string()).to;
        assert_eq!([ends(0.9), ends(7.0), ends(1_234.0), ends(99_999.0)], [1.0, 8.0, 1_250.0, 100_000.0]);
        let marks = Axis::linear("", 7.0, |value| value.to_string()).marks;
        let texts: Vec<_> = marks.iter().map(|(_, text)| text.as_str()).collect();
        assert_eq!(texts, ["0", "2", "4", "6", "8"]);
    }

    #[test]
    fn lines_stay_within_the_picture() {
        let x = Axis::linear("time", 10.0, |value| value.to_string());
        let y = Axis::linear("rate", 10.0, |value| value.to_string());
        let svg = picture("<it>", &x, &y, &[Line { name: "a", points: vec![(0.0, 0.0), (10.0, 10.0), (20.0, -5.0)] }]);
        assert!(svg.contains("points=\"72.0,256.0 604.0,12.0 604.0,256.0\""), "{svg}");
        assert!(svg.contains("&lt;it&gt;"));
    }
}
