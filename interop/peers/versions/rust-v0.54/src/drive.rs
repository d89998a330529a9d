//! For the newest version only.

use std::time::Duration;

use crate::{Failure, Unsupported, node::Stack};

pub async fn run(_: &Stack, _: &str, _: &str, _: Duration) -> Result<(), Failure> {
    Err(Unsupported("drive".into()).into())
}
