//! The part of a run that needs the nodes: clients and faults, and what they leave behind.

use std::{collections::BTreeMap, path::PathBuf, slice, time::Duration};

use tokio::{sync::mpsc::UnboundedReceiver, task::JoinSet, time::sleep};

use super::driver::Driver;
use crate::{
    cluster::{Cluster, NodeFailure},
    fabric::{
        Fabric, Strike,
        fault::{Entry, Struck},
    },
    history::{History, Operation},
    lab::Scenario,
    workload::{
        Client, Workload,
        script::{Script, Turn},
    },
};

/// What is tried, on whatever engine.
pub struct Trial<'a> {
    /// The scenario.
    pub scenario: &'a Scenario,
    /// What its clients do, and how that is judged.
    pub workload: &'a dyn Workload,
    /// What random choices are drawn from.
    pub seed: u64,
    /// What is broken.
    pub schedule: &'a [Entry],
    /// When the clients do what.
    pub script: Script,
}

/// What a trial leaves behind, besides the record of messages.
#[derive(Default)]
pub struct Observed {
    /// A node that fell by itself.
    pub failure: Option<NodeFailure>,
    /// The faults that struck.
    pub struck: Vec<Struck>,
    /// What the clients saw.
    pub history: Vec<Operation>,
    /// What they did when.
    pub turns: Vec<Turn>,
    /// What the nodes had on their disks at the end.
    pub stored_bytes: BTreeMap<String, u64>,
    /// Where nodes write and no room was left at the end, which they had not taken: where they are
    /// processes, which is for their engine to say.
    pub no_room: Option<PathBuf>,
    /// When the storm was over and every node ready again.
    pub healed_us: u64,
    /// When it ended.
    pub end_us: u64,
}

impl Trial<'_> {
    /// Starts the nodes of a cluster, and waits until all are ready.
    ///
    /// # Errors
    /// When one cannot be started, or ends instead.
    pub async fn start(&self, cluster: &mut impl Cluster) -> Result<(), NodeFailure> {
        let apart = Duration::from_millis(self.scenario.apart_ms);
        for (index, node) in cluster.nodes().to_vec().iter().enumerate() {
            if index > 0 && !apart.is_zero() {
                sleep(apart).await;
            }
            cluster.start(slice::from_ref(node))?;
        }
        cluster.ready().await
    }

    /// Lets the clients loose and the storm pass over a cluster that is ready: calm, storm, calm.
    /// `on_watch` is called whenever the nodes are looked at.
    pub async fn watch<C: Cluster>(
        &self,
        cluster: &mut C,
        fabric: &Fabric,
        mut strikes: UnboundedReceiver<Strike>,
        on_watch: impl FnMut(&mut C),
    ) -> Observed {
        let clock = fabric.clock().clone();
        let history = History::new(clock.clone());
        let [storm_us, calm_us] = self.scenario.fault_window_ms().map(|at_ms| at_ms * 1000);
        let mut healed_us = calm_us;
        clock.start();
        let mut running = JoinSet::new();
        for number in 1..=self.scenario.clients {
            let client = client(number, cluster, &history);
            let actor = self.workload.client(client);
            running.spawn(self.script.clone().live(number, self.seed, clock.clone(), actor));
        }
        let mut driver = Driver::new(cluster, fabric, &mut strikes, on_watch);
        let weather = async {
            driver.calm(storm_us).await?;
            driver.storm(self.schedule, calm_us).await?;
            healed_us = clock.now_us();
            driver.calm(healed_us + self.scenario.calm_ms[1] * 1000).await
        };
        let failure = weather.await.err();
        let struck = driver.into_struck();
        let end_us = clock.stop();
        let stored_bytes = cluster.stored_bytes();
        running.shutdown().await;
        let (history, turns) = (history.operations(), self.script.taken());
        let no_room = None;
        Observed { failure, struck, history, turns, stored_bytes, no_room, healed_us, end_us }
    }
}

fn client(number: u32, cluster: &impl Cluster, history: &History) -> Client {
    let channel = |node: &String| (node.clone(), cluster.client(&format!("c{number}"), node));
    Client {
        number,
        channels: cluster.nodes().iter().map(channel).collect(),
        history: history.clone(),
        clock: history.clock().clone(),
    }
}
