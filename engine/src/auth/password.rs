//! Password hashes in RabbitMQ's format (RabbitMQ docs: Credentials and Passwords).

use alloc::vec::Vec;
use sha2::{Digest, Sha256};

/// Bytes of salt in front of the hash.
pub(crate) const SALT_BYTES: usize = 4;

/// A password's hash: four bytes of salt, then SHA-256 over the salt and the password.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct PasswordHash(Vec<u8>);

impl PasswordHash {
    /// Hashes a password with this salt.
    pub(crate) fn new(salt: [u8; SALT_BYTES], password: &[u8]) -> Self {
        let mut hash = Vec::from(salt);
        hash.extend_from_slice(&digest(&salt, password));
        Self(hash)
    }

    /// Whether this is the password. Takes the same time wherever the first difference is.
    pub(crate) fn matches(&self, password: &[u8]) -> bool {
        let (salt, expected) = self.0.split_at(SALT_BYTES);
        let actual = digest(salt, password);
        let difference = expected.iter().zip(actual).fold(0, |acc, (left, right)| acc | (left ^ right));
        expected.len() == actual.len() && difference == 0
    }
}

fn digest(salt: &[u8], password: &[u8]) -> [u8; 32] {
    let mut hasher = Sha256::new();
    hasher.update(salt);
    hasher.update(password);
    hasher.finalize().into()
}

#[cfg(test)]
mod tests {
    use super::*;

    // The example of RabbitMQ's documentation.
    #[test]
    fn the_documented_example_hashes_as_documented() {
        let hash = PasswordHash::new([0x90, 0x8D, 0xC6, 0x0A], b"test12");
        let expected = [
            0x90, 0x8D, 0xC6, 0x0A, 0xA5, 0xB9, 0x24, 0xB3, 0x09, 0x6B, 0x88, 0x97, 0xD6, 0x5A, 0x3B, 0x5F, 0x80, 0xFA,
            0x5D, 0xB6, 0x2A, 0x94, 0xB8, 0x31, 0x22, 0xCD, 0xF4, 0xF8, 0xFE, 0xAD, 0x10, 0xD5, 0x15, 0xD8, 0xF3, 0x91,
        ];
        assert_eq!(hash.0, expected);
        assert!(hash.matches(b"test12"));
        assert!(!hash.matches(b"test13"));
        assert!(!hash.matches(b""));
    }
}
