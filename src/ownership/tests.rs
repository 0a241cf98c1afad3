//! What many registries do at once, in paused time: a deployment in memory, a WhatsApp that says what it is told.

mod harness;
mod races;
