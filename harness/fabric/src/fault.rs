//! The vocabulary of faults, and what a schedule is: faults with the moments that set them off.

use std::fmt;

use serde::{Deserialize, Serialize};

/// What goes wrong.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "snake_case")]
pub enum Fault {
    /// `kill -9` of every named node at once. It is undone by restarting them.
    Kill {
        /// Which nodes: names, or [`SENDER`], or [`RECEIVER`].
        nodes: Vec<String>,
    },
    /// Every named node stops where it is (SIGSTOP) and goes on (SIGCONT) as if no time had passed.
    Pause {
        /// Which nodes: names, or [`SENDER`], or [`RECEIVER`].
        nodes: Vec<String>,
    },
    /// Nodes do not hear each other. It is undone by healing.
    Cut {
        /// Which nodes: names, or [`SENDER`], or [`RECEIVER`].
        nodes: Vec<String>,
        /// Which ways are cut, seen from these nodes.
        #[serde(default)]
        shape: Shape,
        /// What becomes of the messages.
        #[serde(default)]
        mode: Mode,
    },
    /// The message never arrives.
    DropRequest,
    /// The message arrives, its reply does not.
    DropReply,
    /// The message does not arrive, and its sender is told so at once.
    Refuse,
    /// The message arrives once more.
    Duplicate {
        /// How long after its trigger (the message, or its reply, or what `until` waits for) the
        /// copy is delivered, in milliseconds.
        after_ms: u64,
        /// The copy waits for a message like this one, or for the end of the fault window.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        until: Option<Aim>,
    },
    /// The message (or its reply, by the aim's phase) is under way for longer.
    Delay {
        /// How much longer, in milliseconds.
        ms: u64,
    },
    /// The message (or its reply, by the aim's phase) is held back until the end of the fault
    /// window, or until something happens.
    Hold {
        /// After how long it is let go in any case, in milliseconds.
        at_most_ms: u64,
        /// It is let go after a message like this one.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        until: Option<Aim>,
    },
}

/// In a fault's `nodes`, and in an aim that follows another message: that message's sender.
pub const SENDER: &str = "sender";
/// In a fault's `nodes`, and in an aim that follows another message: that message's receiver.
pub const RECEIVER: &str = "receiver";
/// In an aim that follows another message: neither that message's sender nor its receiver.
pub const OTHER: &str = "other";
/// In an aim, before a name, a part or a field: anybody else, or not set.
pub const NOT: char = '!';

/// Which ways a cut blocks, seen from the nodes that it names.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Shape {
    /// Between them and the rest, both ways.
    #[default]
    Both,
    /// What they send to the rest.
    Outgoing,
    /// What the rest sends to them.
    Incoming,
    /// Between the two halves of the rest, both ways: they are a bridge that hears everybody.
    Bridge,
}

impl Shape {
    /// The directed pairs of `all` nodes that are blocked by a cut of this shape around `nodes`.
    pub fn blocked_pairs(self, nodes: &[String], all: &[String]) -> Vec<(String, String)> {
        let rest: Vec<_> = all.iter().filter(|node| !nodes.contains(node)).collect();
        let half = &rest[..rest.len() / 2];
        let blocks = |from: &String, to: &String| {
            let [out, into] = [nodes.contains(from), nodes.contains(to)];
            match self {
                Self::Both => out != into,
                Self::Outgoing => out && !into,
                Self::Incoming => !out && into,
                Self::Bridge => !out && !into && half.contains(&from) != half.contains(&to),
            }
        };
        let pairs = all.iter().flat_map(|from| all.iter().map(move |to| (from, to)));
        pairs.filter(|(from, to)| blocks(from, to)).map(|(a, b)| (a.clone(), b.clone())).collect()
    }
}

/// What becomes of messages on a link that is cut.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Mode {
    /// They are lost, and nobody is told: the connections stay open.
    #[default]
    Silent,
    /// They wait for the heal, and then arrive: the connections stay open.
    Hold,
    /// The connections are closed and new ones refused.
    Reset,
}

/// The name of a kind of fault, as schedules and reports write it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Kind {
    /// See [`Fault::Kill`].
    Kill,
    /// See [`Fault::Pause`].
    Pause,
    /// See [`Fault::Cut`].
    Cut,
    /// See [`Fault::DropRequest`].
    DropRequest,
    /// See [`Fault::DropReply`].
    DropReply,
    /// See [`Fault::Refuse`].
    Refuse,
    /// See [`Fault::Duplicate`].
    Duplicate,
    /// See [`Fault::Delay`].
    Delay,
    /// See [`Fault::Hold`].
    Hold,
}

impl Kind {
    /// Whether it happens to one message, and so needs an aim and lasts no time of its own.
    pub fn is_on_message(self) -> bool {
        !matches!(self, Self::Kill | Self::Pause | Self::Cut)
    }
}

impl fmt::Display for Kind {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(match self {
            Self::Kill => "kill",
            Self::Pause => "pause",
            Self::Cut => "cut",
            Self::DropRequest => "drop_request",
            Self::DropReply => "drop_reply",
            Self::Refuse => "refuse",
            Self::Duplicate => "duplicate",
            Self::Delay => "delay",
            Self::Hold => "hold",
        })
    }
}

