//! A machine's clock that is off, for one server: the binary is the real one, the C library's clock is not (`clock.c`).

use std::os::unix::fs::FileExt as _;

use tempfile::TempDir;

use super::server::Builder;

/// The clock of one machine. Dropped after its servers.
pub(crate) struct Clock {
    folder: TempDir,
    file: std::fs::File,
}

impl Clock {
    /// Ahead by so many seconds. `None` where programs cannot be given another clock.
    pub(crate) fn ahead(seconds: i64) -> Option<Self> {
        if !cfg!(target_os = "linux") {
            return None;
        }
        let folder = tempfile::tempdir().unwrap();
        let source = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/it/support/clock.c");
        let built = std::process::Command::new("cc")
            .args(["-shared", "-fPIC", "-O1", "-o"])
            .arg(folder.path().join("clock.so"))
            .arg(source)
            .status();
        assert!(built.unwrap().success(), "a C compiler is needed to build this crate anyway");
        let clock = Self { file: std::fs::File::create(folder.path().join("seconds")).unwrap(), folder };
        clock.is_ahead(seconds);
        Some(clock)
    }

    /// From now on.
    pub(crate) fn is_ahead(&self, seconds: i64) {
        self.file.write_all_at(&seconds.to_ne_bytes(), 0).unwrap();
    }

    /// For a server on this machine.
    pub(crate) fn of(&self, server: Builder) -> Builder {
        let path = |name| self.folder.path().join(name).to_str().unwrap().to_owned();
        server.variable("LD_PRELOAD", &path("clock.so")).variable("CLOCK_OFF", &path("seconds"))
    }
}
