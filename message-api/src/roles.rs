//! Who may send, and cancel what others have sent.

use common::claims::Claims;

use crate::error::ApiError;

/// The roles that may send; everybody may if none is named.
#[derive(Debug, Clone, Default)]
pub(crate) struct SendRoles(Vec<String>);

impl SendRoles {
    /// Takes the setting `SEND_ROLES`. Blanks and empty entries don't count.
    pub(crate) fn new(roles: &[String]) -> Self {
        Self(roles.iter().map(|role| role.trim().to_owned()).filter(|role| !role.is_empty()).collect())
    }

    /// # Errors
    /// 403: the caller's role is not among those that may send.
    pub(crate) fn check(&self, caller: &Claims) -> Result<(), ApiError> {
        let is_listed = || caller.role.as_ref().is_some_and(|role| self.0.contains(role));
        if self.0.is_empty() || is_listed() { Ok(()) } else { Err(ApiError::RoleNotAllowed) }
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
        SendRoles::new(&roles).check(&caller).is_ok()
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
