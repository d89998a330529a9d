//! The streams of the benchmark: an echo, and as many streams opened at once as asked for.
//! `libp2p-stream` opens and takes them one after the other, and drops what comes meanwhile.

use std::{
    convert::Infallible,
    io,
    sync::{Arc, Mutex, PoisonError},
    task::{Context, Poll},
};

use futures::{
    AsyncReadExt, AsyncWriteExt, StreamExt,
    channel::{mpsc, oneshot},
};
use libp2p::{
    Multiaddr, PeerId, Stream, StreamProtocol,
    core::{Endpoint, transport::PortUse, upgrade::ReadyUpgrade},
    swarm::{
        ConnectionDenied, ConnectionHandler, ConnectionHandlerEvent, ConnectionId, FromSwarm,
        NetworkBehaviour, SubstreamProtocol, THandler, THandlerInEvent, THandlerOutEvent, ToSwarm,
        handler::{
            ConnectionEvent, DialUpgradeError, FullyNegotiatedInbound, FullyNegotiatedOutbound,
        },
    },
};

use crate::Failure;

pub const ECHO: StreamProtocol = StreamProtocol::new("/carrick/benchmarks/echo/1.0.0");
const BUFFER: usize = 65536;

type Answer = oneshot::Sender<Result<Stream, String>>;
type Wanted = Arc<Mutex<mpsc::UnboundedReceiver<(StreamProtocol, Answer)>>>;

/// Opens streams on the only connection of its node.
#[derive(Clone)]
pub struct Opener(mpsc::UnboundedSender<(StreamProtocol, Answer)>);

impl Opener {
    pub async fn open(&self, protocol: StreamProtocol) -> Result<Stream, Failure> {
        let (sender, receiver) = oneshot::channel();
        self.0.unbounded_send((protocol, sender))?;
        Ok(receiver.await??)
    }
}

pub struct Behaviour {
    wanted: Wanted,
    opener: Opener,
}

pub fn behaviour() -> Behaviour {
    let (sender, receiver) = mpsc::unbounded();
    Behaviour { wanted: Arc::new(Mutex::new(receiver)), opener: Opener(sender) }
}

impl Behaviour {
    pub fn opener(&self) -> Opener {
        self.opener.clone()
    }

    fn handler(&self) -> Handler {
        Handler { wanted: self.wanted.clone() }
    }
}

impl NetworkBehaviour for Behaviour {
    type ConnectionHandler = Handler;
    type ToSwarm = Infallible;

    fn handle_established_inbound_connection(
        &mut self,
        _: ConnectionId,
        _: PeerId,
        _: &Multiaddr,
        _: &Multiaddr,
    ) -> Result<THandler<Self>, ConnectionDenied> {
        Ok(self.handler())
    }

    fn handle_established_outbound_connection(
        &mut self,
        _: ConnectionId,
        _: PeerId,
        _: &Multiaddr,
        _: Endpoint,
        _: PortUse,
    ) -> Result<THandler<Self>, ConnectionDenied> {
        Ok(self.handler())
    }

    fn on_swarm_event(&mut self, _: FromSwarm) {}

    fn on_connection_handler_event(
        &mut self,
        _: PeerId,
        _: ConnectionId,
        event: THandlerOutEvent<Self>,
    ) {
        match event {}
    }

    fn poll(&mut self, _: &mut Context<'_>) -> Poll<ToSwarm<Infallible, THandlerInEvent<Self>>> {
        Poll::Pending
    }
}

pub struct Handler {
    wanted: Wanted,
}

impl ConnectionHandler for Handler {
    type FromBehaviour = Infallible;
    type ToBehaviour = Infallible;
    type InboundProtocol = ReadyUpgrade<StreamProtocol>;
    type OutboundProtocol = ReadyUpgrade<StreamProtocol>;
    type InboundOpenInfo = ();
    type OutboundOpenInfo = Answer;

    fn listen_protocol(&self) -> SubstreamProtocol<Self::InboundProtocol> {
        SubstreamProtocol::new(ReadyUpgrade::new(ECHO), ())
    }

    fn on_behaviour_event(&mut self, event: Infallible) {
        match event {}
    }

    fn poll(
        &mut self,
        cx: &mut Context<'_>,
    ) -> Poll<ConnectionHandlerEvent<Self::OutboundProtocol, Answer, Infallible>> {
        let mut wanted = self.wanted.lock().unwrap_or_else(PoisonError::into_inner);
        match wanted.poll_next_unpin(cx) {
            Poll::Ready(Some((protocol, answer))) => {
                Poll::Ready(ConnectionHandlerEvent::OutboundSubstreamRequest {
                    protocol: SubstreamProtocol::new(ReadyUpgrade::new(protocol), answer),
                })
            }
            _ => Poll::Pending,
        }
    }

    fn on_connection_event(
        &mut self,
        event: ConnectionEvent<Self::InboundProtocol, Self::OutboundProtocol, (), Answer>,
    ) {
        // Whoever asked may have gone.
        match event {
            ConnectionEvent::FullyNegotiatedInbound(FullyNegotiatedInbound {
                protocol: stream,
                ..
            }) => {
                tokio::spawn(echo(stream));
            }
            ConnectionEvent::FullyNegotiatedOutbound(FullyNegotiatedOutbound {
                protocol: stream,
                info: answer,
            }) => {
                let _ = answer.send(Ok(stream));
            }
            ConnectionEvent::DialUpgradeError(DialUpgradeError { info: answer, error }) => {
                let _ = answer.send(Err(error.to_string()));
            }
            _ => {}
        }
    }
}

/// Sends back whatever comes.
pub async fn echo(mut stream: Stream) -> io::Result<()> {
    let mut buffer = vec![0; BUFFER];
    loop {
        let count = stream.read(&mut buffer).await?;
        if count == 0 {
            return stream.close().await;
        }
        stream.write_all(&buffer[..count]).await?;
        stream.flush().await?;
    }
}
