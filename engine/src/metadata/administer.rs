//! Looking at administrators' changes, and carrying them out.

use alloc::format;
use alloc::string::String;
use alloc::vec;
use alloc::vec::Vec;

use super::apply::AutoDelete;
use super::policy::check_definition;
use super::user::User;
use super::{AdminError, Administration, Answer, Change, Changes, Metadata, PolicyKind, Told, VhostKey};
use crate::amqp::ShortStr;
use crate::limits;

impl Metadata {
    /// Looks at a change without carrying it out.
    ///
    /// # Errors
    /// What it is about does not exist, cannot be, or may not be done.
    pub fn check_administration(&self, administration: &Administration) -> Result<Answer, AdminError> {
        use Administration as A;
        let is_so = match administration {
            A::PutVhost { name, settings } => match self.vhost(name.as_bytes()) {
                Some(key) => self.vhosts[key].settings == *settings,
                None => {
                    check_room(self.vhosts.len(), "virtual hosts")?;
                    false
                }
            },
            A::DeleteVhost { name } => {
                let key = self.expect_vhost(name)?;
                if self.vhosts[key].settings.protected_from_deletion {
                    let text = format!(
                        "Refusing to delete virtual host '{name}' because it is protected from deletion with metadata"
                    );
                    return Err(AdminError::refused(text));
                }
                false
            }
            A::SetVhostLimits { vhost, limits } => self.vhosts[self.expect_vhost(vhost)?].limits == *limits,
            A::PutUser { name, password, tags } => match self.users.get(name) {
                Some(user) => user.password == *password && user.tags == *tags,
                None => {
                    check_room(self.users.len(), "users")?;
                    false
                }
            },
            A::DeleteUser { name } => {
                self.expect_user(name)?;
                false
            }
            A::SetUserLimits { user, limits } => self.expect_user(user)?.limits == *limits,
            A::SetPermissions { user, vhost, permissions } => {
                self.expect_vhost(vhost)?;
                self.expect_user(user)?.permissions.get(vhost) == Some(&**permissions)
            }
            A::ClearPermissions { user, vhost } => {
                self.expect_vhost(vhost)?;
                !self.expect_user(user)?.permissions.contains_key(vhost)
            }
            A::SetTopicPermissions { user, vhost, exchange, permissions } => {
                self.expect_vhost(vhost)?;
                let key = (vhost.clone(), exchange.clone());
                self.expect_user(user)?.topic_permissions.get(&key) == Some(permissions)
            }
            A::ClearTopicPermissions { user, vhost, exchange } => {
                self.expect_vhost(vhost)?;
                let is_meant = |(of_vhost, of_exchange): &(ShortStr, ShortStr)| {
                    of_vhost == vhost && exchange.as_ref().is_none_or(|exchange| exchange == of_exchange)
                };
                !self.expect_user(user)?.topic_permissions.keys().any(is_meant)
            }
            A::PutPolicy { vhost, kind, policy } => {
                let vhost = &self.vhosts[self.expect_vhost(vhost)?];
                check_definition(*kind, &policy.definition)?;
                match vhost.policies.get(&(*kind, policy.name.clone())) {
                    Some(current) => current == policy,
                    None => {
                        check_room(vhost.policies.len(), "policies")?;
                        false
                    }
                }
            }
            A::DeletePolicy { vhost, kind, name } => {
                let vhost = &self.vhosts[self.expect_vhost(vhost)?];
                if !vhost.policies.contains_key(&(*kind, name.clone())) {
                    return Err(AdminError::not_found("Parameter does not exist"));
                }
                false
            }
            A::PutParameter { vhost, component, name, value } => {
                let vhost = &self.vhosts[self.expect_vhost(vhost)?];
                match vhost.parameters.get(&(component.clone(), name.clone())) {
                    Some(current) => current == value,
                    None => {
                        check_room(vhost.parameters.len(), "parameters")?;
                        false
                    }
                }
            }
            A::DeleteParameter { vhost, component, name } => {
                let vhost = &self.vhosts[self.expect_vhost(vhost)?];
                if !vhost.parameters.contains_key(&(component.clone(), name.clone())) {
                    return Err(AdminError::not_found("Parameter does not exist"));
                }
                false
            }
            A::PutGlobalParameter { name, value } => match self.global_parameters.get(name) {
                Some(current) => current == value,
                None => {
                    check_room(self.global_parameters.len(), "global parameters")?;
                    false
                }
            },
            A::DeleteGlobalParameter { name } => {
                if !self.global_parameters.contains_key(name) {
                    return Err(AdminError::not_found("Parameter does not exist"));
                }
                false
            }
        };
        Ok(if is_so { Answer::AlreadySo } else { Answer::NeedsApply })
    }

