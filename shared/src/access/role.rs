//! Roles of thread members, and their rank.

use crate::text_enum::text_enum;

text_enum! {
    /// A member's role in a thread: `OWNER` for the member that created it, else `MEMBER`.
    // In order of rank, the lowest first: the derived comparison uses it.
    #[derive(utoipa::ToSchema)]
    pub enum Role {
        /// Takes part for a limited time.
        Guest = "GUEST",
        /// Takes part.
        Member = "MEMBER",
        /// May moderate messages.
        Moderator = "MODERATOR",
        /// May manage the thread.
        Admin = "ADMIN",
        /// Created the thread, or received it from its owner.
        Owner = "OWNER",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn roles_compare_by_rank() {
        assert!(Role::ALL.is_sorted());
        assert!(Role::Guest < Role::Member && Role::Admin < Role::Owner);
    }
}
