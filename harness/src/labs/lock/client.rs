//! One client of the lock lab: it acquires, relies, renews, writes, oversleeps, dies, releases.

use std::{pin::Pin, time::Duration};

use node::Channel;
use proto::lock::{
    self as wire, acquire_reply, guard_client::GuardClient, lock_client::LockClient, read_reply,
    release_reply, renew_reply, write_reply,
};
use rand::{RngExt, SeedableRng, rngs::StdRng};
use serde_json::{Value, json};
use tokio::time::{Instant, sleep, sleep_until, timeout};
use tonic::{Response, Status};

use super::Options;
use crate::{
    fabric::RunClock,
    history::{History, Pending},
    workload::{Actor, Client},
};

/// How long one operation is sent again and again before its client gives it up.
const PATIENCE: Duration = Duration::from_millis(1500);
/// The pause before an operation is sent again to somebody else.
const RETRY_PAUSE: Duration = Duration::from_millis(15);
/// A client that is told HELD asks again after what it was told, but not outside these bounds.
const POLL_MS: [u64; 2] = [5, 100];
/// How long a holder that oversleeps is late.
const OVERSLEEP_MS: [u64; 2] = [20, 250];
/// The pause between two writes of one holder.
const WRITE_PAUSE_MS: [u64; 2] = [10, 50];

/// After how many of a hundred writes the holder reads what it has written.
const READ_BACK_PERCENT: u32 = 50;

/// One client: it wants locks, one after the other.
pub struct Holder {
    /// Who it says it is: `c1`, and `c1.2` in its second life.
    owner: String,
    lives: u32,
    number: u32,
    random: StdRng,
    nodes: Vec<(String, Node)>,
    options: Options,
    history: History,
    clock: RunClock,
    request_no: u64,
}

/// The way to one node.
#[derive(Clone)]
struct Node {
    lock: LockClient<Channel>,
    guard: GuardClient<Channel>,
}

/// How one sending of an operation ended.
enum Step {
    /// The operation has this result.
    Done(Value),
    /// It may have happened or not: send it again, to another node.
    Again(Value),
}

impl Actor for Holder {
    fn turn(&mut self, random: StdRng) -> Pin<Box<dyn Future<Output = ()> + Send + '_>> {
        self.random = random;
        Box::pin(self.round())
    }
}

impl Holder {
    /// A client that has asked for nothing yet.
    pub fn new(client: Client, options: Options) -> Self {
        let connect = |(name, channel): (String, Channel)| {
            let (lock, guard) = (LockClient::new(channel.clone()), GuardClient::new(channel));
            (name, Node { lock, guard })
        };
        Self {
            owner: format!("c{}", client.number),
            lives: 1,
            number: client.number,
            // Every turn brings its own.
            random: StdRng::seed_from_u64(0),
            nodes: client.channels.into_iter().map(connect).collect(),
            options,
            history: client.history,
            clock: client.clock,
            request_no: 0,
        }
    }

    /// Asks for a lock once; holds it if it is granted.
    async fn round(&mut self) {
        let lock = format!("lock-{}", self.random.random_range(1..=self.options.locks));
        let asked = Instant::now();
        let outcome = self.acquire(&lock).await;
        if let Some(token) = outcome.as_ref().and_then(|outcome| outcome["granted"].as_u64()) {
            self.hold(&lock, token, asked).await;
        } else if let Some(poll_ms) = outcome.as_ref().and_then(|it| it["retry_after_ms"].as_u64())
        {
            let [least, most] = POLL_MS;
            let poll_ms = poll_ms.clamp(least, most);
            self.pause([poll_ms / 2 + 1, poll_ms]).await;
            if self.options.guards {
                self.read(&lock).await;
            }
            return;
        }
        self.pause(self.options.think_ms).await;
        if self.options.guards {
            self.read(&lock).await;
        }
    }

    /// Holds a lock for a while, renewing and writing, and gives it back; unless it dies.
    async fn hold(&mut self, lock: &str, token: u64, asked: Instant) {
        let lease = Duration::from_millis(self.options.lease_ms.into());
        let mut lease_end = asked + lease;
        let dies = self.chance(self.options.die_percent);
        let renews = self.chance(self.options.renew_percent);
        let mut writer = self.options.guards.then_some(0);
        let held = self.draw_ms(self.options.hold_ms);
        let until = Instant::now() + if dies { held / 2 } else { held };
        let renew_every = (held / 2).min(lease / 2);
        let (mut renew_at, mut renew_no) = (Instant::now() + renew_every, 0);
        while Instant::now() < until.min(lease_end) {
            let mut wake = renew_at.min(until).min(lease_end);
            if let Some(seq) = &mut writer {
                *seq += 1;
                self.write(lock, token, *seq).await;
                if self.chance(READ_BACK_PERCENT) {
                    self.read(lock).await;
                }
                wake = wake.min(Instant::now() + self.draw_ms(WRITE_PAUSE_MS));
            }
            sleep_until(wake).await;
            if Instant::now() < renew_at {
                continue;
            }
            let sent = Instant::now();
            renew_at = sent + renew_every;
            renew_no += 1;
            if renews && sent < until && self.renew(lock, token, renew_no).await {
                lease_end = sent + lease;
            }
        }
        if dies {
            self.come_back();
            return;
        }
        if self.chance(self.options.oversleep_percent) {
            sleep_until(lease_end + self.draw_ms(OVERSLEEP_MS)).await;
            if let Some(seq) = writer {
                self.write(lock, token, seq + 1).await;
            }
        }
        self.release(lock, token).await;
    }

