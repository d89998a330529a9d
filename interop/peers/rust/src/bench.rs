//! A dialer for the benchmark: a JSON object a line on standard input, each answered with a line.

use std::{
    cell::Cell,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::{Duration, Instant},
};

use futures::{AsyncReadExt, AsyncWriteExt, future::try_join_all, try_join};
use libp2p::{Multiaddr, PeerId, Stream, StreamProtocol};
use libp2p_stream::Control;
use serde_json::{Value, json};
use tokio::{
    io::{AsyncBufReadExt, BufReader, stdin},
    task::JoinSet,
};

use crate::{
    Failure,
    exchange::transfer,
    node::{Node, Stack},
    streams::{ECHO, Opener},
    within,
};

const PING: StreamProtocol = StreamProtocol::new("/ipfs/ping/1.0.0");
const SMALL: usize = 32; // bytes, as a ping has
const TIMEOUT: Duration = Duration::from_secs(120);

pub async fn run(stack: &Stack) -> Result<(), Failure> {
    // Each is a peer of its own.
    let mut nodes = vec![Node::open(stack, false)?];
    let mut lines = BufReader::new(stdin()).lines();
    while let Some(line) = lines.next_line().await? {
        let question = serde_json::from_str(&line)?;
        let answer = within(TIMEOUT, answer(stack, &mut nodes, question)).await;
        println!("{}", answer.unwrap_or_else(|error| json!({"error": error.to_string()})));
    }
    Ok(())
}

async fn answer(stack: &Stack, nodes: &mut Vec<Node>, question: Value) -> Result<Value, Failure> {
    let address: Multiaddr = question["address"].as_str().ok_or("no address")?.parse()?;
    let command = question["command"].as_str().ok_or("no command")?;
    if command == "dial" || command == "connect" {
        let (count, at_once) = (number(&question, "count"), number(&question, "at_once") as usize);
        while nodes.len() < at_once {
            nodes.push(Node::open(stack, false)?);
        }
        let turns = Cell::new(count);
        let start = Instant::now();
        let workers = nodes.iter_mut().take(at_once);
        try_join_all(workers.map(|node| dial(node, &address, &turns, command == "connect")))
            .await?;
        return Ok(json!({"seconds": start.elapsed().as_secs_f64(), "count": count}));
    }
    let node = &mut nodes[0];
    let peer = node.meet(address, 0, true).await?.peer;
    let opener = node.streams().opener();
    let mut work = tokio::spawn(on_connection(question, node.control(), opener, peer));
    let done = tokio::select! {
        never = node.serve() => match never {},
        done = &mut work => done?,
    };
    node.leave(peer).await;
    done
}

fn number(question: &Value, name: &str) -> u64 {
    question[name].as_u64().unwrap_or(0)
}

/// Dials, waits for a ping or for identify, and closes, as long as there are turns.
async fn dial(
    node: &mut Node,
    address: &Multiaddr,
    turns: &Cell<u64>,
    identify: bool,
) -> Result<(), Failure> {
    while turns.get() > 0 {
        turns.set(turns.get() - 1);
        let pings = if identify { 0 } else { 1 };
        let peer = node.meet(address.clone(), pings, identify).await?.peer;
        node.leave(peer).await;
    }
    Ok(())
}

async fn on_connection(
    question: Value,
    control: Control,
    opener: Opener,
    peer: PeerId,
) -> Result<Value, Failure> {
    let number = |name| number(&question, name);
    match question["command"].as_str() {
        Some("transfer") => {
            transfer(control, peer, number("up"), number("down"), number("write") as usize).await
        }
        Some("ping") => ping(opener, number("count")).await,
        Some("streams") => streams(opener, number("count"), number("at_once")).await,
        Some("messages") => {
            let pipelined = question["pipelined"] == true;
            messages(opener, number("size") as usize, number("count"), pipelined).await
        }
        other => Err(format!("no such command: {other:?}").into()),
    }
}

/// Sends the bytes and waits for as many.
async fn exchange(stream: &mut Stream, data: &mut [u8]) -> Result<(), Failure> {
    stream.write_all(data).await?;
    stream.flush().await?;
    Ok(stream.read_exact(data).await?)
}

async fn ping(opener: Opener, count: u64) -> Result<Value, Failure> {
    let mut stream = opener.open(PING).await?;
    let mut data = [0; SMALL];
    exchange(&mut stream, &mut data).await?;
    let mut times = Vec::new();
    let begin = Instant::now();
    for _ in 0..count {
        let start = Instant::now();
        exchange(&mut stream, &mut data).await?;
        times.push(start.elapsed().as_secs_f64());
    }
    let seconds = begin.elapsed().as_secs_f64();
    stream.close().await?;
    Ok(json!({"seconds": seconds, "times": times}))
}

async fn streams(opener: Opener, count: u64, at_once: u64) -> Result<Value, Failure> {
    let turns = Arc::new(AtomicU64::new(0));
    let mut workers: JoinSet<Result<(), Failure>> = JoinSet::new();
    let start = Instant::now();
    for _ in 0..at_once {
        let (opener, turns) = (opener.clone(), turns.clone());
        workers.spawn(async move {
            while turns.fetch_add(1, Ordering::Relaxed) < count {
                let mut stream = opener.open(ECHO).await?;
                exchange(&mut stream, &mut [0; SMALL]).await?;
                stream.close().await?;
            }
            Ok(())
        });
    }
    while let Some(done) = workers.join_next().await {
        done??;
    }
    Ok(json!({"seconds": start.elapsed().as_secs_f64(), "count": count}))
}

async fn messages(
    opener: Opener,
    size: usize,
    count: u64,
    pipelined: bool,
) -> Result<Value, Failure> {
    let mut stream = opener.open(ECHO).await?;
    let mut data = vec![0; size];
    exchange(&mut stream, &mut data).await?;
    let start = Instant::now();
    if pipelined {
        let request = vec![0; size];
        let (mut reader, mut writer) = stream.split();
        let send = async {
            for _ in 0..count {
                writer.write_all(&request).await?;
            }
            writer.flush().await
        };
        let receive = async {
            for _ in 0..count {
                reader.read_exact(&mut data).await?;
            }
            Ok(())
        };
        try_join!(send, receive)?;
    } else {
        for _ in 0..count {
            exchange(&mut stream, &mut data).await?;
        }
    }
    Ok(json!({"seconds": start.elapsed().as_secs_f64(), "count": count}))
}
