//! After `101 Switching Protocols`: two connections become one tunnel.
//!
//! Over HTTP/2 a client asks for a WebSocket by `CONNECT` with a `:protocol` (RFC 8441), and one stream of its connection
//! becomes the tunnel. Upwards we speak HTTP/1.1 for it, with a key of our own, and turn `101` into `200`.

use std::sync::Arc;

use base64::Engine;
use base64::prelude::BASE64_STANDARD;
use http::header::{CONNECTION, HeaderMap, HeaderValue, SEC_WEBSOCKET_ACCEPT, SEC_WEBSOCKET_KEY, UPGRADE};
use http::{Method, Request, Response, StatusCode, request};
use hyper::ext::Protocol;
use hyper::upgrade::{OnUpgrade, Upgraded};
use hyper_util::rt::TokioIo;
use ring::digest::{SHA1_FOR_LEGACY_USE_ONLY, digest};
use tokio::io::copy_bidirectional_with_sizes;
use tokio::sync::watch;

use crate::headers;
use crate::phrase::{Phrase, phrase};
use crate::telemetry::meter::{Counted, Meter};
use crate::upstream;

/// What a client offers to switch to.
pub struct Switch {
    /// Its connection, or its stream of one, once it has been told.
    pub client: OnUpgrade,
    /// What becomes of it when the tunnel breaks, as soon as that is known.
    pub reset: Option<Reset>,
    offered: HeaderValue,
    by_connect: Option<ByConnect>,
}

/// Closes a tunnel towards the client so that it sees a break and no end.
pub struct Reset(Box<dyn Fn(Upgraded) + Send + Sync>);

impl Reset {
    /// `reset` gets the tunnel.
    pub fn new(reset: impl Fn(Upgraded) + Send + Sync + 'static) -> Self {
        Self(Box::new(reset))
    }
}

/// A WebSocket that was asked for over HTTP/2.
#[derive(Clone, Debug)]
struct ByConnect {
    /// What the upstream has to answer to our key (RFC 6455 §4.2.2).
    accept: HeaderValue,
}

/// Turns the CONNECT by which HTTP/2 asks for a WebSocket into the GET by which HTTP/1.1 does. Other requests stay as
/// they are.
pub fn out_of_connect<B>(request: &mut Request<B>) {
    let is_websocket = |protocol: &Protocol| protocol.as_str().eq_ignore_ascii_case("websocket");
    if request.method() != Method::CONNECT || !request.extensions().get().is_some_and(is_websocket) {
        return;
    }
    // A nonce (RFC 6455 §4.1): nothing is secret about it.
    let key = BASE64_STANDARD.encode(fastrand::u128(..).to_ne_bytes());
    let (Ok(accept), Ok(key)) = (HeaderValue::try_from(accepted(key.as_bytes())), HeaderValue::try_from(key)) else {
        return;
    };
    *request.method_mut() = Method::GET;
    request.extensions_mut().remove::<Protocol>();
    request.extensions_mut().insert(ByConnect { accept });
    let headers = request.headers_mut();
    headers.insert(CONNECTION, HeaderValue::from_static("upgrade"));
    headers.insert(UPGRADE, HeaderValue::from_static("websocket"));
    headers.insert(SEC_WEBSOCKET_KEY, key);
}

/// What a server answers to the key of a WebSocket that it takes (RFC 6455 §4.2.2). SHA-1 proves there that it was read, and
/// protects nothing.
pub fn accepted(key: &[u8]) -> String {
    const GUID: &[u8] = b"258EAFA5-E914-47DA-95CA-C5AB0DC85B11";
    BASE64_STANDARD.encode(digest(&SHA1_FOR_LEGACY_USE_ONLY, &[key, GUID].concat()))
}

impl Switch {
    /// What a request offers after it was rewritten for the upstream.
    pub fn offered(client: OnUpgrade, head: &mut request::Parts) -> Option<Self> {
        let offered = headers::upgrade_token(&head.headers)?.clone();
        let by_connect = head.extensions.remove();
        Some(Self { client, reset: None, offered, by_connect })
    }

