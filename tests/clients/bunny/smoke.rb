# Bunny: confirms, acks, a rejected message's dead letter, a reply. Usage: smoke.rb AMQP_URI
require "bunny"
require "timeout"

PATIENCE = 20

def take(queue, count, **options)
  taken = Queue.new
  consumer = queue.subscribe(manual_ack: true, **options) do |delivery, properties, body|
    taken << [delivery, properties, body]
  end
  messages = Timeout.timeout(PATIENCE) { Array.new(count) { taken.pop } }
  [messages, consumer]
end

connection = Bunny.new(ARGV[0])
connection.start
channel = connection.create_channel
channel.confirm_select
channel.prefetch(50)

queue = channel.queue("bunny", durable: true, arguments: { "x-dead-letter-exchange" => "bunny.dead" })
dead = channel.queue("bunny.dead").bind(channel.fanout("bunny.dead"))
20.times { |number| channel.default_exchange.publish(number.to_s, routing_key: "bunny", persistent: true) }
raise "not confirmed" unless channel.wait_for_confirms
messages, consumer = take(queue, 20)
raise "wrong order" unless messages.map { |_, _, body| body } == (0...20).map(&:to_s)
messages.each { |delivery, _, _| channel.ack(delivery.delivery_tag) }
consumer.cancel
puts "ok work"

channel.default_exchange.publish("unwanted", routing_key: "bunny")
messages, consumer = take(queue, 1)
channel.reject(messages[0][0].delivery_tag, false)
consumer.cancel
messages, consumer = take(dead, 1)
death = messages[0][1].headers["x-death"][0]
raise "wrong death: #{death}" unless death["reason"] == "rejected" && death["queue"] == "bunny"
channel.ack(messages[0][0].delivery_tag)
consumer.cancel
puts "ok dead letters"

asked = channel.queue("bunny.rpc", auto_delete: true)
asked.subscribe do |_, properties, body|
  channel.default_exchange.publish(body.upcase, routing_key: properties.reply_to, correlation_id: properties.correlation_id)
end
answers = Queue.new
second = connection.create_channel
replies = second.queue("", exclusive: true)
replies.subscribe { |_, properties, body| answers << [properties.correlation_id, body] }
second.default_exchange.publish("hare", routing_key: "bunny.rpc", reply_to: replies.name, correlation_id: "1")
raise "wrong answer" unless Timeout.timeout(PATIENCE) { answers.pop } == %w[1 HARE]
puts "ok rpc"

queue.delete
dead.delete
connection.close
