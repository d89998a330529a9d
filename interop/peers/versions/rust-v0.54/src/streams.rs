//! The benchmark measures the newest version only.

use libp2p::swarm::dummy;

pub type Behaviour = dummy::Behaviour;

pub fn behaviour() -> Behaviour {
    dummy::Behaviour
}
