//! Why a command was not done, with its exit code.

use super::words::clean;

/// Why a command was not done.
#[derive(Debug, thiserror::Error)]
#[error("{said}")]
pub struct Failure {
    /// The exit code, as `--help` explains it.
    pub exit: u8,
    said: String,
}

impl Failure {
    pub(super) const REFUSED: u8 = 1;
    /// The next three are those of `sysexits.h`.
    pub(super) const USAGE: u8 = 64;
    pub(super) const UNAVAILABLE: u8 = 69;
    pub(super) const NO_PERMISSION: u8 = 77;
    /// As a shell says it of a program that Ctrl-C has ended.
    pub(super) const INTERRUPTED: u8 = 130;

    pub(super) fn new(exit: u8, said: impl Into<String>) -> Self {
        Self { exit, said: clean(&said.into()) }
    }
}
