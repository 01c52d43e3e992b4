//! The key-value lab: what a scenario may say about its clients, and how what they saw is judged.

mod client;
mod evidence;
pub mod leaders;
pub mod logs;
mod peers;
pub mod reads;
pub mod sessions;
pub mod terms;
mod traffic;

use std::{cell::LazyCell, collections::BTreeMap, sync::LazyLock, time::Duration};

use anyhow::{Context, ensure};
use proto::kv as wire;
use serde::Deserialize;

use self::client::KvClient;
use super::Room;
use crate::{
    checker::{
        Finding,
        linearizable::{self, Budget},
        progress,
    },
    fabric::decode::Decoder,
    history::{
        Operation,
        values::{Model, ValueHistory},
    },
    workload::{Actor, Charges, Client, Evidence, Workload},
};

/// The lab as the list of labs has it. Of histories of values `lab check` knows models of its own.
pub const ROOM: Room = Room {
    name: "kv",
    workload: |options| Ok(Box::new(KvWorkload::new(options)?)),
    histories: None,
};

/// Made once: thousands of simulated runs ask for it.
static DECODER: LazyLock<Decoder> =
    LazyLock::new(|| Decoder::new(wire::DESCRIPTORS).expect("they are compiled in"));

/// What a scenario may say about the clients. Times in milliseconds, ranges as [least, most].
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields, default)]
struct Options {
    keys: u32,
    think_ms: [u64; 2],
    call_timeout_ms: u64,
    /// How long one operation is sent again and again before its client gives it up.
    patience_ms: u64,
    /// How many of a hundred operations are reads.
    read_percent: u32,
    /// How many of the clients, from the second on, only read.
    readers: u32,
    /// Whether a read is a compare-and-set that fits nothing: it goes through the log, and shows
    /// what is there however reads are answered.
    reads_by_cas: bool,
    /// Whether a client that got no answer asks again. One that does not never knows what became of
    /// its write.
    asks_again: bool,
    /// Whether every write is a Put.
    only_puts: bool,
    /// How long the values of Puts and compare-and-sets are at least, in bytes.
    value_bytes: usize,
    /// How many committed entries a leader may keep.
    log_entries: u64,
    /// How many bytes a node may have on its disk.
    disk_bytes: u64,
}

impl Default for Options {
    fn default() -> Self {
        Self {
            keys: 3,
            think_ms: [2, 20],
            call_timeout_ms: 400,
            patience_ms: 2500,
            read_percent: 40,
            readers: 0,
            reads_by_cas: false,
            asks_again: true,
            only_puts: false,
            value_bytes: 0,
            log_entries: 600,
            disk_bytes: 16 << 20,
        }
    }
}

/// The workload of the key-value lab.
pub struct KvWorkload {
    options: Options,
}

impl KvWorkload {
    /// The workload with a scenario's `options`.
    ///
    /// # Errors
    /// When it has no such option, or a value makes no sense.
    pub fn new(options: &toml::Table) -> anyhow::Result<Self> {
        let options: Options = options.clone().try_into().context("options")?;
        let [least, most] = options.think_ms;
        ensure!(least <= most, "options: a range is written [least, most]");
        ensure!(options.keys > 0, "options: keys starts at 1");
        ensure!(options.read_percent <= 100, "options: read_percent is at most 100");
        ensure!(
            options.call_timeout_ms < options.patience_ms,
            "options: patience_ms is more than call_timeout_ms, or no client would ask again"
        );
        Ok(Self { options })
    }
}

impl Workload for KvWorkload {
    fn decoder(&self) -> Decoder {
        DECODER.clone()
    }

    fn client(&self, client: Client) -> Box<dyn Actor> {
        Box::new(KvClient::new(client, self.options.clone()))
    }

