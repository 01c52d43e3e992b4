//! From what the nodes of the key-value lab told each other to the terms of the checkers.

use proto::kv as wire;

use super::evidence::decode;
use crate::{
    checker::{
        leaders::Claim,
        logs::{Answer, Grant, Position, Shown},
        reads::Exchange,
        terms::Word,
    },
    fabric::record::Message,
};

/// A process that was started has not said anything yet for this long, in microseconds: what is
/// read sooner was still under way from the one before.
const FIRST_WORD_US: u64 = 5000;

/// A question between two nodes and its answer, as far as they are alike for all methods.
struct Question {
    /// The term of the node that asks.
    term: u64,
    reply_term: Option<u64>,
    /// A leader shows itself; others ask to become one.
    leads: bool,
    /// Whether it only asks who would vote, and changes nothing.
    pre_vote: bool,
}

impl Question {
    fn of(message: &Message) -> Option<Self> {
        let reply = message.reply.as_ref();
        let (term, reply_term, pre_vote) = match message.method() {
            "AppendEntries" => (
                decode::<wire::AppendEntriesRequest>(&message.request)?.term,
                reply.and_then(decode::<wire::AppendEntriesReply>).map(|it| it.term),
                false,
            ),
            "InstallSnapshot" => (
                decode::<wire::SnapshotRequest>(&message.request)?.term,
                reply.and_then(decode::<wire::SnapshotReply>).map(|it| it.term),
                false,
            ),
            "RequestVote" => {
                let it = decode::<wire::VoteRequest>(&message.request)?;
                // Asked for the term that would come next.
                let term = if it.pre_vote { it.term.saturating_sub(1) } else { it.term };
                let reply = reply.and_then(decode::<wire::VoteReply>).map(|it| it.term);
                (term, reply, it.pre_vote)
            }
            _ => return None,
        };
        let leads = message.method() != "RequestVote";
        Some(Self { term, reply_term, leads, pre_vote })
    }
}

fn questions(messages: &[Message]) -> impl Iterator<Item = (Question, &Message)> {
    messages.iter().filter_map(|message| Some((Question::of(message)?, message)))
}

/// Who acted as the leader of which term: whoever sent entries, or showed that it leads.
pub fn claims(messages: &[Message]) -> Vec<Claim<'_>> {
    let claims = questions(messages).filter(|(question, _)| question.leads);
    claims.map(|(it, by)| Claim { term: it.term, node: &by.from, at_us: by.sent_us }).collect()
}

/// What nodes said of their terms.
pub fn words(messages: &[Message]) -> Vec<Word<'_>> {
    let mut words = Vec::new();
    for (Question { term, reply_term, pre_vote, .. }, message) in questions(messages) {
        let (from, to, binds) = (&message.from, &message.to, !pre_vote);
        if message.copy == 0 {
            let since_us = message.sent_us.saturating_sub(FIRST_WORD_US);
            words.push(Word { node: from, to, term, since_us, at_us: message.sent_us, binds });
        }
        if let (Some(term), Some(since_us), Some(at_us)) =
            (reply_term, message.delivered_us, message.replied_us)
        {
            words.push(Word { node: to, to: from, term, since_us, at_us, binds });
        }
    }
    words
}

/// What was answered to leaders by nodes that knew of none later.
pub fn exchanges(messages: &[Message]) -> Vec<Exchange<'_>> {
    questions(messages)
        .filter(|(question, _)| question.leads && question.reply_term == Some(question.term))
        .filter_map(|(_, message)| {
            let Message { from: node, to: peer, sent_us, answered_us, .. } = message;
            Some(Exchange { node, peer, sent_us: *sent_us, answered_us: (*answered_us)? })
        })
        .collect()
}

/// What leaders showed of their logs, and what they were answered.
pub fn shown(messages: &[Message]) -> Vec<Shown<'_>> {
    messages.iter().filter_map(|message| appended(message).or_else(|| installed(message))).collect()
}

fn appended(message: &Message) -> Option<Shown<'_>> {
    if message.method() != "AppendEntries" {
        return None;
    }
    let it: wire::AppendEntriesRequest = decode(&message.request)?;
    let reply: Option<wire::AppendEntriesReply> = message.reply.as_ref().and_then(decode);
    let answer = reply.filter(|reply| reply.term == it.term).map(|reply| match reply.ok {
        true => Answer::Has(reply.match_index),
        false => Answer::Lacks,
    });
    Some(Shown {
        leader: &message.from,
        peer: &message.to,
        term: it.term,
        before: Position { term: it.prev_term, index: it.prev_index },
        terms: it.entries.iter().map(|entry| entry.term).collect(),
        commit: it.commit,
        sent_us: message.sent_us,
        delivered_us: message.delivered_us,
        answer: answer.zip(message.replied_us),
    })
}

/// A snapshot stands for what is committed; who has all of its parts has what it stands for.
fn installed(message: &Message) -> Option<Shown<'_>> {
    if message.method() != "InstallSnapshot" {
        return None;
    }
    let it: wire::SnapshotRequest = decode(&message.request)?;
    let reply: Option<wire::SnapshotReply> = message.reply.as_ref().and_then(decode);
    let size = it.offset.saturating_add(it.data.len() as u64);
    let has_all = |reply: &wire::SnapshotReply| reply.term == it.term && reply.received >= size;
    let is_there = it.done && reply.as_ref().is_some_and(has_all);
    Some(Shown {
        leader: &message.from,
        peer: &message.to,
        term: it.term,
        before: Position { term: it.last_term, index: it.last_index },
        terms: Vec::new(),
        commit: it.last_index,
        sent_us: message.sent_us,
        delivered_us: message.delivered_us,
        answer: is_there.then_some(Answer::Has(it.last_index)).zip(message.replied_us),
    })
}

/// Who voted for whom.
pub fn grants(messages: &[Message]) -> Vec<Grant<'_>> {
    let asked = messages.iter().filter(|message| message.method() == "RequestVote");
    asked
        .filter_map(|message| {
            let it: wire::VoteRequest = decode(&message.request)?;
            let reply: wire::VoteReply = decode(message.reply.as_ref()?)?;
            let is_vote = reply.granted && !it.pre_vote;
            is_vote.then_some(Grant {
                node: &message.to,
                candidate: &message.from,
                term: it.term,
                last: Position { term: it.last_term, index: it.last_index },
                delivered_us: message.delivered_us?,
                told_us: message.replied_us?,
            })
        })
        .collect()
}
