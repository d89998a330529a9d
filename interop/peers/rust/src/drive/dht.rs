//! The DHT of a driven node: that of the internet, but for addresses of any kind, and knowing
//! nobody to begin with.

use std::collections::HashSet;

use libp2p::{
    PeerId, StreamProtocol, identify,
    kad::{
        self, GetProvidersOk, GetRecordOk, Mode, QueryId, QueryResult, Quorum, Record, RecordKey,
        store::MemoryStore,
    },
    swarm::SwarmEvent,
};
use serde_json::{Value, json};

use super::{BehaviourEvent, Driven, Event, chain};
use crate::Failure;

pub const PROTOCOL: StreamProtocol = StreamProtocol::new("/ipfs/kad/1.0.0");

pub type Behaviour = kad::Behaviour<MemoryStore>;

pub fn behaviour(id: PeerId, mode: Mode) -> Behaviour {
    let mut config = kad::Config::new(PROTOCOL);
    config.set_periodic_bootstrap_interval(None);
    let mut behaviour = kad::Behaviour::with_config(id, MemoryStore::new(id), config);
    behaviour.set_mode(Some(mode));
    behaviour
}

impl Driven {
    /// The library leaves it to the application to say where those are who have dialled us.
    pub fn hear(&mut self, event: &Event) {
        if let SwarmEvent::Behaviour(BehaviourEvent::Identify(identify::Event::Received {
            peer_id,
            info,
            ..
        })) = event
            && info.protocols.contains(&PROTOCOL)
            && let Some(dht) = self.swarm.behaviour_mut().dht.as_mut()
        {
            for address in &info.listen_addrs {
                dht.add_address(peer_id, address.clone());
            }
        }
    }

    /// Does what has to do with the DHT.
    pub async fn obey_dht(&mut self, order: &Value) -> Result<Value, Failure> {
        let text = |name: &str| order[name].as_str().ok_or(format!("no {name}"));
        let key = || Ok::<_, Failure>(RecordKey::from(bytes(text("key")?)?));
        match text("command")? {
            "table" => self.table(),
            "known" => self.known(text("peer")?.parse()?).await,
            "provide" => {
                let key = key()?;
                let query = self.dht()?.start_providing(key)?;
                self.last(query).await.map(|_| json!({}))
            }
            "find_providers" => {
                let key = key()?;
                let query = self.dht()?.get_providers(key);
                self.providers(query).await
            }
            "put" => {
                let record = Record::new(key()?, bytes(text("value")?)?);
                let query = self.dht()?.put_record(record, Quorum::One)?;
                self.last(query).await.map(|_| json!({}))
            }
            "get" => {
                let key = key()?;
                let query = self.dht()?.get_record(key);
                self.record(query).await
            }
            "find_peer" => {
                let peer: PeerId = text("peer")?.parse()?;
                let query = self.dht()?.get_closest_peers(peer);
                self.find(query, peer).await
            }
            "closest" => {
                let key = bytes(text("key")?)?;
                let query = self.dht()?.get_closest_peers(key);
                self.closest(query).await
            }
            other => Err(format!("no such command: {other}").into()),
        }
    }

    fn dht(&mut self) -> Result<&mut Behaviour, Failure> {
        self.swarm.behaviour_mut().dht.as_mut().ok_or("no DHT".into())
    }

    fn peers(&mut self) -> Result<Vec<PeerId>, Failure> {
        let buckets = self.dht()?.kbuckets();
        let entries = buckets.flat_map(|bucket| {
            bucket.iter().map(|entry| *entry.node.key.preimage()).collect::<Vec<_>>()
        });
        Ok(entries.collect())
    }

    fn table(&mut self) -> Result<Value, Failure> {
        Ok(self.peers()?.iter().map(PeerId::to_string).collect())
    }

    /// Waits until the peer is in the table.
    async fn known(&mut self, peer: PeerId) -> Result<Value, Failure> {
        while !self.peers()?.contains(&peer) {
            self.event().await;
        }
        Ok(json!({}))
    }

    async fn step(&mut self, query: QueryId) -> (QueryResult, bool) {
        loop {
            if let SwarmEvent::Behaviour(BehaviourEvent::Dht(kad::Event::OutboundQueryProgressed {
                id,
                result,
                step,
                ..
            })) = self.event().await
                && id == query
            {
                return (result, step.last);
            }
        }
    }

    /// The last of what a query finds; an error if it fails.
    async fn last(&mut self, query: QueryId) -> Result<QueryResult, Failure> {
        loop {
            let (result, last) = self.step(query).await;
            if !last {
                continue;
            }
            return match result {
                QueryResult::StartProviding(Err(error)) => Err(chain(&error).into()),
                QueryResult::PutRecord(Err(error)) => Err(chain(&error).into()),
                QueryResult::GetClosestPeers(Err(error)) => Err(chain(&error).into()),
                result => Ok(result),
            };
        }
    }

    async fn providers(&mut self, query: QueryId) -> Result<Value, Failure> {
        let mut found = HashSet::new();
        loop {
            let (result, last) = self.step(query).await;
            match result {
                QueryResult::GetProviders(Ok(GetProvidersOk::FoundProviders {
                    providers, ..
                })) => found.extend(providers),
                QueryResult::GetProviders(Err(error)) => return Err(chain(&error).into()),
                _ => {}
            }
            if last {
                // It tells no addresses.
                let infos = found.iter().map(|id| json!({"id": id.to_string(), "addresses": []}));
                return Ok(infos.collect());
            }
        }
    }

    async fn record(&mut self, query: QueryId) -> Result<Value, Failure> {
        let mut found = None;
        loop {
            let (result, last) = self.step(query).await;
            match result {
                QueryResult::GetRecord(Ok(GetRecordOk::FoundRecord(each))) => {
                    found.get_or_insert(each.record.value);
                }
                QueryResult::GetRecord(Err(error)) => return Err(chain(&error).into()),
                _ => {}
            }
            if last {
                let digits = |value: Vec<u8>| value.iter().map(|b| format!("{b:02x}")).collect();
                return Ok(Value::String(found.map(digits).ok_or("not found")?));
            }
        }
    }

    async fn find(&mut self, query: QueryId, peer: PeerId) -> Result<Value, Failure> {
        if let QueryResult::GetClosestPeers(Ok(found)) = self.last(query).await?
            && let Some(info) = found.peers.iter().find(|info| info.peer_id == peer)
        {
            let addresses: Vec<_> = info.addrs.iter().map(ToString::to_string).collect();
            return Ok(json!({"id": peer.to_string(), "addresses": addresses}));
        }
        Err("not found".into())
    }

    async fn closest(&mut self, query: QueryId) -> Result<Value, Failure> {
        match self.last(query).await? {
            QueryResult::GetClosestPeers(Ok(found)) => {
                Ok(found.peers.iter().map(|info| info.peer_id.to_string()).collect())
            }
            other => Err(format!("{other:?}").into()),
        }
    }
}

fn bytes(digits: &str) -> Result<Vec<u8>, Failure> {
    let pair = |at| Ok(u8::from_str_radix(digits.get(at..at + 2).ok_or("half a byte")?, 16)?);
    (0..digits.len()).step_by(2).map(pair).collect()
}
