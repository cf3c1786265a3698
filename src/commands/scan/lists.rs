//! Lists of targets: from arguments and from files, each entry with where it was written.

use std::io::Read;

use anyhow::{Context, anyhow};
use sonde_core::target::{self, NthTargetError};

/// Texts in the order they were written, and where.
#[derive(Default)]
pub(crate) struct TargetList {
    texts: Vec<String>,
    /// Index of the first text of each file, its name, and the line of each of its texts.
    files: Vec<(usize, String, Vec<u32>)>,
}

impl TargetList {
    /// Adds one target.
    pub(crate) fn push(&mut self, text: &str) {
        self.texts.push(text.to_owned());
    }

    /// Adds a list with commas between targets. A comma between VLANs separates no targets:
    /// `10.0.0.0/24@100,200-210,10.1.0.1` is two.
    pub(crate) fn push_list(&mut self, list: &str) {
        let first = self.texts.len();
        for piece in list.split(',').map(str::trim) {
            match self.texts[first..].last_mut() {
                Some(last) if last.contains('@') && is_vlans(piece) => {
                    last.push(',');
                    last.push_str(piece);
                }
                _ => self.push(piece),
            }
        }
    }

    /// Adds the lines of a file, `-` for stdin: one target a line, `#` starts a comment.
    pub(crate) fn push_file(&mut self, path: &str) -> anyhow::Result<()> {
        let text = if path == "-" {
            let mut text = String::new();
            std::io::stdin()
                .read_to_string(&mut text)
                .context("stdin can't be read")?;
            text
        } else {
            std::fs::read_to_string(path)
                .with_context(|| format!("the file of targets {path} can't be read"))?
        };
        let name = if path == "-" { "stdin" } else { path };
        let mut lines = Vec::new();
        let first = self.texts.len();
        for (line, number) in text.lines().zip(1..) {
            let target = line.split('#').next().unwrap_or_default().trim();
            if !target.is_empty() {
                self.push(target);
                lines.push(number);
            }
        }
        self.files.push((first, name.to_owned(), lines));
        Ok(())
    }

    /// The texts, all of them targets.
    pub(crate) fn into_targets(self) -> anyhow::Result<Vec<String>> {
        match target::parse_all(&self.texts) {
            Ok(_) => Ok(self.texts),
            Err(error) => Err(self.at(&error)),
        }
    }

    fn at(&self, error: &NthTargetError) -> anyhow::Error {
        let before = self
            .files
            .iter()
            .rev()
            .find(|(first, ..)| *first <= error.index);
        let place = before.and_then(|(first, name, lines)| {
            lines.get(error.index - first).map(|line| (name, line))
        });
        match place {
            Some((name, line)) => anyhow!("{name}, line {line}: {}", error.error),
            None => anyhow!("{}", error.error),
        }
    }
}

/// True for what can only follow the `@` of the target before: `200`, `200-210`, `lan`.
fn is_vlans(piece: &str) -> bool {
    let digits = |text: &str| !text.is_empty() && text.bytes().all(|b| b.is_ascii_digit());
    piece == "lan"
        || digits(piece)
        || piece
            .split_once('-')
            .is_some_and(|(first, last)| digits(first) && digits(last))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn commas_between_vlans_separate_no_targets() {
        let mut list = TargetList::default();
        list.push_list("10.0.0.0/24@100,200-210,lan,10.1.0.1, @300,400,10.2.0.1-10.2.0.9");
        let expected = [
            "10.0.0.0/24@100,200-210,lan",
            "10.1.0.1",
            "@300,400",
            "10.2.0.1-10.2.0.9",
        ];
        assert_eq!(list.texts, expected);
    }

    #[test]
    fn a_bad_line_is_named_with_its_file() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("t.txt");
        std::fs::write(&file, "# all\n10.0.0.1\n\n 10.0.0.2 # two\n10.300.0.1\n").unwrap();
        let mut list = TargetList::default();
        list.push("10.9.0.1");
        list.push_file(file.to_str().unwrap()).unwrap();
        list.push("10.9.0.2");
        assert_eq!(list.texts[1..3], ["10.0.0.1", "10.0.0.2"]);
        let error = list.into_targets().unwrap_err().to_string();
        assert!(error.contains("t.txt, line 5: `10.300.0.1`"), "{error}");
    }
}
