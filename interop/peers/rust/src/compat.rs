//! What has other names in other versions of the library: ../../versions/.

pub use libp2p_mplex::Config as MplexConfig;
pub use libp2p_websocket::Config as WebsocketConfig;
