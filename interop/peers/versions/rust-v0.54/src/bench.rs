//! The benchmark measures the newest version only.

use crate::{Failure, Unsupported, node::Stack};

pub async fn run(_: &Stack) -> Result<(), Failure> {
    Err(Unsupported("bench".into()).into())
}
