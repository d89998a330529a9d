//! What differs between the versions of the library.

pub use libp2p_mplex::MplexConfig;
pub use libp2p_websocket::WsConfig as WebsocketConfig;

use libp2p::tcp::tokio::Transport;

use crate::{Failure, Unsupported};

pub fn wss_listener(_: Transport) -> Result<WebsocketConfig<Transport>, Failure> {
    Err(Unsupported("transport wss".into()).into())
}
