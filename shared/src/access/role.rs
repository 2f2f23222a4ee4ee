//! Roles, and their rank.

use crate::text_enum::text_enum;

text_enum! {
    /// A member's role in a thread: `OWNER` for the one who began it, else `MEMBER`.
    // In the order of their rank, the lowest first: comparisons go by it.
    #[derive(utoipa::ToSchema)]
    pub enum Role {
        /// May take part for a while.
        Guest = "GUEST",
        /// Takes part.
        Member = "MEMBER",
        /// May moderate what is said.
        Moderator = "MODERATOR",
        /// May manage the thread.
        Admin = "ADMIN",
        /// Began the thread, or was given it.
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
