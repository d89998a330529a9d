//! A node that does what standard input asks for: relays, AutoNAT, DCUtR, the DHT. A JSON object a
//! line, each answered with a line.

mod dht;

use std::{collections::HashMap, error::Error, time::Duration};

use futures::{AsyncReadExt, AsyncWriteExt, StreamExt};
use libp2p::{
    Multiaddr, PeerId, Swarm, Transport,
    autonat::{self, v1},
    core::{
        ConnectedPoint,
        transport::{ListenerId, timeout::TransportTimeout},
    },
    dcutr, identify,
    identity::Keypair,
    kad::Mode,
    multiaddr::Protocol,
    ping, relay,
    swarm::{
        self, ConnectionId, NetworkBehaviour, NewExternalAddrCandidate, SwarmEvent,
        behaviour::{FromSwarm, toggle::Toggle},
        dial_opts::DialOpts,
    },
};
use libp2p_stream::Control;
use serde_json::{Value, json};
use tokio::io::{AsyncBufReadExt, BufReader, stdin};

use crate::{
    Failure, Unsupported, exchange,
    node::{IDLE_TIMEOUT, Stack},
    streams::{self, ECHO},
    within,
};

/// Less than the 10 s after which the library's AutoNAT server gives up a request unanswered.
const DIAL_TIMEOUT: Duration = Duration::from_secs(5);
const SOON: Duration = Duration::from_millis(300); // between two looks of an AutoNAT client

#[derive(NetworkBehaviour)]
struct Behaviour {
    identify: identify::Behaviour,
    ping: ping::Behaviour,
    stream: libp2p_stream::Behaviour,
    circuits: relay::client::Behaviour,
    relay: Toggle<relay::Behaviour>,
    dcutr: Toggle<dcutr::Behaviour>,
    autonat_v1: Toggle<v1::Behaviour>,
    autonat_client: Toggle<autonat::v2::client::Behaviour>,
    autonat_server: Toggle<autonat::v2::server::Behaviour>,
    dht: Toggle<dht::Behaviour>,
}

type Event = SwarmEvent<BehaviourEvent>;

struct Driven {
    swarm: Swarm<Behaviour>,
    connections: HashMap<ConnectionId, (PeerId, ConnectedPoint)>,
}

pub async fn run(stack: &Stack, host: &str, with: &str, timeout: Duration) -> Result<(), Failure> {
    let mut driven = Driven::open(stack, with)?;
    let addresses = driven.listen(stack.listen_address(host)?).await?;
    if with.split(',').any(|part| part == "relay-service") {
        for address in &addresses {
            driven.swarm.add_external_address(address.clone());
        }
    }
    let id = *driven.swarm.local_peer_id();
    let texts: Vec<_> = addresses.iter().map(|address| format!("{address}/p2p/{id}")).collect();
    println!("{}", json!({"id": id.to_string(), "addresses": texts}));
    let mut lines = BufReader::new(stdin()).lines();
    loop {
        let line = tokio::select! {
            line = lines.next_line() => line?,
            _ = driven.event() => continue,
        };
        let Some(line) = line else { return Ok(()) };
        let order: Value = serde_json::from_str(&line)?;
        match within(timeout, driven.obey(&order)).await {
            Ok(answer) => println!("{}", json!({"answer": answer})),
            Err(error) => println!("{}", json!({"error": error.to_string()})),
        }
    }
}

impl Driven {
    fn open(stack: &Stack, with: &str) -> Result<Self, Failure> {
        let known =
            ["relay", "relay-service", "dcutr", "autonat-v1", "autonat-v2", "dht", "dht-client"];
        let parts: Vec<_> = with.split(',').filter(|part| !part.is_empty()).collect();
        if let Some(part) = parts.iter().find(|part| !known.contains(part)) {
            return Err(Unsupported(format!("drive with {part}")).into());
        }
        let has = |part| parts.contains(&part);
        let key = Keypair::generate_ed25519();
        let id = key.public().to_peer_id();
        let (circuits, client) = relay::client::new(id);
        let connections = stack
            .upgraded(circuits, &key)?
            .or_transport(stack.connections(&key)?)
            .map(|either, _| either.into_inner());
        let connections =
            TransportTimeout::with_outgoing_timeout(connections, DIAL_TIMEOUT).boxed();
        let behaviour = Behaviour {
            identify: identify::Behaviour::new(identify::Config::new(
                "ipfs/0.1.0".into(),
                key.public(),
            )),
            ping: ping::Behaviour::new(ping::Config::new()),
            stream: libp2p_stream::Behaviour::new(),
            circuits: client,
            relay: has("relay-service")
                .then(|| relay::Behaviour::new(id, relay::Config::default()))
                .into(),
            dcutr: has("dcutr").then(|| dcutr::Behaviour::new(id)).into(),
            autonat_v1: has("autonat-v1").then(|| v1::Behaviour::new(id, autonat_v1())).into(),
            autonat_client: has("autonat-v2")
                .then(|| {
                    let config = autonat::v2::client::Config::default().with_probe_interval(SOON);
                    autonat::v2::client::Behaviour::new(rand::make_rng(), config)
                })
                .into(),
            autonat_server: has("autonat-v2").then(autonat::v2::server::Behaviour::default).into(),
            dht: has("dht")
                .then_some(Mode::Server)
                .or(has("dht-client").then_some(Mode::Client))
                .map(|mode| dht::behaviour(id, mode))
                .into(),
        };
        let config =
            swarm::Config::with_tokio_executor().with_idle_connection_timeout(IDLE_TIMEOUT);
        let swarm = Swarm::new(connections, behaviour, id, config);
        exchange::serve(swarm.behaviour().stream.new_control())?;
        serve_echo(swarm.behaviour().stream.new_control())?;
        Ok(Driven { swarm, connections: HashMap::new() })
    }

