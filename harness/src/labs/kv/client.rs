//! One client of the key-value lab: it reads and writes, one operation after the other.

use std::{
    collections::{BTreeMap, BTreeSet},
    pin::Pin,
    time::Duration,
};

use node::Channel;
use proto::kv::{self as wire, kv_client::KvClient as Stub, reply::Outcome};
use rand::{RngExt, SeedableRng, rngs::StdRng};
use serde_json::{Value, json};
use tokio::time::{Instant, sleep, timeout};

use super::Options;
use crate::{
    fabric::RunClock,
    history::{History, Pending},
    workload::{Actor, Client},
};

/// The pause before an operation is sent again.
const RETRY_PAUSE: Duration = Duration::from_millis(15);
/// What nobody writes.
const NEVER_THERE: &str = "never there";

/// One client.
pub struct KvClient {
    name: String,
    number: u32,
    random: StdRng,
    nodes: Vec<(String, Stub<Channel>)>,
    /// Whom it asks first: who answered last.
    favourite: usize,
    /// Whom it has asked about the operation that is under way, since the last time that it had
    /// asked everybody.
    asked: BTreeSet<usize>,
    /// Whether its last operation had a result.
    was_answered: bool,
    options: Options,
    history: History,
    clock: RunClock,
    /// The number of its newest write.
    seq: u64,
    /// What it last saw at each key.
    seen: BTreeMap<String, Option<String>>,
}

/// What it asks for.
#[derive(Clone)]
enum Ask {
    Get,
    /// A compare-and-set that fits nothing.
    GetByCas,
    Put(String),
    Append(String),
    Cas(Option<String>, String),
    Delete,
}

/// How one sending of an operation ended.
enum Step {
    /// The operation has this result.
    Done(Value),
    /// It may have happened or not: send it again, to this node if it is known.
    Again(Option<String>),
}

impl Actor for KvClient {
    fn turn(&mut self, random: StdRng) -> Pin<Box<dyn Future<Output = ()> + Send + '_>> {
        self.random = random;
        Box::pin(self.act())
    }
}

impl KvClient {
    /// A client that has asked for nothing yet.
    pub fn new(client: Client, options: Options) -> Self {
        let connect = |(name, channel): (String, Channel)| (name, Stub::new(channel));
        Self {
            name: format!("c{}", client.number),
            number: client.number,
            // Every turn brings its own.
            random: StdRng::seed_from_u64(0),
            nodes: client.channels.into_iter().map(connect).collect(),
            favourite: 0,
            asked: BTreeSet::new(),
            was_answered: false,
            options,
            history: client.history,
            clock: client.clock,
            seq: 0,
            seen: BTreeMap::new(),
        }
    }

    async fn act(&mut self) {
        let key = format!("k{}", self.random.random_range(1..=self.options.keys));
        let ask = self.choose(&key);
        self.operate(&key, ask).await;
        let [least, most] = self.options.think_ms;
        let think_ms = self.random.random_range(least..=most);
        sleep(Duration::from_millis(think_ms)).await;
    }

    fn choose(&mut self, key: &str) -> Ask {
        // The first one writes, however few there are.
        let only_reads = (2..=self.options.readers + 1).contains(&self.number);
        let reads = only_reads || self.random.random_range(0..100) < self.options.read_percent;
        if reads && !self.options.reads_by_cas {
            return Ask::Get;
        }
        self.seq += 1;
        if reads {
            return Ask::GetByCas;
        }
        // No two writes write the same, so that a reader can tell whose it saw.
        let value = format!("{}.{} ", self.name, self.seq);
        let padded = format!("{value:.<width$}", width = self.options.value_bytes);
        match self.random.random_range(0..10) {
            _ if self.options.only_puts => Ask::Put(padded),
            0..4 => Ask::Put(padded),
            4..7 => Ask::Append(value),
            7..9 => Ask::Cas(self.seen.get(key).cloned().flatten(), padded),
            _ => Ask::Delete,
        }
    }

    /// Sends an operation until it has a result, or the client has no more patience. Whoever does
    /// not ask again sends it once, to a node that has just answered.
    async fn operate(&mut self, key: &str, ask: Ask) {
        let pending = self.call(key, &ask);
        let give_up = Instant::now() + Duration::from_millis(self.options.patience_ms);
        let session = wire::Session { client: self.name.clone(), seq: self.seq };
        self.asked.clear();
        while Instant::now() < give_up {
            // Whatever is there: it is only to find out who leads.
            let only_looks = !self.options.asks_again && !self.was_answered;
            let sent = if only_looks { &Ask::Get } else { &ask };
            match self.send(key, sent, &session, &pending).await {
                Step::Done(_) if only_looks => self.was_answered = true,
                Step::Done(result) => {
                    self.was_answered = true;
                    self.remember(key, &ask, &result);
                    return pending.returned(result);
                }
                Step::Again(hint) => {
                    self.was_answered = false;
                    self.turn_to(hint);
                    sleep(RETRY_PAUSE).await;
                    if !self.options.asks_again && !only_looks {
                        break;
                    }
                }
            }
        }
        self.seen.remove(key);
    }

