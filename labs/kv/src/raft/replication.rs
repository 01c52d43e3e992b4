//! What a leader does: it sends its log to all, and commits what a majority has (section 5.3).

use std::collections::BTreeMap;

use prost::Message;
use proto::kv::{AppendEntriesReply, AppendEntriesRequest, Command, Entry, Snapshot};

use super::{
    Raft, Role,
    message::ToPeer,
    reads::{PendingRead, Read},
};

/// How many entries one message carries at most,
const BATCH: usize = 64;
/// and how many bytes of them, unless one alone has more.
const BATCH_BYTES: usize = 32 * 1024;
/// How many messages with entries are under way at most, to a peer whose log is known to fit.
const WINDOW: usize = 8;
/// How often a peer hears from its leader at least, in milliseconds.
const HEARTBEAT_MS: u64 = 50;

/// What a leader knows of the others.
pub struct Leadership {
    pub peers: BTreeMap<String, Progress>,
    /// The first entry of its term.
    pub(super) first_index: u64,
    /// The round that every message sent now belongs to. When a read waits for a higher number,
    /// `answer_reads` begins the next one by asking all peers.
    pub(super) round: u64,
    pub(super) reads: Vec<PendingRead>,
    /// When it last looked up from its work, to see who is due and whether it still leads.
    pub(super) ticked_ms: u64,
}

/// What a leader knows of one peer.
pub(super) struct Progress {
    /// The next entry to send.
    pub next_index: u64,
    /// The highest entry known to be there.
    pub match_index: u64,
    /// Messages with entries that were sent and not answered.
    pub under_way: usize,
    /// How many of those there may be: none while it does not answer, one until it is known where
    /// its log begins to differ.
    pub window: usize,
    /// The snapshot that is on its way to it, and how many bytes of that it has.
    pub snapshot: Option<(Snapshot, usize)>,
    /// When it was last heard of.
    pub heard_ms: u64,
    /// When it was last sent anything.
    pub sent_ms: u64,
    /// The newest round that it has answered.
    pub answered_round: u64,
}

impl Progress {
    pub(super) fn heard_from(&mut self, now_ms: u64) {
        (self.heard_ms, self.window) = (now_ms, self.window.max(1));
    }
}

impl Leadership {
    pub(super) fn new(peers: &[String], next_index: u64, now_ms: u64) -> Self {
        let progress = || Progress {
            next_index,
            match_index: 0,
            under_way: 0,
            window: 1,
            snapshot: None,
            heard_ms: now_ms,
            sent_ms: 0,
            answered_round: 0,
        };
        let peers = peers.iter().map(|peer| (peer.clone(), progress())).collect();
        let (reads, ticked_ms) = (Vec::new(), now_ms);
        Self { peers, first_index: next_index, round: 0, reads, ticked_ms }
    }

    pub(super) fn due_ms(&self) -> u64 {
        let sent_ms = self.peers.values().map(|progress| progress.sent_ms);
        // Also when each of them was sent something just now, heard or not.
        sent_ms.fold(self.ticked_ms, u64::min) + HEARTBEAT_MS
    }

    /// How many peers were heard of since then.
    pub(super) fn heard_since(&self, since_ms: u64) -> usize {
        self.peers.values().filter(|progress| progress.heard_ms >= since_ms).count()
    }

    /// How many peers have answered `round`, or a later one.
    pub(super) fn answered(&self, round: u64) -> usize {
        self.peers.values().filter(|progress| progress.answered_round >= round).count()
    }

    pub(super) fn into_reads(self) -> impl Iterator<Item = Read> {
        self.reads.into_iter().map(|pending| pending.read)
    }
}

impl Raft {
    /// Puts an entry of this term behind the log; `None` is the first one of a leader.
    pub(super) fn propose(&mut self, command: Option<Command>) -> u64 {
        self.log.push(Entry { term: self.term, command });
        let index = self.log.last_index();
        self.log_changed(index);
        index
    }

    /// Sends every peer what it lacks, as far as its window allows.
    pub(super) fn replicate(&mut self) {
        for peer in self.peers.clone() {
            while self.may_send_more(&peer) {
                self.send_to(&peer);
            }
        }
    }

    /// Whether a peer lacks something, and may be sent it now.
    fn may_send_more(&mut self, peer: &str) -> bool {
        let Some(&mut Progress { next_index, under_way, window, .. }) = self.progress(peer) else {
            return false;
        };
        let window = if self.needs_snapshot(next_index) { window.min(1) } else { window };
        next_index <= self.log.last_index() && under_way < window
    }

    /// Whether a peer that lacks the entry at `next_index` cannot be sent entries: what came before
    /// them is no longer known here.
    fn needs_snapshot(&self, next_index: u64) -> bool {
        self.log.term_at(next_index - 1).is_none()
    }

    /// Sends to every peer that has not heard from this leader for a while.
    pub(super) fn send_heartbeats(&mut self) {
        for peer in self.peers.clone() {
            let now_ms = self.now_ms;
            let Some(progress) = self.progress(&peer) else { return };
            if now_ms >= progress.sent_ms + HEARTBEAT_MS {
                self.send_to(&peer);
            }
        }
    }

