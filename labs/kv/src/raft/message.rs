//! What servers say to each other, of whatever kind.

use proto::kv::{
    AppendEntriesReply, AppendEntriesRequest, SnapshotReply, SnapshotRequest, VoteReply,
    VoteRequest,
};

/// A question to a peer.
#[derive(Clone, Debug)]
pub enum ToPeer {
    Vote(VoteRequest),
    /// And the round of reads that it belongs to, which its sender keeps to itself.
    Append(AppendEntriesRequest, u64),
    Snapshot(SnapshotRequest),
}

/// Its answer.
#[derive(Clone, Debug)]
pub enum FromPeer {
    Vote(VoteReply),
    Append(AppendEntriesReply),
    Snapshot(SnapshotReply),
}

impl ToPeer {
    /// Whether it says something that must survive a crash of whoever says it: a candidate votes
    /// for itself by standing.
    pub fn is_promise(&self) -> bool {
        matches!(self, Self::Vote(request) if !request.pre_vote)
    }
}
