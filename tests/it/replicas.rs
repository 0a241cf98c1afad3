//! Many replicas on one Redis: one server to everyone who asks or watches, whoever of them dies, pauses or leaves, and
//! whatever becomes of Redis.

mod any_command;
mod any_replica;
mod clocks;
mod cores;
mod dead_owner;
mod handover;
mod pages;
mod paused_owner;
mod prefixes;
mod rebalance;
mod redis_away;
mod redis_failover;
mod redis_lost;
mod redis_start;
mod rolling_restart;
mod version;
