//! The headers exchange: a message's headers against each binding's arguments (AMQP 0-9-1 §3.1.3.4, with RabbitMQ's `x-match`).
//!
//! Rules as RabbitMQ 3.10 has them. `x-match` is `all` (the default) or `any`; both ignore arguments whose name begins with `x-`,
//! while `all-with-x` and `any-with-x` compare them too, except `x-match` itself. An argument without value (type `V`) asks only
//! that the header be there. Without any argument to compare, `all` matches every message and `any` none. Of several headers with
//! one name the first is compared with the first argument of that name, the second with the second.

use alloc::format;
use alloc::vec::Vec;

use super::Destination;
use super::value::{ErlangTerm, is_equal};
use crate::amqp::{AmqpError, FieldTable, FieldValue, ReplyCode, ShortStr};

/// The bindings of a headers exchange, in the order in which they came.
#[derive(Clone, Debug, Default)]
pub(crate) struct Headers(Vec<HeadersBinding>);

/// A message's headers, sorted by name; equal names stay in the order in which they came.
#[derive(Debug)]
pub(super) struct SortedHeaders(Vec<(ShortStr, FieldValue)>);

#[derive(Clone, Debug)]
struct HeadersBinding {
    destination: Destination,
    rule: Rule,
    /// What is compared, sorted by name.
    pattern: Vec<(ShortStr, FieldValue)>,
    /// Bindings that differ only in their routing key, which means nothing here.
    count: u32,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Rule {
    All,
    Any,
}

/// Checks the arguments of a binding from a headers exchange.
///
/// # Errors
/// 406 PRECONDITION_FAILED if `x-match` has a value that does not exist.
pub(crate) fn check_headers_binding(arguments: &FieldTable) -> Result<(), AmqpError> {
    let text = match arguments.get(X_MATCH) {
        None => return Ok(()),
        Some(FieldValue::LongStr(value)) if parse_x_match(value.as_bytes()).is_some() => return Ok(()),
        Some(value @ FieldValue::LongStr(_)) => {
            format!("Invalid x-match field value {}; expected all, any, all-with-x, or any-with-x", ErlangTerm(value))
        }
        Some(other) => {
            format!("Invalid x-match field type {} (value {}); expected longstr", other.type_name(), ErlangTerm(other))
        }
    };
    Err(AmqpError::channel(ReplyCode::PreconditionFailed, text))
}

const X_MATCH: &str = "x-match";

/// The rule, and whether names that begin with `x-` are compared.
fn parse_x_match(value: &[u8]) -> Option<(Rule, bool)> {
    match value {
        b"all" => Some((Rule::All, false)),
        b"any" => Some((Rule::Any, false)),
        b"all-with-x" => Some((Rule::All, true)),
        b"any-with-x" => Some((Rule::Any, true)),
        _ => None,
    }
}

impl Headers {
    pub(super) fn bind(&mut self, destination: Destination, arguments: &FieldTable) {
        let binding = HeadersBinding::new(destination, arguments);
        match self.0.iter_mut().find(|other| other.is_same(&binding)) {
            Some(same) => same.count += 1,
            None => self.0.push(binding),
        }
    }

    pub(super) fn unbind(&mut self, destination: Destination, arguments: &FieldTable) {
        let binding = HeadersBinding::new(destination, arguments);
        let index = self.0.iter().position(|other| other.is_same(&binding)).expect("only what was bound is unbound");
        let same = &mut self.0[index];
        same.count -= 1;
        if same.count == 0 {
            self.0.remove(index);
        }
    }

    pub(super) fn matches(&self, headers: &SortedHeaders, found: &mut impl FnMut(Destination)) {
        for binding in &self.0 {
            if binding.matches(&headers.0) {
                found(binding.destination);
            }
        }
    }
}

impl SortedHeaders {
    pub(super) fn new(headers: FieldTable) -> Self {
        let mut sorted: Vec<_> = headers.into_iter().collect();
        sorted.sort_by(|(left, _), (right, _)| left.cmp(right));
        Self(sorted)
    }
}

impl HeadersBinding {
    fn new(destination: Destination, arguments: &FieldTable) -> Self {
        let x_match = arguments.get(X_MATCH).and_then(FieldValue::as_bytes);
        let (rule, with_x) = x_match.and_then(parse_x_match).unwrap_or((Rule::All, false));
        let is_compared = |name: &ShortStr| *name != X_MATCH && (with_x || !name.as_bytes().starts_with(b"x-"));
        let mut pattern: Vec<_> = arguments.iter().filter(|(name, _)| is_compared(name)).cloned().collect();
        pattern.sort_by(|(left, _), (right, _)| left.cmp(right));
        Self { destination, rule, pattern, count: 1 }
    }

    fn is_same(&self, other: &Self) -> bool {
        self.destination == other.destination && self.rule == other.rule && self.pattern == other.pattern
    }

    /// Walks both sorted lists once.
    fn matches(&self, headers: &[(ShortStr, FieldValue)]) -> bool {
        let mut headers = headers.iter().peekable();
        for (name, expected) in &self.pattern {
            while headers.next_if(|(header, _)| header < name).is_some() {}
            let is_matched = match headers.next_if(|(header, _)| header == name) {
                Some((_, value)) => *expected == FieldValue::Void || is_equal(expected, value),
                None => false,
            };
            match (self.rule, is_matched) {
                (Rule::All, false) => return false,
                (Rule::Any, true) => return true,
                (Rule::All, true) | (Rule::Any, false) => {}
            }
        }
        self.rule == Rule::All
    }
}

#[cfg(test)]
mod tests {
    use slotmap::KeyData;

    use super::*;

    fn queue(number: u64) -> Destination {
        Destination::Queue(KeyData::from_ffi(1 << 32 | number).into())
    }

