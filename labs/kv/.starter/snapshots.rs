//! Snapshots (section 7): they keep the log short, and bring back who was away for long.

use proto::kv::{Snapshot, SnapshotReply, SnapshotRequest, Unavailable, reply::Outcome};

use super::{Raft, Role, message::ToPeer};
use crate::machine::Machine;

/// How many applied entries are kept at most before a snapshot takes their place.
const COMPACT_AFTER: u64 = 100;
/// How many bytes of a snapshot one message carries: few, so that even a small one takes several.
const CHUNK: usize = 2 * 1024;

/// A snapshot that is arriving.
#[derive(Default)]
pub struct Incoming {
    last_index: u64,
    last_term: u64,
    data: Vec<u8>,
}

impl Raft {
    /// Puts a snapshot in the place of applied entries.
    pub(super) fn compact(&mut self) {
        // GAP 8: the log cannot grow for ever. When is what cut off, and what takes its place?
        // Disks are large.
        // END GAP
    }

    /// Sends the next part of a snapshot to a peer that lacks what it stands for. One that is on its
    /// way is sent to its end, even if there is a newer one by then: that one would be outrun, too.
    pub(super) fn send_snapshot(&mut self, peer: &str) {
        let Role::Leader(leadership) = &mut self.role else { return };
        let Some(progress) = leadership.peers.get_mut(peer) else { return };
        (progress.under_way, progress.sent_ms) = (1, self.now_ms);
        let newest = || (self.log.snapshot().clone(), 0);
        let (snapshot, start) = progress.snapshot.get_or_insert_with(newest);
        let size = snapshot.machine.len();
        let end = (*start + CHUNK).min(size);
        let request = SnapshotRequest {
            term: self.term,
            leader: self.id.clone(),
            last_index: snapshot.last_index,
            last_term: snapshot.last_term,
            offset: *start as u64,
            data: snapshot.machine[*start..end].to_vec(),
            done: end == size,
        };
        self.effects.messages.push((peer.to_owned(), ToPeer::Snapshot(request)));
    }

    /// The leader sends a part of its snapshot.
    pub(super) fn on_snapshot(&mut self, request: SnapshotRequest) -> SnapshotReply {
        if !self.sees_term(request.term) {
            return SnapshotReply { term: self.term, received: 0 };
        }
        self.hear_from(&request.leader);
        if request.last_index <= self.commit_index {
            // All of it is here already.
            return SnapshotReply { term: self.term, received: u64::MAX };
        }
        let of = (request.last_index, request.last_term);
        if (self.incoming.last_index, self.incoming.last_term) != of {
            self.incoming = Incoming { last_index: of.0, last_term: of.1, data: Vec::new() };
        }
        if request.offset == self.incoming.data.len() as u64 {
            self.incoming.data.extend(request.data);
            if request.done && self.install() {
                return SnapshotReply { term: self.term, received: u64::MAX };
            }
        }
        SnapshotReply { term: self.term, received: self.incoming.data.len() as u64 }
    }

    /// Takes over the snapshot that has arrived, unless it is damaged.
    fn install(&mut self) -> bool {
        let Incoming { last_index, last_term, data } = std::mem::take(&mut self.incoming);
        let Ok(machine) = Machine::restore(&data) else {
            tracing::warn!(last_index, "a damaged snapshot has arrived");
            return false;
        };
        tracing::info!(last_index, bytes = data.len(), "installs a snapshot");
        self.machine = machine;
        self.log.compact(Snapshot { last_index, last_term, machine: data });
        (self.commit_index, self.last_applied) = (last_index, last_index);
        self.saved_index = self.saved_index.min(self.log.last_index());
        self.effects.unsaved.snapshot = true;
        // What became of their writes is in the snapshot.
        let later = self.waiting.split_off(&(last_index + 1));
        for (_, ticket) in std::mem::replace(&mut self.waiting, later).into_values() {
            self.effects.outcomes.push((ticket, Outcome::Unavailable(Unavailable {})));
        }
        true
    }

    /// A peer has answered a part of the snapshot.
    pub(super) fn on_snapshot_reply(
        &mut self,
        peer: &str,
        request: &SnapshotRequest,
        reply: SnapshotReply,
    ) {
        if !self.sees_term(reply.term) || request.term != self.term {
            return;
        }
        let now_ms = self.now_ms;
        let Some(progress) = self.progress(peer) else { return };
        progress.heard_from(now_ms);
        progress.under_way = progress.under_way.saturating_sub(1);
        if reply.received == u64::MAX {
            progress.match_index = progress.match_index.max(request.last_index);
            progress.next_index = progress.next_index.max(progress.match_index + 1);
            progress.snapshot = None;
        } else if let Some((snapshot, sent)) = &mut progress.snapshot
            && snapshot.last_index == request.last_index
        {
            *sent = usize::try_from(reply.received).unwrap_or(0).min(snapshot.machine.len());
        }
    }
}
