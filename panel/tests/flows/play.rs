//! The flows over the core, their pictures, and their recordings.

use std::fmt::Write as _;

use sonde_panel::flow::{Flow, Sheet, drawing, play};

use super::{UPDATE, compare, docs, flows, folder};

#[test]
fn every_flow_shows_and_asks_what_it_says() {
    let update = std::env::var_os(UPDATE).is_some();
    let mut troubles = String::new();
    for (name, flow) in flows() {
        let played = play(&flow, &mut Sheet::default());
        if update {
            let text = flow.brought_up_to_date(&played);
            std::fs::write(folder().join(format!("{name}.flow")), text).unwrap();
        } else if let Some(trouble) = played.trouble {
            _ = writeln!(troubles, "{name}.flow, {trouble}");
        }
    }
    assert!(troubles.is_empty(), "{troubles}");
}

#[test]
fn the_pictures_in_the_documentation_are_those_of_the_flows() {
    let mut index = String::from(
        "# What the panel shows\n\nDrawn from `panel/flows/*.flow` by `SONDE_UPDATE=1 cargo test -p sonde-panel --test flows`; \
         a test holds them to the panel.\n[coverage.md](coverage.md) says which text is shown by which flow.\n",
    );
    let mut troubles = Vec::new();
    for (name, flow) in flows() {
        let played = play(&flow, &mut Sheet::default());
        let drawn = drawing(&flow, &played);
        troubles.extend(compare(&docs().join(format!("{name}.svg")), &drawn).err());
        _ = write!(
            index,
            "\n## {title}\n\n![{title}]({name}.svg)\n",
            title = flow.title()
        );
    }
    troubles.extend(compare(&docs().join("README.md"), &index).err());
    assert!(troubles.is_empty(), "{}", troubles.join("\n"));
}

#[test]
fn what_was_recorded_plays_again_and_ends_the_same() {
    for (name, flow) in flows() {
        let recorded = play(&flow, &mut Sheet::default()).recording;
        let again =
            Flow::parse(&recorded).unwrap_or_else(|error| panic!("{name}: {error}\n{recorded}"));
        let played = play(&again, &mut Sheet::default());
        assert_eq!(played.trouble, None, "{name}:\n{recorded}");
        assert_eq!(played.seen.len(), 1, "{name}:\n{recorded}");
    }
}

#[test]
fn a_password_is_not_recorded() {
    let flows = flows();
    let (_, flow) = flows
        .iter()
        .find(|(name, _)| name == "proxy-enable")
        .unwrap();
    let recorded = play(flow, &mut Sheet::default()).recording;
    assert!(recorded.contains("OFFICE"), "{recorded}");
    assert!(
        !recorded.contains("s3cret") && !recorded.contains("s3"),
        "{recorded}"
    );
}