    /// Whether an answer agrees to the offer, or declines it properly (RFC 9110 §7.8).
    ///
    /// # Errors
    /// What is wrong, as a sentence about the upstream.
    pub fn agreed(&self, status: StatusCode, answer: &HeaderMap) -> Result<(), Phrase> {
        if status != StatusCode::SWITCHING_PROTOCOLS {
            // To a CONNECT, success is the tunnel.
            let mistakable = self.by_connect.is_some() && status.is_success();
            return if mistakable {
                Err(phrase!("it answered a request for a WebSocket as any other"))
            } else {
                Ok(())
            };
        }
        if !headers::agrees(&self.offered, answer) {
            return Err(phrase!("it switched to a protocol that was not offered"));
        }
        match &self.by_connect {
            // The key was ours, so that nobody else can check what became of it.
            Some(ByConnect { accept }) if answer.get(SEC_WEBSOCKET_ACCEPT) != Some(accept) => {
                Err(phrase!("it accepted another WebSocket than the one it was asked for"))
            }
            Some(_) | None => Ok(()),
        }
    }

    /// Says `101` as the client's HTTP does.
    pub fn tell<B>(&self, answer: &mut Response<B>) {
        if self.by_connect.is_some() {
            *answer.status_mut() = StatusCode::OK;
            for name in [CONNECTION, UPGRADE, SEC_WEBSOCKET_ACCEPT] {
                answer.headers_mut().remove(name);
            }
        }
    }
}

/// Counts the tunnels of one worker, so that stopping can wait for them.
#[derive(Clone, Debug)]
pub struct Tunnels(watch::Sender<usize>);

impl Default for Tunnels {
    fn default() -> Self {
        Self(watch::Sender::new(0))
    }
}

impl Tunnels {
    /// Counts a tunnel until the guard is dropped.
    pub fn open(&self, meter: &Arc<Meter>) -> Open {
        self.0.send_modify(|open| *open += 1);
        Open { open: self.0.clone(), _counted: meter.tunnel() }
    }

    /// Ends when no tunnel is open.
    pub async fn closed(&self) {
        // An error would mean that the sender is gone, but we hold it.
        let _ = self.0.subscribe().wait_for(|open| *open == 0).await;
    }
}

/// An open tunnel.
pub struct Open {
    open: watch::Sender<usize>,
    _counted: Counted,
}

impl Drop for Open {
    fn drop(&mut self) {
        self.open.send_modify(|open| *open -= 1);
    }
}

/// What is read of a tunnel at once, in bytes: down, where the bulk flows, and up. Both are in memory for as long as the
/// tunnel is open.
const DOWN: usize = 32 << 10;
const UP: usize = 8 << 10;

/// Copies both ways until both sides have ended. Each direction ends by itself (half-close), without a time limit:
/// a dashboard's socket may be silent for hours. What breaks on one side is broken on the other.
pub async fn splice(switch: Switch, upstream: OnUpgrade, _open: Open) {
    let (client, upstream) = match tokio::try_join!(switch.client, upstream) {
        Ok(both) => both,
        Err(error) => {
            tracing::debug!(%error, "an upgrade was agreed on, but did not happen");
            return;
        }
    };
    let (mut client, mut upstream) = (TokioIo::new(client), TokioIo::new(upstream));
    match copy_bidirectional_with_sizes(&mut client, &mut upstream, UP, DOWN).await {
        Ok((up, down)) => tracing::debug!(up, down, "a tunnel ended"),
        Err(error) => {
            tracing::debug!(%error, "a tunnel broke");
            if let Some(Reset(reset)) = switch.reset {
                reset(client.into_inner());
            }
            upstream::reset(upstream.into_inner());
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_key_is_accepted_as_in_rfc_6455() {
        // §1.3
        assert_eq!(accepted(b"dGhlIHNhbXBsZSBub25jZQ=="), "s3pPLMBiTxaQ9kYGzzhZRbK+xOo=");
    }
}
