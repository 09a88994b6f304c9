//! Class `confirm` (RabbitMQ docs: Publisher Confirms).

class! { 85;
    /// Turns confirms on for the channel.
    Select = 10 "confirm.select" {
        /// No answer is wanted.
        no_wait: bool,
    }
    /// Confirms are on.
    SelectOk = 11 "confirm.select-ok" {}
}
