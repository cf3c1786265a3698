//! Which flow shows which text: none may be missing.

use std::collections::BTreeMap;
use std::fmt::Write as _;

use sonde_panel::flow::{Sheet, play};
use sonde_panel::{faults, texts};

use super::{compare, docs, flows, folder};

#[test]
fn every_phrase_and_every_error_is_shown_by_a_flow() {
    let mut words: BTreeMap<String, Vec<String>> = BTreeMap::new();
    for (name, flow) in flows() {
        let played = play(&flow, &mut Sheet::default());
        for screen in &played.screens {
            let picture = sonde_panel::picture::Picture::of(screen);
            let flows = words.entry(picture.words()).or_default();
            if !flows.contains(&name) {
                flows.push(name.clone());
            }
        }
    }
    let mut missing = Vec::new();
    let mut flow_of = |text: &str| {
        // The texts of two rows are on one line here; a title has its field behind it.
        let exact = words.get(text);
        let inside = || {
            words
                .iter()
                .find(|(seen, _)| seen.contains(text))
                .map(|(_, flows)| flows)
        };
        match exact.or_else(inside) {
            Some(flows) => format!("[{0}]({0}.svg)", flows[0]),
            None => {
                missing.push(text.to_owned());
                "**none**".to_owned()
            }
        }
    };
    let mut out = String::from(
        "# Which flow shows which text\n\nWritten by `SONDE_UPDATE=1 cargo test -p sonde-panel --test flows` from \
         `panel/flows/`; a test holds it to the panel.\n\n## Phrases of the user guide\n\n\
         Every phrase the guide prints in bold or in upper case as a text of the panel, with our words where it has \
         its maker's (`panel/flows/phrases.txt`).\n\n| phrase | on the display as | flow |\n|---|---|---|\n",
    );
    let phrases = std::fs::read_to_string(folder().join("phrases.txt")).unwrap();
    for line in phrases
        .lines()
        .filter(|line| !line.is_empty() && !line.starts_with('#'))
    {
        match line.split_once(" = ") {
            None => _ = writeln!(out, "| `{line}` | | {} |", flow_of(line)),
            Some((phrase, shown)) if shown.starts_with('(') => {
                _ = writeln!(out, "| `{phrase}` | {shown} | |");
            }
            Some((phrase, shown)) => {
                _ = writeln!(out, "| `{phrase}` | `{shown}` | {} |", flow_of(shown));
            }
        }
    }
    out.push_str("\n## The catalogue of errors\n\n| error | code | flow |\n|---|---|---|\n");
    for fault in &faults::CATALOGUE {
        let code = fault.code.unwrap_or("");
        let flow = match fault.text {
            // Three rows on 16 columns: the display shows two of them at a time.
            text if text.ends_with("cloud URL") => {
                let rows = text.trim_end_matches(" URL");
                let flow = flow_of(rows);
                assert!(
                    words.contains_key("resolve cloud URL"),
                    "the last row of {text}"
                );
                flow
            }
            text => flow_of(text),
        };
        _ = writeln!(out, "| `{}` | {code} | {flow} |", fault.text);
    }
    out.push_str("\n## Every other text of the panel\n\n| text | flow |\n|---|---|\n");
    let links = texts::LINKS.map(|(_, value)| value);
    let others = texts::MESSAGES
        .into_iter()
        .chain(texts::ENTRIES)
        .chain(texts::QUESTIONS);
    for text in others.chain(texts::TITLES).chain(links) {
        // Insert/delete mode shows a part of the field beside what it offers.
        let flow = flow_of(text);
        _ = writeln!(out, "| `{text}` | {flow} |");
    }
    assert!(missing.is_empty(), "no flow shows {missing:#?}");
    compare(&docs().join("coverage.md"), &out).unwrap();
}