    /// Sends what is asked for to the favourite, once.
    async fn send(&self, key: &str, ask: &Ask, session: &wire::Session, pending: &Pending) -> Step {
        let (node, stub) = self.nodes[self.favourite].clone();
        let call_us = self.clock.now_us();
        let limit = Duration::from_millis(self.options.call_timeout_ms);
        let answer = timeout(limit, send(stub, key, ask, session)).await;
        let (step, answer) = answer.unwrap_or_else(|_| (Step::Again(None), json!("timeout")));
        pending.tried(&node, call_us, answer);
        step
    }

    fn call(&self, key: &str, ask: &Ask) -> Pending {
        let seq = self.seq;
        let (op, details) = match ask {
            Ask::Get => ("get", json!({})),
            Ask::GetByCas => ("get", json!({ "by": "cas", "seq": seq })),
            Ask::Put(value) => ("put", json!({ "value": value, "seq": seq })),
            Ask::Append(value) => ("append", json!({ "value": value, "seq": seq })),
            Ask::Cas(expected, value) => {
                ("cas", json!({ "expected": expected, "value": value, "seq": seq }))
            }
            Ask::Delete => ("delete", json!({ "seq": seq })),
        };
        self.history.call(self.number, op, key, details.as_object().cloned().unwrap_or_default())
    }

    /// The node that was named, or the next one; in both cases one that was not asked yet, so that
    /// two nodes which name each other do not keep it from the others.
    fn turn_to(&mut self, hint: Option<String>) {
        self.asked.insert(self.favourite);
        if self.asked.len() == self.nodes.len() {
            self.asked.clear();
        }
        let named = hint.and_then(|hint| self.nodes.iter().position(|(name, _)| *name == hint));
        let others = (1..=self.nodes.len()).map(|step| (self.favourite + step) % self.nodes.len());
        let mut next = named.into_iter().chain(others);
        self.favourite = next.find(|node| !self.asked.contains(node)).unwrap_or(self.favourite);
    }

    fn remember(&mut self, key: &str, ask: &Ask, result: &Value) {
        let text = || result["value"].as_str().map(str::to_owned);
        let now = match ask {
            Ask::Put(value) => Some(value.clone()),
            Ask::Cas(_, value) if result["ok"] == true => Some(value.clone()),
            Ask::Get | Ask::GetByCas | Ask::Cas(..) => text(),
            Ask::Append(_) => {
                self.seen.remove(key);
                return;
            }
            Ask::Delete => None,
        };
        self.seen.insert(key.to_owned(), now);
    }
}

async fn send(
    mut stub: Stub<Channel>,
    key: &str,
    ask: &Ask,
    session: &wire::Session,
) -> (Step, Value) {
    let (key, session) = (key.to_owned(), Some(session.clone()));
    let reply = match ask.clone() {
        Ask::Get => stub.get(wire::GetRequest { key }).await,
        Ask::GetByCas => {
            let (expected, value) = (Some(NEVER_THERE.to_owned()), NEVER_THERE.to_owned());
            stub.cas(wire::CasRequest { session, key, expected, value }).await
        }
        Ask::Put(value) => stub.put(wire::PutRequest { session, key, value }).await,
        Ask::Append(value) => stub.append(wire::AppendRequest { session, key, value }).await,
        Ask::Cas(expected, value) => {
            stub.cas(wire::CasRequest { session, key, expected, value }).await
        }
        Ask::Delete => stub.delete(wire::DeleteRequest { session, key }).await,
    };
    let done = |result: Value| (Step::Done(result.clone()), result);
    let again = |answer| (Step::Again(None), answer);
    match reply.map(|reply| reply.into_inner().outcome) {
        Ok(Some(Outcome::Ok(found))) => done(match ask {
            Ask::Get => json!({ "ok": true, "value": found.value }),
            // Somebody says that it fitted.
            Ask::GetByCas => json!({ "ok": true, "value": NEVER_THERE }),
            _ => json!({ "ok": true }),
        }),
        Ok(Some(Outcome::Mismatch(found))) => {
            // Whoever says so of anything but a compare-and-set says at least that it is done.
            done(json!({ "ok": !matches!(ask, Ask::Cas { .. }), "value": found.value }))
        }
        Ok(Some(Outcome::NotLeader(wire::NotLeader { hint }))) => {
            let known = Some(hint.clone()).filter(|hint| !hint.is_empty());
            (Step::Again(known), json!({ "not_leader": hint }))
        }
        Ok(Some(Outcome::Stale(_))) => again(json!("stale")),
        Ok(_) => again(json!("unavailable")),
        Err(status) => again(json!({ "error": status.to_string() })),
    }
}
