//! The numbered gaps of a file: from a line `// GAP n: a question?` to the line `// END GAP`.

use std::collections::BTreeMap;

use anyhow::{Result, bail, ensure};

/// A file as its gaps divide it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct GapFile {
    /// The lines outside of gaps, the marking lines included, as they lie between the gaps.
    pub outside: Vec<String>,
    /// What each gap holds, by number, in the order in which they come.
    pub gaps: Vec<(u32, String)>,
}

impl GapFile {
    /// Divides `text`.
    ///
    /// # Errors
    /// Names the line where a gap is not what it should be.
    pub fn parse(text: &str) -> Result<Self> {
        let mut file = Self { outside: vec![String::new()], gaps: Vec::new() };
        let mut inside = false;
        for (index, line) in text.split_inclusive('\n').enumerate() {
            let number = index + 1;
            let mark = line.trim();
            if let Some(rest) = mark.strip_prefix("// GAP ") {
                ensure!(!inside, "line {number}: a gap begins inside another");
                let gap = rest.split(':').next().and_then(|digits| digits.parse().ok());
                let Some(gap) = gap else { bail!("line {number}: write // GAP n: a question?") };
                file.last_outside().push_str(line);
                file.gaps.push((gap, String::new()));
                inside = true;
            } else if mark == "// END GAP" {
                ensure!(inside, "line {number}: a gap ends that has not begun");
                file.outside.push(line.to_owned());
                inside = false;
            } else if inside {
                file.gaps.last_mut().expect("a gap has begun").1.push_str(line);
            } else {
                file.last_outside().push_str(line);
            }
        }
        ensure!(!inside, "a gap does not end: write // END GAP");
        Ok(file)
    }

    /// The file with the gaps of `other` in place of its own where `wanted` says so.
    pub fn with_gaps_of(&self, other: &Self, wanted: impl Fn(u32) -> bool) -> String {
        let others: BTreeMap<u32, &String> =
            other.gaps.iter().map(|(number, text)| (*number, text)).collect();
        let mut text = self.outside[0].clone();
        for ((number, own), after) in self.gaps.iter().zip(&self.outside[1..]) {
            let other = others.get(number).copied().filter(|_| wanted(*number));
            text.push_str(other.unwrap_or(own));
            text.push_str(after);
        }
        text
    }

    fn last_outside(&mut self) -> &mut String {
        self.outside.last_mut().expect("there is text before the first gap, if only none")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MENDED: &str =
        "a\n// GAP 2: why?\nright\n// END GAP\nb\n// GAP 3: how?\nwell\n// END GAP\n";
    const NAIVE: &str =
        "a\n// GAP 2: why?\nwrong\n// END GAP\nb\n// GAP 3: how?\nbadly\n// END GAP\n";

    #[test]
    fn one_gap_is_swapped_and_the_rest_stays() {
        let (mended, naive) = (GapFile::parse(MENDED).unwrap(), GapFile::parse(NAIVE).unwrap());
        assert_eq!(mended.outside, naive.outside);
        let swapped = mended.with_gaps_of(&naive, |number| number == 3);
        assert_eq!(swapped, MENDED.replace("well", "badly"));
        assert_eq!(mended.with_gaps_of(&naive, |_| false), MENDED);
    }

    #[test]
    fn a_gap_without_an_end_is_refused() {
        for broken in ["// GAP 1: a?\n", "// END GAP\n", "// GAP x\n// END GAP\n"] {
            assert!(GapFile::parse(broken).is_err(), "{broken}");
        }
    }
}
