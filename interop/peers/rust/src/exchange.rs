//! The perf protocol of the specification: a big-endian u64 of bytes wanted back, the upload, its
//! end, then the download.

use std::{io, time::Instant};

use futures::{AsyncReadExt, AsyncWriteExt, StreamExt};
use libp2p::{PeerId, Stream, StreamProtocol};
use libp2p_stream::Control;
use serde_json::{Value, json};

use crate::Failure;

const PERF: StreamProtocol = StreamProtocol::new("/perf/1.0.0");
/// Bytes in a write or a read.
pub const BLOCK: usize = 65536;

/// Answers perf streams in the background.
pub fn serve(mut control: Control) -> Result<(), Failure> {
    let mut incoming = control.accept(PERF)?;
    tokio::spawn(async move {
        while let Some((peer, stream)) = incoming.next().await {
            tokio::spawn(async move {
                if let Err(error) = answer(stream).await {
                    eprintln!("perf stream of {peer}: {error}");
                }
            });
        }
    });
    Ok(())
}

async fn answer(mut stream: Stream) -> io::Result<()> {
    let mut header = [0; 8];
    stream.read_exact(&mut header).await?;
    drain(&mut stream).await?;
    send(&mut stream, u64::from_be_bytes(header), BLOCK).await?;
    stream.close().await
}

async fn send(stream: &mut Stream, mut count: u64, write: usize) -> io::Result<()> {
    let block = vec![0; write];
    while count > 0 {
        let part = count.min(write as u64);
        stream.write_all(&block[..part as usize]).await?;
        count -= part;
    }
    Ok(())
}

async fn drain(stream: &mut Stream) -> io::Result<u64> {
    let mut buffer = vec![0; BLOCK];
    let mut total = 0;
    loop {
        match stream.read(&mut buffer).await? {
            0 => return Ok(total),
            count => total += count as u64,
        }
    }
}

pub async fn transfer(
    mut control: Control,
    peer: PeerId,
    up: u64,
    down: u64,
    write: usize,
) -> Result<Value, Failure> {
    let start = Instant::now();
    let mut stream = control.open_stream(peer, PERF).await?;
    stream.write_all(&down.to_be_bytes()).await?;
    send(&mut stream, up, write).await?;
    stream.close().await?;
    let mut first = [0; 1];
    let mut received = stream.read(&mut first).await? as u64;
    let uploaded = start.elapsed().as_secs_f64();
    received += drain(&mut stream).await?;
    let total = start.elapsed().as_secs_f64();
    if received != down {
        return Err(format!("received {received} bytes instead of {down}").into());
    }
    Ok(json!({
        "upload_bytes": up,
        "download_bytes": down,
        "upload_seconds": uploaded,
        "download_seconds": total - uploaded,
        "seconds": total,
    }))
}