    /// The next event, and whom we are connected with.
    async fn event(&mut self) -> Event {
        let event = self.swarm.select_next_some().await;
        match &event {
            SwarmEvent::ConnectionEstablished { peer_id, connection_id, endpoint, .. } => {
                self.connections.insert(*connection_id, (*peer_id, endpoint.clone()));
            }
            SwarmEvent::ConnectionClosed { connection_id, .. } => {
                self.connections.remove(connection_id);
            }
            _ => {}
        }
        self.hear(&event);
        event
    }

    async fn listen(&mut self, address: Multiaddr) -> Result<Vec<Multiaddr>, Failure> {
        let listener = self.swarm.listen_on(address)?;
        self.listening(listener).await
    }

    async fn listening(&mut self, listener: ListenerId) -> Result<Vec<Multiaddr>, Failure> {
        loop {
            match self.event().await {
                SwarmEvent::NewListenAddr { listener_id, address } if listener_id == listener => {
                    return Ok(vec![address]);
                }
                SwarmEvent::ListenerClosed { listener_id, reason, .. }
                    if listener_id == listener =>
                {
                    return Err(format!("the listener closed: {reason:?}").into());
                }
                _ => {}
            }
        }
    }

    async fn obey(&mut self, order: &Value) -> Result<Value, Failure> {
        let text = |name: &str| order[name].as_str().ok_or(format!("no {name}"));
        match text("command")? {
            "connect" => self.connect(text("address")?.parse()?).await,
            "reserve" => self.reserve(text("address")?.parse()?).await,
            "connections" => Ok(self.with(text("peer")?.parse()?)),
            "direct" => self.direct(text("peer")?.parse()?).await,
            "echo" => self.echo(text("peer")?.parse()?, order["size"].as_u64().unwrap_or(0)).await,
            "reachable" if order["version"] == 1 => self.reachable_v1(text("peer")?.parse()?).await,
            "reachable" => self.reachable_v2(text("address")?.parse()?).await,
            _ => self.obey_dht(order).await,
        }
    }

    fn with(&self, peer: PeerId) -> Value {
        self.connections
            .values()
            .filter(|(id, _)| *id == peer)
            .map(|(_, endpoint)| describe(endpoint))
            .collect()
    }

    /// Connects, and waits until the peer has said where it sees us.
    async fn connect(&mut self, address: Multiaddr) -> Result<Value, Failure> {
        let options = DialOpts::from(address);
        let dialled = options.connection_id();
        self.swarm.dial(options)?;
        loop {
            match self.event().await {
                SwarmEvent::OutgoingConnectionError { connection_id, error, .. }
                    if connection_id == dialled =>
                {
                    return Err(chain(&error).into());
                }
                SwarmEvent::ConnectionClosed { connection_id, cause, .. }
                    if connection_id == dialled =>
                {
                    return Err(format!("the connection closed: {cause:?}").into());
                }
                SwarmEvent::Behaviour(BehaviourEvent::Identify(identify::Event::Received {
                    connection_id,
                    peer_id,
                    ..
                })) if connection_id == dialled => return Ok(self.with(peer_id)),
                _ => {}
            }
        }
    }

    async fn reserve(&mut self, relay: Multiaddr) -> Result<Value, Failure> {
        let listener = self.swarm.listen_on(relay.with(Protocol::P2pCircuit))?;
        let mut given = None;
        let mut addresses = Vec::new();
        loop {
            match self.event().await {
                SwarmEvent::Behaviour(BehaviourEvent::Circuits(
                    relay::client::Event::ReservationReqAccepted { limit, .. },
                )) => given = Some(limit),
                SwarmEvent::NewListenAddr { listener_id, address } if listener_id == listener => {
                    addresses.push(address.to_string());
                }
                SwarmEvent::ListenerClosed { listener_id, reason, .. }
                    if listener_id == listener =>
                {
                    return Err(match reason {
                        Ok(()) => "the listener closed".into(),
                        Err(error) => chain(&error).into(),
                    });
                }
                _ => {}
            }
            if let (Some(limit), false) = (&given, addresses.is_empty()) {
                let seconds = limit.as_ref().and_then(|limit| limit.duration());
                let bytes = limit.as_ref().and_then(|limit| limit.data_in_bytes());
                return Ok(json!({
                    "seconds": seconds.unwrap_or_default().as_secs(),
                    "bytes": bytes.unwrap_or(0),
                    "addresses": addresses,
                }));
            }
        }
    }

