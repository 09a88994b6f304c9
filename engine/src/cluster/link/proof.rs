//! How a node shows that it knows the secret, without saying it (RFC 2104).

use alloc::vec::Vec;
use bytes::Bytes;
use core::fmt;
use hmac::{Hmac, Mac};
use sha2::Sha256;

use super::hello::NONCE_BYTES;

/// Bytes of a proof.
pub(super) const PROOF_BYTES: usize = 32;
/// Keeps proofs of links apart from whatever else the secret may once be used for.
const LABEL: &[u8] = b"leveret link";

/// What all nodes of a cluster know and nobody else does. It is not shown when it is printed.
#[derive(Clone)]
pub struct Secret(Bytes);

impl Secret {
    /// A secret of any length. `None` if it is empty, which everybody knows.
    #[must_use]
    pub fn new(secret: impl Into<Bytes>) -> Option<Self> {
        let secret = secret.into();
        (!secret.is_empty()).then_some(Self(secret))
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Secret(..)")
    }
}

/// One of the two ends of a link.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Side {
    /// The one that opened the connection.
    Dialer = 1,
    /// The one that listened.
    Acceptor = 2,
}

impl Side {
    /// The other one.
    #[must_use]
    pub fn other(self) -> Self {
        match self {
            Self::Dialer => Self::Acceptor,
            Self::Acceptor => Self::Dialer,
        }
    }
}

/// All that was said in one handshake before the proofs, as it went over the wire.
#[derive(Clone, Copy, Debug)]
pub(super) struct Said<'a> {
    pub(super) version: u16,
    pub(super) dialer: &'a [u8],
    pub(super) acceptor: &'a [u8],
}

impl Said<'_> {
    /// What `side` proves itself with.
    pub(super) fn proof(&self, secret: &Secret, side: Side) -> Vec<u8> {
        self.mac(secret, side).finalize().into_bytes().to_vec()
    }

    /// Whether this proves `side`. Takes the same time wherever the first difference is.
    pub(super) fn is_proven(&self, secret: &Secret, side: Side, proof: &[u8]) -> bool {
        self.mac(secret, side).verify_slice(proof).is_ok()
    }

    fn mac(&self, secret: &Secret, side: Side) -> Hmac<Sha256> {
        let mut mac = Hmac::<Sha256>::new_from_slice(&secret.0).expect("a key may have any length");
        mac.update(LABEL);
        mac.update(&self.version.to_le_bytes());
        mac.update(&[side as u8]);
        for hello in [self.dialer, self.acceptor] {
            let length = u16::try_from(hello.len()).expect("greetings are smaller than 64 KiB");
            mac.update(&length.to_le_bytes());
            mac.update(hello);
        }
        mac
    }
}

const _: () = assert!(PROOF_BYTES == NONCE_BYTES, "as many bits of chance as of proof");
