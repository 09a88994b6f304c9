//! Dead letters at least once, through a kill: what found no queue before is there afterwards, each once and in order.

use std::io;
use std::net::SocketAddr;

use leveret_engine::amqp::method::{exchange, queue};
use leveret_engine::amqp::{FieldTable, Method, ShortStr};
use leveret_engine::client::ClientEvent;
use tokio::net::TcpStream;

use crate::harness::client::{TestClient, patiently};
use crate::harness::leveret::Leveret;

const SOURCE: &str = "source";
const TARGET: &str = "target";
const MESSAGES: u64 = 300;
/// Large enough that not all of them stay in memory.
const BODY_BYTES: usize = 8000;

#[test]
fn dead_letters_that_nobody_took_survive_a_kill() {
    let directory = tempfile::tempdir().unwrap();
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let broker = Leveret::start(directory.path());
    runtime.block_on(patiently(let_messages_die(broker.address))).unwrap();
    broker.kill();
    let broker = Leveret::start(directory.path());
    runtime.block_on(patiently(take_dead_letters(broker.address))).unwrap();
    assert!(broker.stop().success());
}

/// Fills a queue whose messages expire at once, towards an exchange that does not exist.
async fn let_messages_die(address: SocketAddr) -> io::Result<()> {
    let mut client = TestClient::login(TcpStream::connect(address).await?).await?;
    let arguments = FieldTable::new()
        .with("x-message-ttl", 0_i32)
        .with("x-dead-letter-exchange", "later")
        .with("x-dead-letter-routing-key", TARGET)
        .with("x-dead-letter-strategy", "at-least-once")
        .with("x-overflow", "reject-publish");
    client.call(queue::Declare { arguments, ..named(SOURCE) }).await?;
    client.select_confirms().await?;
    for number in 0..MESSAGES {
        let mut body = number.to_be_bytes().to_vec();
        body.resize(BODY_BYTES, 7);
        client.publish(SOURCE, &body)?;
    }
    let mut confirmed = 0;
    while confirmed < MESSAGES {
        match client.event().await? {
            ClientEvent::Acked { seqno, multiple: true, .. } => confirmed = seqno,
            ClientEvent::Acked { .. } => confirmed += 1,
            other => return Err(io::Error::other(format!("unexpected {other:?}"))),
        }
    }
    Ok(())
}

/// Declares the exchange, and waits for all that has died.
async fn take_dead_letters(address: SocketAddr) -> io::Result<()> {
    let mut client = TestClient::login(TcpStream::connect(address).await?).await?;
    let Method::QueueDeclareOk(ok) = client.call(queue::Declare { passive: true, ..named(SOURCE) }).await? else {
        return Err(io::Error::other("the queue is gone"));
    };
    assert_eq!(ok.message_count, 0, "what is dead stays dead");
    client.declare(TARGET).await?;
    client.consume(TARGET, 0).await?;
    let (later, target) = (ShortStr::from_static("later"), ShortStr::from_static(TARGET));
    let exchange_type = ShortStr::from_static("direct");
    client.call(exchange::Declare { exchange: later.clone(), exchange_type, ..exchange::Declare::default() }).await?;
    let bind = queue::Bind { queue: target.clone(), exchange: later, routing_key: target, ..queue::Bind::default() };
    client.call(bind).await?;
    for expected in 0..MESSAGES {
        match client.event().await? {
            ClientEvent::Delivery { body, .. } => {
                let number = body.first_chunk().map(|number| u64::from_be_bytes(*number));
                assert_eq!((number, body.len()), (Some(expected), BODY_BYTES));
            }
            other => return Err(io::Error::other(format!("unexpected {other:?}"))),
        }
    }
    client.close().await
}

fn named(queue: &'static str) -> queue::Declare {
    queue::Declare { queue: ShortStr::from_static(queue), durable: true, ..queue::Declare::default() }
}
