//! What a follower does with entries, and how logs that differ become one (sections 5.3, 5.4.2).

use proto::kv::{AppendEntriesReply, AppendEntriesRequest, Entry};

use super::{Raft, Role};

impl Raft {
    /// The leader sends entries, or shows that it is there.
    pub(super) fn on_append_entries(
        &mut self,
        request: AppendEntriesRequest,
    ) -> AppendEntriesReply {
        if !self.sees_term(request.term) {
            return self.rejects(0, 0);
        }
        self.hear_from(&request.leader);
        let AppendEntriesRequest { prev_index, prev_term, entries, commit, .. } = request;
        let (prev_index, prev_term, entries) = self.without_known(prev_index, prev_term, entries);
        match self.log.term_at(prev_index) {
            None => return self.rejects(0, self.log.last_index() + 1),
            Some(term) if term != prev_term => {
                return self.rejects(term, self.log.first_of_term(prev_index));
            }
            Some(_) => {}
        }
        let last_new = prev_index + entries.len() as u64;
        self.store(prev_index, entries);
        self.commit_index = self.commit_index.max(commit.min(last_new));
        AppendEntriesReply {
            term: self.term,
            ok: true,
            match_index: last_new,
            ..Default::default()
        }
    }

    fn rejects(&self, conflict_term: u64, conflict_index: u64) -> AppendEntriesReply {
        let term = self.term;
        AppendEntriesReply { term, ok: false, match_index: 0, conflict_term, conflict_index }
    }

    /// A leader of this term is there.
    pub(super) fn hear_from(&mut self, leader: &str) {
        if !matches!(self.role, Role::Follower) {
            self.follow(self.term);
        }
        self.leader = Some(leader.to_owned());
        self.heard_ms = Some(self.now_ms);
        self.wait_for_leader();
    }

    /// The request without the entries that this node's snapshot stands for.
    fn without_known(
        &self,
        prev_index: u64,
        prev_term: u64,
        mut entries: Vec<Entry>,
    ) -> (u64, u64, Vec<Entry>) {
        let snapshot = self.log.snapshot();
        if prev_index >= snapshot.last_index {
            return (prev_index, prev_term, entries);
        }
        let known = usize::try_from(snapshot.last_index - prev_index).unwrap_or(usize::MAX);
        entries.drain(..known.min(entries.len()));
        (snapshot.last_index, snapshot.last_term, entries)
    }

    // GAP 5: messages come late, twice, or from a leader whose predecessor has left entries behind.
    // What is thrown away, and what may be committed?

    /// Takes over entries that follow the one at `prev_index`.
    fn store(&mut self, prev_index: u64, entries: Vec<Entry>) {
        if entries.is_empty() {
            return;
        }
        self.log.truncate(prev_index);
        for (index, entry) in (prev_index + 1..).zip(entries) {
            self.log.push(entry);
            self.log_changed(index);
        }
    }

    /// Whether a leader may commit the entry at `index`, which a majority has.
    pub(super) fn may_commit(&self, index: u64) -> bool {
        index <= self.log.last_index()
    }
    // END GAP
}
