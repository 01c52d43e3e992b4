//! From what the nodes of the key-value lab told each other to the terms of the checkers.

use proto::kv as wire;

use super::evidence::decode;
use crate::{
    checker::{leaders::Claim, reads::Exchange, terms::Word},
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
