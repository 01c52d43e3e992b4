//! Drawing a schedule: from what a scenario wants broken and a seed, to faults one by one.

use std::{collections::BTreeMap, ops::RangeInclusive};

use anyhow::{Result, ensure};
use rand::{RngExt, SeedableRng, rngs::StdRng, seq::IndexedRandom};
use serde::{Deserialize, Serialize};

use crate::{
    decode::Decoder,
    fault::{Aim, Entry, Fault, Kind, Mode, NOT, OTHER, Phase, RECEIVER, SENDER, Shape, Trigger},
};

/// A fault that a scenario wants, as `lab.toml` writes it.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct FaultSpec {
    /// What goes wrong.
    pub kind: Kind,
    /// A name for the `after` of later faults.
    pub id: Option<String>,
    /// Which messages set it off; without an aim it strikes at a random time.
    pub aim: Option<Aim>,
    /// Its messages count only after the fault of this id was set off (while it holds its message,
    /// if that is what it does): it strikes `times` times for each strike of the other.
    pub after: Option<String>,
    /// Which nodes: `"all"`, `"sender"`, `"receiver"`, `"both"`, or how many. One by default.
    #[serde(default)]
    pub nodes: Nodes,
    /// How many times.
    #[serde(default = "once")]
    pub times: u32,
    /// How many messages fit the aim from one strike to the next, the struck one included.
    #[serde(default)]
    pub spread: Spread,
    /// How long it lasts, from and to, in milliseconds (on nodes; a held message).
    #[serde(default = "default_for_ms")]
    pub for_ms: [u64; 2],
    /// How much later the message or its copy arrives, from and to, in milliseconds.
    #[serde(default = "default_delay_ms")]
    pub delay_ms: [u64; 2],
    /// Which ways a cut blocks.
    #[serde(default)]
    pub shape: Shape,
    /// What becomes of messages on a cut link.
    #[serde(default)]
    pub mode: Mode,
    /// A held message, or a copy, goes on after a message like this one.
    pub until: Option<Aim>,
}

/// Which nodes a fault strikes.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(untagged)]
pub enum Nodes {
    /// So many, drawn from the seed.
    Count(usize),
    /// `"all"`, `"sender"`, `"receiver"` or `"both"`.
    Named(NamedNodes),
}

/// Nodes by the part they play.
#[derive(Clone, Copy, Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum NamedNodes {
    /// Every node.
    All,
    /// The node that sent the triggering message.
    Sender,
    /// The node that the triggering message was sent to.
    Receiver,
    /// Both of them.
    Both,
}

/// How many messages to let pass.
#[derive(Clone, Copy, Debug, Serialize, Deserialize)]
#[serde(untagged)]
pub enum Spread {
    /// Up to so many; 1: every one strikes.
    UpTo(u32),
    /// From and to.
    Between([u32; 2]),
}

impl Default for Spread {
    fn default() -> Self {
        Self::UpTo(3)
    }
}

impl Spread {
    fn range(self) -> RangeInclusive<u32> {
        match self {
            Self::UpTo(most) => 1..=most,
            Self::Between([least, most]) => least..=most,
        }
    }
}

impl Default for Nodes {
    fn default() -> Self {
        Self::Count(1)
    }
}

fn once() -> u32 {
    1
}
fn default_for_ms() -> [u64; 2] {
    [100, 300]
}
fn default_delay_ms() -> [u64; 2] {
    [5, 50]
}

/// Whether all this can happen to a lab with these messages on `nodes` nodes.
///
/// # Errors
/// Says what cannot.
pub fn check(specs: &[FaultSpec], nodes: usize, decoder: &Decoder) -> Result<()> {
    for (index, spec) in specs.iter().enumerate() {
        spec.check(nodes, decoder)?;
        let Some(after) = &spec.after else { continue };
        let earlier = specs[..index].iter().find(|it| it.id.as_ref() == Some(after));
        ensure!(
            earlier.is_some_and(|it| it.aim.is_some()),
            "{}: after = \"{after}\" must be the id of an earlier fault that has an aim",
            spec.kind
        );
    }
    Ok(())
}

