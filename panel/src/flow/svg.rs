//! A played flow as a picture: each screen a display, what was pressed before it above.

use std::fmt::Write as _;

use super::{Flow, Line, Played};
use crate::picture::Picture;

const CELL_WIDTH: usize = 13;
const CELL_HEIGHT: usize = 24;
const EDGE: usize = 12;
/// Room for what was pressed.
const ABOVE: usize = 22;
const ACROSS: usize = 3;

/// The flow's screens in reading order. Nothing in it depends on fonts being there: every cell is placed.
pub fn drawing(flow: &Flow, played: &Played) -> String {
    let mut pressed = Vec::new();
    let mut shots: Vec<(String, &Picture)> = Vec::new();
    for (at, (text, line)) in flow.lines.iter().enumerate() {
        match line {
            Line::Stroke(_) | Line::Told(_) => pressed.push(text.trim()),
            Line::Shows(_) | Line::ShowsAnything => {
                if let Some(picture) = played.picture_at(at) {
                    shots.push((std::mem::take(&mut pressed).join("  "), picture));
                }
            }
            _ => {}
        }
    }
    let columns = shots.first().map_or(16, |(_, picture)| columns(picture));
    let rows = shots.first().map_or(2, |(_, picture)| picture.rows.len());
    let width = columns * CELL_WIDTH + 2 * EDGE + 40;
    let height = ABOVE + rows * CELL_HEIGHT + 2 * EDGE + 14;
    let lines = shots.len().div_ceil(ACROSS);
    let mut out = String::new();
    _ = writeln!(
        out,
        "<svg xmlns=\"http://www.w3.org/2000/svg\" width=\"{}\" height=\"{}\" font-family=\"monospace\">",
        width * ACROSS.min(shots.len().max(1)),
        height * lines
    );
    _ = writeln!(out, "<title>{}</title>", escaped(flow.title()));
    for (index, (pressed, picture)) in shots.iter().enumerate() {
        let (x, y) = (index % ACROSS * width, index / ACROSS * height);
        _ = writeln!(out, "<g transform=\"translate({x} {y})\">");
        shot(&mut out, pressed, picture);
        out.push_str("</g>\n");
    }
    out.push_str("</svg>\n");
    out
}

fn columns(picture: &Picture) -> usize {
    picture.rows.first().map_or(0, |row| row.chars().count())
}

fn shot(out: &mut String, pressed: &str, picture: &Picture) {
    let (columns, rows) = (columns(picture), picture.rows.len());
    let most = columns * CELL_WIDTH / 7;
    let pressed: String = if pressed.chars().count() > most {
        pressed.chars().take(most - 1).chain(['…']).collect()
    } else {
        pressed.to_owned()
    };
    _ = writeln!(
        out,
        "<text x=\"4\" y=\"16\" font-size=\"11\" fill=\"#555\">{}</text>",
        escaped(&pressed)
    );
    _ = writeln!(
        out,
        "<rect x=\"4\" y=\"{ABOVE}\" width=\"{}\" height=\"{}\" rx=\"4\" fill=\"#123a6b\"/>",
        columns * CELL_WIDTH + 2 * EDGE - 8,
        rows * CELL_HEIGHT + EDGE
    );
    for (row, cells) in picture.rows.iter().enumerate() {
        let y = ABOVE + row * CELL_HEIGHT + CELL_HEIGHT - 1;
        for (column, cell) in cells.chars().enumerate().filter(|(_, cell)| *cell != ' ') {
            let x = EDGE + column * CELL_WIDTH + CELL_WIDTH / 2 - 2;
            let mut buffer = [0; 4];
            let cell = escaped(cell.encode_utf8(&mut buffer));
            _ = writeln!(
                out,
                "<text x=\"{x}\" y=\"{y}\" font-size=\"18\" fill=\"#e8f4ff\" text-anchor=\"middle\">{cell}</text>"
            );
        }
    }
    if let Some(cursor) = picture.cursor {
        let x = EDGE + cursor * CELL_WIDTH - 2;
        let y = ABOVE + rows * CELL_HEIGHT + 3;
        _ = writeln!(
            out,
            "<rect x=\"{x}\" y=\"{y}\" width=\"{CELL_WIDTH}\" height=\"2\" fill=\"#ffd84d\"/>"
        );
    }
    for (index, (name, lit)) in [("S1", picture.leds.scan), ("S2", picture.leds.update)]
        .iter()
        .enumerate()
    {
        let (x, y) = (
            columns * CELL_WIDTH + 2 * EDGE + 4,
            ABOVE + 12 + index * CELL_HEIGHT,
        );
        let fill = if *lit { "#35c759" } else { "#ccc" };
        _ = writeln!(
            out,
            "<circle cx=\"{x}\" cy=\"{y}\" r=\"4\" fill=\"{fill}\"/><text x=\"{}\" y=\"{}\" font-size=\"10\" fill=\"#555\">{name}</text>",
            x + 7,
            y + 4
        );
    }
    if let Some(note) = &picture.note {
        _ = writeln!(
            out,
            "<text x=\"4\" y=\"{}\" font-size=\"11\" fill=\"#555\">{}</text>",
            ABOVE + rows * CELL_HEIGHT + EDGE + 14,
            escaped(note)
        );
    }
}

fn escaped(text: &str) -> String {
    text.replace('&', "&amp;")
        .replace('<', "&lt;")
        .replace('>', "&gt;")
        .replace('"', "&quot;")
}