    /// Sends one peer what comes next, if only that this leader is there.
    pub(super) fn send_to(&mut self, peer: &str) {
        let Some(progress) = self.progress(peer) else { return };
        let Progress { next_index, under_way, window, .. } = *progress;
        let needs_snapshot = self.needs_snapshot(next_index);
        if needs_snapshot && window > 0 && under_way == 0 {
            return self.send_snapshot(peer);
        }
        // What every log begins with fits whatever the peer has.
        let prev_index = if needs_snapshot { 0 } else { next_index - 1 };
        let is_only_heartbeat = needs_snapshot || under_way >= window;
        let request = AppendEntriesRequest {
            term: self.term,
            leader: self.id.clone(),
            prev_index,
            prev_term: self.log.term_at(prev_index).unwrap_or_default(),
            entries: if is_only_heartbeat { Vec::new() } else { self.batch(next_index) },
            commit: self.commit_index,
        };
        let (now_ms, sent) = (self.now_ms, request.entries.len());
        let Role::Leader(leadership) = &mut self.role else { return };
        let round = leadership.round;
        let Some(progress) = leadership.peers.get_mut(peer) else { return };
        progress.next_index += sent as u64;
        progress.under_way += usize::from(sent > 0);
        progress.sent_ms = now_ms;
        self.effects.messages.push((peer.to_owned(), ToPeer::Append(request, round)));
    }

    /// The entries from `index` on that one message carries.
    fn batch(&self, index: u64) -> Vec<Entry> {
        let entries = self.log.from(index, BATCH);
        let sizes = entries.iter().scan(0, |bytes, entry| {
            *bytes += entry.encoded_len();
            Some(*bytes)
        });
        let fitting = sizes.take_while(|bytes| *bytes <= BATCH_BYTES).count();
        entries[..fitting.max(1).min(entries.len())].to_vec()
    }

    /// A peer has answered this leader.
    pub(super) fn on_append_reply(
        &mut self,
        peer: &str,
        request: &AppendEntriesRequest,
        round: u64,
        reply: AppendEntriesReply,
    ) {
        if !self.sees_term(reply.term) || request.term != self.term {
            return;
        }
        let now_ms = self.now_ms;
        let hint = (!reply.ok).then(|| self.resume_at(&reply));
        let Some(progress) = self.progress(peer) else { return };
        progress.heard_from(now_ms);
        progress.answered_round = progress.answered_round.max(round);
        if !request.entries.is_empty() {
            progress.under_way = progress.under_way.saturating_sub(1);
        }
        match hint {
            None => {
                progress.window = WINDOW;
                progress.match_index = progress.match_index.max(reply.match_index);
                progress.next_index = progress.next_index.max(progress.match_index + 1);
            }
            Some(index) => {
                let at_most = progress.next_index.min(request.prev_index);
                progress.window = 1;
                progress.next_index = index.min(at_most).max(progress.match_index + 1);
            }
        }
    }

    /// Where to go on with a peer whose log differs (end of section 5.3): after the last entry here
    /// of the term that stands in the way there, or else where that term begins there.
    fn resume_at(&self, reply: &AppendEntriesReply) -> u64 {
        // Term 0: its log is too short, and nothing stands in the way.
        let in_the_way = Some(reply.conflict_term).filter(|term| *term > 0);
        let last = in_the_way.and_then(|term| self.log.last_of_term(term));
        last.map_or(reply.conflict_index, |index| index + 1)
    }

    /// A peer has not answered in time: what it was sent may not have arrived.
    pub(super) fn on_no_reply(&mut self, peer: &str, request: &ToPeer) {
        let term = self.term;
        let Some(progress) = self.progress(peer) else { return };
        progress.window = 0;
        match request {
            ToPeer::Append(request, _) if request.term == term && !request.entries.is_empty() => {
                progress.under_way = progress.under_way.saturating_sub(1);
                let again = progress.next_index.min(request.prev_index + 1);
                progress.next_index = again.max(progress.match_index + 1);
            }
            ToPeer::Snapshot(request) if request.term == term => {
                progress.under_way = progress.under_way.saturating_sub(1);
            }
            _ => {}
        }
    }

    /// Commits what a majority has.
    pub(super) fn advance_commit(&mut self) {
        let Role::Leader(leadership) = &self.role else { return };
        let others = leadership.peers.values().map(|progress| progress.match_index);
        let agreed = self.agreed_index(others.collect());
        if agreed > self.commit_index && self.may_commit(agreed) {
            self.commit_index = agreed;
        }
    }

    /// Up to where the log is on enough disks, given up to where it is on each of the others'.
    fn agreed_index(&self, mut on_disks: Vec<u64>) -> u64 {
        // GAP 3: how far is the log safe from the loss of any minority?
        on_disks.push(self.saved_index);
        on_disks.into_iter().max().unwrap_or_default()
        // END GAP
    }

    /// What this leader knows of `peer`; `None` if it does not lead.
    pub(super) fn progress(&mut self, peer: &str) -> Option<&mut Progress> {
        match &mut self.role {
            Role::Leader(leadership) => leadership.peers.get_mut(peer),
            _ => None,
        }
    }
}
