//! The lock lab: what a scenario may say about its clients, and how what they saw is judged.

mod client;
mod evidence;
pub mod fencing;
mod form;
pub mod leases;
pub mod majority;
pub mod requests;

use std::{collections::BTreeMap, sync::LazyLock};

use anyhow::{Context, Result, ensure};
use proto::lock as wire;
use serde::Deserialize;

use self::{
    client::Holder,
    evidence::{
        answers, asks, claims_ended, freed, grants, grants_known, lost_renewals, may_hold,
        node_asks, reads, reliances, writes,
    },
    form::check_form,
};
use super::{Histories, Room};
use crate::{
    checker::Finding,
    fabric::decode::Decoder,
    history::Operation,
    workload::{Actor, Charges, Client, Evidence, Workload},
};

/// The lab as the list of labs has it.
pub const ROOM: Room = Room {
    name: "lock",
    workload: |options| Ok(Box::new(LockWorkload::new(options)?)),
    histories: Some(Histories { check_form, check: check_history }),
};

/// Made once: thousands of simulated runs ask for it.
static DECODER: LazyLock<Decoder> =
    LazyLock::new(|| Decoder::new(wire::DESCRIPTORS).expect("they are compiled in"));

/// What a scenario may say about the clients. Times in milliseconds, ranges as [least, most].
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields, default)]
struct Options {
    locks: u32,
    lease_ms: u32,
    hold_ms: [u64; 2],
    think_ms: [u64; 2],
    call_timeout_ms: u64,
    /// In how many of a hundred grants the holder renews, half-way or whenever half of its lease is
    /// over.
    renew_percent: u32,
    /// In how many of a hundred grants the holder dies half-way; it comes back as somebody else.
    die_percent: u32,
    /// In how many of a hundred grants the holder sleeps past its lease, and does not know it.
    oversleep_percent: u32,
    /// Whether holders write what the lock guards, and others read it.
    guards: bool,
}

impl Default for Options {
    fn default() -> Self {
        Self {
            locks: 2,
            lease_ms: 600,
            hold_ms: [2, 30],
            think_ms: [5, 30],
            call_timeout_ms: 250,
            renew_percent: 20,
            die_percent: 0,
            oversleep_percent: 0,
            guards: false,
        }
    }
}

/// The workload of the lock lab.
pub struct LockWorkload {
    options: Options,
}

impl LockWorkload {
    /// The workload with a scenario's `options`.
    ///
    /// # Errors
    /// When it has no such option, or a value makes no sense.
    pub fn new(options: &toml::Table) -> Result<Self> {
        let options: Options = options.clone().try_into().context("options")?;
        for range in [options.hold_ms, options.think_ms] {
            ensure!(range[0] <= range[1], "options: a range is written [least, most]");
        }
        ensure!(options.locks > 0, "options: locks starts at 1");
        Ok(Self { options })
    }
}

/// What a history alone holds against the service that it is of.
pub fn check_history(history: &[Operation]) -> Option<Finding> {
    let reliances = reliances(history, &[]);
    let findings = [
        leases::disjoint(&reliances),
        leases::tokens_grow(&grants_known(history)),
        leases::renewals_kept(&reliances, &lost_renewals(history)),
        fencing::fenced(&writes(history), &reads(history)),
    ];
    findings.into_iter().flatten().min_by_key(|finding| finding.at_us)
}

impl Workload for LockWorkload {
    fn decoder(&self) -> Decoder {
        DECODER.clone()
    }

    fn client(&self, client: Client) -> Box<dyn Actor> {
        Box::new(Holder::new(client, self.options.clone()))
    }

    fn checks(&self) -> &'static [&'static str] {
        &["one_holder", "tokens_grow", "one_grant_each", "renewals_kept", "majority_only", "fenced"]
    }

    fn bounds(&self) -> &'static [&'static str] {
        &["granted_again", "same_grant", "every_node", "written"]
    }

    /// Every lock is free and any node grants it, but in the second that promises give: when three
    /// coordinators with slow disks meet, half of one is not always enough.
    fn starts_within_ms(&self) -> u64 {
        1000
    }

    /// Every lock may be held by somebody who is gone, for one lease from the last restart.
    fn recovers_within_ms(&self) -> u64 {
        u64::from(self.options.lease_ms) + 1000
    }

    fn judge(
        &self,
        evidence: &Evidence,
        checks: &[String],
        bounds_us: &BTreeMap<String, u64>,
    ) -> Charges {
        let Evidence { history, messages, weather, restarts, end_us, .. } = evidence;
        let mut restarts_us: Vec<_> = restarts.iter().map(|restart| restart.back_us).collect();
        restarts_us.sort_unstable();
        let answers = answers(messages);
        let check = |name: &str| match name {
            "one_holder" => leases::disjoint(&reliances(history, &answers)),
            "tokens_grow" => leases::tokens_grow(&grants(&answers)),
            "one_grant_each" => requests::one_grant_each(&answers, &claims_ended(messages)),
            "renewals_kept" => {
                leases::renewals_kept(&reliances(history, &answers), &lost_renewals(history))
            }
            "majority_only" => majority::granted_alone(&answers, weather),
            "fenced" => fencing::fenced(&writes(history), &reads(history)),
            _ => unreachable!("a scenario's checks are checked when it is read"),
        };
        let bound = |name: &str, bound_us: u64| match name {
            "granted_again" => leases::granted_again(
                &freed(history, messages, &answers, &restarts_us),
                &may_hold(messages, &answers, &restarts_us),
                &asks(history),
                &grants(&answers),
                bound_us,
                weather,
                *end_us,
            ),
            "same_grant" => requests::same_grant(&answers, bound_us, weather),
            "every_node" => majority::every_node_decides(&node_asks(history), bound_us, weather),
            "written" => fencing::answered(&writes(history), bound_us, weather, *end_us),
            _ => unreachable!("a scenario's bounds are checked when it is read"),
        };
        Charges::by_name(checks, bounds_us, check, bound)
    }

    fn progress_us(&self, history: &[Operation]) -> Vec<u64> {
        evidence::served_us(history)
    }
}
