//! Permissions and topic permissions.

use alloc::boxed::Box;
use alloc::string::String;
use alloc::vec::Vec;

use super::plan::{Plan, permission, short};
use super::{AdminReply, AdminRequest};
use crate::amqp::ShortStr;
use crate::metadata::{AdminError, Administration, Metadata, Permissions, TopicPermissions};

/// What can be asked about permissions.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum PermissionRequest {
    /// Says what a user may do in a vhost.
    Set(PermissionInfo),
    /// Keeps a user from opening a vhost.
    Clear {
        /// Whose.
        user: String,
        /// Where.
        vhost: String,
    },
    /// The permissions of all users, or of one, in all vhosts, or in one.
    List {
        /// Whose; `None` is everybody's.
        user: Option<String>,
        /// Where; `None` is everywhere.
        vhost: Option<String>,
    },
    /// Says which routing keys a user may use with a topic exchange.
    SetTopic(TopicPermissionInfo),
    /// Lets a user use all routing keys again.
    ClearTopic {
        /// Whose.
        user: String,
        /// Where.
        vhost: String,
        /// With which exchange; `None` is all.
        exchange: Option<String>,
    },
    /// The topic permissions of all users, or of one, in all vhosts, or in one.
    ListTopic {
        /// Whose; `None` is everybody's.
        user: Option<String>,
        /// Where; `None` is everywhere.
        vhost: Option<String>,
    },
}

/// What one user may do in one vhost: regular expressions over names.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PermissionInfo {
    /// Whose.
    pub user: String,
    /// Where.
    pub vhost: String,
    /// What they may create and delete.
    pub configure: String,
    /// What they may put messages into.
    pub write: String,
    /// What they may take messages out of.
    pub read: String,
}

/// Which routing keys one user may use with one exchange: regular expressions.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TopicPermissionInfo {
    /// Whose.
    pub user: String,
    /// Where.
    pub vhost: String,
    /// With which exchange.
    pub exchange: String,
    /// For publishing.
    pub write: String,
    /// For binding.
    pub read: String,
}

impl From<PermissionRequest> for AdminRequest {
    fn from(request: PermissionRequest) -> Self {
        Self::Permission(request)
    }
}

impl PermissionInfo {
    /// The change that makes it so.
    pub(super) fn to_change(&self) -> Result<Administration, AdminError> {
        let permissions = Permissions {
            configure: permission(&self.configure)?,
            write: permission(&self.write)?,
            read: permission(&self.read)?,
        };
        let (user, vhost) = (short(&self.user, "user")?, short(&self.vhost, "virtual host")?);
        Ok(Administration::SetPermissions { user, vhost, permissions: Box::new(permissions) })
    }
}

impl TopicPermissionInfo {
    /// The change that makes it so.
    pub(super) fn to_change(&self) -> Result<Administration, AdminError> {
        permission(&self.write)?;
        permission(&self.read)?;
        Ok(Administration::SetTopicPermissions {
            user: short(&self.user, "user")?,
            vhost: short(&self.vhost, "virtual host")?,
            exchange: short(&self.exchange, "exchange")?,
            permissions: TopicPermissions { write: self.write.clone(), read: self.read.clone() },
        })
    }
}

/// What a request comes to.
pub(crate) fn plan(metadata: &Metadata, request: PermissionRequest) -> Result<Plan, AdminError> {
    Ok(match request {
        PermissionRequest::Set(info) => Plan::change(info.to_change()?),
        PermissionRequest::Clear { user, vhost } => {
            let (user, vhost) = (short(&user, "user")?, short(&vhost, "virtual host")?);
            Plan::change(Administration::ClearPermissions { user, vhost })
        }
        PermissionRequest::List { user, vhost } => {
            check_exist(metadata, user.as_deref(), vhost.as_deref())?;
            Plan::Reply(AdminReply::Permissions(list(metadata, user.as_deref(), vhost.as_deref())))
        }
        PermissionRequest::SetTopic(info) => Plan::change(info.to_change()?),
        PermissionRequest::ClearTopic { user, vhost, exchange } => {
            let (user, vhost) = (short(&user, "user")?, short(&vhost, "virtual host")?);
            let exchange = exchange.map(|exchange| short(&exchange, "exchange")).transpose()?;
            Plan::change(Administration::ClearTopicPermissions { user, vhost, exchange })
        }
        PermissionRequest::ListTopic { user, vhost } => {
            check_exist(metadata, user.as_deref(), vhost.as_deref())?;
            Plan::Reply(AdminReply::TopicPermissions(list_topic(metadata, user.as_deref(), vhost.as_deref())))
        }
    })
}

fn check_exist(metadata: &Metadata, user: Option<&str>, vhost: Option<&str>) -> Result<(), AdminError> {
    if let Some(user) = user {
        metadata.expect_user(&short(user, "user")?)?;
    }
    if let Some(vhost) = vhost {
        metadata.expect_vhost(&short(vhost, "virtual host")?)?;
    }
    Ok(())
}

fn is_meant(wanted: Option<&str>, name: &ShortStr) -> bool {
    wanted.is_none_or(|wanted| name.as_bytes() == wanted.as_bytes())
}

fn text(name: &ShortStr) -> String {
    name.to_string_lossy().into_owned()
}

/// The permissions there are, ordered by user and vhost.
pub(super) fn list(metadata: &Metadata, user: Option<&str>, vhost: Option<&str>) -> Vec<PermissionInfo> {
    let users = metadata.users().filter(|record| is_meant(user, &record.name));
    let all =
        users.flat_map(|user| user.permissions().map(move |(vhost, permissions)| (&user.name, vhost, permissions)));
    let all = all.filter(|(_, of_vhost, _)| is_meant(vhost, of_vhost));
    all.map(|(user, vhost, permissions)| PermissionInfo {
        user: text(user),
        vhost: text(vhost),
        configure: permissions.configure.as_str().into(),
        write: permissions.write.as_str().into(),
        read: permissions.read.as_str().into(),
    })
    .collect()
}

/// The topic permissions there are, ordered by user, vhost and exchange.
pub(super) fn list_topic(metadata: &Metadata, user: Option<&str>, vhost: Option<&str>) -> Vec<TopicPermissionInfo> {
    let mut all = Vec::new();
    for record in metadata.users().filter(|record| is_meant(user, &record.name)) {
        for (of_vhost, exchange, permissions) in record.topic_permissions() {
            if is_meant(vhost, of_vhost) {
                all.push(TopicPermissionInfo {
                    user: text(&record.name),
                    vhost: text(of_vhost),
                    exchange: text(exchange),
                    write: permissions.write.clone(),
                    read: permissions.read.clone(),
                });
            }
        }
    }
    all
}
