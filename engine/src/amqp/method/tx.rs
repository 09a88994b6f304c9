//! Class `tx` (AMQP 0-9-1 §1.9).

class! { 90;
    /// Makes the channel transactional.
    Select = 10 "tx.select" {}
    /// The channel is transactional.
    SelectOk = 11 "tx.select-ok" {}
    /// Commits publishes and acknowledgements.
    Commit = 20 "tx.commit" {}
    /// They are committed.
    CommitOk = 21 "tx.commit-ok" {}
    /// Drops publishes and acknowledgements.
    Rollback = 30 "tx.rollback" {}
    /// They are dropped.
    RollbackOk = 31 "tx.rollback-ok" {}
}