    /// Carries out a change that was checked.
    pub(super) fn administer(&mut self, administration: Administration, changes: &mut Changes) {
        use Administration as A;
        self.access_version += 1;
        changes.told.extend(self.told_of(&administration));
        match administration {
            A::PutVhost { name, settings } => {
                let key = match self.vhost(name.as_bytes()) {
                    Some(key) => key,
                    None => self.add_vhost(name.detached()),
                };
                self.vhosts[key].settings = settings;
            }
            A::DeleteVhost { name } => self.remove_vhost(&name, changes),
            A::SetVhostLimits { vhost, limits } => {
                if let Some(key) = self.vhost(vhost.as_bytes()) {
                    self.vhosts[key].limits = limits;
                }
            }
            A::PutUser { name, password, tags } => {
                self.has_had_users = true;
                match self.users.get_mut(&name) {
                    Some(user) => (user.password, user.tags) = (password, tags),
                    None => {
                        let name = name.detached();
                        self.users.insert(name.clone(), User::new(name, password, tags));
                    }
                }
            }
            A::DeleteUser { name } => {
                self.users.remove(&name);
                changes.list.push(Change::UserDeleted(name.detached()));
            }
            A::SetUserLimits { user, limits } => {
                if let Some(user) = self.users.get_mut(&user) {
                    user.limits = limits;
                }
            }
            A::SetPermissions { user, vhost, permissions } => {
                if let Some(user) = self.users.get_mut(&user) {
                    user.permissions.insert(vhost.detached(), *permissions);
                }
            }
            A::ClearPermissions { user, vhost } => {
                if let Some(user) = self.users.get_mut(&user) {
                    user.permissions.remove(&vhost);
                }
            }
            A::SetTopicPermissions { user, vhost, exchange, permissions } => {
                if let Some(user) = self.users.get_mut(&user) {
                    user.topic_permissions.insert((vhost.detached(), exchange.detached()), permissions);
                }
            }
            A::ClearTopicPermissions { user, vhost, exchange } => {
                if let Some(user) = self.users.get_mut(&user) {
                    user.topic_permissions.retain(|(of_vhost, of_exchange), _| {
                        *of_vhost != vhost || exchange.as_ref().is_some_and(|exchange| exchange != of_exchange)
                    });
                }
            }
            A::PutPolicy { vhost, kind, policy } => {
                if let Some(key) = self.vhost(vhost.as_bytes()) {
                    self.vhosts[key].policies.insert((kind, policy.name.detached()), policy);
                    self.apply_policies(key, changes);
                }
            }
            A::DeletePolicy { vhost, kind, name } => {
                if let Some(key) = self.vhost(vhost.as_bytes()) {
                    self.vhosts[key].policies.remove(&(kind, name));
                    self.apply_policies(key, changes);
                }
            }
            A::PutParameter { vhost, component, name, value } => {
                if let Some(key) = self.vhost(vhost.as_bytes()) {
                    self.vhosts[key].parameters.insert((component.detached(), name.detached()), value);
                }
            }
            A::DeleteParameter { vhost, component, name } => {
                if let Some(key) = self.vhost(vhost.as_bytes()) {
                    self.vhosts[key].parameters.remove(&(component, name));
                }
            }
            A::PutGlobalParameter { name, value } => {
                self.global_parameters.insert(name.detached(), value);
            }
            A::DeleteGlobalParameter { name } => {
                self.global_parameters.remove(&name);
            }
        }
    }

