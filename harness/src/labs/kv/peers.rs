//! What the nodes of the key-value lab told each other, and what it is in the terms of the
//! checkers.

use proto::kv as wire;

use super::{
    evidence::decode,
    leaders::{Claim, Vote},
    logs::{Answer, Grant, Position, Shown},
    reads::Exchange,
    terms::Word,
};
use crate::fabric::record::Message;

/// A process that was started has not said anything yet for this long, in microseconds: what is
/// read sooner was still under way from the one before.
const FIRST_WORD_US: u64 = 5000;

/// A call from one node to another: when it was where, and what was said.
pub struct Call<'a> {
    /// The message as it was recorded.
    pub message: &'a Message,
    /// What it says.
    pub said: Said,
}

/// What a node asked another, and what it was answered if it was.
pub enum Said {
    /// A leader sent entries, or showed that it leads.
    Append(wire::AppendEntriesRequest, Option<wire::AppendEntriesReply>),
    /// A leader sent a part of its snapshot.
    Install(wire::SnapshotRequest, Option<wire::SnapshotReply>),
    /// A candidate asked for a vote, or whether it would get one.
    Vote(wire::VoteRequest, Option<wire::VoteReply>),
}

/// What the nodes told each other, in the order of `messages`.
pub fn calls(messages: &[Message]) -> Vec<Call<'_>> {
    messages.iter().filter_map(|message| Some(Call { message, said: Said::of(message)? })).collect()
}

impl Said {
    fn of(message: &Message) -> Option<Self> {
        let (request, reply) = (&message.request, message.reply.as_ref());
        match message.method() {
            "AppendEntries" => Some(Self::Append(decode(request)?, reply.and_then(decode))),
            "InstallSnapshot" => Some(Self::Install(decode(request)?, reply.and_then(decode))),
            "RequestVote" => Some(Self::Vote(decode(request)?, reply.and_then(decode))),
            _ => None,
        }
    }

    /// The term of the node that asks.
    fn term(&self) -> u64 {
        match self {
            Self::Append(it, _) => it.term,
            Self::Install(it, _) => it.term,
            // Asked for the term that would come next.
            Self::Vote(it, _) if it.pre_vote => it.term.saturating_sub(1),
            Self::Vote(it, _) => it.term,
        }
    }

    /// The term of the node that answers.
    fn reply_term(&self) -> Option<u64> {
        match self {
            Self::Append(_, reply) => reply.as_ref().map(|it| it.term),
            Self::Install(_, reply) => reply.as_ref().map(|it| it.term),
            Self::Vote(_, reply) => reply.as_ref().map(|it| it.term),
        }
    }

    /// A leader shows itself; others ask to become one.
    fn is_by_leader(&self) -> bool {
        !matches!(self, Self::Vote(..))
    }

    /// Whether it only asks who would vote, and changes nothing.
    fn is_pre_vote(&self) -> bool {
        matches!(self, Self::Vote(it, _) if it.pre_vote)
    }
}

/// Who acted as the leader of which term: whoever sent entries, or showed that it leads.
pub fn claims<'a>(calls: &[Call<'a>]) -> Vec<Claim<'a>> {
    let by_leaders = calls.iter().filter(|call| call.said.is_by_leader());
    by_leaders
        .map(|Call { message, said }| Claim {
            term: said.term(),
            node: &message.from,
            at_us: message.sent_us,
        })
        .collect()
}

/// What nodes said of their terms.
pub fn words<'a>(calls: &[Call<'a>]) -> Vec<Word<'a>> {
    let mut words = Vec::new();
    for Call { message, said } in calls {
        let (from, to, binds) = (&message.from, &message.to, !said.is_pre_vote());
        if message.copy == 0 {
            let since_us = message.sent_us.saturating_sub(FIRST_WORD_US);
            let term = said.term();
            words.push(Word { node: from, to, term, since_us, at_us: message.sent_us, binds });
        }
        if let (Some(term), Some(since_us), Some(at_us)) =
            (said.reply_term(), message.delivered_us, message.replied_us)
        {
            words.push(Word { node: to, to: from, term, since_us, at_us, binds });
        }
    }
    words
}

