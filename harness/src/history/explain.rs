//! What to say of a history of values that no order explains.

use super::values::ValueHistory;
use crate::checker::{
    linearizable::{Action, Cas, Impossible, NEVER, UNSEEN, Value},
    seconds, shortened,
};

impl ValueHistory {
    /// The operation that cannot be placed, what was possible instead, and where to look.
    /// Clients are called `who` and their number.
    pub fn explain(&self, found: &Impossible, who: &str) -> String {
        let Impossible { key, operation, window_us: (from_us, until_us), possible } = found;
        let place = self.places[*key][*operation];
        let operation = self.keys[*key][*operation];
        let possible: Vec<_> = possible.iter().map(|value| self.show(*value)).collect();
        let until = if *until_us == NEVER { "the end".to_owned() } else { seconds(*until_us) };
        format!(
            "{who}{} {} (line {}, called at {}), which fits nowhere: the value could only be \
             {}. What happened between {} and {until} is impossible by itself.",
            place.process,
            self.did(&operation.action, &self.names[*key]),
            place.line,
            seconds(operation.call_us),
            possible.join(" or "),
            seconds(*from_us),
        )
    }

    /// A value as it is shown.
    pub fn show(&self, value: Value) -> String {
        match (self.values.text(value), value) {
            (Some(text), _) => format!("{:?}", shortened(text)),
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
