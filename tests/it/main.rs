//! Behaviour, over the real protocols: the real binary, the real WhatsApp client, a simulated WhatsApp.
//!
//! One binary, one behaviour per file. Tests wait for conditions, never for a fixed time.

#![expect(clippy::unwrap_used, reason = "a test that cannot go on says so by ending")]
#![expect(clippy::disallowed_methods, reason = "a test's tasks end with its runtime")]

mod support;

mod admin;
mod backup;
mod bad_days;
mod bad_requests;
mod bounds;
mod clients;
mod command_line;
mod commands;
mod creation;
mod damaged;
mod deployment;
mod docs_site;
mod doctor;
mod documents;
mod doors;
mod drain;
mod embedding;
mod ends;
mod event_source;
mod examples;
mod feed;
mod firefox;
mod framing;
mod health;
mod help;
mod hostile;
mod house;
mod link;
mod logs;
mod messages;
mod metrics;
mod migrate;
mod openapi;
mod outage;
mod package;
mod page;
mod pairing_code;
mod passkey;
mod pictures;
mod platform;
mod presence;
mod proxies;
mod proxy;
mod qrcast_js;
mod releases;
mod replicas;
mod resume;
mod settings;
mod static_files;
mod store_away;
mod store_outage;
mod survival;
#[cfg(feature = "otlp")]
mod traces;
mod transports;
mod tries;
mod upgrade;
mod used_accounts;
mod version;
mod webhooks;
