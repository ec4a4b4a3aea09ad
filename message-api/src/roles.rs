//! Who may send, and cancel what others have sent.

use common::claims::Claims;

/// The roles that may send; everybody may if none is named.
#[derive(Debug, Clone, Default)]
pub(crate) struct SendRoles(Vec<String>);

impl SendRoles {
    /// Takes the setting `SEND_ROLES`. Blanks and empty entries don't count.
    pub(crate) fn new(roles: &[String]) -> Self {
        Self(roles.iter().map(|role| role.trim().to_owned()).filter(|role| !role.is_empty()).collect())
    }

    /// Whether the caller's role is among those that may send.
    pub(crate) fn allow(&self, caller: &Claims) -> bool {
        let is_listed = || caller.role.as_ref().is_some_and(|role| self.0.contains(role));
        self.0.is_empty() || is_listed()
    }
}

#[cfg(test)]
mod tests {
    use common::claims::IdClaim;

    use super::*;

    fn may_send(roles: &[&str], role: Option<&str>) -> bool {
        let roles: Vec<String> = roles.iter().map(|role| (*role).to_owned()).collect();
        let caller = Claims {
            user_id: "ann".into(),
            claim: IdClaim::UserId,
            church_id: "grace".parse().unwrap(),
            role: role.map(str::to_owned),
            expires_at: i64::MAX,
            issued_at: None,
        };
        SendRoles::new(&roles).allow(&caller)
    }

    #[test]
    fn everybody_may_send_unless_roles_are_named() {
        assert!(may_send(&[], None) && may_send(&[" ", ""], Some("USER")));
        assert!(may_send(&["ADMIN", " PASTOR "], Some("PASTOR")));
        for role in [None, Some("USER"), Some("pastor"), Some("")] {
            assert!(!may_send(&["ADMIN", "PASTOR"], role), "{role:?}");
        }
    }
}
