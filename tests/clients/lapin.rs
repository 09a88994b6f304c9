//! lapin: the patterns of RabbitMQ's six tutorials.

use std::time::Duration;

use futures_lite::StreamExt as _;
use lapin::message::Delivery;
use lapin::options::{
    BasicAckOptions, BasicConsumeOptions, BasicPublishOptions, BasicQosOptions, ConfirmSelectOptions,
    ExchangeDeclareOptions, QueueBindOptions, QueueDeclareOptions,
};
use lapin::types::FieldTable;
use lapin::{BasicProperties, Channel, Confirmation, Connection, ConnectionProperties, Consumer, ExchangeKind};
use tokio::time::timeout;

use super::broker::Broker;

const PATIENCE: Duration = Duration::from_secs(20);

#[test]
fn hello() {
    with_connection(async |connection| {
        let channel = connection.create_channel().await?;
        declare(&channel, "lapin-hello", false).await?;
        publish(&channel, "", "lapin-hello", "Hello World!", BasicProperties::default()).await?;
        let mut consumer = consume(&channel, "lapin-hello", true).await?;
        assert_eq!(next(&mut consumer).await.data, b"Hello World!");
        Ok(())
    });
}

#[test]
fn work_queue() {
    with_connection(async |connection| {
        let channel = connection.create_channel().await?;
        channel.confirm_select(ConfirmSelectOptions::default()).await?;
        declare(&channel, "lapin-tasks", true).await?;
        let lazy = connection.create_channel().await?;
        let busy = connection.create_channel().await?;
        for worker in [&lazy, &busy] {
            worker.basic_qos(1, BasicQosOptions::default()).await?;
        }
        let mut lazy_tasks = consume(&lazy, "lapin-tasks", false).await?;
        let mut busy_tasks = consume(&busy, "lapin-tasks", false).await?;
        for task in 0..10 {
            let persistent = BasicProperties::default().with_delivery_mode(2);
            publish(&channel, "", "lapin-tasks", &format!("task {task}"), persistent).await?;
        }
        // One worker keeps its task and dies; the other one does all the rest, and then that one.
        let kept = next(&mut lazy_tasks).await;
        let mut done = Vec::new();
        while done.len() < 9 {
            let task = next(&mut busy_tasks).await;
            assert!(!task.redelivered);
            task.ack(BasicAckOptions::default()).await?;
            done.push(task.data);
        }
        lazy.close(200, "worker dies".into()).await?;
        let again = next(&mut busy_tasks).await;
        assert!(again.redelivered);
        assert_eq!(again.data, kept.data);
        again.ack(BasicAckOptions::default()).await?;
        done.push(again.data);
        done.sort();
        assert_eq!(done, (0..10).map(|task| format!("task {task}").into_bytes()).collect::<Vec<_>>());
        Ok(())
    });
}

#[test]
fn publish_subscribe() {
    with_connection(async |connection| {
        let channel = connection.create_channel().await?;
        declare_exchange(&channel, "lapin-logs", ExchangeKind::Fanout).await?;
        let mut first = subscribe(&channel, "lapin-logs", &[""]).await?;
        let mut second = subscribe(&channel, "lapin-logs", &[""]).await?;
        publish(&channel, "lapin-logs", "", "info: Hello World!", BasicProperties::default()).await?;
        for subscriber in [&mut first, &mut second] {
            assert_eq!(next(subscriber).await.data, b"info: Hello World!");
        }
        Ok(())
    });
}

#[test]
fn routing() {
    with_connection(async |connection| {
        let channel = connection.create_channel().await?;
        declare_exchange(&channel, "lapin-direct", ExchangeKind::Direct).await?;
        let mut errors = subscribe(&channel, "lapin-direct", &["error"]).await?;
        let mut all = subscribe(&channel, "lapin-direct", &["info", "warning", "error"]).await?;
        for severity in ["info", "error", "warning"] {
            publish(&channel, "lapin-direct", severity, severity, BasicProperties::default()).await?;
        }
        assert_eq!(next(&mut errors).await.data, b"error");
        for severity in ["info", "error", "warning"] {
            assert_eq!(next(&mut all).await.routing_key.as_str(), severity);
        }
        Ok(())
    });
}

#[test]
fn topics() {
    with_connection(async |connection| {
        let channel = connection.create_channel().await?;
        declare_exchange(&channel, "lapin-topic", ExchangeKind::Topic).await?;
        let mut orange = subscribe(&channel, "lapin-topic", &["*.orange.*"]).await?;
        let mut rabbits = subscribe(&channel, "lapin-topic", &["*.*.rabbit", "lazy.#"]).await?;
        for key in
            ["quick.orange.rabbit", "lazy.brown.fox", "quick.brown.fox", "lazy.orange.male.rabbit", "end.orange.end"]
        {
            publish(&channel, "lapin-topic", key, key, BasicProperties::default()).await?;
        }
        for key in ["quick.orange.rabbit", "end.orange.end"] {
            assert_eq!(next(&mut orange).await.data, key.as_bytes());
        }
        for key in ["quick.orange.rabbit", "lazy.brown.fox", "lazy.orange.male.rabbit"] {
            assert_eq!(next(&mut rabbits).await.data, key.as_bytes());
        }
        Ok(())
    });
}

