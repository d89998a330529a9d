//! What has other names in other versions of the library.

pub use libp2p_mplex::MplexConfig;
pub use libp2p_websocket::WsConfig as WebsocketConfig;
