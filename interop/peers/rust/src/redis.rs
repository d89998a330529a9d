//! As much of the Redis protocol as the suite needs: one command at a time.

use std::time::Duration;

use futures::future::{BoxFuture, FutureExt};
use tokio::{
    io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufStream},
    net::TcpStream,
    time::sleep,
};

use crate::Failure;

const RETRY: Duration = Duration::from_millis(100);

pub struct Redis {
    stream: BufStream<TcpStream>,
}

impl Redis {
    /// Waits until the server answers.
    pub async fn connect(address: &str) -> Self {
        loop {
            match TcpStream::connect(address).await {
                Ok(stream) => return Redis { stream: BufStream::new(stream) },
                Err(_) => sleep(RETRY).await,
            }
        }
    }

    /// The words of the reply: one for a simple reply, none for null.
    pub async fn call(&mut self, words: &[&str]) -> Result<Vec<String>, Failure> {
        let mut command = format!("*{}\r\n", words.len());
        for word in words {
            command += &format!("${}\r\n{word}\r\n", word.len());
        }
        self.stream.write_all(command.as_bytes()).await?;
        self.stream.flush().await?;
        self.reply().await
    }

    fn reply(&mut self) -> BoxFuture<'_, Result<Vec<String>, Failure>> {
        async move {
            let mut line = String::new();
            self.stream.read_line(&mut line).await?;
            let line = line.trim_end();
            let value = line.get(1..).ok_or("redis closed the connection")?;
            match &line[..1] {
                "-" => Err(format!("redis: {value}").into()),
                "*" => {
                    let mut all = Vec::new();
                    for _ in 0..value.parse::<i64>()? {
                        all.extend(self.reply().await?);
                    }
                    Ok(all)
                }
                "$" if value.starts_with('-') => Ok(Vec::new()),
                "$" => {
                    let length: usize = value.parse()?;
                    let mut data = vec![0; length + 2];
                    self.stream.read_exact(&mut data).await?;
                    data.truncate(length);
                    Ok(vec![String::from_utf8(data)?])
                }
                _ => Ok(vec![value.to_owned()]),
            }
        }
        .boxed()
    }
}