    /// What the event exchange is told of a change that is about to be carried out, in RabbitMQ's words (RabbitMQ docs: Event Exchange).
    fn told_of(&self, administration: &Administration) -> Option<Told> {
        use Administration as A;
        let (what, names) = match administration {
            A::PutVhost { name, .. } if self.vhost(name.as_bytes()).is_some() => return None,
            A::PutVhost { name, .. } => ("vhost.created", vec![("name", name)]),
            A::DeleteVhost { name } => ("vhost.deleted", vec![("name", name)]),
            A::SetVhostLimits { vhost, .. } => ("vhost.limits.set", vec![("name", vhost)]),
            A::PutUser { name, password, .. } => match self.users.get(name) {
                None => ("user.created", vec![("name", name)]),
                Some(user) if user.password == *password => ("user.tags.set", vec![("name", name)]),
                Some(_) => ("user.password.changed", vec![("name", name)]),
            },
            A::DeleteUser { name } => ("user.deleted", vec![("name", name)]),
            A::SetUserLimits { user, .. } => ("user.limits.set", vec![("username", user)]),
            A::SetPermissions { user, vhost, .. } => ("permission.created", vec![("user", user), ("vhost", vhost)]),
            A::ClearPermissions { user, vhost } => ("permission.deleted", vec![("user", user), ("vhost", vhost)]),
            A::SetTopicPermissions { user, vhost, exchange, .. } => {
                ("topic.permission.created", vec![("user", user), ("vhost", vhost), ("exchange", exchange)])
            }
            A::ClearTopicPermissions { user, vhost, .. } => {
                ("topic.permission.deleted", vec![("user", user), ("vhost", vhost)])
            }
            A::PutPolicy { vhost, policy, .. } => ("policy.set", vec![("name", &policy.name), ("vhost", vhost)]),
            A::DeletePolicy { vhost, name, .. } => ("policy.cleared", vec![("name", name), ("vhost", vhost)]),
            A::PutParameter { vhost, component, name, .. } => {
                ("parameter.set", vec![("component", component), ("name", name), ("vhost", vhost)])
            }
            A::DeleteParameter { vhost, component, name } => {
                ("parameter.cleared", vec![("component", component), ("name", name), ("vhost", vhost)])
            }
            A::PutGlobalParameter { name, .. } => ("parameter.set", vec![("name", name)]),
            A::DeleteGlobalParameter { name } => ("parameter.cleared", vec![("name", name)]),
        };
        let names = names.into_iter().map(|(what, name)| (what, name.clone())).collect();
        Some(Told::Administered { what, names })
    }

    /// The vhost of this name.
    ///
    /// # Errors
    /// If there is none.
    pub fn expect_vhost(&self, name: &ShortStr) -> Result<VhostKey, AdminError> {
        let key = self.vhost(name.as_bytes());
        key.ok_or_else(|| AdminError::not_found(format!("Virtual host '{name}' does not exist")))
    }

    /// The user of this name.
    ///
    /// # Errors
    /// If there is none.
    pub fn expect_user(&self, name: &ShortStr) -> Result<&User, AdminError> {
        self.users.get(name).ok_or_else(|| AdminError::not_found(format!("User \"{name}\" does not exist")))
    }

    pub(super) fn remove_vhost(&mut self, name: &ShortStr, changes: &mut Changes) {
        let Some(key) = self.vhost(name.as_bytes()) else { return };
        let queues: Vec<_> =
            self.queues().into_iter().filter(|(_, queue)| queue.vhost == key).map(|(queue, _)| queue).collect();
        for queue in queues {
            // Exchanges that would go with their last binding go with the vhost.
            self.remove_queue(queue, AutoDelete::InLog, changes);
        }
        let exchanges: Vec<_> = self
            .exchanges()
            .into_iter()
            .filter(|(_, exchange)| exchange.vhost == key)
            .map(|(exchange, _)| exchange)
            .collect();
        self.remove_exchanges(exchanges, AutoDelete::InLog, changes);
        for user in self.users.values_mut() {
            user.permissions.remove(name);
            user.topic_permissions.retain(|(vhost, _), _| vhost != name);
        }
        self.vhost_names.remove(name.as_bytes());
        self.vhosts.remove(key);
        changes.list.push(Change::VhostDeleted(key));
    }

    /// The policies of one vhost and kind that are there, for whoever asks about them.
    pub fn policies(&self, vhost: VhostKey, kind: PolicyKind) -> impl Iterator<Item = &super::Policy> {
        self.vhosts.get(vhost).into_iter().flat_map(move |vhost| vhost.policies(kind))
    }

    /// The global runtime parameters, ordered by name.
    pub fn global_parameters(&self) -> impl Iterator<Item = (&ShortStr, &serde_json::Value)> {
        self.global_parameters.iter()
    }
}

fn check_room(count: usize, what: &str) -> Result<(), AdminError> {
    if count < limits::NAMES_MAX {
        return Ok(());
    }
    Err(AdminError::refused(String::from("the limit of ") + &format!("{} {what} is reached", limits::NAMES_MAX)))
}
