//! The plot: one bar a scenario, as SVG without a script, readable on white and on black.

use std::fmt::Write as _;

/// One bar.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Bar {
    /// What was compared, in a few words.
    pub(crate) label: String,
    /// How many times better.
    pub(crate) ratio: f64,
    /// Than whom, in a few words.
    pub(crate) note: String,
}

const WIDTH: f64 = 720.0;
const ROW: f64 = 34.0;
const TOP: f64 = 46.0;
const LABEL: f64 = 230.0;
const BAR_MAX: f64 = 300.0;

/// Draws the bars, top to bottom. The line marks 1: as good as the best other.
pub(crate) fn svg(title: &str, machine: &str, bars: &[Bar]) -> String {
    let most = bars.iter().map(|bar| bar.ratio).fold(1.0, f64::max);
    let height = TOP + ROW * bars.len() as f64 + 28.0;
    let mut svg = format!(
        r#"<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {height}" width="{WIDTH}" height="{height}" role="img" aria-label="{title}">
<style>
text {{ font: 13px system-ui, sans-serif; fill: #1f2328 }}
.title {{ font-size: 15px; font-weight: 600 }}
.quiet {{ fill: #59636e; font-size: 12px }}
.bar {{ fill: #0969da }}
.one {{ stroke: #59636e; stroke-dasharray: 3 3 }}
@media (prefers-color-scheme: dark) {{
text {{ fill: #f0f6fc }}
.quiet {{ fill: #9198a1 }}
.bar {{ fill: #4493f8 }}
.one {{ stroke: #9198a1 }}
}}
</style>
<text class="title" x="12" y="24">{title}</text>
"#,
        title = escaped(title)
    );
    for (row, bar) in bars.iter().enumerate() {
        let y = TOP + ROW * row as f64;
        let length = (bar.ratio / most * BAR_MAX).max(1.0);
        let (middle, end) = (y + 19.0, LABEL + length + 8.0);
        // A `String` takes whatever is written.
        let _ = writeln!(
            svg,
            r#"<text x="{:.0}" y="{middle:.0}" text-anchor="end">{}</text>
<rect class="bar" x="{LABEL:.0}" y="{:.0}" width="{length:.1}" height="20" rx="3"/>
<text x="{end:.1}" y="{middle:.0}">{}× <tspan class="quiet">{}</tspan></text>"#,
            LABEL - 10.0,
            escaped(&bar.label),
            y + 5.0,
            number(bar.ratio),
            escaped(&bar.note)
        );
    }
    let one = LABEL + BAR_MAX / most;
    let bottom = TOP + ROW * bars.len() as f64;
    let _ = writeln!(
        svg,
        r#"<line class="one" x1="{one:.1}" y1="{TOP:.0}" x2="{one:.1}" y2="{bottom:.0}"/>
<text class="quiet" x="12" y="{:.0}">{}</text>
</svg>"#,
        bottom + 18.0,
        escaped(machine)
    );
    svg
}

/// Two digits that count, and no more behind the point than help.
pub(crate) fn number(ratio: f64) -> String {
    match ratio {
        ratio if ratio >= 100.0 => format!("{ratio:.0}"),
        ratio if ratio >= 10.0 => format!("{ratio:.1}"),
        ratio => format!("{ratio:.2}"),
    }
}

fn escaped(text: &str) -> String {
    text.replace('&', "&amp;")
        .replace('<', "&lt;")
        .replace('>', "&gt;")
        .replace('"', "&quot;")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_bar_is_drawn_in_proportion_and_every_word_is_text() {
        let bar = |label: &str, ratio| Bar {
            label: label.to_owned(),
            ratio,
            note: "than <zmap>".to_owned(),
        };
        let svg = svg(
            "How many \"times\"",
            "2 cores & more",
            &[bar("sweep", 12.0), bar("all", 3.0)],
        );
        assert!(
            svg.contains(r#"width="300.0""#) && svg.contains(r#"width="75.0""#),
            "{svg}"
        );
        assert!(svg.contains("12.0× <tspan") && svg.contains("3.00× <tspan"));
        assert!(svg.contains("&lt;zmap&gt;") && svg.contains("2 cores &amp; more"));
        let open = unclosed(&svg);
        assert!(open.is_empty(), "unbalanced: {open:?}");
    }

    /// The names of elements that were opened and not closed.
    fn unclosed(svg: &str) -> Vec<String> {
        let mut open = Vec::new();
        for piece in svg.split('<').skip(1) {
            let tag = piece.split('>').next().unwrap();
            if let Some(name) = tag.strip_prefix('/') {
                assert_eq!(open.pop().as_deref(), Some(name));
            } else if !tag.ends_with('/') {
                open.push(tag.split([' ', '\n']).next().unwrap().to_owned());
            }
        }
        open
    }
}
