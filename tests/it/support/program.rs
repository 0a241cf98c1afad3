//! Another program, which prints lines: an example, a client in another language.

use std::io::Write as _;
use std::path::Path;
use std::process::{Output, Stdio};

use tokio::io::{AsyncBufReadExt as _, AsyncWriteExt as _, BufReader, Lines};
use tokio::process::{Child, ChildStdout, Command};

use super::{is_installed, signal, soon};

/// It runs until it ends, or this is dropped.
pub(crate) struct Program {
    process: Child,
    lines: Lines<BufReader<ChildStdout>>,
}

/// One of the examples: Cargo builds them with the tests, beside them.
pub(crate) fn example(name: &str) -> Command {
    let tests = std::env::current_exe().unwrap();
    Command::new(tests.ancestors().nth(2).unwrap().join("examples").join(name))
}

/// Runs a program to its end, which must be a good one.
pub(crate) fn runs(folder: &Path, program: &str, arguments: &[&str]) -> Output {
    let output = std::process::Command::new(program).args(arguments).current_dir(folder).output().unwrap();
    let said = [&output.stdout[..], &output.stderr[..]].map(String::from_utf8_lossy).concat();
    assert!(output.status.success(), "{program} {arguments:?}: {said}");
    output
}

/// Whether npm can install something; where it cannot, this says that a test was not run.
pub(crate) fn npm_installs() -> bool {
    if !is_installed("npm") {
        return false;
    }
    let ping = std::process::Command::new("npm").arg("ping").output().unwrap().status.success();
    if !ping {
        std::io::stderr().write_all(b"skipped: npm reaches no registry\n").unwrap();
    }
    ping
}

impl Program {
    pub(crate) fn start(command: &mut Command) -> Self {
        let mut process = command.stdout(Stdio::piped()).kill_on_drop(true).spawn().unwrap();
        let lines = BufReader::new(process.stdout.take().unwrap()).lines();
        Self { process, lines }
    }

    pub(crate) async fn line(&mut self) -> String {
        soon("a line", self.lines.next_line()).await.unwrap().expect("the program ended")
    }

    /// The first line that begins like this.
    pub(crate) async fn until(&mut self, beginning: &str) -> String {
        loop {
            let line = self.line().await;
            if line.starts_with(beginning) {
                return line;
            }
        }
    }

    /// Writes a line to its standard input, which must be a pipe.
    pub(crate) async fn hears(&mut self, line: &str) {
        let input = self.process.stdin.as_mut().unwrap();
        input.write_all(format!("{line}\n").as_bytes()).await.unwrap();
    }

    pub(crate) fn signal(&self, name: &str) {
        signal(self.process.id().unwrap(), name);
    }

    pub(crate) async fn ends(mut self) -> Option<i32> {
        soon("the program to end", self.process.wait()).await.unwrap().code()
    }
}
