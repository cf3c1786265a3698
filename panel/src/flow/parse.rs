//! Lines of a flow into what they mean.

use std::time::Duration;

use super::{Flow, FlowError, Line, Stroke};
use crate::event::Key;
use crate::picture::Picture;

/// Most repetitions of one key in one line.
const TIMES_MAX: u32 = 10_000;
const WAIT_MAX: Duration = Duration::from_secs(24 * 60 * 60);

pub(super) fn flow(text: &str) -> Result<Flow, FlowError> {
    let source: Vec<&str> = text.lines().collect();
    let mut lines = Vec::new();
    let mut at = 0;
    while let Some(&line) = source.get(at) {
        let error = |what: &str| FlowError {
            line: at + 1,
            what: what.to_owned(),
        };
        let trimmed = line.trim();
        let (meaning, taken) = if let Some(words) = trimmed.strip_prefix("> ") {
            (
                Line::Stroke(stroke(words.trim()).map_err(|what| error(&what))?),
                1,
            )
        } else if let Some(words) = trimmed.strip_prefix("given ") {
            (Line::Given(words.trim().to_owned()), 1)
        } else if let Some(words) = trimmed.strip_prefix("< ") {
            (Line::Told(words.trim().to_owned()), 1)
        } else if let Some(words) = trimmed.strip_prefix("= ") {
            (Line::Asked(words.trim().to_owned()), 1)
        } else if let Some(words) = trimmed.strip_prefix("@ ") {
            let (after, words) = words.split_once(' ').unwrap_or((words, ""));
            let after = wait(after).map_err(|what| error(&what))?;
            (Line::Happens(after, words.to_owned()), 1)
        } else if trimmed == "[]" {
            (Line::ShowsAnything, 1)
        } else if trimmed.starts_with("+-") {
            let rows = source[at + 1..]
                .iter()
                .take_while(|row| row.starts_with('|'))
                .count();
            let end = (at + rows + 2).min(source.len());
            let picture = Picture::parse(&source[at..end]);
            (
                Line::Shows(picture.ok_or_else(|| error("this is no box"))?),
                rows + 2,
            )
        } else {
            (Line::Prose, 1)
        };
        lines.push((line.to_owned(), meaning));
        at += taken;
    }
    Ok(Flow { lines })
}

fn stroke(words: &str) -> Result<Stroke, String> {
    let (first, rest) = words.split_once(' ').unwrap_or((words, ""));
    match first {
        "LEFT+RIGHT" => Ok(Stroke::Both),
        "type" => quoted(rest).map(Stroke::Type),
        "paste" => quoted(rest).map(Stroke::Paste),
        "wait" => wait(rest).map(Stroke::Wait),
        "hold" => {
            let (name, times) = rest.split_once(' ').unwrap_or((rest, ""));
            Ok(Stroke::Hold(key(name)?, count(times)?))
        }
        name => Ok(Stroke::Press(key(name)?, count(rest)?)),
    }
}

pub(super) fn key(name: &str) -> Result<Key, String> {
    match name {
        "ENTER" => Ok(Key::Enter),
        "RIGHT" => Ok(Key::Right),
        "LEFT" => Ok(Key::Left),
        "UP" => Ok(Key::Up),
        "DOWN" => Ok(Key::Down),
        _ => Err(format!("`{name}` is no key")),
    }
}

/// The name of a key, as a flow has it.
pub(crate) fn key_name(key: Key) -> &'static str {
    match key {
        Key::Enter => "ENTER",
        Key::Right => "RIGHT",
        Key::Left => "LEFT",
        Key::Up => "UP",
        Key::Down => "DOWN",
    }
}

fn count(times: &str) -> Result<u32, String> {
    if times.is_empty() {
        return Ok(1);
    }
    let number = times
        .strip_prefix('x')
        .and_then(|number| number.parse().ok());
    number
        .filter(|number| (1..=TIMES_MAX).contains(number))
        .ok_or_else(|| format!("`{times}` is no number of times such as x3"))
}

fn quoted(text: &str) -> Result<String, String> {
    serde_json::from_str(text).map_err(|_| format!("{text} is no text in double quotes"))
}

fn wait(time: &str) -> Result<Duration, String> {
    let unit = |unit: &str| {
        time.strip_suffix(unit)
            .and_then(|number| number.parse::<u64>().ok())
    };
    // `s` last: the others end in it, too.
    let wait = if let Some(number) = unit("us") {
        Duration::from_micros(number)
    } else if let Some(number) = unit("ms") {
        Duration::from_millis(number)
    } else if let Some(number) = unit("s") {
        Duration::from_secs(number)
    } else {
        return Err(format!("`{time}` is no time such as 5s or 200ms"));
    };
    if wait > WAIT_MAX {
        return Err(format!("{time} is more than a day"));
    }
    Ok(wait)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_stroke_is_read() {
        let read = |text: &str| match &flow(text).unwrap().lines[0].1 {
            Line::Stroke(stroke) => stroke.clone(),
            other => panic!("{other:?}"),
        };
        assert_eq!(read("> DOWN x3"), Stroke::Press(Key::Down, 3));
        assert_eq!(read("  > LEFT+RIGHT"), Stroke::Both);
        assert_eq!(read("> hold UP x20"), Stroke::Hold(Key::Up, 20));
        assert_eq!(read(r#"> type "A\\B""#), Stroke::Type("A\\B".into()));
        assert_eq!(
            read("> wait 200ms"),
            Stroke::Wait(Duration::from_millis(200))
        );
    }

    #[test]
    fn what_is_none_is_refused_with_its_line() {
        for (text, line) in [
            ("> JUMP", 1),
            ("prose\n> UP 3", 2),
            ("> type abc", 1),
            ("> wait 5", 1),
            ("\n\n+--+\n|abc|\n", 3),
        ] {
            assert_eq!(flow(text).unwrap_err().line, line, "{text}");
        }
    }
}