impl FaultSpec {
    /// A fault of this kind, once, as `lab.toml` means it when it says no more.
    pub fn of(kind: Kind) -> Self {
        Self {
            kind,
            id: None,
            aim: None,
            after: None,
            nodes: Nodes::default(),
            times: once(),
            spread: Spread::default(),
            for_ms: default_for_ms(),
            delay_ms: default_delay_ms(),
            shape: Shape::default(),
            mode: Mode::default(),
            until: None,
        }
    }

    fn check(&self, nodes: usize, decoder: &Decoder) -> Result<()> {
        let kind = self.kind;
        let spread = self.spread.range();
        ensure!(self.times > 0 && *spread.start() > 0, "{kind}: times and spread start at 1");
        ensure!(!spread.is_empty(), "{kind}: spread is written [least, most], or as the most");
        ensure!(
            self.for_ms[0] <= self.for_ms[1] && self.delay_ms[0] <= self.delay_ms[1],
            "{kind}: for_ms and delay_ms are written [shortest, longest]"
        );
        match &self.nodes {
            Nodes::Count(count) => ensure!(
                (1..=nodes).contains(count),
                "{kind}: nodes = {count} is impossible with {nodes} nodes"
            ),
            Nodes::Named(NamedNodes::All) => {}
            Nodes::Named(_) => ensure!(
                self.aim.is_some(),
                "{kind}: nodes = \"sender\", \"receiver\" or \"both\" needs an aim, whose message \
                 is meant"
            ),
        }
        ensure!(
            self.until.is_none() || matches!(kind, Kind::Hold | Kind::Duplicate),
            "{kind} cannot wait for another message: until is for hold and duplicate"
        );
        self.until.iter().try_for_each(|aim| check_aim(kind, aim, aim.phase, decoder))?;
        let Some(aim) = &self.aim else {
            ensure!(!kind.is_on_message(), "{kind} happens to a message and needs an aim");
            ensure!(self.after.is_none(), "{kind}: after needs an aim");
            return Ok(());
        };
        ensure!(
            self.after.is_some() || !aim.follows(),
            "{kind}: an aim at a sender, a receiver or the same field needs after"
        );
        check_aim(kind, aim, self.phase().unwrap_or_default(), decoder)
    }

    /// When in a message's life the fault strikes; `None` without an aim.
    fn phase(&self) -> Option<Phase> {
        match self.kind {
            Kind::DropRequest | Kind::Refuse => Some(Phase::Request),
            Kind::DropReply => Some(Phase::Reply),
            _ => self.aim.as_ref().map(|aim| aim.phase),
        }
    }
}

fn check_aim(kind: Kind, aim: &Aim, phase: Phase, decoder: &Decoder) -> Result<()> {
    let method = &aim.method;
    ensure!(decoder.knows(method), "{kind} is aimed at {method}, which this lab does not have");
    for name in [&aim.from, &aim.to].into_iter().flatten() {
        ensure!(
            is_somebody(name),
            "{kind}: from and to name a node (n1), a client (c1), \"sender\", \"receiver\" or \
             \"other\", perhaps with a ! before it; \"{name}\" is none of these"
        );
    }
    for field in [&aim.same, &aim.request].into_iter().flatten() {
        ensure!(
            decoder.asks_with(method, field),
            "{kind} is aimed at {method}, whose requests have no field \"{field}\""
        );
    }
    if let Some(field) = &aim.reply {
        ensure!(
            decoder.answers_with(method, field),
            "{kind} is aimed at {method}, whose replies have no field \"{field}\""
        );
    }
    ensure!(
        aim.reply.is_none() || phase == Phase::Reply,
        "{kind}: an aim at what a reply says needs phase = \"reply\""
    );
    Ok(())
}