    fn checks(&self) -> &'static [&'static str] {
        &[
            "linearizable",
            "never_stale",
            "done_once",
            "reads_confirmed",
            "one_leader",
            "one_vote",
            "terms_kept",
            "committed_kept",
            "acknowledged_saved",
            "acknowledged_kept",
            "votes_for_no_less",
            "log_bounded",
            "disk_bounded",
            "traffic_bounded",
        ]
    }

    fn bounds(&self) -> &'static [&'static str] {
        &["written", "settled"]
    }

    /// Somebody has to be elected, perhaps in a second attempt.
    fn starts_within_ms(&self) -> u64 {
        2000
    }

    /// An election, or two, and what a client waits before it asks somebody else.
    fn recovers_within_ms(&self) -> u64 {
        3000
    }

    fn judge(
        &self,
        evidence: &Evidence,
        checks: &[String],
        bounds_us: &BTreeMap<String, u64>,
    ) -> Charges {
        let Evidence { history, messages, weather, restarts, outages, stored_bytes, end_us } =
            evidence;
        // Decoded where a check asks for it, and once.
        let calls = LazyCell::new(|| peers::calls(messages));
        let shown = LazyCell::new(|| peers::shown(&calls));
        let mut undecided = None;
        let check = |name: &str| match name {
            "linearizable" => match linearizable(history) {
                Ok(finding) => finding,
                Err(sentence) => {
                    undecided = Some(sentence);
                    None
                }
            },
            "never_stale" => evidence::told_stale(history),
            "done_once" => sessions::done_once(&evidence::told(messages)),
            "reads_confirmed" => {
                let (reads, exchanges) = (evidence::reads(messages), peers::exchanges(&calls));
                reads::unconfirmed(&reads, &exchanges, weather.nodes())
            }
            "one_leader" => leaders::two_in_a_term(&peers::claims(&calls)),
            "one_vote" => leaders::voted_twice(&peers::votes(&calls)),
            "terms_kept" => terms::forgotten(&peers::words(&calls), restarts),
            "committed_kept" => logs::not_kept(&shown),
            "acknowledged_saved" => logs::not_saved(&shown, restarts),
            "acknowledged_kept" => logs::taken_back(&shown),
            "votes_for_no_less" => logs::voted_for_less(&peers::grants(&calls), &shown),
            "log_bounded" => traffic::kept_too_much(&calls, self.options.log_entries),
            "disk_bounded" => {
                evidence::stored_too_much(stored_bytes, self.options.disk_bytes, *end_us)
            }
            "traffic_bounded" => traffic::sent_too_much(&calls, *outages)
                .or_else(|| traffic::sent_again_and_again(&calls))
                .or_else(|| traffic::asked_again_and_again(&calls)),
            _ => unreachable!("a scenario's checks are checked when it is read"),
        };
        let bound = |name: &str, bound_us: u64| match name {
            "written" => progress::stalled(&evidence::writes(history), bound_us, weather, *end_us),
            "settled" => leaders::replaced(&peers::claims(&calls), bound_us, weather),
            _ => unreachable!("a scenario's bounds are checked when it is read"),
        };
        let charges = Charges::by_name(checks, bounds_us, check, bound);
        Charges { undecided, ..charges }
    }

    fn progress_us(&self, history: &[Operation]) -> Vec<u64> {
        let done = history.iter().filter(|operation| operation.op != "get");
        done.filter_map(|operation| operation.return_us).collect()
    }
}

/// What one run may cost to check: a run has some thousands of operations at most.
const BUDGET: Budget =
    Budget { steps: 2_000_000, memory_bytes: 128 << 20, time: Duration::from_secs(20), jobs: 1 };

/// What no order explains, if there is something; the error says that this is not known.
fn linearizable(history: &[Operation]) -> Result<Option<Finding>, String> {
    let not_judged = |error| format!("What clients saw could not be judged: {error:#}.");
    let mut values = ValueHistory::of(history, Model::Kv).map_err(not_judged)?;
    match linearizable::check(&values.keys, &values.values, BUDGET) {
        linearizable::Verdict::NotLinearizable { key } => {
            let cause = linearizable::cause(&values.keys[key], &mut values.values);
            let process = values.keys[key][cause.operation].process;
            let (since_us, at_us) = cause.window_us;
            let (sentence, clients) =
                (values.explain(key, &cause, "c"), vec![format!("c{process}")]);
            Ok(Some(Finding { sentence, since_us, at_us, clients }))
        }
        linearizable::Verdict::Linearizable => Ok(None),
        linearizable::Verdict::Undecided { key, .. } => Err(format!(
            "No order of the operations on {} was found, and not every order could be tried.",
            values.names[key]
        )),
    }
}
