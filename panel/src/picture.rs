//! A display as text: cells in a box, the cursor in its lower edge, the lights beside it.

use std::fmt;

use crate::screen::{Glyph, Leds, Screen};

/// What a person sees of a display.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Picture {
    /// Cells, signs as Unicode has them; all rows are of one length.
    pub rows: Vec<String>,
    /// Column of the cursor, which stands in the last row.
    pub cursor: Option<usize>,
    /// Lights.
    pub leds: Leds,
    /// What a console says below.
    pub note: Option<String>,
}

impl Picture {
    /// What `screen` shows.
    pub fn of(screen: &Screen) -> Picture {
        Picture {
            rows: (0..screen.geometry().rows)
                .map(|row| screen.row(row, Glyph::unicode))
                .collect(),
            cursor: screen.cursor().map(|(_, column)| column),
            leds: screen.leds,
            note: screen.note.clone(),
        }
    }

    /// The words on it without the signs, blanks between them one each.
    pub fn words(&self) -> String {
        let signs = ['↵', '→', '←', '↑', '↓', '☁'];
        let text = self.rows.join(" ").replace(signs, " ");
        text.split_whitespace().collect::<Vec<_>>().join(" ")
    }

    /// A box back from its lines, edges and all.
    pub(crate) fn parse(lines: &[&str]) -> Option<Picture> {
        let [top, rows @ .., bottom] = lines else {
            return None;
        };
        let width = top.strip_prefix('+')?.strip_suffix('+')?.len();
        let (edge, note) = match bottom.split_once("+ ") {
            Some((edge, note)) => (edge, Some(note.trim().to_owned())),
            None => (bottom.trim_end().strip_suffix('+')?, None),
        };
        let mut picture = Picture {
            rows: Vec::new(),
            cursor: edge.strip_prefix('+')?.find('^'),
            leds: Leds::default(),
            note,
        };
        for row in rows {
            let cells: String = row.strip_prefix('|')?.chars().take(width).collect();
            let beside = row
                .strip_prefix('|')?
                .strip_prefix(&cells)?
                .strip_prefix('|')?;
            match beside.trim() {
                "" => {}
                "S1" => picture.leds.scan = true,
                "S2" => picture.leds.update = true,
                _ => return None,
            }
            picture.rows.push(cells);
        }
        Some(picture)
    }
}

impl fmt::Display for Picture {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let width = self.rows.first().map_or(0, |row| row.chars().count());
        writeln!(f, "+{}+", "-".repeat(width))?;
        for (row, cells) in self.rows.iter().enumerate() {
            let light = match row {
                0 if self.leds.scan => " S1",
                1 if self.leds.update => " S2",
                _ => "",
            };
            writeln!(f, "|{cells}|{light}")?;
        }
        let edge: String = (0..width)
            .map(|column| {
                if self.cursor == Some(column) {
                    '^'
                } else {
                    '-'
                }
            })
            .collect();
        match &self.note {
            Some(note) => writeln!(f, "+{edge}+ {note}"),
            None => writeln!(f, "+{edge}+"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_box_reads_back() {
        let picture = Picture {
            rows: vec!["LAN IP ADDR   ↵↑".into(), "010.000.000.005 ".into()],
            cursor: Some(4),
            leds: Leds {
                scan: true,
                update: true,
            },
            note: Some("E10".into()),
        };
        let text = picture.to_string();
        assert_eq!(
            text,
            "+----------------+\n|LAN IP ADDR   ↵↑| S1\n|010.000.000.005 | S2\n+----^-----------+ E10\n"
        );
        let lines: Vec<&str> = text.lines().collect();
        assert_eq!(Picture::parse(&lines), Some(picture.clone()));
        assert_eq!(picture.words(), "LAN IP ADDR 010.000.000.005");
        assert_eq!(Picture::parse(&lines[1..]), None);
    }
}
