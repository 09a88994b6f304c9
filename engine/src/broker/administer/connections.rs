//! Connections all over the cluster: each node has its own, and the node that an operator asks has the others' added.

use alloc::boxed::Box;
use alloc::format;
use alloc::vec::Vec;

use super::Broker;
use super::errands::{Answer, Next, To};
use super::replicas::Task;
use crate::cluster::inquiries::{Inquiry, Outcome, Report};
use crate::cluster::version;
use crate::ids::{AdminId, NodeId};
use crate::management::{AdminError, AdminErrorKind, AdminReply, ConnectionRequest};

impl Broker {
    /// This node has done what was asked; the others are asked to.
    pub(crate) fn ask_others_for_connections(
        &mut self,
        id: AdminId,
        request: &ConnectionRequest,
        own: Result<AdminReply, AdminError>,
    ) {
        // What is not here may be elsewhere, but what makes no sense here makes none there.
        let is_over = match (&own, request) {
            (Err(error), ConnectionRequest::Close { .. }) => error.kind != AdminErrorKind::NotFound,
            (Err(_), _) => true,
            (Ok(_), ConnectionRequest::Close { which, .. }) => which.is_of_one(),
            (Ok(_), _) => false,
        };
        let others = if is_over || !self.is_known_to_all(version::LISTINGS) { Vec::new() } else { self.running() };
        let others = others.into_iter().filter(|node| *node != self.metadata.own());
        let ask = |node| (To::Node(node), Inquiry::Connections(request.clone()));
        let questions = others.map(ask).collect();
        self.go_on_with(id, Next::Ask(Task::Connections(Box::new(own)), questions));
    }

    /// Answers another node with what this one has of connections.
    pub(crate) fn report_connections(&mut self, to: NodeId, number: u64, reply: Result<AdminReply, AdminError>) {
        let report = match reply {
            Ok(AdminReply::Connections(list)) => Report::Connections(list),
            Ok(AdminReply::Channels(list)) => Report::Channels(list),
            Ok(AdminReply::Consumers(list)) => Report::Consumers(list),
            Ok(AdminReply::Count(count)) => Report::Outcome(Outcome::Count(count)),
            Ok(_) => Report::Done,
            Err(error) => Report::Failed(error.kind, error.text),
        };
        self.report(to, number, report);
    }

    /// What all nodes together have said. A node that cannot be reached has none that could be told of.
    pub(super) fn all_connections(
        &self,
        own: Result<AdminReply, AdminError>,
        answers: Vec<(To, Answer)>,
    ) -> Result<AdminReply, AdminError> {
        let mut all = own;
        for (to, answer) in answers {
            match (&mut all, answer) {
                (Ok(AdminReply::Connections(all)), Answer::Said(_, Report::Connections(list))) => all.extend(list),
                (Ok(AdminReply::Channels(all)), Answer::Said(_, Report::Channels(list))) => all.extend(list),
                (Ok(AdminReply::Consumers(all)), Answer::Said(_, Report::Consumers(list))) => all.extend(list),
                (Ok(AdminReply::Count(all)), Answer::Said(_, Report::Outcome(Outcome::Count(count)))) => *all += count,
                (Err(_), Answer::Said(_, Report::Outcome(Outcome::Count(count)))) => {
                    all = Ok(AdminReply::Count(count));
                }
                (_, Answer::Late) => {
                    let name = match to {
                        To::Node(node) => self.node_name(node),
                        To::Leader(_) => continue,
                    };
                    return Err(AdminError::refused(format!("node {name} has not answered in time")));
                }
                (_, Answer::Said(..) | Answer::Unreachable | Answer::Gone) => {}
            }
        }
        match &mut all {
            Ok(AdminReply::Connections(all)) => all.sort_by(|a, b| a.node.cmp(&b.node)),
            Ok(AdminReply::Channels(all)) => all.sort_by(|a, b| a.node.cmp(&b.node)),
            // Those of one queue stay in the order of their connections.
            Ok(AdminReply::Consumers(all)) => {
                all.sort_by(|a, b| (&a.vhost, &a.queue, &a.node).cmp(&(&b.vhost, &b.queue, &b.node)));
            }
            Ok(_) | Err(_) => {}
        }
        all
    }
}