#[test]
fn remote_procedure_call() {
    with_connection(async |connection| {
        let server = connection.create_channel().await?;
        server.basic_qos(1, BasicQosOptions::default()).await?;
        declare(&server, "lapin-rpc", false).await?;
        let mut calls = consume(&server, "lapin-rpc", false).await?;

        let client = connection.create_channel().await?;
        let replies = client
            .queue_declare(
                "".into(),
                QueueDeclareOptions { exclusive: true, ..QueueDeclareOptions::default() },
                FieldTable::default(),
            )
            .await?;
        let reply_to = replies.name().clone();
        let mut answers = consume(&client, reply_to.as_str(), true).await?;
        let call = BasicProperties::default().with_reply_to(reply_to).with_correlation_id("call 7".into());
        publish(&client, "", "lapin-rpc", "30", call).await?;

        let call = next(&mut calls).await;
        let n: u64 = std::str::from_utf8(&call.data)?.parse()?;
        let (reply_to, id) = (call.properties.reply_to().clone(), call.properties.correlation_id().clone());
        let answer = BasicProperties::default().with_correlation_id(id.expect("it was sent"));
        publish(&server, "", reply_to.expect("it was sent").as_str(), &fibonacci(n).to_string(), answer).await?;
        call.ack(BasicAckOptions::default()).await?;

        let answer = next(&mut answers).await;
        assert_eq!(answer.properties.correlation_id().as_ref().map(|id| id.as_str()), Some("call 7"));
        assert_eq!(answer.data, b"832040");
        Ok(())
    });
}

type Outcome<T> = Result<T, Box<dyn std::error::Error>>;

/// Runs a pattern on a broker of its own.
fn with_connection(pattern: impl AsyncFnOnce(&Connection) -> Outcome<()>) {
    let broker = Broker::start();
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build().unwrap();
    runtime.block_on(async {
        let connection = Connection::connect(&broker.uri(), ConnectionProperties::default()).await.unwrap();
        timeout(PATIENCE, pattern(&connection)).await.expect("it takes seconds").unwrap();
        // Channels that were dropped are closing by themselves, and lapin may then refuse to close them with the connection.
        let _ = connection.close(200, "done".into()).await;
    });
}

async fn declare(channel: &Channel, queue: &str, durable: bool) -> Outcome<()> {
    let options = QueueDeclareOptions { durable, ..QueueDeclareOptions::default() };
    channel.queue_declare(queue.into(), options, FieldTable::default()).await?;
    Ok(())
}

async fn declare_exchange(channel: &Channel, exchange: &str, kind: ExchangeKind) -> Outcome<()> {
    channel.exchange_declare(exchange.into(), kind, ExchangeDeclareOptions::default(), FieldTable::default()).await?;
    Ok(())
}

/// Consumes from a fresh exclusive queue that is bound with `keys`.
async fn subscribe(channel: &Channel, exchange: &str, keys: &[&str]) -> Outcome<Consumer> {
    let exclusive = QueueDeclareOptions { exclusive: true, ..QueueDeclareOptions::default() };
    let queue = channel.queue_declare("".into(), exclusive, FieldTable::default()).await?.name().clone();
    for key in keys {
        let options = QueueBindOptions::default();
        channel.queue_bind(queue.clone(), exchange.into(), (*key).into(), options, FieldTable::default()).await?;
    }
    consume(channel, queue.as_str(), true).await
}

async fn consume(channel: &Channel, queue: &str, no_ack: bool) -> Outcome<Consumer> {
    let options = BasicConsumeOptions { no_ack, ..BasicConsumeOptions::default() };
    Ok(channel.basic_consume(queue.into(), "".into(), options, FieldTable::default()).await?)
}

/// Publishes, and waits for the confirm where the channel has confirms.
async fn publish(channel: &Channel, exchange: &str, key: &str, body: &str, properties: BasicProperties) -> Outcome<()> {
    let options = BasicPublishOptions::default();
    let sent = channel.basic_publish(exchange.into(), key.into(), options, body.as_bytes(), properties).await?;
    assert!(matches!(sent.await?, Confirmation::Ack(_) | Confirmation::NotRequested));
    Ok(())
}

async fn next(consumer: &mut Consumer) -> Delivery {
    consumer.next().await.expect("the consumer goes on").expect("the channel is fine")
}

fn fibonacci(n: u64) -> u64 {
    (0..n).fold((0, 1), |(a, b), _| (b, a + b)).0
}
