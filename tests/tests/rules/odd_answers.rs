//! Clients of the key-value lab beside a node that always answers the same, whatever it is asked:
//! what they make of it is judged like anything else.

use std::collections::BTreeMap;

use harness::{
    fabric::RunClock,
    history::{History, Operation},
    labs,
    workload::{Client, Evidence},
};
use node::{BoxError, Channel};
use proto::kv::{
    AppendRequest, CasRequest, DeleteRequest, GetRequest, NotLeader, PutRequest, Reply, Stale,
    Unavailable, Value,
    kv_server::{Kv, KvServer},
    reply::Outcome,
};
use rand::{SeedableRng, rngs::StdRng};
use tonic::{Request, Response, Status};
use tower::util::MapErr;

/// A node with one answer.
#[derive(Clone)]
struct Parrot(Option<Outcome>);

type Answer = Result<Response<Reply>, Status>;

impl Parrot {
    fn says(&self) -> Answer {
        Ok(Response::new(Reply { outcome: self.0.clone() }))
    }
}

#[tonic::async_trait]
impl Kv for Parrot {
    async fn get(&self, _: Request<GetRequest>) -> Answer {
        self.says()
    }
    async fn put(&self, _: Request<PutRequest>) -> Answer {
        self.says()
    }
    async fn append(&self, _: Request<AppendRequest>) -> Answer {
        self.says()
    }
    async fn cas(&self, _: Request<CasRequest>) -> Answer {
        self.says()
    }
    async fn delete(&self, _: Request<DeleteRequest>) -> Answer {
        self.says()
    }
}

/// What a client with `options` saw in some turns.
async fn seen(outcome: Option<Outcome>, options: &toml::Table) -> Vec<Operation> {
    let clock = RunClock::default();
    clock.start();
    let history = History::new(clock.clone());
    let parrot = KvServer::new(Parrot(outcome));
    let channel = Channel::over(MapErr::new(parrot, BoxError::from));
    let channels = vec![("n1".to_owned(), channel)];
    let client = Client { number: 1, channels, history: history.clone(), clock };
    let mut actor = labs::workload("kv", options).unwrap().client(client);
    for seed in 0..15 {
        actor.turn(StdRng::seed_from_u64(seed)).await;
    }
    history.operations()
}

/// What is wrong with it, if something is.
fn wrong(history: Vec<Operation>) -> Option<String> {
    let kv = labs::workload("kv", &toml::Table::new()).unwrap();
    let evidence = Evidence { history, ..Evidence::default() };
    let checks = ["linearizable".to_owned()];
    let charges = kv.judge(&evidence, &checks, &BTreeMap::new());
    assert_eq!(charges.undecided, None);
    charges.findings.into_iter().next().map(|(_, finding)| finding.sentence)
}

fn value(value: Option<String>) -> Value {
    Value { value }
}

#[tokio::test(start_paused = true)]
async fn whatever_a_node_answers_is_judged() {
    let long = || value(Some("v".repeat(1 << 20)));
    let not_leader = || NotLeader { hint: "n1".into() };
    let outcomes = [
        Some(Outcome::Ok(value(None))),
        Some(Outcome::Ok(long())),
        Some(Outcome::Mismatch(value(None))),
        Some(Outcome::Mismatch(long())),
        Some(Outcome::NotLeader(not_leader())),
        Some(Outcome::Stale(Stale {})),
        Some(Outcome::Unavailable(Unavailable {})),
        None,
    ];
    for (outcome, by_cas) in outcomes.iter().flat_map(|outcome| [(outcome, false), (outcome, true)])
    {
        let options = toml::Table::from_iter([("reads_by_cas".to_owned(), by_cas.into())]);
        wrong(seen(outcome.clone(), &options).await);
    }
}

#[tokio::test(start_paused = true)]
async fn a_compare_and_set_that_fits_what_nobody_wrote_is_wrong() {
    let options = toml::toml! {
        reads_by_cas = true
        read_percent = 100
    };
    let all_fits = seen(Some(Outcome::Ok(value(None))), &options).await;
    let sentence = wrong(all_fits).unwrap();
    assert!(sentence.contains("never there"), "{sentence}");
    let nothing_is_there = seen(Some(Outcome::Mismatch(value(None))), &options).await;
    assert_eq!(wrong(nothing_is_there), None);
}

#[test]
fn a_client_must_have_the_patience_to_ask_again() {
    let options = toml::toml! {
        call_timeout_ms = 2700
    };
    let Err(error) = labs::workload("kv", &options) else { panic!("it would ask once") };
    assert!(error.to_string().contains("patience_ms"), "{error:#}");
}