    /// Whoever died is gone; whoever comes back knows nothing of what it held.
    fn come_back(&mut self) {
        self.lives += 1;
        self.owner = format!("c{}.{}", self.number, self.lives);
        self.request_no = 0;
    }

    fn chance(&mut self, percent: u32) -> bool {
        self.random.random_range(0..100) < percent
    }

    fn draw_ms(&mut self, [least, most]: [u64; 2]) -> Duration {
        Duration::from_millis(self.random.random_range(least..=most))
    }

    async fn pause(&mut self, range_ms: [u64; 2]) {
        let pause = self.draw_ms(range_ms);
        sleep(pause).await;
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
        self.operate("acquire", lock, details, |mut node| {
            let request = request.clone();
            async move {
                let reply = node.lock.acquire(request).await;
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

    /// Whether the lease was renewed.
    async fn renew(&mut self, lock: &str, token: u64, renew_no: u64) -> bool {
        let lease_ms = self.options.lease_ms;
        let (name, owner) = (lock.to_owned(), self.owner.clone());
        let request = wire::RenewRequest { name, owner, token, renew_no, lease_ms };
        let details = json!({
            "owner": self.owner, "token": token, "renew_no": renew_no, "lease_ms": lease_ms,
        });
        let result = self
            .operate("renew", lock, details, |mut node| {
                let request = request.clone();
                async move {
                    let reply = node.lock.renew(request).await;
                    understand(reply, |reply| match reply.outcome {
                        Some(renew_reply::Outcome::Ok(_)) => Step::Done(json!("ok")),
                        Some(renew_reply::Outcome::Lost(_)) => Step::Done(json!("lost")),
                        _ => Step::Again(json!("unavailable")),
                    })
                }
            })
            .await;
        result == Some(json!("ok"))
    }

    async fn release(&mut self, lock: &str, token: u64) {
        let (name, owner) = (lock.to_owned(), self.owner.clone());
        let request = wire::ReleaseRequest { name, owner, token };
        let details = json!({ "owner": self.owner, "token": token });
        self.operate("release", lock, details, |mut node| {
            let request = request.clone();
            async move {
                let reply = node.lock.release(request).await;
                understand(reply, |reply| match reply.outcome {
                    Some(release_reply::Outcome::Ok(_)) => Step::Done(json!("ok")),
                    _ => Step::Again(json!("unavailable")),
                })
            }
        })
        .await;
    }

    /// The value says who wrote it and when, so that a reader can tell.
    async fn write(&mut self, lock: &str, token: u64, seq: u64) {
        let value = format!("{} {token}/{seq}", self.owner);
        let (name, bytes) = (lock.to_owned(), value.clone().into_bytes());
        let request = wire::WriteRequest { name, token, seq, value: bytes };
        let details = json!({
            "owner": self.owner, "token": token, "seq": seq, "value": value,
        });
        self.operate("write", lock, details, |mut node| {
            let request = request.clone();
            async move {
                let reply = node.guard.write(request).await;
                understand(reply, |reply| match reply.outcome {
                    Some(write_reply::Outcome::Ok(_)) => Step::Done(json!("ok")),
                    Some(write_reply::Outcome::Fenced(_)) => Step::Done(json!("fenced")),
                    _ => Step::Again(json!("unavailable")),
                })
            }
        })
        .await;
    }

    async fn read(&mut self, lock: &str) {
        let request = wire::ReadRequest { name: lock.to_owned() };
        let details = json!({ "owner": self.owner });
        self.operate("read", lock, details, |mut node| {
            let request = request.clone();
            async move {
                let reply = node.guard.read(request).await;
                understand(reply, |reply| match reply.outcome {
                    Some(read_reply::Outcome::Written(wire::Written { token, seq, value })) => {
                        let value = String::from_utf8_lossy(&value);
                        Step::Done(json!({ "token": token, "seq": seq, "value": value }))
                    }
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
        send: impl Fn(Node) -> F,
    ) -> Option<Value> {
        let details = details.as_object().cloned().unwrap_or_default();
        let pending: Pending = self.history.call(self.number, op, lock, details);
        let mut next = self.random.random_range(0..self.nodes.len());
        let give_up = Instant::now() + PATIENCE;
        while Instant::now() < give_up {
            let (name, node) = self.nodes[next].clone();
            next = (next + 1) % self.nodes.len();
            let call_us = self.clock.now_us();
            let limit = Duration::from_millis(self.options.call_timeout_ms);
            let step = timeout(limit, send(node)).await;
            let step = step.unwrap_or_else(|_| Step::Again(json!("timeout")));
            match step {
                Step::Done(result) => {
                    pending.tried(&name, call_us, result.clone());
                    pending.returned(result.clone());
                    return Some(result);
                }
                Step::Again(answer) => pending.tried(&name, call_us, answer),
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
