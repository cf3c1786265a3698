//! The progress line on a terminal: how far, how fast, what was found, what was lost, what is left.

use std::io::IsTerminal;
use std::time::Duration;

use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};
use sonde_core::observation::Progress;

/// Parts of the bar; the fraction is shown in tenths of a percent.
const PARTS: u64 = 1000;

/// What shows a [`Progress`], and clears it away when dropped. Shows nothing unless `wanted` and stderr is a
/// terminal.
pub(super) fn line(wanted: bool) -> Box<dyn FnMut(&Progress) + Send> {
    if !wanted || !std::io::stderr().is_terminal() {
        return Box::new(|_| {});
    }
    let bar = ProgressBar::with_draw_target(Some(PARTS), ProgressDrawTarget::stderr());
    if let Ok(style) = ProgressStyle::with_template("{percent:>3} % [{bar:20}] {msg}") {
        bar.set_style(style.progress_chars("=> "));
    }
    let line = Line(bar);
    Box::new(move |progress| {
        line.0
            .set_position((progress.fraction * PARTS as f64) as u64);
        line.0.set_message(words(progress));
    })
}

struct Line(ProgressBar);

impl Drop for Line {
    fn drop(&mut self) {
        self.0.finish_and_clear();
    }
}

fn words(progress: &Progress) -> String {
    let mut text = format!(
        "{}/s, {} hosts up, {} open",
        scaled(progress.rate_pps),
        progress.hosts_up,
        progress.open
    );
    if let Some(loss) = progress.loss {
        text.push_str(&format!(", {:.1} % lost", loss * 100.0));
    }
    if let Some(left) = progress.left_s {
        text.push_str(&format!(", {} left", duration(Duration::from_secs(left))));
    }
    text
}

fn scaled(rate: f64) -> String {
    match rate {
        r if r >= 1e6 => format!("{:.2}M", r / 1e6),
        r if r >= 1e4 => format!("{:.1}k", r / 1e3),
        r => format!("{r:.0}"),
    }
}

fn duration(time: Duration) -> String {
    match time.as_secs() {
        s @ 0..60 => format!("{s} s"),
        s @ 60..3600 => format!("{} min {} s", s / 60, s % 60),
        s => format!("{} h {} min", s / 3600, s % 3600 / 60),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rate_hits_loss_and_time_left() {
        let progress = Progress {
            rate_pps: 51_234.0,
            hosts_up: 3,
            open: 12,
            loss: Some(0.004),
            left_s: Some(75),
            ..Progress::default()
        };
        let expected = "51.2k/s, 3 hosts up, 12 open, 0.4 % lost, 1 min 15 s left";
        assert_eq!(words(&progress), expected);
        assert_eq!(words(&Progress::default()), "0/s, 0 hosts up, 0 open");
    }
}
