//! The state machine: what the log's entries come to, the same on every node.

use prost::Message;
use proto::kv::{self as wire, Command, Value, command::Operation, reply::Outcome};

/// Keys and values, and who was told what.
#[derive(Debug, Default)]
pub struct Machine {
    state: wire::Machine,
}

impl Machine {
    /// What a snapshot holds.
    ///
    /// # Errors
    /// When it is damaged.
    pub fn restore(snapshot: &[u8]) -> Result<Self, prost::DecodeError> {
        Ok(Self { state: wire::Machine::decode(snapshot)? })
    }

    /// All of it, for a snapshot.
    pub fn snapshot(&self) -> Vec<u8> {
        self.state.encode_to_vec()
    }

    /// What is at `key`.
    pub fn get(&self, key: &str) -> Value {
        Value { value: self.state.values.get(key).cloned() }
    }

    /// Applies one entry, and says what its client is to be told.
    pub fn apply(&mut self, command: Command) -> Outcome {
        // GAP 6: a client that got no answer asks again. What has been done already?
        let outcome = self.execute(command);
        // END GAP
        outcome
    }

    fn execute(&mut self, command: Command) -> Outcome {
        let Command { key, operation, .. } = command;
        let values = &mut self.state.values;
        match operation {
            Some(Operation::Put(value)) => {
                values.insert(key, value);
            }
            Some(Operation::Append(value)) => values.entry(key).or_default().push_str(&value),
            Some(Operation::Cas(cas)) => {
                let found = values.get(&key);
                if found != cas.expected.as_ref() {
                    return Outcome::Mismatch(Value { value: found.cloned() });
                }
                values.insert(key, cas.value);
            }
            Some(Operation::Delete(_)) => {
                values.remove(&key);
            }
            None => {}
        }
        Outcome::Ok(Value::default())
    }
}
