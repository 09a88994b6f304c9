//! The one place where `raft` asks for entropy, and why nothing depends on it.
//!
//! `raft` draws each election timeout from its thread's generator. Here every such draw is replaced, before anything looks at it, by a
//! number from (seed, node, group, term): see [`super::group::Group`]. On a target without an operating system that generator has
//! nothing to be seeded from and would panic, so it gets zeros. Nobody else in the engine uses it.

use crate::storage::codec::mix;

/// A number below `end` that depends on all of these and on nothing else.
pub(super) fn choose(seed: u64, term: u64, end: u64) -> u64 {
    mix(seed ^ mix(term)) % end.max(1)
}

/// Independent seeds for each member of each group.
pub(super) fn member_seed(seed: u64, node: u64, group: u64) -> u64 {
    mix(seed ^ mix(node ^ mix(group)))
}

#[cfg(all(target_arch = "wasm32", target_os = "unknown"))]
mod without_system {
    #[expect(clippy::unnecessary_wraps, reason = "the signature is given")]
    fn zeros(_buffer: &mut [u8]) -> Result<(), getrandom_02::Error> {
        Ok(())
    }

    getrandom_02::register_custom_getrandom!(zeros);
}
