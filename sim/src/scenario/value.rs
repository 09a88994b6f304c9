//! The values that are written by hand in scenario files: durations, shares, rates and spans of them.

use std::fmt;
use std::marker::PhantomData;

use serde::de::{Deserialize, Deserializer, Error, SeqAccess, Visitor};

use crate::clock::{MILLISECOND, Micros, SECOND};
use crate::rng::{Ratio, Stream};

/// A duration such as "250ms" or "2s".
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct Time(pub Micros);

/// A share of cases such as "1/20" or "5%".
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Share(pub Ratio);

/// So often in a second, such as "200/s".
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Rate(pub u32);

/// The least and the most of something; one value stands for both.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Pair<T>(pub T, pub T);

impl Time {
    fn parse(text: &str) -> Option<Self> {
        let digits = text.bytes().take_while(u8::is_ascii_digit).count();
        let (number, unit) = text.split_at(digits);
        let unit = match unit {
            "us" => 1,
            "ms" => MILLISECOND,
            "s" => SECOND,
            "m" => 60 * SECOND,
            _ => return None,
        };
        Some(Self(number.parse::<u64>().ok()?.checked_mul(unit)?))
    }
}

impl Share {
    fn parse(text: &str) -> Option<Self> {
        let (part, whole) = match text.strip_suffix('%') {
            Some(percent) => (percent.parse().ok()?, 100),
            None => {
                let (part, whole) = text.split_once('/')?;
                (part.parse().ok()?, whole.parse().ok()?)
            }
        };
        (whole > 0 && part <= whole).then_some(Self(Ratio(part, whole)))
    }
}

impl Rate {
    fn parse(text: &str) -> Option<Self> {
        let number = text.strip_suffix("/s")?.parse().ok()?;
        (number > 0).then_some(Self(number))
    }

    /// The pause between two.
    pub(crate) fn gap_us(self) -> Micros {
        SECOND / u64::from(self.0)
    }
}

impl Pair<Time> {
    /// A time in the span.
    pub(crate) fn draw(self, stream: &mut Stream) -> Micros {
        if self.0 >= self.1 { self.0.0 } else { stream.range(self.0.0, self.1.0) }
    }

    /// Both ends.
    pub(crate) fn micros(self) -> (Micros, Micros) {
        (self.0.0, self.1.0)
    }
}

/// Declares how a value is read from a string, with what people are told it should be.
macro_rules! from_text {
    ($($value:ident: $expected:literal,)+) => { $(
        impl<'de> Deserialize<'de> for $value {
            fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
                let text = String::deserialize(deserializer)?;
                Self::parse(&text).ok_or_else(|| Error::custom(format!("{text:?} is not {}", $expected)))
            }
        }

        #[cfg(test)]
        impl schemars::JsonSchema for $value {
            fn schema_name() -> std::borrow::Cow<'static, str> {
                stringify!($value).into()
            }

            fn json_schema(_: &mut schemars::SchemaGenerator) -> schemars::Schema {
                schemars::json_schema!({ "type": "string", "description": concat!("It is ", $expected) })
            }
        }
    )+ };
}

from_text! {
    Time: "a duration such as \"250ms\", \"2s\" or \"1m\"",
    Share: "a share such as \"1/20\" or \"5%\"",
    Rate: "a rate such as \"200/s\"",
}

impl<'de, T: Deserialize<'de> + Copy + PartialOrd> Deserialize<'de> for Pair<T> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(PairVisitor(PhantomData))
    }
}

struct PairVisitor<T>(PhantomData<T>);

impl<'de, T: Deserialize<'de> + Copy + PartialOrd> Visitor<'de> for PairVisitor<T> {
    type Value = Pair<T>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("one value, or two: the least and the most")
    }

    fn visit_str<E: Error>(self, text: &str) -> Result<Pair<T>, E> {
        let value = T::deserialize(serde::de::value::StrDeserializer::new(text))?;
        Ok(Pair(value, value))
    }

    fn visit_i64<E: Error>(self, number: i64) -> Result<Pair<T>, E> {
        let value = T::deserialize(serde::de::value::I64Deserializer::new(number))?;
        Ok(Pair(value, value))
    }

    fn visit_u64<E: Error>(self, number: u64) -> Result<Pair<T>, E> {
        let value = T::deserialize(serde::de::value::U64Deserializer::new(number))?;
        Ok(Pair(value, value))
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut items: A) -> Result<Pair<T>, A::Error> {
        let expected = "two values: the least and the most";
        let least = items.next_element::<T>()?.ok_or_else(|| Error::invalid_length(0, &expected))?;
        let most = items.next_element::<T>()?.ok_or_else(|| Error::invalid_length(1, &expected))?;
        if items.next_element::<serde::de::IgnoredAny>()?.is_some() {
            return Err(Error::invalid_length(3, &expected));
        }
        if least > most {
            return Err(Error::custom("the least is more than the most"));
        }
        Ok(Pair(least, most))
    }
}

#[cfg(test)]
impl<T: schemars::JsonSchema> schemars::JsonSchema for Pair<T> {
    fn inline_schema() -> bool {
        true
    }

    fn schema_name() -> std::borrow::Cow<'static, str> {
        format!("Pair_{}", T::schema_name()).into()
    }

    fn json_schema(generator: &mut schemars::SchemaGenerator) -> schemars::Schema {
        let one = generator.subschema_for::<T>();
        schemars::json_schema!({ "anyOf": [one, { "type": "array", "items": one, "minItems": 2, "maxItems": 2 }] })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[derive(serde::Deserialize, Debug, PartialEq)]
    struct Values {
        time: Time,
        span: Pair<Time>,
        sizes: Pair<u32>,
        share: Share,
    }

    #[test]
    fn values_are_read_as_people_write_them() {
        let text = "time = \"250ms\"\nspan = [\"1s\", \"2m\"]\nsizes = 7\nshare = \"5%\"";
        let values: Values = toml::from_str(text).unwrap();
        assert_eq!(values.time.0, 250 * MILLISECOND);
        assert_eq!(values.span.micros(), (SECOND, 120 * SECOND));
        assert_eq!((values.sizes, values.share.0), (Pair(7, 7), Ratio(5, 100)));
        assert_eq!(Share::parse("1/20").map(|it| it.0), Some(Ratio(1, 20)));
        assert_eq!(Rate::parse("200/s").map(Rate::gap_us), Some(5 * MILLISECOND));
    }

    #[test]
    fn what_is_no_value_says_what_one_looks_like() {
        for (text, expected) in [
            ("time = \"250\"", "\"250ms\""),
            ("time = \"ms\"", "a duration"),
            ("span = [\"2s\", \"1s\"]", "the least is more than the most"),
            ("sizes = [1, 2, 3]", "the least and the most"),
            ("share = \"3/2\"", "a share"),
        ] {
            let error = toml::from_str::<Values>(text).unwrap_err().to_string();
            assert!(error.contains(expected), "{text}: {error}");
        }
    }
}
