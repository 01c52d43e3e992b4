//! Text that others wrote (nodes, compilers, whoever named a file), made fit to be shown.

/// How many characters of it a sentence can bear.
const MOST: usize = 500;

/// The text as a sentence or a part of one: on one line, without colours, its middle left out where
/// it is long, and nothing in it that a terminal would obey.
pub fn sentence(text: &str) -> String {
    let text = shortened(text, 4 * MOST);
    let plain = console::strip_ansi_codes(&text);
    let words: Vec<_> = plain.split_whitespace().collect();
    shortened(&lines(&words.join(" ")), MOST)
}

/// The text as it may go to a terminal: lines and colours stay; every other control character is
/// written out, as JSON does it.
pub fn lines(text: &str) -> String {
    let mut clean = String::with_capacity(text.len());
    let mut rest = text;
    while let Some(next) = rest.chars().next() {
        let length = colour_length(rest).unwrap_or(next.len_utf8());
        match next {
            '\n' | '\t' => clean.push(next),
            '\u{1b}' if length > 1 => clean.push_str(&rest[..length]),
            next if is_obeyed(next) => clean += &format!("\\u{:04x}", u32::from(next)),
            next => clean.push(next),
        }
        rest = &rest[length..];
    }
    clean
}

/// The beginning and the end of a text of more than `most` characters.
pub fn shortened(text: &str, most: usize) -> String {
    let count = text.chars().count();
    if count <= most {
        return text.to_owned();
    }
    let tail = (most - 1) / 2;
    let (head, tail) = (text.chars().take(most - 1 - tail), text.chars().skip(count - tail));
    head.chain(['…']).chain(tail).collect()
}

/// Whether a terminal does something else than show it, such as turn the direction of writing.
fn is_obeyed(character: char) -> bool {
    let turns = matches!(
        character,
        '\u{200e}' | '\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2066}'..='\u{2069}'
    );
    character.is_control() || turns
}

/// How long the change of colour is that `text` starts with, if it does.
fn colour_length(text: &str) -> Option<usize> {
    let parameters = text.strip_prefix("\u{1b}[")?;
    let end = parameters.find(|next: char| !(next.is_ascii_digit() || next == ';'))?;
    parameters[end..].starts_with('m').then_some("\u{1b}[".len() + end + 1)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_sentence_holds_nothing_that_a_terminal_obeys() {
        let rude = "\u{1b}]0;title\u{7}\u{1b}[2J\u{1b}[31mred\u{1b}[0m\r\nnext\t\u{8} \u{202e}x";
        let clean = sentence(rude);
        assert!(!clean.chars().any(is_obeyed), "{clean:?}");
        assert!(clean.contains("red next \\u0008 \\u202ex"), "{clean:?}");
    }

    #[test]
    fn what_is_printed_keeps_lines_and_colours_only() {
        let shown = lines("\u{1b}[1;31merror\u{1b}[0m:\n\tno\r\u{1b}[2J\u{1b}[31");
        assert_eq!(shown, "\u{1b}[1;31merror\u{1b}[0m:\n\tno\\u000d\\u001b[2J\\u001b[31");
    }

    #[test]
    fn of_a_long_text_both_ends_are_left() {
        let long = format!("first {} last", "x".repeat(10 << 20));
        let clean = sentence(&long);
        assert_eq!(clean.chars().count(), MOST);
        assert!(clean.starts_with("first x") && clean.ends_with("x last"), "{clean}");
        assert_eq!(shortened("abcdefg", 5), "ab…fg");
        assert_eq!(shortened("abcdefg", 7), "abcdefg");
    }
}
