//! Where a broker is: `amqp://user:password@host:port/vhost`.

use std::str::FromStr;

use leveret_engine::amqp::ShortStr;

const DEFAULT_PORT: u16 = 5672;

/// A broker, and who connects to it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Target {
    pub(super) user: String,
    pub(super) password: String,
    pub(super) host: String,
    pub(super) port: u16,
    pub(super) virtual_host: ShortStr,
}

impl Target {
    /// A broker on this machine, with RabbitMQ's default user.
    pub(super) fn local(port: u16) -> Self {
        let guest = || "guest".to_owned();
        Self {
            user: guest(),
            password: guest(),
            host: "127.0.0.1".to_owned(),
            port,
            virtual_host: ShortStr::from_static("/"),
        }
    }
}

impl FromStr for Target {
    type Err = String;

    /// Reads a URI as RabbitMQ's clients do: what is left out has RabbitMQ's default.
    fn from_str(text: &str) -> Result<Self, String> {
        let bad = || format!("{text} is not like amqp://user:password@host:port/vhost");
        let rest = text.strip_prefix("amqp://").ok_or_else(bad)?;
        let (authority, virtual_host) = match rest.split_once('/') {
            Some((authority, vhost)) => (authority, decode(vhost).ok_or_else(bad)?),
            None => (rest, "/".to_owned()),
        };
        let mut target = Self::local(DEFAULT_PORT);
        let address = match authority.rsplit_once('@') {
            Some((user, address)) => {
                let (user, password) = user.split_once(':').unwrap_or((user, "guest"));
                target.user = decode(user).ok_or_else(bad)?;
                target.password = decode(password).ok_or_else(bad)?;
                address
            }
            None => authority,
        };
        let (host, port) = match address.rsplit_once(':') {
            Some((host, port)) if !port.ends_with(']') => (host, port.parse().map_err(|_| bad())?),
            _ => (address, DEFAULT_PORT),
        };
        if !host.is_empty() {
            target.host = host.trim_matches(['[', ']']).to_owned();
        }
        target.port = port;
        target.virtual_host = ShortStr::try_from(virtual_host).map_err(|_| bad())?;
        Ok(target)
    }
}

/// Undoes `%2f` and the like.
fn decode(text: &str) -> Option<String> {
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text.as_bytes();
    while let Some((&byte, after)) = rest.split_first() {
        rest = after;
        if byte == b'%' {
            let (digits, after) = rest.split_at_checked(2)?;
            bytes.push(u8::from_str_radix(std::str::from_utf8(digits).ok()?, 16).ok()?);
            rest = after;
        } else {
            bytes.push(byte);
        }
    }
    String::from_utf8(bytes).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_left_out_has_rabbitmqs_default() {
        let check = |uri: &str, target| assert_eq!(uri.parse(), Ok(target), "{uri}");
        let local = Target::local(5672);
        check("amqp://", local.clone());
        check("amqp://127.0.0.1", local.clone());
        check("amqp://guest:guest@127.0.0.1:5672/%2f", local.clone());
        check("amqp://[::1]:1", Target { host: "::1".to_owned(), port: 1, ..local.clone() });
        check("amqp://[::1]", Target { host: "::1".to_owned(), ..local.clone() });
        check(
            "amqp://a%40b:c@d/e",
            Target {
                user: "a@b".to_owned(),
                password: "c".to_owned(),
                host: "d".to_owned(),
                virtual_host: ShortStr::from_static("e"),
                ..local
            },
        );
    }

    #[test]
    fn what_is_no_uri_is_refused() {
        for text in ["127.0.0.1", "http://a", "amqp://a:x", "amqp://a%4@b", "amqp://a/%zz"] {
            assert!(text.parse::<Target>().is_err(), "{text}");
        }
    }
}
