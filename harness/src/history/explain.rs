//! What to say of a history of values that no order explains.

use super::values::ValueHistory;
use crate::checker::{
    linearizable::{Action, Cas, Cause, UNSEEN, Value},
    seconds, shortened,
};

impl ValueHistory {
    /// The operation on a key that cannot be placed, what was possible instead, and where to look.
    /// Clients are called `who` and their number.
    pub fn explain(&self, key: usize, cause: &Cause, who: &str) -> String {
        let operation = self.keys[key][cause.operation];
        let (from_us, until_us) = cause.window_us;
        let could_be: Vec<_> = cause.could_be.iter().map(|value| self.show(*value)).collect();
        let why = if cause.from_nowhere {
            "nobody had written that".to_owned()
        } else if !cause.is_first {
            "no order explains it and everything else".to_owned()
        } else if could_be.is_empty() {
            "what had returned before can be explained, but not this as well".to_owned()
        } else {
            format!("it could have been {}", could_be.join(" or "))
        };
        format!(
            "{who}{} {} (line {}, called at {}), which fits nowhere: {why}. Look at what happened \
             between {} and {}.",
            operation.process,
            self.did(&operation.action, &self.names[key]),
            self.lines[key][cause.operation],
            seconds(operation.call_us),
            seconds(from_us),
            seconds(until_us),
        )
    }

    /// A value as it is shown.
    pub fn show(&self, value: Value) -> String {
        match (self.values.text(value), value) {
            (Some(text), _) if self.values.is_string(value) => format!("{:?}", shortened(text)),
            (Some(text), _) => shortened(text),
            (None, UNSEEN) => "something that nobody saw".to_owned(),
            (None, _) => "nothing".to_owned(),
        }
    }

    fn did(&self, action: &Action, key: &str) -> String {
        match *action {
            Action::Get(value) => format!("read {} of {key}", self.show(value)),
            Action::Put(value) => format!("put {} into {key}", self.show(value)),
            Action::Append(value) => format!("appended {} to {key}", self.show(value)),
            Action::Delete => format!("deleted {key}"),
            Action::Cas { expected, new, told } => {
                let told = match told {
                    Some(Cas::Done) => "did so".to_owned(),
                    Some(Cas::Mismatch(Some(seen))) => format!("found {}", self.show(seen)),
                    Some(Cas::Mismatch(None)) => "found something else".to_owned(),
                    None => "never knew".to_owned(),
                };
                let (expected, new) = (self.show(expected), self.show(new));
                format!("wanted to change {key} from {expected} to {new} and {told}")
            }
        }
    }
}
