//! Who else there is: which replica runs which session, and for how long.

pub(crate) mod contact;
pub(crate) mod lease;
