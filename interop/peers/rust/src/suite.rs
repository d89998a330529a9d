//! The transport suite: everything comes from the environment.

use std::{
    env,
    time::{Duration, Instant},
};

use tokio::signal::unix::{SignalKind, signal};

use crate::{
    Failure,
    node::{Node, Stack, ms},
    redis::Redis,
    within,
};

const DEFAULT_TIMEOUT: u64 = 180;

fn variable(name: &str, fallback: &str) -> String {
    env::var(name).ok().filter(|value| !value.is_empty()).unwrap_or_else(|| fallback.into())
}

pub async fn run() -> Result<(), Failure> {
    let stack = Stack {
        transport: env::var("TRANSPORT")?,
        security: variable("SECURE_CHANNEL", "noise"),
        muxer: variable("MUXER", "yamux"),
    };
    let seconds = variable("TEST_TIMEOUT_SECS", "").parse().unwrap_or(DEFAULT_TIMEOUT);
    let key = format!("{}_listener_multiaddr", env::var("TEST_KEY")?);
    let redis = Redis::connect(&env::var("REDIS_ADDR")?).await;
    if env::var("IS_DIALER")? == "true" {
        dial(&stack, redis, &key, seconds).await
    } else {
        within(Duration::from_secs(seconds), listen(&stack, redis, &key)).await
    }
}

async fn listen(stack: &Stack, mut redis: Redis, key: &str) -> Result<(), Failure> {
    let mut node = Node::open(stack, false)?;
    let addresses = node.listen(stack, &variable("LISTENER_IP", "0.0.0.0")).await?;
    let outside = addresses.iter().find(|address| !address.contains("/127.0.0.1/"));
    redis.call(&["DEL", key]).await?;
    redis.call(&["RPUSH", key, outside.unwrap_or(&addresses[0])]).await?;
    let mut terminate = signal(SignalKind::terminate())?;
    tokio::select! {
        never = node.serve() => match never {},
        _ = terminate.recv() => Ok(()),
    }
}

async fn dial(stack: &Stack, mut redis: Redis, key: &str, seconds: u64) -> Result<(), Failure> {
    let mut node = Node::open(stack, true)?;
    let reply = redis.call(&["BLPOP", key, &seconds.to_string()]).await?;
    let [_, address] = reply.as_slice() else {
        return Err(format!("no listener address within {seconds} s").into());
    };
    let start = Instant::now();
    let meeting = node.meet(address.parse()?, 1, false);
    let seen = within(Duration::from_secs(seconds), meeting).await?;
    let total = ms(start.elapsed());
    println!("latency:");
    println!("  handshake_plus_one_rtt: {total:.3}");
    println!("  ping_rtt: {:.3}", ms(seen.pings[0]));
    println!("  unit: ms");
    Ok(())
}
