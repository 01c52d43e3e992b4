//! Drawing a schedule: from what a scenario wants broken and a seed, to faults one by one.

use anyhow::{Result, ensure};
use rand::{RngExt, SeedableRng, rngs::StdRng, seq::IndexedRandom};
use serde::Deserialize;

use super::{
    decode::Decoder,
    fault::{Aim, Entry, Fault, Kind, Phase, RECEIVER, Trigger},
};

/// A fault that a scenario wants, as `lab.toml` writes it.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct FaultSpec {
    /// What goes wrong.
    pub kind: Kind,
    /// Which messages set it off; without an aim it strikes at a random time.
    pub aim: Option<Aim>,
    /// Which nodes: `"all"`, `"receiver"`, or how many. One by default.
    #[serde(default)]
    pub nodes: Nodes,
    /// How many times.
    #[serde(default = "once")]
    pub times: u32,
    /// Between one strike and the next, at most so many messages fit the aim. 1: every one strikes.
    #[serde(default = "default_spread")]
    pub spread: u32,
    /// How long it lasts, from and to, in milliseconds (on nodes).
    #[serde(default = "default_for_ms")]
    pub for_ms: [u64; 2],
    /// How much later the message or its copy arrives, from and to, in milliseconds.
    #[serde(default = "default_delay_ms")]
    pub delay_ms: [u64; 2],
}

/// Which nodes a fault strikes.
#[derive(Clone, Debug, Deserialize)]
#[serde(untagged)]
pub enum Nodes {
    /// So many, drawn from the seed.
    Count(usize),
    /// `"all"` or `"receiver"`.
    Named(NamedNodes),
}

/// Nodes by the part they play.
#[derive(Clone, Copy, Debug, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum NamedNodes {
    /// Every node.
    All,
    /// The node that the triggering message was sent to.
    Receiver,
}

impl Default for Nodes {
    fn default() -> Self {
        Self::Count(1)
    }
}

fn once() -> u32 {
    1
}
fn default_spread() -> u32 {
    3
}
fn default_for_ms() -> [u64; 2] {
    [100, 300]
}
fn default_delay_ms() -> [u64; 2] {
    [5, 50]
}

impl FaultSpec {
    /// Whether this can happen to a lab with these messages on `nodes` nodes.
    ///
    /// # Errors
    /// Says what cannot.
    pub fn check(&self, nodes: usize, decoder: &Decoder) -> Result<()> {
        let kind = self.kind;
        ensure!(self.times > 0 && self.spread > 0, "{kind}: times and spread start at 1");
        ensure!(
            self.for_ms[0] <= self.for_ms[1] && self.delay_ms[0] <= self.delay_ms[1],
            "{kind}: for_ms and delay_ms are written [shortest, longest]"
        );
        match &self.nodes {
            Nodes::Count(count) => ensure!(
                (1..=nodes).contains(count),
                "{kind}: nodes = {count} is impossible with {nodes} nodes"
            ),
            Nodes::Named(NamedNodes::Receiver) => ensure!(
                self.aim.is_some(),
                "{kind}: nodes = \"receiver\" needs an aim, whose receiver is meant"
            ),
            Nodes::Named(NamedNodes::All) => {}
        }
        let Some(aim) = &self.aim else {
            ensure!(!kind.is_on_message(), "{kind} happens to a message and needs an aim");
            return Ok(());
        };
        let known = decoder.knows(&aim.method, aim.reply.as_deref());
        ensure!(known, "{kind} is aimed at {aim}, which this lab does not have");
        ensure!(
            aim.reply.is_none() || self.phase() == Some(Phase::Reply),
            "{kind}: an aim at what a reply says needs phase = \"reply\""
        );
        Ok(())
    }

    /// When in a message's life the fault strikes; `None` without an aim.
    fn phase(&self) -> Option<Phase> {
        match self.kind {
            Kind::DropRequest => Some(Phase::Request),
            Kind::DropReply => Some(Phase::Reply),
            _ => self.aim.as_ref().map(|aim| aim.phase),
        }
    }
}