    fn is_match(arguments: &FieldTable, headers: &FieldTable) -> bool {
        let mut table = Headers::default();
        table.bind(queue(1), arguments);
        let mut found = false;
        table.matches(&SortedHeaders::new(headers.clone()), &mut |_| found = true);
        found
    }

    fn table() -> FieldTable {
        FieldTable::new()
    }

    fn check(arguments: &FieldTable, headers: &FieldTable, expected: bool) {
        assert_eq!(is_match(arguments, headers), expected, "{arguments:?} and {headers:?}");
    }

    /// Each answer as RabbitMQ 3.10.8 gave it.
    #[test]
    fn rules_of_x_match() {
        let any = || table().with("x-match", "any");
        let all_with_x = || table().with("x-match", "all-with-x");
        let any_with_x = || table().with("x-match", "any-with-x");
        check(&table(), &table(), true);
        check(&table(), &table().with("a", 1), true);
        check(&any(), &table(), false);
        check(&any(), &table().with("a", 1), false);
        check(&table().with("a", 1).with("b", 2), &table().with("b", 2).with("c", 3).with("a", 1), true);
        check(&table().with("a", 1).with("b", 2), &table().with("b", 2), false);
        check(&any().with("a", 1).with("b", 2), &table().with("b", 2), true);
        check(&any().with("a", 1).with("b", 2), &table().with("b", 3), false);
        check(&table().with("x-a", 1), &table(), true);
        check(&any().with("x-a", 1), &table().with("x-a", 1), false);
        check(&all_with_x().with("x-a", 1), &table().with("x-a", 1), true);
        check(&all_with_x().with("x-a", 1), &table(), false);
        check(&all_with_x(), &table().with("b", 1), true);
        check(&any_with_x().with("x-a", 1), &table().with("x-a", 1), true);
        check(&any_with_x(), &table().with("b", 1), false);
    }

    /// Each answer as RabbitMQ 3.10.8 gave it, but for floats, which its Python client cannot send.
    #[test]
    fn values_are_compared_by_value_within_a_class() {
        use FieldValue::{Array, Bytes, Decimal, F32, F64, I64, Table, Timestamp, Void};
        let check = |argument: FieldValue, header: FieldValue, expected: bool| {
            check(&table().with("a", argument), &table().with("a", header), expected);
        };
        check(1.into(), I64(1), true);
        check(1.into(), true.into(), false);
        check(1.into(), "1".into(), false);
        check(Void, 5.into(), true);
        check(Void, Void, true);
        check(5.into(), Void, false);
        check("x".into(), Bytes("x".into()), true);
        check(Timestamp(5), 5.into(), true);
        check(Decimal { scale: 1, value: 15 }, Decimal { scale: 1, value: 15 }, true);
        check(Decimal { scale: 1, value: 15 }, Decimal { scale: 2, value: 150 }, false);
        check(Array([1.into(), 2.into()].into()), Array([1.into(), 2.into()].into()), true);
        check(Array([1.into()].into()), Array([I64(1)].into()), false);
        check(Table(table().with("b", 1)), Table(table().with("b", 1)), true);
        check(Table(table().with("b", 1).with("c", 2)), Table(table().with("c", 2).with("b", 1)), false);
        check(1.into(), F64(1.0_f64.to_bits()), true);
        check(F32(1.5_f32.to_bits()), F64(1.5_f64.to_bits()), true);
        check(1.into(), F64(1.5_f64.to_bits()), false);
        check(F64(0.0_f64.to_bits()), F64((-0.0_f64).to_bits()), true);
        // 2^53 + 1 is the first integer that a float cannot hold.
        check(I64((1 << 53) + 1), F64(9_007_199_254_740_992.0_f64.to_bits()), false);
        check(I64(i64::MAX), F64(9_223_372_036_854_775_808.0_f64.to_bits()), false);
    }

    #[test]
    fn names_that_occur_twice_are_compared_in_turn() {
        let twice = |first: i32, second: i32| table().with("a", first).with("a", second);
        check(&twice(1, 2), &twice(1, 2), true);
        check(&twice(1, 2), &twice(2, 1), false);
        check(&twice(1, 2), &table().with("a", 1), false);
        check(&table().with("a", 1), &twice(1, 2), true);
        check(&table().with("a", 2), &twice(1, 2), false);
    }

    #[test]
    fn equal_arguments_under_two_routing_keys_are_two_bindings() {
        let mut headers = Headers::default();
        let arguments = table().with("a", 1);
        headers.bind(queue(1), &arguments);
        headers.bind(queue(1), &arguments);
        headers.unbind(queue(1), &arguments);
        assert_eq!(headers.0.len(), 1);
        headers.unbind(queue(1), &arguments);
        assert_eq!(headers.0.len(), 0);
    }

    /// Texts as RabbitMQ 3.10.8 gives them.
    #[test]
    fn x_match_is_checked() {
        let refused = |value: FieldValue| check_headers_binding(&table().with("x-match", value)).unwrap_err().text;
        assert!(check_headers_binding(&table().with("x-match", "all-with-x")).is_ok());
        assert!(check_headers_binding(&table().with("a", 1)).is_ok());
        assert_eq!(
            refused("bogus".into()),
            "Invalid x-match field value <<\"bogus\">>; expected all, any, all-with-x, or any-with-x"
        );
        assert_eq!(
            refused("".into()),
            "Invalid x-match field value <<>>; expected all, any, all-with-x, or any-with-x"
        );
        assert_eq!(refused(5.into()), "Invalid x-match field type signedint (value 5); expected longstr");
        assert_eq!(refused(true.into()), "Invalid x-match field type bool (value true); expected longstr");
        assert_eq!(refused(FieldValue::Void), "Invalid x-match field type void (value undefined); expected longstr");
    }
}
