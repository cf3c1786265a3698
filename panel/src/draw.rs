//! Texts into cells: wrapped at words, or moving where there is no room.

use std::time::Duration;

use crate::screen::{Glyph, Screen};
use crate::wrap::wrap;

/// A text with more rows than the display moves up by one row this often.
pub(crate) const ROW_TIME: Duration = Duration::from_secs(2);
/// A line wider than the display moves left by one cell this often.
const CELL_TIME: Duration = Duration::from_millis(400);
/// Blanks between the end of a moving line and its next beginning.
const LINE_GAP: usize = 3;

/// A text wrapped at words beside indicators; what has more rows than the display moves up row by row.
/// Where the indicators alone make it too long, the text is shown without them.
pub(crate) fn draw_text(screen: &mut Screen, text: &str, keys: &[Glyph], moved: Duration) {
    let geometry = screen.geometry();
    let rows = |keys: &[Glyph]| {
        let room = geometry.columns.saturating_sub(keys.len());
        wrap(text, room, geometry.columns)
    };
    let plain = rows(&[]);
    let beside = rows(keys);
    let (lines, keys) = if plain.len() <= geometry.rows && beside.len() > geometry.rows {
        (plain, &[][..])
    } else {
        (beside, keys)
    };
    let positions = lines.len().saturating_sub(geometry.rows) + 1;
    let skipped = steps(moved, ROW_TIME) % positions;
    for (row, line) in lines.iter().skip(skipped).take(geometry.rows).enumerate() {
        // Only the first line was measured for the room beside the indicators.
        let room = geometry
            .columns
            .saturating_sub(if row == 0 { keys.len() } else { 0 });
        let shown: String = line.chars().take(room).collect();
        screen.write(row, 0, &shown);
    }
    screen.indicate(keys);
}

/// The part of `text` that a window of `width` cells shows: all of it, or a part moving left in a ring.
pub(crate) fn moving_line(text: &str, width: usize, moved: Duration) -> String {
    let letters: Vec<char> = text.chars().collect();
    if letters.len() <= width {
        return text.to_owned();
    }
    let ring: Vec<char> = letters
        .into_iter()
        .chain(std::iter::repeat_n(' ', LINE_GAP))
        .collect();
    let first = steps(moved.saturating_sub(ROW_TIME), CELL_TIME) % ring.len();
    ring.iter().cycle().skip(first).take(width).collect()
}

fn steps(passed: Duration, step: Duration) -> usize {
    usize::try_from(passed.as_millis() / step.as_millis()).unwrap_or(usize::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::screen::Geometry;

    #[test]
    fn a_line_that_fits_stands_still_and_a_longer_one_moves_in_a_ring() {
        let at = |ms| moving_line("2001:db8::100:5", 12, Duration::from_millis(ms));
        assert_eq!(
            moving_line("10.0.0.5", 12, Duration::from_secs(9)),
            "10.0.0.5"
        );
        assert_eq!(at(0), "2001:db8::10");
        assert_eq!(at(2000), "2001:db8::10");
        assert_eq!(at(2400), "001:db8::100");
        assert_eq!(at(2000 + 400 * 14), "5   2001:db8");
        assert_eq!(at(2000 + 400 * 18), "2001:db8::10");
    }

    #[test]
    fn indicators_make_room_for_a_text_that_needs_every_cell() {
        let mut screen = Screen::new(Geometry::LCD_16X2);
        let keys = [Glyph::Enter];
        draw_text(
            &mut screen,
            "Failed receiving peer data (56)",
            &keys,
            Duration::ZERO,
        );
        assert_eq!(screen.row(0, Glyph::ascii), "Failed receiving");
        draw_text(&mut screen, "Account expired", &keys, Duration::ZERO);
        assert_eq!(screen.row(0, Glyph::ascii).chars().last(), Some('*'));
    }
}
