//! How messages leave a link to a process: on one connection, as HTTP/2.

use anyhow::{Context, Result};
use bytes::{Bytes, BytesMut};
use h2::client::SendRequest;
use http::{
    Request, Uri, Version, header,
    request::Parts,
    uri::{Authority, Scheme},
};
use tokio::{net::TcpStream, sync::Mutex};

use crate::{
    flight::Reply,
    link::{Delivery, Exit},
};

/// The connection to a process.
pub struct Connection {
    /// Where it listens.
    address: Authority,
    open: Mutex<Option<SendRequest<Bytes>>>,
}

impl Connection {
    /// A connection to `address`, made when it is needed.
    pub fn to(address: &str) -> Self {
        let address = address.parse().expect("a node's address is a host and a port");
        Self { address, open: Mutex::default() }
    }

    /// The connection, made anew when the last one is gone. It sends no keepalive: a paused node
    /// must look paused, not gone.
    ///
    /// This is h2 and not hyper's client, which sends the head of a message and its body in two
    /// writes: the receiver would be woken twice.
    async fn open(&self) -> Result<SendRequest<Bytes>> {
        let mut connection = self.open.lock().await;
        if let Some(open) = connection.clone()
            && let Ok(ready) = open.ready().await
        {
            return Ok(ready);
        }
        let stream =
            TcpStream::connect(self.address.as_str()).await.context("it does not listen")?;
        stream.set_nodelay(true)?;
        let (sender, driver) = h2::client::handshake(stream).await?;
        crate::spawn(async move {
            // The calls on it are told how it ended.
            let _ = driver.await;
        });
        let sender = sender.ready().await?;
        Ok(connection.insert(sender).clone())
    }

    async fn call(&self, head: Parts, body: Bytes) -> Result<Reply> {
        let request = self.request(head)?;
        let mut connection = self.open().await?;
        let (response, mut upload) = connection.send_request(request, false)?;
        upload.send_data(body, true)?;
        let (head, mut download) = response.await?.into_parts();
        let mut body = BytesMut::new();
        while let Some(chunk) = download.data().await {
            let chunk = chunk?;
            download.flow_control().release_capacity(chunk.len())?;
            body.extend_from_slice(&chunk);
        }
        Ok(Reply { head, body: body.freeze(), trailers: download.trailers().await? })
    }

    fn request(&self, head: Parts) -> Result<Request<()>> {
        let mut request = Request::new(());
        // A client inside this process names no host.
        let mut uri = head.uri.into_parts();
        (uri.scheme, uri.authority) = (Some(Scheme::HTTP), Some(self.address.clone()));
        *request.uri_mut() = Uri::from_parts(uri)?;
        *request.method_mut() = head.method;
        *request.version_mut() = Version::HTTP_2;
        *request.headers_mut() = head.headers;
        request.headers_mut().remove(header::CONTENT_LENGTH);
        Ok(request)
    }
}

impl Exit for Connection {
    fn deliver(&self, head: Parts, body: Bytes) -> Delivery<'_> {
        Box::pin(self.call(head, body))
    }
}
