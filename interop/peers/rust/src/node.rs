//! The swarm that offers exactly one transport, security and muxer.

use std::{
    convert::Infallible,
    time::{Duration, Instant},
};

use futures::{AsyncRead, AsyncWrite, FutureExt, StreamExt};
use libp2p::{
    Multiaddr, PeerId, Swarm, Transport,
    core::{muxing::StreamMuxerBox, transport::Boxed, upgrade::Version},
    identify,
    identity::Keypair,
    multiaddr::Protocol,
    noise, ping, quic,
    swarm::{self, NetworkBehaviour, SwarmEvent},
    tcp, tls, yamux,
};

use crate::{
    Failure, Unsupported,
    compat::{MplexConfig, WebsocketConfig, wss_listener},
    exchange, streams,
};

const UPGRADE_TIMEOUT: Duration = Duration::from_secs(20);
pub const IDLE_TIMEOUT: Duration = Duration::from_secs(120);

pub type Connections = Boxed<(PeerId, StreamMuxerBox)>;

/// One choice of transport, security and muxer; nothing else is offered.
pub struct Stack {
    pub transport: String,
    pub security: String,
    pub muxer: String,
}

impl Default for Stack {
    fn default() -> Self {
        Stack { transport: "tcp".into(), security: "noise".into(), muxer: "yamux".into() }
    }
}

impl Stack {
    pub fn listen_address(&self, host: &str) -> Result<Multiaddr, Failure> {
        let suffix = match self.transport.as_str() {
            "tcp" => "tcp/0",
            "ws" => "tcp/0/ws",
            "wss" => "tcp/0/tls/ws",
            "quic-v1" => "udp/0/quic-v1",
            other => return Err(Unsupported(format!("transport {other}")).into()),
        };
        let family = if host.contains(':') { "ip6" } else { "ip4" };
        Ok(format!("/{family}/{host}/{suffix}").parse()?)
    }

    pub fn connections(&self, key: &Keypair) -> Result<Connections, Failure> {
        let tcp = || tcp::tokio::Transport::new(tcp::Config::default());
        match self.transport.as_str() {
            "tcp" => self.upgraded(tcp(), key),
            "ws" => self.upgraded(WebsocketConfig::new(tcp()), key),
            "wss" => self.upgraded(wss_listener(tcp())?, key),
            "quic-v1" => Ok(quic::tokio::Transport::new(quic::Config::new(key))
                .map(|(peer, muxer), _| (peer, StreamMuxerBox::new(muxer)))
                .boxed()),
            other => Err(Unsupported(format!("transport {other}")).into()),
        }
    }

    pub fn upgraded<T>(&self, raw: T, key: &Keypair) -> Result<Connections, Failure>
    where
        T: Transport + Send + Unpin + 'static,
        T::Output: AsyncRead + AsyncWrite + Send + Unpin + 'static,
        T::Error: Send + Sync + 'static,
        T::Dial: Send,
        T::ListenerUpgrade: Send,
    {
        // Each choice is a type of its own.
        macro_rules! with {
            ($security:expr, $muxer:expr) => {
                raw.upgrade(Version::V1Lazy)
                    .authenticate($security)
                    .multiplex($muxer)
                    .timeout(UPGRADE_TIMEOUT)
                    .map(|(peer, muxer), _| (peer, StreamMuxerBox::new(muxer)))
                    .boxed()
            };
        }
        Ok(match (self.security.as_str(), self.muxer.as_str()) {
            ("noise", "yamux") => with!(noise::Config::new(key)?, yamux::Config::default()),
            ("noise", "mplex") => with!(noise::Config::new(key)?, MplexConfig::new()),
            ("tls", "yamux") => with!(tls::Config::new(key)?, yamux::Config::default()),
            ("tls", "mplex") => with!(tls::Config::new(key)?, MplexConfig::new()),
            ("noise" | "tls", muxer) => return Err(Unsupported(format!("muxer {muxer}")).into()),
            (security, _) => return Err(Unsupported(format!("security {security}")).into()),
        })
    }
}

pub fn transport_of(address: &Multiaddr) -> String {
    let mut name = "tcp";
    let mut tls = false;
    for part in address {
        match part {
            Protocol::Tls => tls = true,
            Protocol::Ws(_) if tls => name = "wss",
            Protocol::Ws(_) => name = "ws",
            Protocol::Wss(_) => name = "wss",
            Protocol::QuicV1 => name = "quic-v1",
            Protocol::WebTransport => name = "webtransport",
            Protocol::WebRTCDirect => name = "webrtc-direct",
            _ => {}
        }
    }
    name.into()
}

pub fn ms(duration: Duration) -> f64 {
    duration.as_secs_f64() * 1000.0
}

#[derive(NetworkBehaviour)]
pub struct Behaviour {
    identify: identify::Behaviour,
    ping: ping::Behaviour,
    stream: libp2p_stream::Behaviour,
    streams: streams::Behaviour,
}

