//! Administrative requests: each is answered once, at once or when what it changes is durable.

use alloc::boxed::Box;

use super::Broker;
use crate::ids::AdminId;
use crate::management::{AdminAnswer, AdminReply, AdminRequest};

impl Broker {
    /// Carries out a request, or begins to.
    pub(crate) fn administer(&mut self, id: AdminId, request: AdminRequest) {
        let reply = match request {
            AdminRequest::Ping => Ok(AdminReply::Done),
            AdminRequest::Departures(request) => {
                self.departures(&request).map(|report| AdminReply::Departures(Box::new(report)))
            }
        };
        self.answers.push(AdminAnswer { id, reply });
    }
}
