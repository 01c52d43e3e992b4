//! The reference of the key-value lab as a store to measure.

use std::{
    env,
    path::{Path, PathBuf},
    process::Command,
};

use harness::{
    build::{self, Kind},
    cluster::warden::Warden,
    lab::Lab,
    variant::Variant,
    workspace::Workspace,
};
use proto::kv::{GetRequest, PutRequest, Session, kv_client::KvClient, reply::Outcome};
use tonic::transport::Channel;

use super::{KEYS, Store, VALUE};

/// The reference's program, optimised.
#[derive(Clone)]
pub struct Faultline(PathBuf);

impl Faultline {
    pub fn build(warden: &Warden) -> Self {
        env::set_current_dir(tests::root()).unwrap();
        let workspace = Workspace::find().unwrap();
        let lab = Lab::load(&workspace, "kv").unwrap();
        let built = build::build(&workspace, &lab, &Variant::Reference, Kind::FastNode, warden);
        let Ok(program) = built else { panic!("the reference does not build") };
        Self(program.path)
    }
}

impl Store for Faultline {
    const NAME: &'static str = "faultline";

    fn start(&self, number: usize, ports: &[[u16; 2]], folder: &Path) -> Command {
        let others = ports.iter().enumerate().filter(|(other, _)| *other != number);
        let peers: Vec<_> =
            others.map(|(other, [port, _])| format!("n{other}=127.0.0.1:{port}")).collect();
        let mut command = Command::new(&self.0);
        command
            .env("NODE_ID", format!("n{number}"))
            .env("LISTEN", format!("127.0.0.1:{}", ports[number][0]))
            .env("PEERS", peers.join(","))
            .env("DATA_DIR", folder)
            .env("DISK_SYNC", "1")
            .env("RUST_LOG", "warn");
        command
    }

    async fn leads(channel: Channel) -> bool {
        let reply = KvClient::new(channel).get(GetRequest { key: "k".into() }).await;
        reply.is_ok_and(|reply| matches!(reply.into_inner().outcome, Some(Outcome::Ok(_))))
    }

    async fn put(channel: Channel, client: u64, seq: u64) -> bool {
        let key = format!("k{}", (client * 17 + seq) % KEYS);
        let session = Some(Session { client: client.to_string(), seq });
        let request = PutRequest { session, key, value: VALUE.into() };
        let reply = KvClient::new(channel).put(request).await;
        reply.is_ok_and(|reply| matches!(reply.into_inner().outcome, Some(Outcome::Ok(_))))
    }

    async fn get(channel: Channel, key: u64) -> bool {
        let reply = KvClient::new(channel).get(GetRequest { key: format!("k{key}") }).await;
        reply.is_ok_and(|reply| matches!(reply.into_inner().outcome, Some(Outcome::Ok(_))))
    }
}
