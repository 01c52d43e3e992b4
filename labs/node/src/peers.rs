//! Asking the other nodes: all at once, each with a deadline.

use std::{future::Future, time::Duration};

use tokio::{sync::mpsc, time::timeout};
use tonic::{Response, Status};

use crate::{Channel, Context, spawn};

/// The other members of the cluster, each with a client of the service `C`.
#[derive(Clone, Debug)]
pub struct Peers<C> {
    own_id: String,
    clients: Vec<(String, C)>,
    deadline: Duration,
}

impl<C: Clone> Peers<C> {
    /// The peers of `context`, called through the clients that `client` makes of their channels.
    /// A call is given up `deadline` after it was made, reconnecting included.
    pub fn new(context: &Context, deadline: Duration, client: impl Fn(Channel) -> C) -> Self {
        let connect = |(id, channel): &(String, Channel)| (id.clone(), client(channel.clone()));
        Self {
            own_id: context.id.clone(),
            clients: context.peers.iter().map(connect).collect(),
            deadline,
        }
    }

    /// How many nodes are more than half of the cluster, this one included.
    pub fn majority(&self) -> usize {
        self.cluster_size() / 2 + 1
    }

    /// How many nodes the cluster has, this one included.
    pub fn cluster_size(&self) -> usize {
        self.clients.len() + 1
    }

    /// Asks every node at once: this one by `own`, each other one by `call`. Every question is
    /// asked to its end, even when the caller has stopped listening.
    pub fn ask_all<A, F>(
        &self,
        own: impl Future<Output = A> + Send + 'static,
        call: impl Fn(C) -> F,
    ) -> Answers<A>
    where
        A: Send + 'static,
        F: Future<Output = Result<Response<A>, Status>> + Send + 'static,
    {
        let (sender, answers) = mpsc::unbounded_channel();
        let (own_sender, own_id) = (sender.clone(), self.own_id.clone());
        spawn(async move {
            // Nobody listens any more: the round was decided without this answer.
            let _ = own_sender.send((own_id, own.await));
        });
        for (id, client) in &self.clients {
            let (sender, id) = (sender.clone(), id.clone());
            // Boxed before it is moved: a call is a large future.
            let (answer, deadline) = (Box::pin(call(client.clone())), self.deadline);
            spawn(async move {
                match timeout(deadline, answer).await {
                    Ok(Ok(answer)) => drop(sender.send((id, answer.into_inner()))),
                    Ok(Err(status)) => tracing::debug!(peer = id, %status, "no answer"),
                    Err(_) => tracing::debug!(peer = id, ?deadline, "no answer in time"),
                }
            });
        }
        Answers(answers)
    }
}

/// The answers of one round, in the order in which they come.
#[derive(Debug)]
pub struct Answers<A>(mpsc::UnboundedReceiver<(String, A)>);

impl<A> Answers<A> {
    /// The next answer and who gave it; `None` when everybody has answered or failed to.
    pub async fn next(&mut self) -> Option<(String, A)> {
        self.0.recv().await
    }
}
