//! What waits for a message: faults that it sets off, and held messages that it lets go.

use prost_reflect::Value;
use tokio::sync::oneshot;

use crate::{
    decode::Decoder,
    fault::{Aim, Entry, Fault, NOT, OTHER, Phase, RECEIVER, SENDER, Sighting, Trigger},
};

/// A message at one moment of its life, as aims see it.
pub(crate) struct Seen<'a> {
    pub id: u64,
    pub from: &'a str,
    pub to: &'a str,
    pub phase: Phase,
    /// `/package.Service/Method`.
    pub path: &'a str,
    /// The method's name without its service.
    pub method: &'a str,
    /// The request's gRPC frame.
    pub request: &'a [u8],
    /// The reply's; empty in [`Phase::Request`].
    pub reply: &'a [u8],
}

impl Seen<'_> {
    /// What is told of the message.
    pub fn sighting(&self) -> Sighting {
        Sighting {
            id: self.id,
            from: self.from.to_owned(),
            to: self.to.to_owned(),
            method: self.method.to_owned(),
            phase: self.phase,
        }
    }
}

/// Everything that waits for a message.
#[derive(Default)]
pub(crate) struct Triggers {
    counters: Vec<Counter>,
    held: Vec<Held>,
}

/// Counts the messages that fit one aim, for all faults that wait for one of them.
struct Counter {
    wanted: Wanted,
    /// It counts no message before this entry was set off, nor, if that holds a message, once the
    /// message has gone on.
    follows: Option<usize>,
    /// Whether it counts.
    counts: bool,
    /// How many it has counted.
    count: u32,
    waiting: Vec<Waiting>,
}

/// A fault that waits for the `nth` message of its counter.
struct Waiting {
    nth: u32,
    entry: usize,
    fault: Fault,
}

/// A message that is held until another one passes; for ever if it waits for none.
struct Held {
    wanted: Option<Wanted>,
    /// Dropped or told, the message goes on.
    let_go: oneshot::Sender<()>,
}

/// An aim, and what it takes from the message that it follows.
struct Wanted {
    aim: Aim,
    /// Whose sender and receiver are meant.
    follows: Option<Sighting>,
    /// The value that its `same` field must have.
    same: Option<Value>,
}

impl Triggers {
    /// The faults of `schedule` that wait for a message.
    pub fn new(schedule: &[Entry]) -> Self {
        let mut counters: Vec<Counter> = Vec::new();
        for (entry, Entry { when, fault, .. }) in schedule.iter().enumerate() {
            let Trigger::Message { aim, nth, after } = when else { continue };
            let waiting = Waiting { nth: *nth, entry, fault: fault.clone() };
            // What follows another fault counts from that one on, by itself.
            let counts_it = |counter: &&mut Counter| {
                counter.counts && after.is_none() && counter.wanted.aim == *aim
            };
            match counters.iter_mut().find(counts_it) {
                Some(counter) => counter.waiting.push(waiting),
                None => counters.push(Counter {
                    wanted: Wanted { aim: aim.clone(), follows: None, same: None },
                    follows: *after,
                    counts: after.is_none(),
                    count: 0,
                    waiting: vec![waiting],
                }),
            }
        }
        Self { counters, held: Vec::new() }
    }

    pub fn is_empty(&self) -> bool {
        self.counters.is_empty()
    }

    /// Counts the message wherever it fits, lets go what it lets go, and takes out what it sets
    /// off, as (place in the schedule, fault).
    pub fn see(&mut self, seen: &Seen<'_>, decoder: &Decoder) -> Vec<(usize, Fault)> {
        self.held.retain(|held| {
            // What was let go this way is told so by being dropped.
            !held.wanted.as_ref().is_some_and(|wanted| wanted.fits(seen, decoder))
        });
        let mut set_off = Vec::new();
        self.counters.retain_mut(|counter| {
            if counter.counts && counter.wanted.fits(seen, decoder) {
                counter.count += 1;
                let due = counter.waiting.extract_if(.., |waiting| waiting.nth == counter.count);
                set_off.extend(due.map(|waiting| (waiting.entry, waiting.fault)));
            }
            !counter.waiting.is_empty()
        });
        if set_off.is_empty() {
            return set_off;
        }
        set_off.sort_by_key(|(entry, _)| *entry);
        for counter in &mut self.counters {
            if counter.follows.is_some_and(|it| set_off.iter().any(|(entry, _)| *entry == it)) {
                counter.counts = true;
                counter.wanted = Wanted::following(&counter.wanted.aim, seen, decoder);
            }
        }
        set_off
    }

    /// The message that `entry` held has gone on: what was to happen meanwhile no longer will.
    pub fn went_on(&mut self, entry: usize) {
        self.counters.retain(|counter| counter.follows != Some(entry));
    }

    /// Holds the message that was seen until one passes that fits `until`: the returned receiver
    /// ends then, or when these triggers are gone.
    pub fn hold(
        &mut self,
        until: Option<&Aim>,
        seen: &Seen<'_>,
        decoder: &Decoder,
    ) -> oneshot::Receiver<()> {
        let (let_go, gone) = oneshot::channel();
        let wanted = until.map(|aim| Wanted::following(aim, seen, decoder));
        self.held.push(Held { wanted, let_go });
        // Those that have given up waiting would pile up.
        self.held.retain(|held| !held.let_go.is_closed());
        gone
    }
}

impl Wanted {
    /// What `aim` wants after the message that was seen.
    fn following(aim: &Aim, seen: &Seen<'_>, decoder: &Decoder) -> Self {
        let same = aim.same.as_ref();
        let same = same.and_then(|field| decoder.request_field(seen.path, seen.request, field));
        Self { aim: aim.clone(), follows: Some(seen.sighting()), same }
    }

    fn fits(&self, seen: &Seen<'_>, decoder: &Decoder) -> bool {
        let Self { aim, follows, same } = self;
        let names = |wanted: &Option<String>, name: &str| {
            let Some(wanted) = wanted else { return true };
            let (wanted, is_wanted) = match wanted.strip_prefix(NOT) {
                Some(unwanted) => (unwanted, false),
                None => (wanted.as_str(), true),
            };
            is_wanted
                == match (wanted, follows) {
                    (SENDER, Some(earlier)) => name == earlier.from,
                    (RECEIVER, Some(earlier)) => name == earlier.to,
                    (OTHER, Some(earlier)) => name != earlier.from && name != earlier.to,
                    _ => name == wanted,
                }
        };
        aim.method == seen.method
            && aim.phase == seen.phase
            && names(&aim.from, seen.from)
            && names(&aim.to, seen.to)
            && aim
                .request
                .as_ref()
                .is_none_or(|field| decoder.request_has(seen.path, seen.request, field))
            && aim.reply.as_ref().is_none_or(|field| {
                aim.phase == Phase::Reply && decoder.reply_has(seen.path, seen.reply, field)
            })
            && aim
                .same
                .as_ref()
                .is_none_or(|field| decoder.request_field(seen.path, seen.request, field) == *same)
    }
}
