//! What can be said on the command line; what completes it and its manual come of the same. `main` reads it.

use std::path::PathBuf;

use clap::{CommandFactory as _, Parser, Subcommand};
use clap_complete::Shell;
use qrcast::client;
use qrcast::config::{SETTINGS, Setting};

/// Links WhatsApp accounts and pushes each link's life to browsers. Without a command it serves.
#[derive(Parser)]
#[command(version, after_help = variables())]
pub(crate) struct Arguments {
    #[command(subcommand)]
    pub(crate) command: Option<Command>,
}

#[derive(Subcommand)]
pub(crate) enum Command {
    /// Says whether the environment is right, with the folder or the Redis that it names, and exits.
    CheckConfig,
    /// Asks the server that runs here with this environment whether it is healthy. Exits with 0 unless it is unhealthy
    /// or does not answer.
    Health,
    /// Moves every session and linked device from DATA_DIR to REDIS_URL, and exits. No server may run on DATA_DIR.
    Migrate,
    /// Copies the database of DATA_DIR to a file that is not there yet, also while a server runs on it, and says what is in
    /// the copy.
    Backup {
        /// The copy. Whoever has it has the linked accounts.
        file: PathBuf,
    },
    /// Lists the stored records that cannot be read, and exits with 1 where there are any.
    CheckStore {
        /// Moves the damaged records aside, where no server reads them. Nothing of them is lost. Stop the server on
        /// DATA_DIR, or all replicas on Redis, first.
        #[arg(long)]
        quarantine: bool,
        /// Accepts the database as it is, or that it is missing, even if a note beside it says that there was a newer
        /// one.
        #[arg(long)]
        accept: bool,
        /// Says it as one JSON object.
        #[arg(long)]
        json: bool,
    },
    /// Checks whether this machine can run a server with this environment, and says what to mend. Exits with the number
    /// of failures.
    Doctor {
        /// Says it as one JSON object.
        #[arg(long)]
        json: bool,
    },
    #[command(flatten)]
    Client(client::Command),
    /// Writes what completes this command line in a shell.
    Completions {
        /// Which shell.
        shell: Shell,
    },
    /// Writes the manual page, or that of one command: `qrcast man link | man -l -`.
    Man {
        /// Which command.
        command: Option<String>,
    },
}

/// The script that completes the command line in this shell.
pub(crate) fn completions(shell: Shell) -> Vec<u8> {
    let mut script = Vec::new();
    clap_complete::generate(shell, &mut Arguments::command(), "qrcast", &mut script);
    script
}

/// The manual page of the program, or of one of its commands; `None` where there is no such command.
pub(crate) fn manual(command: Option<&str>) -> std::io::Result<Option<Vec<u8>>> {
    // There is no page about help.
    let mut all = Arguments::command().disable_help_subcommand(true);
    // Names each command as it is called: `qrcast link`.
    all.build();
    let Some(described) = command.map_or(Some(&all), |name| all.find_subcommand(name)) else {
        return Ok(None);
    };
    let mut page = Vec::new();
    let source = concat!("qrcast ", env!("CARGO_PKG_VERSION"));
    clap_mangen::Man::new(described.clone()).source(source).render(&mut page)?;
    Ok(Some(page))
}

/// The table of variables, for `--help`.
fn variables() -> String {
    let line = |setting: &Setting| {
        let default =
            if setting.default.is_empty() { String::new() } else { format!(" [{}]", setting.default) };
        format!("  {}{default}\n      {}\n", setting.name, setting.meaning.replace('`', ""))
    };
    format!("Variables [and their defaults]:\n{}", SETTINGS.iter().map(line).collect::<String>())
}