    /// Waits for a connection that no relay carries.
    async fn direct(&mut self, peer: PeerId) -> Result<Value, Failure> {
        loop {
            let found = self
                .connections
                .values()
                .find(|(id, endpoint)| *id == peer && !endpoint.is_relayed());
            if let Some((_, endpoint)) = found {
                return Ok(describe(endpoint));
            }
            if let SwarmEvent::Behaviour(BehaviourEvent::Dcutr(dcutr::Event {
                remote_peer_id,
                result: Err(error),
            })) = self.event().await
                && remote_peer_id == peer
            {
                return Err(chain(&error).into());
            }
        }
    }

    async fn echo(&mut self, peer: PeerId, size: u64) -> Result<Value, Failure> {
        let mut work = tokio::spawn(echo(self.swarm.behaviour().stream.new_control(), peer, size));
        loop {
            tokio::select! {
                done = &mut work => return done?.map(|()| json!({})),
                _ = self.event() => {}
            }
        }
    }

    /// Has the peer dial all our addresses.
    async fn reachable_v1(&mut self, peer: PeerId) -> Result<Value, Failure> {
        let client = self.swarm.behaviour_mut().autonat_v1.as_mut().ok_or("no autonat")?;
        client.add_server(peer, None);
        loop {
            if let SwarmEvent::Behaviour(BehaviourEvent::AutonatV1(v1::Event::OutboundProbe(
                event,
            ))) = self.event().await
            {
                match event {
                    v1::OutboundProbeEvent::Request { .. } => self.ask_no_more(peer),
                    v1::OutboundProbeEvent::Response { address, .. } => {
                        return Ok(json!({"reachable": true, "address": address.to_string()}));
                    }
                    v1::OutboundProbeEvent::Error {
                        error: v1::OutboundProbeError::Response(v1::ResponseError::DialError),
                        ..
                    } => return Ok(json!({"reachable": false})),
                    v1::OutboundProbeEvent::Error { peer: Some(_), error, .. } => {
                        return Err(format!("{error:?}").into());
                    }
                    _ => {}
                }
            }
        }
    }

    /// Once is enough: the library would ask again and again.
    fn ask_no_more(&mut self, server: PeerId) {
        if let Some(client) = self.swarm.behaviour_mut().autonat_v1.as_mut() {
            client.remove_server(&server);
        }
    }

    /// Has some peer dial one of our addresses.
    async fn reachable_v2(&mut self, address: Multiaddr) -> Result<Value, Failure> {
        let client = self.swarm.behaviour_mut().autonat_client.as_mut().ok_or("no autonat")?;
        let candidate = NewExternalAddrCandidate { addr: &address };
        client.on_swarm_event(FromSwarm::NewExternalAddrCandidate(candidate));
        loop {
            if let SwarmEvent::Behaviour(BehaviourEvent::AutonatClient(event)) = self.event().await
                && event.tested_addr == address
            {
                return Ok(json!({
                    "reachable": event.result.is_ok(),
                    "bytes": event.bytes_sent,
                    "reason": event.result.err().map(|error| error.to_string()),
                }));
            }
        }
    }
}

/// Asks only whom it is told to, and soon.
fn autonat_v1() -> v1::Config {
    v1::Config {
        boot_delay: SOON,
        retry_interval: SOON,
        refresh_interval: SOON,
        throttle_server_period: Duration::ZERO,
        use_connected: false,
        ..v1::Config::default()
    }
}

fn describe(endpoint: &ConnectedPoint) -> Value {
    let address = match endpoint {
        ConnectedPoint::Dialer { address, .. } => address,
        ConnectedPoint::Listener { send_back_addr, .. } => send_back_addr,
    };
    json!({
        "address": address.to_string(),
        "inbound": endpoint.is_listener(),
        "relayed": endpoint.is_relayed(),
    })
}

/// An error and all its causes.
fn chain(error: &dyn Error) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        text += &format!(": {error}");
        cause = error.source();
    }
    text
}

async fn echo(mut control: Control, peer: PeerId, size: u64) -> Result<(), Failure> {
    let mut stream = control.open_stream(peer, ECHO).await?;
    let mut received = 0;
    let mut buffer = vec![0; exchange::BLOCK];
    // A piece at a time: what is on the way never fills a relay.
    while received < size {
        let piece = (size - received).min(4096) as usize;
        stream.write_all(&buffer[..piece]).await?;
        stream.flush().await?;
        stream.read_exact(&mut buffer[..piece]).await?;
        received += piece as u64;
    }
    stream.close().await?;
    Ok(())
}

/// Sends back whatever comes.
fn serve_echo(mut control: Control) -> Result<(), Failure> {
    let mut incoming = control.accept(ECHO)?;
    tokio::spawn(async move {
        while let Some((peer, stream)) = incoming.next().await {
            tokio::spawn(async move {
                if let Err(error) = streams::echo(stream).await {
                    eprintln!("echo stream of {peer}: {error}");
                }
            });
        }
    });
    Ok(())
}
