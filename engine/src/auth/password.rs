//! Password hashes in RabbitMQ's formats (RabbitMQ docs: Credentials and Passwords).
//!
//! All are four bytes of salt and then a digest over the salt and the password.

use alloc::vec::Vec;
use bytes::Bytes;
use md5::Md5;
use sha2::{Digest, Sha256, Sha512};

/// Bytes of salt in front of the hash.
pub const SALT_BYTES: usize = 4;

/// How a password was hashed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum HashingAlgorithm {
    /// RabbitMQ's default since 3.6.
    #[default]
    Sha256,
    /// For those who want it.
    Sha512,
    /// What RabbitMQ used before 3.6: verified, so that old definitions import.
    Md5,
}

impl HashingAlgorithm {
    /// All, with their names in definitions.
    const NAMES: [(Self, &'static str); 3] = [
        (Self::Sha256, "rabbit_password_hashing_sha256"),
        (Self::Sha512, "rabbit_password_hashing_sha512"),
        (Self::Md5, "rabbit_password_hashing_md5"),
    ];

    /// Its name in definitions, which is that of RabbitMQ's module.
    pub fn name(self) -> &'static str {
        let found = Self::NAMES.iter().find(|(algorithm, _)| *algorithm == self);
        found.map_or("", |(_, name)| name)
    }

    /// The algorithm of this name.
    pub fn from_name(name: &str) -> Option<Self> {
        Self::NAMES.iter().find(|(_, known)| *known == name).map(|(algorithm, _)| *algorithm)
    }

    fn digest(self, salt: &[u8], password: &[u8]) -> Vec<u8> {
        fn digest<D: Digest>(salt: &[u8], password: &[u8]) -> Vec<u8> {
            D::new().chain_update(salt).chain_update(password).finalize().to_vec()
        }
        match self {
            Self::Sha256 => digest::<Sha256>(salt, password),
            Self::Sha512 => digest::<Sha512>(salt, password),
            Self::Md5 => digest::<Md5>(salt, password),
        }
    }
}

/// A password's hash. An empty one belongs to a user who cannot log in with a password.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct PasswordHash {
    /// How it was made.
    pub algorithm: HashingAlgorithm,
    /// Salt and digest, as in definitions before base64.
    pub bytes: Bytes,
}

impl PasswordHash {
    /// Hashes a password with this salt.
    pub(crate) fn new(algorithm: HashingAlgorithm, salt: [u8; SALT_BYTES], password: &[u8]) -> Self {
        let mut hash = Vec::from(salt);
        hash.extend_from_slice(&algorithm.digest(&salt, password));
        Self { algorithm, bytes: hash.into() }
    }

    /// Whether this is the password. Takes the same time wherever the first difference is.
    pub(crate) fn matches(&self, password: &[u8]) -> bool {
        // RabbitMQ refuses empty passwords whatever the hash (CVE-2016-9877 was about that).
        if password.is_empty() {
            return false;
        }
        let Some((salt, expected)) = self.bytes.split_at_checked(SALT_BYTES) else { return false };
        let actual = self.algorithm.digest(salt, password);
        let difference = expected.iter().zip(&actual).fold(0, |acc, (left, right)| acc | (left ^ right));
        expected.len() == actual.len() && difference == 0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    // The example of RabbitMQ's documentation.
    #[test]
    fn the_documented_example_hashes_as_documented() {
        let hash = PasswordHash::new(HashingAlgorithm::Sha256, [0x90, 0x8D, 0xC6, 0x0A], b"test12");
        let expected = [
            0x90, 0x8D, 0xC6, 0x0A, 0xA5, 0xB9, 0x24, 0xB3, 0x09, 0x6B, 0x88, 0x97, 0xD6, 0x5A, 0x3B, 0x5F, 0x80, 0xFA,
            0x5D, 0xB6, 0x2A, 0x94, 0xB8, 0x31, 0x22, 0xCD, 0xF4, 0xF8, 0xFE, 0xAD, 0x10, 0xD5, 0x15, 0xD8, 0xF3, 0x91,
        ];
        assert_eq!(hash.bytes[..], expected);
        assert!(hash.matches(b"test12"));
        assert!(!hash.matches(b"test13"));
        assert!(!hash.matches(b""));
    }

    #[test]
    fn every_algorithm_knows_its_own_hashes_and_its_name() {
        for (algorithm, name) in HashingAlgorithm::NAMES {
            let hash = PasswordHash::new(algorithm, [1, 2, 3, 4], b"secret");
            assert!(hash.matches(b"secret"));
            assert!(!hash.matches(b"Secret"));
            assert_eq!(HashingAlgorithm::from_name(name), Some(algorithm));
            assert_eq!(algorithm.name(), name);
        }
        assert_eq!(HashingAlgorithm::from_name("rabbit_password_hashing_rot13"), None);
    }

    #[test]
    fn without_a_hash_no_password_fits() {
        for bytes in [&b""[..], b"abc", b"abcd"] {
            let hash = PasswordHash { algorithm: HashingAlgorithm::Sha256, bytes: Bytes::copy_from_slice(bytes) };
            assert!(!hash.matches(b""));
            assert!(!hash.matches(b"abcd"));
        }
        assert!(!PasswordHash::new(HashingAlgorithm::Sha256, [0; 4], b"").matches(b""));
    }
}
