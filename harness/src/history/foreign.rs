//! What a file seems to be that is no history in our form, by how it begins.

use serde_json::Value;

/// What begins so.
const BEGINNINGS: [(&[u8], &str); 14] = [
    (b"\x1f\x8b", "a gzip archive: unpack it first"),
    (b"\x28\xb5\x2f\xfd", "a zstd archive: unpack it first"),
    (b"\xfd7zXZ", "an xz archive: unpack it first"),
    (b"BZh", "a bzip2 archive: unpack it first"),
    (b"PK\x03\x04", "a zip archive: unpack it first"),
    (b"\xff\xfe", "text in UTF-16"),
    (b"\xfe\xff", "text in UTF-16"),
    (b"{\0", "text in UTF-16"),
    (b"\0{", "text in UTF-16"),
    (b"JEPSEN", "a test.jepsen file, Jepsen's own store"),
    (b"#jepsen", "Jepsen's EDN"),
    (b"{:", "EDN, as Jepsen writes and Porcupine's tests read it"),
    (b"INFO", "a log, as Porcupine's tests read it"),
    (b"<", "HTML or XML"),
];

/// What the file seems to be whose first line that is not blank is `line`.
pub fn form(line: &[u8]) -> Option<&'static str> {
    if let Some((_, form)) = BEGINNINGS.iter().find(|(begins, _)| line.starts_with(begins)) {
        return Some(form);
    }
    match line {
        b"{" => Some("JSON that is spread over lines"),
        [b'[', rest @ ..] if rest.trim_ascii_start().starts_with(b"{:") => Some("Jepsen's EDN"),
        [b'[', rest @ ..] if rest.trim_ascii_start().starts_with(b"#jepsen") => {
            Some("Jepsen's EDN")
        }
        [b'[', ..] => Some("a JSON array"),
        _ if line.windows(7).any(|part| part == b":invoke") => {
            Some("a log, as Jepsen's history.txt")
        }
        _ if line.windows(4).any(|part| part == b"\"op\"") => None,
        _ => of_object(&serde_json::from_slice(line).ok()?),
    }
}

/// What an object seems to be that is no operation of ours.
fn of_object(object: &Value) -> Option<&'static str> {
    let has = |field| object.get(field).is_some();
    if has("type") && has("f") {
        Some("Jepsen's JSON: its invocation and its completion are two lines, ours are one")
    } else if has("ClientId") || has("client_id") || (has("Input") && has("Output")) {
        Some("Porcupine's operations as JSON")
    } else {
        None
    }
}
