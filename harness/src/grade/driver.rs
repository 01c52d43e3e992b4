//! The driver: strikes the faults of a schedule at a cluster, each at its moment, and undoes them.

use tokio::{
    sync::mpsc::UnboundedReceiver,
    time::{MissedTickBehavior, interval, sleep_until},
};

use crate::{
    cluster::{Cluster, NodeFailure},
    fabric::{
        Fabric, Strike,
        fault::{Entry, Fault, Sighting, Struck, Trigger},
    },
};

/// Strikes one schedule at one cluster.
pub struct Driver<'a, C, W> {
    cluster: &'a mut C,
    fabric: &'a Fabric,
    strikes: &'a mut UnboundedReceiver<Strike>,
    /// Called at every look at the nodes.
    on_watch: W,
    /// What has struck and is not undone: its place in `struck`, and when to undo it.
    open: Vec<(usize, u64)>,
    struck: Vec<Struck>,
}

impl<'a, C: Cluster, W: FnMut(&mut C)> Driver<'a, C, W> {
    /// A driver that has struck nothing yet.
    pub fn new(
        cluster: &'a mut C,
        fabric: &'a Fabric,
        strikes: &'a mut UnboundedReceiver<Strike>,
        on_watch: W,
    ) -> Self {
        Self { cluster, fabric, strikes, on_watch, open: Vec::new(), struck: Vec::new() }
    }

    /// Lets the run go on until `until_us` with nothing broken.
    ///
    /// # Errors
    /// When a node falls by itself.
    pub async fn calm(&mut self, until_us: u64) -> Result<(), NodeFailure> {
        self.strike_all(&[], until_us).await
    }

    /// Strikes the faults of `schedule` until `until_us`, then undoes what is still broken and
    /// waits until every node is ready again.
    ///
    /// # Errors
    /// When a node falls by itself, or does not come back.
    pub async fn storm(&mut self, schedule: &[Entry], until_us: u64) -> Result<(), NodeFailure> {
        self.fabric.arm(schedule);
        let outcome = self.strike_all(schedule, until_us).await;
        self.fabric.disarm();
        outcome?;
        for (index, _) in std::mem::take(&mut self.open) {
            self.undo(index)?;
        }
        self.cluster.ready().await
    }

    /// Everything that has struck, in the order in which it did.
    pub fn into_struck(self) -> Vec<Struck> {
        let mut struck = self.struck;
        struck.extend(self.fabric.take_struck());
        struck.sort_by_key(|struck| struck.at_us);
        struck
    }

    async fn strike_all(&mut self, schedule: &[Entry], until_us: u64) -> Result<(), NodeFailure> {
        let at_us = |(index, entry): (usize, &Entry)| match entry.when {
            Trigger::AtMs(at_ms) => Some((at_ms * 1000, index)),
            Trigger::Message { .. } => None,
        };
        let mut timed: Vec<_> = schedule.iter().enumerate().filter_map(at_us).collect();
        timed.sort_unstable();
        let mut timed = timed.into_iter().peekable();
        let clock = self.fabric.clock().clone();
        let mut watch = interval(self.cluster.watch_every());
        watch.set_missed_tick_behavior(MissedTickBehavior::Delay);
        while clock.now_us() < until_us {
            let undo_us = self.open.iter().map(|(_, at_us)| *at_us);
            let next_us = undo_us.chain(timed.peek().map(|(at_us, _)| *at_us)).min();
            let wake = clock.instant(next_us.unwrap_or(until_us).min(until_us));
            tokio::select! {
                Some(strike) = self.strikes.recv() => {
                    let Strike { entry, message, confirmed } = strike;
                    if let Some(cause) = schedule.get(entry) {
                        self.strike(entry, cause, Some(message)).await;
                    }
                    // The message may have given up waiting.
                    let _ = confirmed.send(());
                }
                () = sleep_until(wake) => {
                    while let Some((_, entry)) = timed.next_if(|(at, _)| *at <= clock.now_us()) {
                        self.strike(entry, &schedule[entry], None).await;
                    }
                    self.undo_due()?;
                }
                _ = watch.tick() => {
                    (self.on_watch)(self.cluster);
                    self.cluster.fallen().map_or(Ok(()), Err)?;
                }
            }
        }
        Ok(())
    }

    async fn strike(&mut self, entry: usize, cause: &Entry, message: Option<Sighting>) {
        let mut nodes = cause.fault.resolved_nodes(message.as_ref());
        // A role may be played by a client. Of a node that stands still already, nothing more is
        // wanted: what undoes the one fault would undo the other.
        nodes.retain(|node| self.cluster.nodes().contains(node));
        if let Fault::Kill { .. } | Fault::Pause { .. } = cause.fault {
            nodes.retain(|node| !self.is_paused(node));
        }
        if nodes.is_empty() {
            return;
        }
        let nodes = match cause.fault.on_nodes(nodes.clone()) {
            Fault::Kill { nodes } => self.cluster.kill(&nodes).await,
            Fault::Pause { nodes } => self.cluster.pause(&nodes).await,
            Fault::Cut { nodes, shape, mode } => {
                let pairs = shape.blocked_pairs(&nodes, self.cluster.nodes());
                self.fabric.cut(self.struck.len(), pairs, mode);
                nodes
            }
            _ => unreachable!("the fabric itself strikes at messages"),
        };
        if nodes.is_empty() {
            return;
        }
        let fault = cause.fault.on_nodes(nodes);
        let at_us = self.fabric.clock().now_us();
        self.open.push((self.struck.len(), at_us + cause.for_ms * 1000));
        self.struck.push(Struck { entry, fault, at_us, until_us: at_us, message });
    }

    fn is_paused(&self, node: &String) -> bool {
        let mut open = self.open.iter().map(|(place, _)| &self.struck[*place].fault);
        open.any(|fault| matches!(fault, Fault::Pause { nodes } if nodes.contains(node)))
    }

    fn undo_due(&mut self) -> Result<(), NodeFailure> {
        let now_us = self.fabric.clock().now_us();
        let (due, open) = self.open.iter().partition(|(_, at_us)| *at_us <= now_us);
        self.open = open;
        let due: Vec<(usize, u64)> = due;
        due.into_iter().try_for_each(|(index, _)| self.undo(index))
    }

    fn undo(&mut self, index: usize) -> Result<(), NodeFailure> {
        match &self.struck[index].fault {
            Fault::Kill { nodes } => self.cluster.start(nodes)?,
            Fault::Pause { nodes } => self.cluster.resume(nodes),
            Fault::Cut { .. } => self.fabric.heal(index),
            _ => {}
        }
        self.struck[index].until_us = self.fabric.clock().now_us();
        Ok(())
    }
}
