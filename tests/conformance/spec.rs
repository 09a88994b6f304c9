//! The methods and properties of AMQP 0-9-1 as one table, for an encoder that shares nothing with the engine's.

use std::sync::LazyLock;

/// How a method's field is laid out (AMQP 0-9-1 §4.2.1).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    /// One byte.
    Octet,
    /// Two bytes.
    Short,
    /// Four bytes.
    Long,
    /// Eight bytes.
    LongLong,
    /// One bit; bits that follow each other share a byte.
    Bit,
    /// Up to 255 bytes behind a one-byte length.
    ShortStr,
    /// Bytes behind a four-byte length.
    LongStr,
    /// A field table behind a four-byte length.
    Table,
}

/// One method.
#[derive(Debug)]
pub(crate) struct Method {
    pub(crate) class: u16,
    pub(crate) id: u16,
    /// `class.method`, as the specification spells it.
    pub(crate) name: &'static str,
    pub(crate) fields: Vec<(&'static str, Kind)>,
}

impl Method {
    /// Whether a content header and body follow it.
    pub(crate) fn has_content(&self) -> bool {
        self.class == 60 && matches!(self.id, 40 | 50 | 60 | 71)
    }
}

/// Class id, method id, name, fields. `o` octet, `s` short, `l` long, `q` long long, `b` bit, `z` short string, `S` long string,
/// `F` table.
const METHODS: &str = "
10 10 connection.start version_major:o version_minor:o server_properties:F mechanisms:S locales:S
10 11 connection.start-ok client_properties:F mechanism:z response:S locale:z
10 20 connection.secure challenge:S
10 21 connection.secure-ok response:S
10 30 connection.tune channel_max:s frame_max:l heartbeat:s
10 31 connection.tune-ok channel_max:s frame_max:l heartbeat:s
10 40 connection.open virtual_host:z reserved_1:z reserved_2:b
10 41 connection.open-ok reserved_1:z
10 50 connection.close reply_code:s reply_text:z class_id:s method_id:s
10 51 connection.close-ok
10 60 connection.blocked reason:z
10 61 connection.unblocked
10 70 connection.update-secret new_secret:S reason:z
10 71 connection.update-secret-ok
20 10 channel.open reserved_1:z
20 11 channel.open-ok reserved_1:S
20 20 channel.flow active:b
20 21 channel.flow-ok active:b
20 40 channel.close reply_code:s reply_text:z class_id:s method_id:s
20 41 channel.close-ok
30 10 access.request realm:z exclusive:b passive:b active:b write:b read:b
30 11 access.request-ok ticket:s
40 10 exchange.declare ticket:s exchange:z type:z passive:b durable:b auto_delete:b internal:b no_wait:b arguments:F
40 11 exchange.declare-ok
40 20 exchange.delete ticket:s exchange:z if_unused:b no_wait:b
40 21 exchange.delete-ok
40 30 exchange.bind ticket:s destination:z source:z routing_key:z no_wait:b arguments:F
40 31 exchange.bind-ok
40 40 exchange.unbind ticket:s destination:z source:z routing_key:z no_wait:b arguments:F
40 51 exchange.unbind-ok
50 10 queue.declare ticket:s queue:z passive:b durable:b exclusive:b auto_delete:b no_wait:b arguments:F
50 11 queue.declare-ok queue:z message_count:l consumer_count:l
50 20 queue.bind ticket:s queue:z exchange:z routing_key:z no_wait:b arguments:F
50 21 queue.bind-ok
50 30 queue.purge ticket:s queue:z no_wait:b
50 31 queue.purge-ok message_count:l
50 40 queue.delete ticket:s queue:z if_unused:b if_empty:b no_wait:b
50 41 queue.delete-ok message_count:l
50 50 queue.unbind ticket:s queue:z exchange:z routing_key:z arguments:F
50 51 queue.unbind-ok
60 10 basic.qos prefetch_size:l prefetch_count:s global:b
60 11 basic.qos-ok
60 20 basic.consume ticket:s queue:z consumer_tag:z no_local:b no_ack:b exclusive:b no_wait:b arguments:F
60 21 basic.consume-ok consumer_tag:z
60 30 basic.cancel consumer_tag:z no_wait:b
60 31 basic.cancel-ok consumer_tag:z
60 40 basic.publish ticket:s exchange:z routing_key:z mandatory:b immediate:b
60 50 basic.return reply_code:s reply_text:z exchange:z routing_key:z
60 60 basic.deliver consumer_tag:z delivery_tag:q redelivered:b exchange:z routing_key:z
60 70 basic.get ticket:s queue:z no_ack:b
60 71 basic.get-ok delivery_tag:q redelivered:b exchange:z routing_key:z message_count:l
60 72 basic.get-empty reserved_1:z
60 80 basic.ack delivery_tag:q multiple:b
60 90 basic.reject delivery_tag:q requeue:b
60 100 basic.recover-async requeue:b
60 110 basic.recover requeue:b
60 111 basic.recover-ok
60 120 basic.nack delivery_tag:q multiple:b requeue:b
85 10 confirm.select nowait:b
85 11 confirm.select-ok
90 10 tx.select
90 11 tx.select-ok
90 20 tx.commit
90 21 tx.commit-ok
90 30 tx.rollback
90 31 tx.rollback-ok
";

/// The properties of class basic, from the highest flag bit down. The timestamp is laid out as a long long.
pub(crate) const PROPERTIES: [(&str, Kind); 14] = [
    ("content_type", Kind::ShortStr),
    ("content_encoding", Kind::ShortStr),
    ("headers", Kind::Table),
    ("delivery_mode", Kind::Octet),
    ("priority", Kind::Octet),
    ("correlation_id", Kind::ShortStr),
    ("reply_to", Kind::ShortStr),
    ("expiration", Kind::ShortStr),
    ("message_id", Kind::ShortStr),
    ("timestamp", Kind::LongLong),
    ("type", Kind::ShortStr),
    ("user_id", Kind::ShortStr),
    ("app_id", Kind::ShortStr),
    ("cluster_id", Kind::ShortStr),
];

static TABLE: LazyLock<Vec<Method>> = LazyLock::new(|| METHODS.trim().lines().map(parse).collect());

/// The method called `name`.
pub(crate) fn by_name(name: &str) -> Option<&'static Method> {
    TABLE.iter().find(|method| method.name == name)
}

/// The method with these ids.
pub(crate) fn by_id(class: u16, id: u16) -> Option<&'static Method> {
    TABLE.iter().find(|method| method.class == class && method.id == id)
}

fn parse(line: &'static str) -> Method {
    let mut words = line.split(' ');
    let mut word = || words.next().expect("the table has three columns");
    let class = word().parse().expect("class id");
    let id = word().parse().expect("method id");
    let name = word();
    let fields = words
        .map(|field| {
            let (name, kind) = field.split_once(':').expect("name:kind");
            let kind = match kind {
                "o" => Kind::Octet,
                "s" => Kind::Short,
                "l" => Kind::Long,
                "q" => Kind::LongLong,
                "b" => Kind::Bit,
                "z" => Kind::ShortStr,
                "S" => Kind::LongStr,
                "F" => Kind::Table,
                other => panic!("kind {other}"),
            };
            (name, kind)
        })
        .collect();
    Method { class, id, name, fields }
}