fn is_somebody(name: &str) -> bool {
    let name = name.strip_prefix(NOT).unwrap_or(name);
    let is_number = |number: &str| number.parse::<u32>().is_ok();
    [SENDER, RECEIVER, OTHER].contains(&name)
        || name.strip_prefix(['n', 'c']).is_some_and(is_number)
}

/// Draws the faults that `specs` want among `nodes`, the timed ones inside `window_ms` (from and
/// to, since the start of the run). The same seed draws the same schedule.
pub fn draw(specs: &[FaultSpec], nodes: &[String], window_ms: [u64; 2], seed: u64) -> Vec<Entry> {
    let mut random = StdRng::seed_from_u64(seed);
    let mut entries: Vec<Entry> = Vec::new();
    let mut places: BTreeMap<&str, Vec<usize>> = BTreeMap::new();
    for (number, spec) in specs.iter().enumerate() {
        let first = entries.len();
        let anchors: Vec<Option<usize>> = match &spec.after {
            Some(id) => places[id.as_str()].iter().copied().map(Some).collect(),
            None => vec![None],
        };
        for after in anchors {
            // After another fault, messages are counted anew.
            let mut nth = 0;
            for _ in 0..spec.times {
                let for_ms =
                    if spec.kind.is_on_message() { 0 } else { draw_ms(spec.for_ms, &mut random) };
                let when = match &spec.aim {
                    Some(aim) => {
                        nth += random.random_range(spec.spread.range());
                        let phase = spec.phase().unwrap_or_default();
                        Trigger::Message { aim: Aim { phase, ..aim.clone() }, nth, after }
                    }
                    None => Trigger::AtMs(draw_start_ms(window_ms, for_ms, &mut random)),
                };
                let fault = draw_fault(spec, nodes, &mut random);
                entries.push(Entry { when, fault, for_ms, spec: number });
            }
        }
        if let Some(id) = &spec.id {
            places.entry(id).or_default().extend(first..entries.len());
        }
    }
    entries
}

fn draw_start_ms([from_ms, to_ms]: [u64; 2], for_ms: u64, random: &mut StdRng) -> u64 {
    random.random_range(from_ms..=to_ms.saturating_sub(for_ms).max(from_ms))
}

fn draw_fault(spec: &FaultSpec, nodes: &[String], random: &mut StdRng) -> Fault {
    let mut draw_nodes = || match spec.nodes {
        Nodes::Count(count) => {
            let mut drawn: Vec<_> = nodes.sample(random, count).cloned().collect();
            drawn.sort();
            drawn
        }
        Nodes::Named(NamedNodes::All) => nodes.to_vec(),
        Nodes::Named(NamedNodes::Sender) => vec![SENDER.to_owned()],
        Nodes::Named(NamedNodes::Receiver) => vec![RECEIVER.to_owned()],
        Nodes::Named(NamedNodes::Both) => vec![SENDER.to_owned(), RECEIVER.to_owned()],
    };
    let until = spec.until.clone();
    match spec.kind {
        Kind::Kill => Fault::Kill { nodes: draw_nodes() },
        Kind::Pause => Fault::Pause { nodes: draw_nodes() },
        Kind::Cut => Fault::Cut { nodes: draw_nodes(), shape: spec.shape, mode: spec.mode },
        Kind::DropRequest => Fault::DropRequest,
        Kind::DropReply => Fault::DropReply,
        Kind::Refuse => Fault::Refuse,
        Kind::Duplicate => Fault::Duplicate { after_ms: draw_ms(spec.delay_ms, random), until },
        Kind::Delay => Fault::Delay { ms: draw_ms(spec.delay_ms, random) },
        Kind::Hold => Fault::Hold { at_most_ms: draw_ms(spec.for_ms, random), until },
    }
}

fn draw_ms([least, most]: [u64; 2], random: &mut StdRng) -> u64 {
    random.random_range(least..=most)
}
