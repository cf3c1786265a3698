//! Text into the rows of a small display.

/// `text` as rows of at most `width` characters, the first one of at most `first`, broken between
/// words; a word longer than a row is broken where the row ends. Blanks between words become one.
///
/// With no room at all (`width` 0) there are no rows.
pub fn wrap(text: &str, first: usize, width: usize) -> Vec<String> {
    let mut rows: Vec<String> = Vec::new();
    if width == 0 {
        return rows;
    }
    let mut row = String::new();
    let mut used = 0;
    let room = |rows: &[String]| {
        if rows.is_empty() {
            first.min(width)
        } else {
            width
        }
    };
    for word in text.split_whitespace() {
        let letters: Vec<char> = word.chars().collect();
        let gap = usize::from(used > 0);
        if used + gap + letters.len() <= room(&rows) {
            if gap == 1 {
                row.push(' ');
            }
            row.push_str(word);
            used += gap + letters.len();
            continue;
        }
        // It goes to the next row, unless it stands at a row's start and would fit no row at all.
        let mut rest = &letters[..];
        if used > 0 || room(&rows) == 0 || (letters.len() <= width && letters.len() > room(&rows)) {
            rows.push(std::mem::take(&mut row));
        }
        while rest.len() > room(&rows) {
            let (head, tail) = rest.split_at(room(&rows));
            rows.push(head.iter().collect());
            rest = tail;
        }
        row.extend(rest);
        used = rest.len();
    }
    if used > 0 {
        rows.push(row);
    }
    rows
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn breaks_between_words() {
        assert_eq!(
            wrap("no CARRIER on LAN interface", 14, 16),
            ["no CARRIER on", "LAN interface"]
        );
        assert_eq!(
            wrap("Sonde is starting up...", 16, 16),
            ["Sonde is", "starting up..."]
        );
        assert_eq!(wrap("", 16, 16), Vec::<String>::new());
        assert_eq!(wrap("a b", 0, 3), ["", "a b"]);
    }

    #[test]
    fn a_word_longer_than_the_display_is_broken() {
        assert_eq!(wrap("ABCDEFGH", 4, 4), ["ABCD", "EFGH"]);
        assert_eq!(wrap("ab ABCDEFGHI", 4, 4), ["ab", "ABCD", "EFGH", "I"]);
    }

    #[test]
    fn a_word_too_long_for_the_first_row_only_goes_to_the_second() {
        assert_eq!(wrap("COMMUNICATION", 12, 14), ["", "COMMUNICATION"]);
    }

    proptest! {
        #[test]
        fn keeps_every_letter_and_no_row_is_too_long(
            text in "[a-zA-Zé ]{0,80}",
            first in 0usize..20,
            width in 1usize..20,
        ) {
            let rows = wrap(&text, first, width);
            for (at, row) in rows.iter().enumerate() {
                let room = if at == 0 { first.min(width) } else { width };
                prop_assert!(row.chars().count() <= room, "{row:?} in {room}");
            }
            let letters = |text: &str| text.chars().filter(|c| !c.is_whitespace()).collect::<String>();
            prop_assert_eq!(letters(&rows.concat()), letters(&text));
        }
    }
}
