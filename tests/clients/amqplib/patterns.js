// amqplib: the patterns of RabbitMQ's six tutorials. Usage: patterns.js AMQP_URI
'use strict';

const assert = require('assert');
const fs = require('fs');
const path = require('path');
const amqp = require('amqplib');

const PATIENCE_MS = 20000;

// Resolves with the next `count` messages of a queue.
function take(channel, queue, count, options = { noAck: true }) {
  return new Promise((resolve, reject) => {
    const taken = [];
    channel
      .consume(queue, (message) => {
        taken.push(message);
        if (taken.length === count) resolve(taken);
      }, options)
      .catch(reject);
  });
}

const texts = (messages) => messages.map((message) => message.content.toString());

async function subscriber(channel, exchange, keys) {
  const { queue } = await channel.assertQueue('', { exclusive: true });
  for (const key of keys) await channel.bindQueue(queue, exchange, key);
  return queue;
}

async function hello(connection) {
  const channel = await connection.createChannel();
  await channel.assertQueue('amqplib-hello', { durable: false });
  channel.sendToQueue('amqplib-hello', Buffer.from('Hello World!'));
  assert.deepStrictEqual(texts(await take(channel, 'amqplib-hello', 1)), ['Hello World!']);
}

async function workQueue(connection) {
  const channel = await connection.createConfirmChannel();
  await channel.assertQueue('amqplib-tasks', { durable: true });
  const tasks = Array.from({ length: 10 }, (_, number) => `task ${number}`);
  for (const task of tasks) channel.sendToQueue('amqplib-tasks', Buffer.from(task), { persistent: true });
  await channel.waitForConfirms();
  const lazy = await connection.createChannel();
  const busy = await connection.createChannel();
  await lazy.prefetch(1);
  await busy.prefetch(1);
  const kept = take(lazy, 'amqplib-tasks', 1, {});
  const done = [];
  const finished = new Promise((resolve) => {
    busy.consume('amqplib-tasks', (message) => {
      done.push(message);
      busy.ack(message);
      // The other worker dies with its task, which then comes here.
      if (done.length === 9) lazy.close();
      if (done.length === 10) resolve();
    });
  });
  const [task] = await kept;
  await finished;
  const last = done[9];
  assert.strictEqual(last.fields.redelivered, true);
  assert.strictEqual(last.content.toString(), task.content.toString());
  assert.deepStrictEqual(texts(done).sort(), tasks);
  // amqplib lets a connection's close overtake what its channels have not sent yet.
  await busy.close();
}

async function publishSubscribe(connection) {
  const channel = await connection.createChannel();
  await channel.assertExchange('amqplib-logs', 'fanout', { durable: false });
  const queues = [await subscriber(channel, 'amqplib-logs', ['']), await subscriber(channel, 'amqplib-logs', [''])];
  channel.publish('amqplib-logs', '', Buffer.from('info: Hello World!'));
  for (const queue of queues) assert.deepStrictEqual(texts(await take(channel, queue, 1)), ['info: Hello World!']);
}

async function routing(connection) {
  const channel = await connection.createChannel();
  await channel.assertExchange('amqplib-direct', 'direct', { durable: false });
  const errors = await subscriber(channel, 'amqplib-direct', ['error']);
  const everything = await subscriber(channel, 'amqplib-direct', ['info', 'warning', 'error']);
  for (const severity of ['info', 'error', 'warning']) {
    channel.publish('amqplib-direct', severity, Buffer.from(severity));
  }
  assert.deepStrictEqual(texts(await take(channel, everything, 3)), ['info', 'error', 'warning']);
  assert.deepStrictEqual(texts(await take(channel, errors, 1)), ['error']);
}

async function topics(connection) {
  const channel = await connection.createChannel();
  await channel.assertExchange('amqplib-topic', 'topic', { durable: false });
  const orange = await subscriber(channel, 'amqplib-topic', ['*.orange.*']);
  const rabbits = await subscriber(channel, 'amqplib-topic', ['*.*.rabbit', 'lazy.#']);
  const keys = ['quick.orange.rabbit', 'lazy.brown.fox', 'quick.brown.fox', 'lazy.orange.male.rabbit'];
  for (const key of keys) channel.publish('amqplib-topic', key, Buffer.from(key));
  assert.deepStrictEqual(texts(await take(channel, orange, 1)), ['quick.orange.rabbit']);
  const expected = ['quick.orange.rabbit', 'lazy.brown.fox', 'lazy.orange.male.rabbit'];
  assert.deepStrictEqual(texts(await take(channel, rabbits, 3)), expected);
}

async function rpc(connection) {
  const server = await connection.createChannel();
  await server.assertQueue('amqplib-rpc', { durable: false });
  await server.prefetch(1);
  await server.consume('amqplib-rpc', (call) => {
    let [a, b] = [0, 1];
    for (let n = Number(call.content.toString()); n > 0; n -= 1) [a, b] = [b, a + b];
    const { replyTo, correlationId } = call.properties;
    server.sendToQueue(replyTo, Buffer.from(String(a)), { correlationId });
    server.ack(call);
  });
  const client = await connection.createChannel();
  const { queue } = await client.assertQueue('', { exclusive: true });
  const answers = take(client, queue, 1);
  client.sendToQueue('amqplib-rpc', Buffer.from('30'), { correlationId: 'call 7', replyTo: queue });
  const [answer] = await answers;
  assert.strictEqual(answer.properties.correlationId, 'call 7');
  assert.strictEqual(answer.content.toString(), '832040');
}

async function main() {
  // Newer releases do not export their package.json.
  const { version } = JSON.parse(fs.readFileSync(path.join(path.dirname(require.resolve('amqplib')), 'package.json')));
  console.log(`version ${version}`);
  const patterns = { hello, 'work queue': workQueue, 'publish/subscribe': publishSubscribe, routing, topics, rpc };
  for (const [name, pattern] of Object.entries(patterns)) {
    const connection = await amqp.connect(process.argv[2]);
    await pattern(connection);
    await connection.close();
    console.log(`ok ${name}`);
  }
}

const patience = setTimeout(() => {
  console.error('gave up waiting');
  process.exit(1);
}, PATIENCE_MS);

main().then(
  () => clearTimeout(patience),
  (error) => {
    console.error(error);
    process.exit(1);
  },
);
