//! etcd as a store to measure: as much of its v3 API as that takes (field numbers as in the public
//! `rpc.proto` of etcd 3.4).

use std::{path::Path, process::Command};

use prost::Message;
use tonic::{Request, client::Grpc, codegen::http::uri::PathAndQuery, transport::Channel};
use tonic_prost::ProstCodec;

use super::{KEYS, Store, VALUE};

/// etcd, as it is installed, with its own settings.
#[derive(Clone)]
pub struct Etcd;

#[derive(Clone, PartialEq, Message)]
struct PutRequest {
    #[prost(bytes = "vec", tag = "1")]
    key: Vec<u8>,
    #[prost(bytes = "vec", tag = "2")]
    value: Vec<u8>,
}

#[derive(Clone, PartialEq, Message)]
struct RangeRequest {
    #[prost(bytes = "vec", tag = "1")]
    key: Vec<u8>,
}

#[derive(Clone, PartialEq, Message)]
struct Nothing {}

#[derive(Clone, PartialEq, Message)]
struct Header {
    #[prost(uint64, tag = "2")]
    member_id: u64,
}

#[derive(Clone, PartialEq, Message)]
struct Status {
    #[prost(message, optional, tag = "1")]
    header: Option<Header>,
    #[prost(uint64, tag = "4")]
    leader: u64,
}

async fn call<Q, R>(channel: Channel, method: &'static str, request: Q) -> Option<R>
where
    Q: Message + Send + Sync + 'static,
    R: Message + Default + Send + Sync + 'static,
{
    let mut client = Grpc::new(channel);
    client.ready().await.ok()?;
    let path = PathAndQuery::from_static(method);
    let codec = ProstCodec::<Q, R>::default();
    client.unary(Request::new(request), path, codec).await.ok().map(tonic::Response::into_inner)
}

impl Store for Etcd {
    const NAME: &'static str = "etcd";

    fn start(&self, number: usize, ports: &[[u16; 2]], folder: &Path) -> Command {
        let address = |port: u16| format!("http://127.0.0.1:{port}");
        let [client, peer] = ports[number];
        let member =
            |(number, [_, peer]): (usize, &[u16; 2])| format!("n{number}={}", address(*peer));
        let cluster: Vec<_> = ports.iter().enumerate().map(member).collect();
        let mut command = Command::new("etcd");
        command
            .args(["--name", &format!("n{number}")])
            .arg("--data-dir")
            .arg(folder)
            .args(["--listen-client-urls", &address(client)])
            .args(["--advertise-client-urls", &address(client)])
            .args(["--listen-peer-urls", &address(peer)])
            .args(["--initial-advertise-peer-urls", &address(peer)])
            .args(["--initial-cluster", &cluster.join(",")])
            .args(["--initial-cluster-state", "new"]);
        command
    }

    async fn leads(channel: Channel) -> bool {
        let status: Option<Status> =
            call(channel, "/etcdserverpb.Maintenance/Status", Nothing {}).await;
        let leads = |status: Status| {
            status.header.is_some_and(|it| it.member_id == status.leader && it.member_id != 0)
        };
        status.is_some_and(leads)
    }

    async fn put(channel: Channel, client: u64, seq: u64) -> bool {
        let key = format!("k{}", (client * 17 + seq) % KEYS).into_bytes();
        let request = PutRequest { key, value: VALUE.into() };
        call::<_, Nothing>(channel, "/etcdserverpb.KV/Put", request).await.is_some()
    }

    async fn get(channel: Channel, key: u64) -> bool {
        let request = RangeRequest { key: format!("k{key}").into_bytes() };
        call::<_, Nothing>(channel, "/etcdserverpb.KV/Range", request).await.is_some()
    }
}