/// Draws the faults that `specs` want among `nodes`, the timed ones inside `window_ms` (from and
/// to, since the start of the run). The same seed draws the same schedule.
pub fn draw(specs: &[FaultSpec], nodes: &[String], window_ms: [u64; 2], seed: u64) -> Vec<Entry> {
    let mut random = StdRng::seed_from_u64(seed);
    let mut entries = Vec::new();
    for spec in specs {
        let mut nth = 0;
        for _ in 0..spec.times {
            let for_ms = match spec.kind.is_on_message() {
                true => 0,
                false => random.random_range(spec.for_ms[0]..=spec.for_ms[1]),
            };
            let when = match &spec.aim {
                Some(aim) => {
                    nth += random.random_range(1..=spec.spread);
                    let phase = spec.phase().unwrap_or_default();
                    Trigger::Message { aim: Aim { phase, ..aim.clone() }, nth }
                }
                None => {
                    let latest_ms = window_ms[1].saturating_sub(for_ms).max(window_ms[0]);
                    Trigger::AtMs(random.random_range(window_ms[0]..=latest_ms))
                }
            };
            entries.push(Entry { when, fault: draw_fault(spec, nodes, &mut random), for_ms });
        }
    }
    entries
}

fn draw_fault(spec: &FaultSpec, nodes: &[String], random: &mut StdRng) -> Fault {
    let mut draw_nodes = || match spec.nodes {
        Nodes::Count(count) => {
            let mut drawn: Vec<_> = nodes.sample(random, count).cloned().collect();
            drawn.sort();
            drawn
        }
        Nodes::Named(NamedNodes::All) => nodes.to_vec(),
        Nodes::Named(NamedNodes::Receiver) => vec![RECEIVER.to_owned()],
    };
    match spec.kind {
        Kind::Kill => Fault::Kill { nodes: draw_nodes() },
        Kind::Cut => Fault::Cut { nodes: draw_nodes() },
        Kind::DropRequest => Fault::DropRequest,
        Kind::DropReply => Fault::DropReply,
        Kind::Duplicate => Fault::Duplicate { after_ms: draw_delay(spec, random) },
        Kind::Delay => Fault::Delay { ms: draw_delay(spec, random) },
    }
}

fn draw_delay(spec: &FaultSpec, random: &mut StdRng) -> u64 {
    random.random_range(spec.delay_ms[0]..=spec.delay_ms[1])
}

#[cfg(test)]
mod tests {
    use super::*;

    fn specs() -> Vec<FaultSpec> {
        #[derive(Deserialize)]
        struct File {
            faults: Vec<FaultSpec>,
        }
        let file: File = toml::from_str(
            r#"faults = [
                { kind = "kill", times = 5, nodes = 2, for_ms = [100, 400] },
                { kind = "drop_reply", times = 5, aim = { method = "Acquire", reply = "granted" } },
            ]"#,
        )
        .unwrap();
        file.faults
    }

    #[test]
    fn one_seed_draws_one_schedule() {
        let nodes = ["n1", "n2", "n3"].map(String::from);
        let draw = |seed| draw(&specs(), &nodes, [500, 2000], seed);
        assert_eq!(draw(7), draw(7));
        assert_ne!(draw(7), draw(8));
    }

    #[test]
    fn every_fault_falls_into_the_window_and_on_a_message_of_its_own() {
        let nodes = ["n1", "n2", "n3"].map(String::from);
        for seed in 0..200 {
            let mut last_nth = 0;
            for entry in draw(&specs(), &nodes, [500, 2000], seed) {
                match entry.when {
                    Trigger::AtMs(at_ms) => {
                        assert!(at_ms >= 500 && at_ms + entry.for_ms <= 2000);
                        assert_eq!(entry.fault.nodes().len(), 2);
                    }
                    Trigger::Message { aim, nth } => {
                        assert_eq!(aim.phase, Phase::Reply);
                        assert!(nth > last_nth);
                        last_nth = nth;
                    }
                }
            }
        }
    }
}