impl Fault {
    /// Which kind of fault this is.
    pub fn kind(&self) -> Kind {
        match self {
            Self::Kill { .. } => Kind::Kill,
            Self::Pause { .. } => Kind::Pause,
            Self::Cut { .. } => Kind::Cut,
            Self::DropRequest => Kind::DropRequest,
            Self::DropReply => Kind::DropReply,
            Self::Refuse => Kind::Refuse,
            Self::Duplicate { .. } => Kind::Duplicate,
            Self::Delay { .. } => Kind::Delay,
            Self::Hold { .. } => Kind::Hold,
        }
    }

    /// The nodes it strikes; none for a fault on a message.
    pub fn nodes(&self) -> &[String] {
        match self {
            Self::Kill { nodes } | Self::Pause { nodes } | Self::Cut { nodes, .. } => nodes,
            _ => &[],
        }
    }

    /// The same fault on these nodes.
    pub fn on_nodes(&self, nodes: Vec<String>) -> Self {
        match self {
            Self::Kill { .. } => Self::Kill { nodes },
            Self::Pause { .. } => Self::Pause { nodes },
            Self::Cut { shape, mode, .. } => Self::Cut { nodes, shape: *shape, mode: *mode },
            on_message => on_message.clone(),
        }
    }

    /// The nodes it strikes when `message` sets it off: roles replaced by names.
    pub fn resolved_nodes(&self, message: Option<&Sighting>) -> Vec<String> {
        let resolve = |node: &String| match (node.as_str(), message) {
            (SENDER, Some(message)) => message.from.clone(),
            (RECEIVER, Some(message)) => message.to.clone(),
            _ => node.clone(),
        };
        let mut nodes: Vec<_> = self.nodes().iter().map(resolve).collect();
        nodes.sort();
        nodes.dedup();
        nodes
    }
}

/// Which message sets a fault off.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Aim {
    /// The method's name without its service: `Acquire`.
    pub method: String,
    /// Only from this client or node; after another message also [`SENDER`],
    /// [`RECEIVER`] or [`OTHER`]; with [`NOT`] before it, from anybody else.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub from: Option<String>,
    /// Only to this node; after another message also [`SENDER`],
    /// [`RECEIVER`] or [`OTHER`]; with [`NOT`] before it, to anybody else.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub to: Option<String>,
    /// Before the message is delivered, or when its reply comes.
    #[serde(default)]
    pub phase: Phase,
    /// Only a request in which this field is set: `state.holder`; with a `!` before it, is not.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub request: Option<String>,
    /// Only a reply in which this field is set: `granted`; with a `!` before it, is not.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reply: Option<String>,
    /// After another message: only one whose request has the same value in this field: `name`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub same: Option<String>,
}

impl Aim {
    /// Any request of `method`.
    pub fn at(method: String) -> Self {
        let (from, to, request, reply, same) = (None, None, None, None, None);
        Self { method, from, to, phase: Phase::Request, request, reply, same }
    }

    /// Whether it only makes sense after another message.
    pub fn follows(&self) -> bool {
        let is_role = |name: &Option<String>| {
            let name = name.as_ref().map(|name| name.strip_prefix(NOT).unwrap_or(name));
            name.is_some_and(|name| [SENDER, RECEIVER, OTHER].contains(&name))
        };
        self.same.is_some() || is_role(&self.from) || is_role(&self.to)
    }
}

/// For a sentence: `AppendEntries without entries from n1 answered with ok`.
impl fmt::Display for Aim {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "{}", self.method)?;
        let with = |field: &str| match field.strip_prefix(NOT) {
            Some(field) => format!("without {field}"),
            None => format!("with {field}"),
        };
        if let Some(field) = &self.request {
            write!(formatter, " {}", with(field))?;
        }
        for (word, name) in [("from", &self.from), ("to", &self.to)] {
            if let Some(name) = name {
                write!(formatter, " {word} {name}")?;
            }
        }
        match (self.phase, &self.reply) {
            (_, Some(field)) => write!(formatter, " answered {}", with(field)),
            (Phase::Reply, None) => write!(formatter, " answered"),
            (Phase::Request, None) => Ok(()),
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
        /// They count only once this entry of the schedule was set off (nodes may take some
        /// milliseconds to fall), and, if it holds its message, only while it does; the aim's roles
        /// are those of that message.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        after: Option<usize>,
    },
}

/// One fault of a schedule.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Entry {
    /// What sets it off.
    pub when: Trigger,
    /// What goes wrong.
    pub fault: Fault,
    /// After how long it is undone, in milliseconds: nodes restart or go on, cuts heal. 0 for a
    /// fault on a message. The end of the fault window undoes whatever is still broken.
    #[serde(default)]
    pub for_ms: u64,
    /// Which of the wanted faults that the schedule was drawn from this is one of, from 0.
    pub spec: usize,
}

/// A fault that was really injected.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Struck {
    /// Its place in the schedule.
    pub entry: usize,
    /// What went wrong, with names in place of roles.
    pub fault: Fault,
    /// When it was confirmed, in microseconds since the start of the run.
    pub at_us: u64,
    /// When it was undone; for a fault on a message, when the message (or its copy) went on.
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
