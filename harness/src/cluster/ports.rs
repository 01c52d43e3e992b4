//! Ports for nodes: blocks below the ephemeral range, each claimed by holding its first port.

use std::{fs, net::TcpListener, process};

use anyhow::{Result, bail};

/// A claimed block of ports; free again when it is dropped, or the process ends in any way.
#[derive(Debug)]
pub struct PortBlock {
    first: u16,
    _claim: TcpListener,
}

/// How many ports a block has; the first is the claim.
const BLOCK: u16 = 16;
/// Below this, services of the machine live.
const LOWEST: u16 = 20_000;
/// Linux hands out ports from here on for outgoing connections, unless it says otherwise.
const DEFAULT_EPHEMERAL: u16 = 32_768;

impl PortBlock {
    /// Claims a block in which every port is free.
    ///
    /// # Errors
    /// When there is none.
    pub fn claim() -> Result<Self> {
        let highest = first_ephemeral_port();
        let blocks = highest.saturating_sub(LOWEST) / BLOCK;
        // Harnesses that run side by side start looking at different places.
        let start = process::id() % u32::from(blocks.max(1));
        for step in 0..blocks {
            let index = (start + u32::from(step)) % u32::from(blocks);
            let first = LOWEST + BLOCK * u16::try_from(index).expect("less than blocks");
            let free = |port: &u16| TcpListener::bind(("127.0.0.1", *port)).is_ok();
            if let Ok(claim) = TcpListener::bind(("127.0.0.1", first))
                && (first + 1..first + BLOCK).all(|port| free(&port))
            {
                return Ok(Self { first, _claim: claim });
            }
        }
        bail!("no {BLOCK} free ports in a row between {LOWEST} and {highest}: stop what uses them")
    }

    /// The address of the `index`th port, from 0, as `host:port`.
    pub fn address(&self, index: usize) -> String {
        let index = u16::try_from(index).expect("a cluster is small");
        assert!(index < BLOCK - 1, "a block has ports for {} nodes", BLOCK - 1);
        format!("127.0.0.1:{}", self.first + 1 + index)
    }
}

fn first_ephemeral_port() -> u16 {
    let range = fs::read_to_string("/proc/sys/net/ipv4/ip_local_port_range").unwrap_or_default();
    let first = range.split_whitespace().next().and_then(|port| port.parse().ok());
    first.filter(|port| *port > LOWEST).unwrap_or(DEFAULT_EPHEMERAL)
}
