//! The node contract: the environment variables that a node is started with.

use std::{collections::HashMap, path::PathBuf, time::Duration};

use anyhow::{Context, Result, bail};

/// What a node is told when it starts; see `docs/node-contract.md`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Settings {
    /// `NODE_ID`: this node's name.
    pub id: String,
    /// `LISTEN`: the address to serve on, `host:port`.
    pub listen: String,
    /// `PEERS`: the other members, `n2=host:port,n3=host:port`; empty for a cluster of one.
    pub peers: Vec<PeerAddress>,
    /// `DATA_DIR`: the folder that survives restarts.
    pub data_dir: PathBuf,
    /// `SEED`: what everything random in this run is drawn from.
    pub seed: u64,
    /// `START`: which start of this node this is, from 1.
    pub start: u32,
    /// `LOG_FORMAT`: `human` (the default) or `json`.
    pub log_format: LogFormat,
    /// `DISK_DELAY_MS`: how long bytes wait before they become durable.
    pub disk_delay: Duration,
    /// `DISK_SYNC`: whether durable means that a power cut loses nothing.
    pub disk_sync: bool,
}

/// Where one other member is reached.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PeerAddress {
    /// Its name.
    pub id: String,
    /// Its address as seen from this node, `host:port`.
    pub address: String,
}

/// How a node writes its log.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum LogFormat {
    /// For reading.
    #[default]
    Human,
    /// One JSON object a line.
    Json,
}

impl Settings {
    /// Reads the settings from `variables`, names and values.
    ///
    /// # Errors
    /// Names the variable that is missing or wrong, and an example of a right one.
    pub fn read(variables: impl Iterator<Item = (String, String)>) -> Result<Self> {
        let variables: HashMap<String, String> = variables.collect();
        let get = |name: &str| variables.get(name).map(String::as_str);
        let need = |name: &str, example: &str| {
            get(name).with_context(|| {
                format!("{name} is not set: start the node with, say, {name}={example}")
            })
        };
        let log_format = match get("LOG_FORMAT") {
            None | Some("" | "human") => LogFormat::Human,
            Some("json") => LogFormat::Json,
            Some(other) => bail!("LOG_FORMAT={other} is unknown: use human or json"),
        };
        let disk_sync = match get("DISK_SYNC") {
            None | Some("" | "0") => false,
            Some("1") => true,
            Some(other) => bail!("DISK_SYNC={other} is unknown: use 0 or 1"),
        };
        Ok(Self {
            disk_sync,
            id: need("NODE_ID", "n1")?.to_owned(),
            listen: need("LISTEN", "127.0.0.1:4001")?.to_owned(),
            peers: parse_peers(get("PEERS").unwrap_or_default())?,
            data_dir: need("DATA_DIR", "/tmp/n1")?.into(),
            seed: number("SEED", get("SEED").unwrap_or("0"))?,
            start: number("START", get("START").unwrap_or("1"))?,
            log_format,
            disk_delay: Duration::from_millis(number(
                "DISK_DELAY_MS",
                get("DISK_DELAY_MS").unwrap_or("0"),
            )?),
        })
    }
}

fn number<N: std::str::FromStr>(name: &str, value: &str) -> Result<N> {
    let Ok(number) = value.parse() else {
        bail!("{name}={value} is not a number this node can use: write, say, {name}=1");
    };
    Ok(number)
}

fn parse_peers(list: &str) -> Result<Vec<PeerAddress>> {
    let parse_peer = |entry: &str| match entry.split_once('=') {
        Some((id, address)) if !id.is_empty() && !address.is_empty() => {
            Ok(PeerAddress { id: id.to_owned(), address: address.to_owned() })
        }
        _ => bail!("PEERS holds \"{entry}\": write it as n2=127.0.0.1:5012,n3=127.0.0.1:5013"),
    };
    list.split(',').filter(|entry| !entry.is_empty()).map(parse_peer).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(variables: &[(&str, &str)]) -> Result<Settings> {
        let owned = variables.iter().map(|(name, value)| ((*name).into(), (*value).into()));
        Settings::read(owned)
    }

    const LEAST: [(&str, &str); 3] =
        [("NODE_ID", "n1"), ("LISTEN", "127.0.0.1:1"), ("DATA_DIR", "/tmp/n1")];

    #[test]
    fn the_rest_has_defaults() {
        let settings = read(&LEAST).unwrap();
        assert_eq!(settings.peers, []);
        assert_eq!((settings.seed, settings.start), (0, 1));
        assert_eq!(settings.log_format, LogFormat::Human);
    }

    #[test]
    fn peers_are_names_and_addresses() {
        let with_peers = [&LEAST[..], &[("PEERS", "n2=127.0.0.1:2,n3=127.0.0.1:3")]].concat();
        let ids: Vec<_> =
            read(&with_peers).unwrap().peers.into_iter().map(|peer| peer.id).collect();
        assert_eq!(ids, ["n2", "n3"]);
    }

    #[test]
    fn a_wrong_variable_is_named() {
        for (name, value) in
            [("PEERS", "n2"), ("SEED", "x"), ("LOG_FORMAT", "xml"), ("DISK_DELAY_MS", "-1")]
        {
            let error = read(&[&LEAST[..], &[(name, value)]].concat()).unwrap_err().to_string();
            assert!(error.contains(name) && error.contains(value), "{error}");
        }
        assert!(read(&LEAST[1..]).unwrap_err().to_string().contains("NODE_ID"));
    }
}
