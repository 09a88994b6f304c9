<?php
// php-amqplib: confirms, acks, a rejected message's dead letter, a transaction. Usage: smoke.php HOST PORT
// Debian puts the library where PHP looks; elsewhere PHP_AMQPLIB names its autoload file.
require_once getenv('PHP_AMQPLIB') ?: 'PhpAmqpLib/autoload.php';

use PhpAmqpLib\Connection\AMQPStreamConnection;
use PhpAmqpLib\Message\AMQPMessage;
use PhpAmqpLib\Wire\AMQPTable;

const PATIENCE = 20;

function check(bool $holds, string $what): void
{
    if (!$holds) {
        fwrite(STDERR, "$what\n");
        exit(1);
    }
}

$connection = new AMQPStreamConnection($argv[1], (int) $argv[2], 'guest', 'guest');
$channel = $connection->channel();
$channel->confirm_select();
$channel->basic_qos(0, 50, false);
$channel->exchange_declare('php.dead', 'fanout', false, false, false);
$arguments = new AMQPTable(['x-dead-letter-exchange' => 'php.dead']);
$channel->queue_declare('php', false, true, false, false, false, $arguments);
$channel->queue_declare('php.dead', false, false, false, false);
$channel->queue_bind('php.dead', 'php.dead');

for ($number = 0; $number < 20; $number++) {
    $properties = ['delivery_mode' => AMQPMessage::DELIVERY_MODE_PERSISTENT];
    $channel->basic_publish(new AMQPMessage((string) $number, $properties), '', 'php');
}
$channel->wait_for_pending_acks(PATIENCE);
$taken = [];
$channel->basic_consume('php', 'tag', false, false, false, false, function (AMQPMessage $message) use (&$taken) {
    $taken[] = $message->getBody();
    $message->ack();
});
while (count($taken) < 20) {
    $channel->wait(null, false, PATIENCE);
}
check($taken === array_map('strval', range(0, 19)), 'wrong order');
$channel->basic_cancel('tag');
echo "ok work\n";

$channel->basic_publish(new AMQPMessage('unwanted'), '', 'php');
$channel->wait_for_pending_acks(PATIENCE);
$message = $channel->basic_get('php');
check($message !== null, 'nothing came');
$message->reject(false);
$deadline = microtime(true) + PATIENCE;
do {
    $message = $channel->basic_get('php.dead');
} while ($message === null && microtime(true) < $deadline);
check($message !== null, 'nothing was dead-lettered');
$death = $message->get('application_headers')->getNativeData()['x-death'][0];
check($death['reason'] === 'rejected' && $death['queue'] === 'php', 'wrong death');
$message->ack();
echo "ok dead letters\n";

$second = $connection->channel();
$second->tx_select();
$second->basic_publish(new AMQPMessage('one'), '', 'php');
$second->tx_rollback();
$second->basic_publish(new AMQPMessage('two'), '', 'php');
$second->tx_commit();
$message = $channel->basic_get('php', true);
check($message !== null && $message->getBody() === 'two', 'wrong transaction');
echo "ok transaction\n";

$channel->queue_delete('php');
$channel->queue_delete('php.dead');
$connection->close();