/// What was answered to leaders by nodes that knew of none later.
pub fn exchanges<'a>(calls: &[Call<'a>]) -> Vec<Exchange<'a>> {
    calls
        .iter()
        .filter(|Call { said, .. }| said.is_by_leader() && said.reply_term() == Some(said.term()))
        .filter_map(|Call { message, .. }| {
            let Message { from: node, to: peer, sent_us, answered_us, .. } = message;
            Some(Exchange { node, peer, sent_us: *sent_us, answered_us: (*answered_us)? })
        })
        .collect()
}

/// What leaders showed of their logs, and what they were answered.
pub fn shown<'a>(calls: &[Call<'a>]) -> Vec<Shown<'a>> {
    let shown = calls.iter().filter_map(|Call { message, said }| match said {
        Said::Append(it, reply) => Some(appended(message, it, reply.as_ref())),
        Said::Install(it, reply) => Some(installed(message, it, reply.as_ref())),
        Said::Vote(..) => None,
    });
    shown.collect()
}

fn appended<'a>(
    message: &'a Message,
    it: &wire::AppendEntriesRequest,
    reply: Option<&wire::AppendEntriesReply>,
) -> Shown<'a> {
    let answer = reply.filter(|reply| reply.term == it.term).map(|reply| {
        match (reply.ok, reply.conflict_term, reply.conflict_index) {
            (true, ..) => Answer::Has(reply.match_index),
            // Its log ends before. An index of 0 says nothing.
            (false, 0, after @ 1..) => Answer::Lacks(Some(after)),
            (false, 0, 0) => Answer::Lacks(None),
            (false, term, _) => Answer::Differs(term),
        }
    });
    Shown {
        leader: &message.from,
        peer: &message.to,
        term: it.term,
        before: Position { term: it.prev_term, index: it.prev_index },
        terms: it.entries.iter().map(|entry| entry.term).collect(),
        commit: it.commit,
        sent_us: message.sent_us,
        delivered_us: message.delivered_us,
        answer: answer.zip(message.replied_us),
    }
}

/// A snapshot stands for what is committed; who has all of its parts has what it stands for.
fn installed<'a>(
    message: &'a Message,
    it: &wire::SnapshotRequest,
    reply: Option<&wire::SnapshotReply>,
) -> Shown<'a> {
    let size = it.offset.saturating_add(it.data.len() as u64);
    let has_all = |reply: &wire::SnapshotReply| reply.term == it.term && reply.received >= size;
    let is_there = it.done && reply.is_some_and(has_all);
    Shown {
        leader: &message.from,
        peer: &message.to,
        term: it.term,
        before: Position { term: it.last_term, index: it.last_index },
        terms: Vec::new(),
        commit: it.last_index,
        sent_us: message.sent_us,
        delivered_us: message.delivered_us,
        answer: is_there.then_some(Answer::Has(it.last_index)).zip(message.replied_us),
    }
}

/// Who voted for whom.
pub fn grants<'a>(calls: &[Call<'a>]) -> Vec<Grant<'a>> {
    let grants = calls.iter().filter_map(|Call { message, said }| match said {
        Said::Vote(it, Some(reply)) if reply.granted && !it.pre_vote => Some(Grant {
            node: &message.to,
            candidate: &message.from,
            term: it.term,
            last: Position { term: it.last_term, index: it.last_index },
            delivered_us: message.delivered_us?,
            told_us: message.replied_us?,
        }),
        _ => None,
    });
    grants.collect()
}

/// Every vote: whoever asks for votes has given its own to itself.
pub fn votes<'a>(calls: &[Call<'a>]) -> Vec<Vote<'a>> {
    let own = calls.iter().filter_map(|Call { message, said }| match said {
        Said::Vote(it, _) if !it.pre_vote => {
            let candidate = message.from.as_str();
            Some(Vote { term: it.term, node: candidate, candidate, at_us: message.sent_us })
        }
        _ => None,
    });
    let given =
        grants(calls).into_iter().map(|Grant { node, candidate, term, told_us, .. }| Vote {
            term,
            node,
            candidate,
            at_us: told_us,
        });
    own.chain(given).collect()
}
