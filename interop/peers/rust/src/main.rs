//! A small libp2p peer on rust-libp2p. The contract is in ../README.md.

mod bench;
mod compat;
mod drive;
mod exchange;
mod node;
mod redis;
mod streams;
mod suite;

use std::{error::Error, fmt, future::Future, process::exit, time::Duration};

use serde_json::json;
use tokio::io::AsyncReadExt;

use crate::{
    exchange::{BLOCK, transfer},
    node::Stack,
};

const EXIT_FAILED: i32 = 1;
const EXIT_UNSUPPORTED: i32 = 2;

pub type Failure = Box<dyn Error + Send + Sync>;

/// The library does not offer what was asked for.
#[derive(Debug)]
pub struct Unsupported(pub String);

impl fmt::Display for Unsupported {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl Error for Unsupported {}

struct Options {
    stack: Stack,
    host: String,
    with: String,
    timeout: Duration,
    upload: u64,
    download: u64,
}

impl Options {
    fn parse(mut words: impl Iterator<Item = String>) -> Result<Self, Failure> {
        let mut options = Options {
            stack: Stack::default(),
            host: "127.0.0.1".into(),
            with: String::new(),
            timeout: Duration::from_secs(30),
            upload: 0,
            download: 0,
        };
        while let Some(name) = words.next() {
            let value = words.next().ok_or_else(|| format!("{name}: a value is missing"))?;
            match name.as_str() {
                "--transport" => options.stack.transport = value,
                "--security" => options.stack.security = value,
                "--muxer" => options.stack.muxer = value,
                "--host" => options.host = value,
                "--with" => options.with = value,
                "--timeout" => options.timeout = Duration::from_secs_f64(value.parse()?),
                "--upload-bytes" => options.upload = value.parse()?,
                "--download-bytes" => options.download = value.parse()?,
                _ => return Err(format!("{name}: no such option").into()),
            }
        }
        Ok(options)
    }
}

/// Runs the future, with the error that a deadline has if it passes first.
pub async fn within<T>(
    limit: Duration,
    future: impl Future<Output = Result<T, Failure>>,
) -> Result<T, Failure> {
    tokio::time::timeout(limit, future)
        .await
        .unwrap_or_else(|_| Err(format!("not done within {limit:?}").into()))
}

/// Returns when standard input ends or a signal comes.
async fn until_told_to_stop() -> Result<(), Failure> {
    use tokio::signal::unix::{SignalKind, signal};
    let mut terminate = signal(SignalKind::terminate())?;
    let mut stdin = tokio::io::stdin();
    let mut ignored = Vec::new();
    tokio::select! {
        _ = terminate.recv() => {}
        _ = tokio::signal::ctrl_c() => {}
        _ = stdin.read_to_end(&mut ignored) => {}
    }
    Ok(())
}

async fn listen(options: Options) -> Result<(), Failure> {
    let mut node = node::Node::open(&options.stack, false)?;
    let addresses = node.listen(&options.stack, &options.host).await?;
    println!("{}", json!({"id": node.id().to_string(), "addresses": addresses}));
    tokio::select! {
        never = node.serve() => match never {},
        stopped = until_told_to_stop() => stopped,
    }
}

async fn dial(address: &str, mut options: Options) -> Result<(), Failure> {
    let address = address.parse()?;
    options.stack.transport = node::transport_of(&address);
    let mut node = node::Node::open(&options.stack, true)?;
    let seen = within(options.timeout, node.meet(address, 3, true)).await?;
    let info = seen.info.ok_or("no identify answer")?;
    let protocols: Vec<_> = info.protocols.iter().map(|p| p.to_string()).collect();
    println!(
        "{}",
        json!({
            "id": seen.peer.to_string(),
            "connect_ms": node::ms(seen.connect),
            "ping_ms": seen.pings.into_iter().map(node::ms).collect::<Vec<_>>(),
            "agent": info.agent_version,
            "protocols": protocols,
        })
    );
    Ok(())
}

async fn perf(address: &str, mut options: Options) -> Result<(), Failure> {
    let address = address.parse()?;
    options.stack.transport = node::transport_of(&address);
    let mut node = node::Node::open(&options.stack, true)?;
    let measured = within(options.timeout, async {
        let peer = node.meet(address, 0, false).await?.peer;
        let control = node.control();
        tokio::select! {
            never = node.serve() => match never {},
            result = transfer(control, peer, options.upload, options.download, BLOCK) => result,
        }
    });
    println!("{}", measured.await?);
    Ok(())
}

async fn run() -> Result<(), Failure> {
    let mut words = std::env::args().skip(1);
    let command = words.next();
    match command.as_deref() {
        None => suite::run().await,
        Some("listen") => listen(Options::parse(words)?).await,
        Some("bench") => bench::run(&Options::parse(words)?.stack).await,
        Some("drive") => {
            let Options { stack, host, with, timeout, .. } = Options::parse(words)?;
            drive::run(&stack, &host, &with, timeout).await
        }
        Some(name @ ("dial" | "perf")) => {
            let address = words.next().ok_or("the multiaddr is missing")?;
            let options = Options::parse(words)?;
            if name == "dial" {
                dial(&address, options).await
            } else {
                perf(&address, options).await
            }
        }
        Some(_) => Err("usage: listen | dial MULTIADDR | perf MULTIADDR | bench | drive".into()),
    }
}

#[tokio::main(flavor = "current_thread")]
async fn main() {
    let code = match run().await {
        Ok(()) => 0,
        Err(error) => match error.downcast_ref::<Unsupported>() {
            Some(Unsupported(what)) => {
                println!("{}", json!({"unsupported": what}));
                EXIT_UNSUPPORTED
            }
            None => {
                eprintln!("{error}");
                let mut cause = error.source();
                while let Some(error) = cause {
                    eprintln!("  because: {error}");
                    cause = error.source();
                }
                EXIT_FAILED
            }
        },
    };
    // A return would wait for the thread that still reads standard input.
    exit(code);
}
