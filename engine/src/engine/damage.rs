//! What a node does whose disk does not hold what was written to it.
//!
//! One log holds the records of all groups of which the node is a member, so what was lost may have been a vote: none of its replicas may
//! go on with what it remembers. Where others have what is in the log, the node gives all of it up and comes back as one that lost its
//! disk. Where nobody else has it, that is for an operator to decide.
//!
//! Of the log's last block nobody can say whether a crash has torn it, and then it was promised to nobody, or one bit of it has turned. A
//! node that others can spare does not take that chance.

use alloc::format;
use alloc::string::String;

use super::Engine;
use crate::broker::OnlyHere;
use crate::effect::{Effects, Stop};

/// What an operator can do where a node does not give its data up by itself.
const WAY_OUT: &str = "Put a sound copy of the data directory in its place if there is one; otherwise start the node once with \
                       --give-up-damaged-data, which moves the damaged files aside";

/// Why the data is given up.
pub(super) fn others_have_it(text: &str) -> String {
    format!("{text}. The other nodes have all that this one had")
}

impl Engine {
    /// What recovery has met, once all that is left is read. `None` if the log holds what was written.
    pub(super) fn damage_found(&self) -> Option<String> {
        let of_log = self.recovered.as_ref().and_then(|recovered| recovered.damage.as_ref());
        let remains = self.broker.peers.as_ref().and_then(|peers| peers.cluster().remains());
        let of_cluster = || remains.and_then(|(corrupt, _)| corrupt).map(|corrupt| format!("{corrupt}"));
        of_log.map(|damage| damage.text.clone()).or_else(of_cluster)
    }

    /// The disk does not hold what was written to it, as `text` says.
    pub(crate) fn on_damage(&mut self, text: &str, effects: &mut Effects) {
        let only_here = match self.recovered.take() {
            Some(recovered) => self.broker.only_here_of(*recovered),
            None if self.broker.config.cluster.is_none() => OnlyHere::Everything,
            // Not even the log itself could be made out.
            None if self.is_recovering() => OnlyHere::Unknown,
            None => self.broker.only_here(),
        };
        let is_ordered = self.broker.config.gives_up_damaged_data;
        let stop = match only_here {
            OnlyHere::Nothing => Stop::Damaged(others_have_it(text)),
            OnlyHere::Everything | OnlyHere::Messages(_) | OnlyHere::Replicas(_) | OnlyHere::Unknown if is_ordered => {
                Stop::Damaged(format!("{text}. It is given up, as --give-up-damaged-data says"))
            }
            OnlyHere::Everything => {
                Stop::Fatal(format!("{text}. No other nodes have what this one had. {WAY_OUT}: it then begins anew"))
            }
            OnlyHere::Messages(count) => Stop::Fatal(format!(
                "{text}. Up to {count} messages of classic queues are on this node only. {WAY_OUT}: those messages are then lost, \
                 and the node gets everything else from the others"
            )),
            OnlyHere::Replicas(count) => Stop::Fatal(format!(
                "{text}. {count} replicated queues would be left without a majority of their members. {WAY_OUT}: those queues can \
                 then not be used any more, and the node gets everything else from the others"
            )),
            OnlyHere::Unknown => Stop::Fatal(format!(
                "{text}. Whether other nodes have all that this one had cannot be told. {WAY_OUT}: what was in classic queues of this \
                 node is then lost, and it gets everything else from the others"
            )),
        };
        self.stop(effects, stop);
    }
}