/// What a dialer has seen of the peer.
pub struct Meeting {
    pub peer: PeerId,
    pub connect: Duration,
    pub pings: Vec<Duration>,
    pub info: Option<identify::Info>,
}

pub struct Node {
    swarm: Swarm<Behaviour>,
}

impl Node {
    pub fn open(stack: &Stack, dialer: bool) -> Result<Self, Failure> {
        if dialer && stack.transport == "wss" {
            // It trusts public certificate authorities only.
            return Err(Unsupported("dialing wss".into()).into());
        }
        let key = Keypair::generate_ed25519();
        let connections = stack.connections(&key)?;
        let ping = ping::Config::new();
        let behaviour = Behaviour {
            identify: identify::Behaviour::new(identify::Config::new(
                "ipfs/0.1.0".into(),
                key.public(),
            )),
            // A dialer wants its few pings one after the other.
            ping: ping::Behaviour::new(if dialer {
                ping.with_interval(Duration::from_millis(1))
            } else {
                ping
            }),
            stream: libp2p_stream::Behaviour::new(),
            streams: streams::behaviour(),
        };
        let config =
            swarm::Config::with_tokio_executor().with_idle_connection_timeout(IDLE_TIMEOUT);
        let id = key.public().to_peer_id();
        let mut node = Node { swarm: Swarm::new(connections, behaviour, id, config) };
        exchange::serve(node.control())?;
        Ok(node)
    }

    pub fn id(&self) -> PeerId {
        *self.swarm.local_peer_id()
    }

    pub fn control(&mut self) -> libp2p_stream::Control {
        self.swarm.behaviour().stream.new_control()
    }

    pub fn streams(&self) -> &streams::Behaviour {
        &self.swarm.behaviour().streams
    }

    /// Listens, and returns the addresses that others can dial, each with the peer id.
    pub async fn listen(&mut self, stack: &Stack, host: &str) -> Result<Vec<String>, Failure> {
        self.swarm.listen_on(stack.listen_address(host)?)?;
        let mut addresses = Vec::new();
        while addresses.is_empty() {
            self.note(&mut addresses).await?;
        }
        // A wildcard gives one event for each interface, all ready at once.
        while let Some(noted) = self.note(&mut addresses).now_or_never() {
            noted?;
        }
        Ok(addresses)
    }

    async fn note(&mut self, addresses: &mut Vec<String>) -> Result<(), Failure> {
        match self.swarm.select_next_some().await {
            SwarmEvent::NewListenAddr { address, .. } => {
                addresses.push(format!("{address}/p2p/{}", self.id()));
                Ok(())
            }
            SwarmEvent::ListenerClosed { reason, .. } => {
                Err(format!("the listener closed: {reason:?}").into())
            }
            SwarmEvent::ListenerError { error, .. } => Err(error.into()),
            _ => Ok(()),
        }
    }

    /// Lets the swarm work; never returns.
    pub async fn serve(&mut self) -> Infallible {
        loop {
            self.swarm.select_next_some().await;
        }
    }

    /// Closes the connections with the peer.
    pub async fn leave(&mut self, peer: PeerId) {
        if self.swarm.disconnect_peer_id(peer).is_err() {
            return; // it was not connected
        }
        loop {
            if let SwarmEvent::ConnectionClosed { num_established: 0, .. } =
                self.swarm.select_next_some().await
            {
                return;
            }
        }
    }

    /// Dials, and returns when as many pings as asked for are back, and identify if it is wanted.
    pub async fn meet(
        &mut self,
        address: Multiaddr,
        pings: usize,
        identify: bool,
    ) -> Result<Meeting, Failure> {
        let start = Instant::now();
        self.swarm.dial(address)?;
        let mut meeting: Option<Meeting> = None;
        let mut info = None;
        loop {
            match self.swarm.select_next_some().await {
                SwarmEvent::ConnectionEstablished { peer_id, .. } => {
                    meeting = Some(Meeting {
                        peer: peer_id,
                        connect: start.elapsed(),
                        pings: Vec::new(),
                        info: None,
                    });
                }
                SwarmEvent::OutgoingConnectionError { error, .. } => return Err(error.into()),
                SwarmEvent::ConnectionClosed { cause, .. } => {
                    return Err(format!("the connection closed: {cause:?}").into());
                }
                SwarmEvent::Behaviour(BehaviourEvent::Identify(event)) => match event {
                    identify::Event::Received { info: received, .. } => info = Some(received),
                    identify::Event::Error { error, .. } if identify => return Err(error.into()),
                    _ => {}
                },
                SwarmEvent::Behaviour(BehaviourEvent::Ping(ping::Event { result, .. })) => {
                    let rtt = result?;
                    if let Some(meeting) = &mut meeting {
                        meeting.pings.push(rtt);
                    }
                }
                _ => {}
            }
            let done = meeting.as_ref().is_some_and(|m| m.pings.len() >= pings)
                && (info.is_some() || !identify);
            if done && let Some(mut meeting) = meeting.take() {
                meeting.pings.truncate(pings);
                meeting.info = info;
                return Ok(meeting);
            }
        }
    }
}
