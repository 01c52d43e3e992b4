//! The vocabulary of faults, and what a schedule is: faults with the moments that set them off.

use std::fmt;

use serde::{Deserialize, Serialize};

/// What goes wrong.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "snake_case")]
pub enum Fault {
    /// `kill -9` of every named node at once. It is undone by restarting them.
    Kill {
        /// Which nodes: names, or [`RECEIVER`].
        nodes: Vec<String>,
    },
    /// No message passes between the named nodes and the rest, either way; messages under way are
    /// lost in silence. It is undone by healing.
    Cut {
        /// Which nodes: names, or [`RECEIVER`].
        nodes: Vec<String>,
    },
    /// The message never arrives.
    DropRequest,
    /// The message arrives, its reply does not.
    DropReply,
    /// The message arrives once more.
    Duplicate {
        /// How long after its trigger (the message, or its reply) the copy is delivered, in
        /// milliseconds.
        after_ms: u64,
    },
    /// The message (or its reply, by the aim's phase) is under way for longer.
    Delay {
        /// How much longer, in milliseconds.
        ms: u64,
    },
}

/// In a fault's `nodes`: the node that the triggering message was sent to.
pub const RECEIVER: &str = "receiver";

/// The name of a kind of fault, as schedules and reports write it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Kind {
    /// See [`Fault::Kill`].
    Kill,
    /// See [`Fault::Cut`].
    Cut,
    /// See [`Fault::DropRequest`].
    DropRequest,
    /// See [`Fault::DropReply`].
    DropReply,
    /// See [`Fault::Duplicate`].
    Duplicate,
    /// See [`Fault::Delay`].
    Delay,
}

impl Kind {
    /// Whether it happens to one message, and so needs an aim and lasts no time.
    pub fn is_on_message(self) -> bool {
        !matches!(self, Self::Kill | Self::Cut)
    }
}

impl fmt::Display for Kind {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(match self {
            Self::Kill => "kill",
            Self::Cut => "cut",
            Self::DropRequest => "drop_request",
            Self::DropReply => "drop_reply",
            Self::Duplicate => "duplicate",
            Self::Delay => "delay",
        })
    }
}

impl Fault {
    /// Which kind of fault this is.
    pub fn kind(&self) -> Kind {
        match self {
            Self::Kill { .. } => Kind::Kill,
            Self::Cut { .. } => Kind::Cut,
            Self::DropRequest => Kind::DropRequest,
            Self::DropReply => Kind::DropReply,
            Self::Duplicate { .. } => Kind::Duplicate,
            Self::Delay { .. } => Kind::Delay,
        }
    }

    /// The nodes it strikes; none for a fault on a message.
    pub fn nodes(&self) -> &[String] {
        match self {
            Self::Kill { nodes } | Self::Cut { nodes } => nodes,
            _ => &[],
        }
    }

    /// The same fault with [`RECEIVER`] replaced by the node's name.
    pub fn resolved(&self, receiver: Option<&str>) -> Self {
        let mut fault = self.clone();
        if let (Self::Kill { nodes } | Self::Cut { nodes }, Some(receiver)) = (&mut fault, receiver)
        {
            for node in nodes.iter_mut().filter(|node| *node == RECEIVER) {
                receiver.clone_into(node);
            }
            nodes.sort();
            nodes.dedup();
        }
        fault
    }
}

/// Which message sets a fault off.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Aim {
    /// The method's name without its service: `Acquire`.
    pub method: String,
    /// Only from this client or node.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub from: Option<String>,
    /// Only to this node.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub to: Option<String>,
    /// Before the message is delivered, or when its reply comes.
    #[serde(default)]
    pub phase: Phase,
    /// Only a reply in which this field is set: `granted`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reply: Option<String>,
}

impl fmt::Display for Aim {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "{}", self.method)?;
        match &self.reply {
            Some(field) => write!(formatter, " answered {field}"),
            None => Ok(()),
        }
    }
}

/// A moment in the life of a message.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Phase {
    /// Before it is delivered.
    #[default]
    Request,
    /// Between its delivery and its reply: the receiver has answered, the sender does not know.
    Reply,
}

/// What sets a fault off. The message that does is held until the fault is confirmed.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Trigger {
    /// A time since the start of the run, in milliseconds.
    AtMs(u64),
    /// The `nth` message (from 1) that fits the aim, counted from the start of the fault window.
    Message {
        /// Which messages count.
        aim: Aim,
        /// Which of those.
        nth: u32,
    },
}

/// One fault of a schedule.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Entry {
    /// What sets it off.
    pub when: Trigger,
    /// What goes wrong.
    pub fault: Fault,
    /// After how long it is undone, in milliseconds: nodes restart, cuts heal. 0 for a fault on a
    /// message. The end of the fault window undoes whatever is still broken.
    #[serde(default)]
    pub for_ms: u64,
}

/// A fault that was really injected.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Struck {
    /// Its place in the schedule.
    pub entry: usize,
    /// What went wrong, with names in place of roles.
    pub fault: Fault,
    /// When it was confirmed, in microseconds since the start of the run.
    pub at_us: u64,
    /// When it was undone; for a fault on a message, the same as `at_us`.
    pub until_us: u64,
    /// The message that set it off.
    pub message: Option<Sighting>,
}

/// A message as a fault saw it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Sighting {
    /// The message's number in the record.
    pub id: u64,
    /// Who sent it.
    pub from: String,
    /// To whom.
    pub to: String,
    /// The method's name without its service.
    pub method: String,
    /// At which moment of its life.
    pub phase: Phase,
}
