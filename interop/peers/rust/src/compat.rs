//! What differs between the versions of the library: ../../versions/.

use libp2p::tcp::tokio::Transport;
pub use libp2p_mplex::Config as MplexConfig;
pub use libp2p_websocket::Config as WebsocketConfig;
use libp2p_websocket::tls;

use crate::Failure;

/// A WebSocket listener with a certificate of its own.
pub fn wss_listener(tcp: Transport) -> Result<WebsocketConfig<Transport>, Failure> {
    let own = rcgen::generate_simple_self_signed(["localhost".into(), "127.0.0.1".into()])?;
    let key = tls::PrivateKey::new(own.key_pair.serialize_der());
    let certificate = tls::Certificate::new(own.cert.der().to_vec());
    let mut websocket = WebsocketConfig::new(tcp);
    websocket.set_tls_config(tls::Config::new(key, [certificate])?);
    Ok(websocket)
}
