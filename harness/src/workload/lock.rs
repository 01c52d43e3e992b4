//! Clients of the lock lab: they acquire, rely, sometimes renew, and release.

mod evidence;

use std::{collections::BTreeMap, time::Duration};

use anyhow::{Context, Result, ensure};
use node::Channel;
use proto::lock::{
    self as wire, acquire_reply, lock_client::LockClient, release_reply, renew_reply,
};
use rand::{RngExt, SeedableRng, rngs::StdRng};
use serde::Deserialize;
use serde_json::{Value, json};
use tokio::time::{Instant, sleep, sleep_until, timeout};
use tonic::{Response, Status};

use self::evidence::{answers, attempts, claims_ended, grants, released, reliances};
use super::{Client, ClientTask, Evidence, Workload};
use crate::{
    checker::{Finding, Late, leases, requests},
    history::{Operation, Pending},
};

/// What a scenario may say about the clients. Times in milliseconds, ranges as [least, most].
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields, default)]
struct Options {
    locks: u32,
    lease_ms: u32,
    hold_ms: [u64; 2],
    think_ms: [u64; 2],
    call_timeout_ms: u64,
    /// In how many of a hundred grants the holder renews half-way.
    renew_percent: u32,
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
        }
    }
}

/// How long one operation is sent again and again before its client gives it up.
const PATIENCE: Duration = Duration::from_millis(1500);
/// The pause before an operation is sent again to somebody else.
const RETRY_PAUSE: Duration = Duration::from_millis(15);
/// A client that is told HELD asks again after what it was told, but not outside these bounds.
const POLL_MS: [u32; 2] = [5, 100];

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

impl Workload for LockWorkload {
    fn descriptors(&self) -> &'static [u8] {
        wire::DESCRIPTORS
    }

    fn client(&self, client: Client) -> ClientTask {
        let connect = |(node, channel)| (node, LockClient::new(channel));
        let mut holder = Holder {
            owner: format!("c{}", client.number),
            number: client.number,
            random: StdRng::seed_from_u64(client.seed),
            nodes: client.channels.into_iter().map(connect).collect(),
            options: self.options.clone(),
            history: client.history,
            clock: client.clock,
            request_no: 0,
        };
        Box::pin(async move {
            loop {
                holder.round().await;
            }
        })
    }

    fn checks(&self) -> &'static [&'static str] {
        &["one_holder", "tokens_grow", "one_grant_each"]
    }

    fn bounds(&self) -> &'static [&'static str] {
        &["granted_again", "same_grant"]
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
    ) -> (Vec<Finding>, Vec<Late>) {
        let answers = answers(&evidence.messages);
        let check = |name: &String| match name.as_str() {
            "one_holder" => leases::disjoint(&reliances(&evidence.history, &answers)),
            "tokens_grow" => leases::tokens_grow(&grants(&answers)),
            "one_grant_each" => {
                requests::one_grant_each(&answers, &claims_ended(&evidence.messages))
            }
            _ => unreachable!("a scenario's checks are checked when it is read"),
        };
        let bound = |(name, bound_us): (&String, &u64)| match name.as_str() {
            "granted_again" => leases::granted_again(
                &released(&evidence.history),
                &attempts(&evidence.history),
                &grants(&answers),
                *bound_us,
                evidence.end_us,
            ),
            "same_grant" => requests::same_grant(&answers, *bound_us),
            _ => unreachable!("a scenario's bounds are checked when it is read"),
        };
        (checks.iter().filter_map(check).collect(), bounds_us.iter().filter_map(bound).collect())
    }

    fn progress_us(&self, history: &[Operation]) -> Vec<u64> {
        attempts(history).into_iter().filter_map(|attempt| attempt.granted_us).collect()
    }
}

/// One client: it wants locks, one after the other.
struct Holder {
    owner: String,
    number: u32,
    random: StdRng,
    nodes: Vec<(String, LockClient<Channel>)>,
    options: Options,
    history: crate::history::History,
    clock: crate::fabric::RunClock,
    request_no: u64,
}

/// How one sending of an operation ended.
enum Step {
    /// The operation has this result.
    Done(Value),
    /// It may have happened or not: send it again, to another node.
    Again(Value),
}

impl Holder {
    /// Wants a lock until it has it, holds it for a while, releases it.
    async fn round(&mut self) {
        let lock = format!("lock-{}", self.random.random_range(1..=self.options.locks));
        let asked = Instant::now();
        let outcome = self.acquire(&lock).await;
        if let Some(token) = outcome.as_ref().and_then(|outcome| outcome["granted"].as_u64()) {
            let lease = Duration::from_millis(self.options.lease_ms.into());
            let hold = self.draw_ms(self.options.hold_ms);
            sleep_until((Instant::now() + hold / 2).min(asked + lease)).await;
            if self.random.random_range(0..100) < self.options.renew_percent {
                self.renew(&lock, token).await;
            }
            sleep(hold / 2).await;
            self.release(&lock, token).await;
        } else if let Some(poll_ms) = outcome.as_ref().and_then(|it| it["retry_after_ms"].as_u64())
        {
            let [least, most] = POLL_MS.map(u64::from);
            let poll_ms = poll_ms.clamp(least, most);
            sleep(self.draw_ms([poll_ms / 2 + 1, poll_ms])).await;
            return;
        }
        let think = self.draw_ms(self.options.think_ms);
        sleep(think).await;
    }

    fn draw_ms(&mut self, [least, most]: [u64; 2]) -> Duration {
        Duration::from_millis(self.random.random_range(least..=most))
    }

    /// One request of its own: what comes after HELD is a new one.
    async fn acquire(&mut self, lock: &str) -> Option<Value> {
        self.request_no += 1;
        let request = wire::AcquireRequest {
            name: lock.to_owned(),
            owner: self.owner.clone(),
            request_no: self.request_no,
            lease_ms: self.options.lease_ms,
        };
        let details = json!({
            "owner": self.owner, "request_no": self.request_no, "lease_ms": self.options.lease_ms,
        });
        self.operate("acquire", lock, details, |mut client| {
            let request = request.clone();
            async move {
                let reply = client.acquire(request).await;
                understand(reply, |reply| match reply.outcome {
                    Some(acquire_reply::Outcome::Granted(it)) => {
                        Step::Done(json!({ "granted": it.token }))
                    }
                    Some(acquire_reply::Outcome::Held(it)) => {
                        Step::Done(json!({ "held": it.by, "retry_after_ms": it.retry_after_ms }))
                    }
                    Some(acquire_reply::Outcome::Stale(_)) => Step::Done(json!("stale")),
                    _ => Step::Again(json!("unavailable")),
                })
            }
        })
        .await
    }

    async fn renew(&mut self, lock: &str, token: u64) {
        let lease_ms = self.options.lease_ms;
        let (name, owner) = (lock.to_owned(), self.owner.clone());
        let request = wire::RenewRequest { name, owner, token, renew_no: 1, lease_ms };
        let details = json!({
            "owner": self.owner, "token": token, "renew_no": 1, "lease_ms": lease_ms,
        });
        self.operate("renew", lock, details, |mut client| {
            let request = request.clone();
            async move {
                let reply = client.renew(request).await;
                understand(reply, |reply| match reply.outcome {
                    Some(renew_reply::Outcome::Ok(_)) => Step::Done(json!("ok")),
                    Some(renew_reply::Outcome::Lost(_)) => Step::Done(json!("lost")),
                    _ => Step::Again(json!("unavailable")),
                })
            }
        })
        .await;
    }

    async fn release(&mut self, lock: &str, token: u64) {
        let (name, owner) = (lock.to_owned(), self.owner.clone());
        let request = wire::ReleaseRequest { name, owner, token };
        let details = json!({ "owner": self.owner, "token": token });
        self.operate("release", lock, details, |mut client| {
            let request = request.clone();
            async move {
                let reply = client.release(request).await;
                understand(reply, |reply| match reply.outcome {
                    Some(release_reply::Outcome::Ok(_)) => Step::Done(json!("ok")),
                    _ => Step::Again(json!("unavailable")),
                })
            }
        })
        .await;
    }

    /// Sends an operation, to one node after the other, until it has a result.
    async fn operate<F: Future<Output = Step>>(
        &mut self,
        op: &str,
        lock: &str,
        details: Value,
        send: impl Fn(LockClient<Channel>) -> F,
    ) -> Option<Value> {
        let details = details.as_object().cloned().unwrap_or_default();
        let pending: Pending = self.history.call(self.number, op, lock, details);
        let mut next = self.random.random_range(0..self.nodes.len());
        let give_up = Instant::now() + PATIENCE;
        while Instant::now() < give_up {
            let (node, client) = self.nodes[next].clone();
            next = (next + 1) % self.nodes.len();
            let call_us = self.clock.now_us();
            let limit = Duration::from_millis(self.options.call_timeout_ms);
            let step = timeout(limit, send(client)).await;
            let step = step.unwrap_or_else(|_| Step::Again(json!("timeout")));
            match step {
                Step::Done(result) => {
                    pending.tried(&node, call_us, result.clone());
                    pending.returned(result.clone());
                    return Some(result);
                }
                Step::Again(answer) => pending.tried(&node, call_us, answer),
            }
            sleep(RETRY_PAUSE).await;
        }
        None
    }
}

fn understand<T>(reply: Result<Response<T>, Status>, outcome: impl FnOnce(T) -> Step) -> Step {
    match reply {
        Ok(reply) => outcome(reply.into_inner()),
        Err(status) => Step::Again(json!({ "error": status.to_string() })),
    }
}
