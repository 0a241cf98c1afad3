//! What an error of Redis means to a caller.
//!
//! Some errors of Redis quote the arguments of the command, and ours are keys of devices. So only the code of an error
//! is passed on, and its text only if it is about a script.

use redis::{ErrorKind, RedisError, ServerErrorKind};

use crate::storage::StorageError;

/// The codes of a copy, of a copy that has lost its primary, of a server that still loads its file, of a cluster that
/// lacks slots, and of a primary without enough copies.
const WRONG_SERVER: [&str; 5] = ["READONLY", "MASTERDOWN", "LOADING", "CLUSTERDOWN", "NOREPLICAS"];

/// The connection broke, or nothing came back in time.
pub(super) fn is_unanswered(error: &RedisError) -> bool {
    matches!(error.kind(), ErrorKind::Io | ErrorKind::ClusterConnectionNotFound)
}

/// The code of an error by which a server says that it takes no writes. It may say so as long as the connection lives,
/// while another server has taken over its name.
pub(super) fn wrong_server(error: &RedisError) -> Option<&'static str> {
    named(code(error))
}

/// The same for the text of an error that a script caught.
pub(super) fn wrong_server_in(words: &str) -> Option<&'static str> {
    named(inner_code(words)?)
}

fn named(code: &str) -> Option<&'static str> {
    WRONG_SERVER.into_iter().find(|wrong| *wrong == code)
}

/// A refusal as an error of the storage.
pub(super) fn explain(error: &RedisError) -> StorageError {
    match error.kind() {
        ErrorKind::Io | ErrorKind::ClusterConnectionNotFound => return StorageError::Away,
        ErrorKind::Server(
            ServerErrorKind::BusyLoading
            | ServerErrorKind::TryAgain
            | ServerErrorKind::ClusterDown
            | ServerErrorKind::MasterDown
            | ServerErrorKind::ReadOnly
            | ServerErrorKind::Moved
            | ServerErrorKind::Ask,
        ) => return StorageError::Away,
        _ => {}
    }
    let said = error.detail().unwrap_or_default();
    match code(error) {
        "OOM" | "MISCONF" => StorageError::Full,
        "BUSY" => StorageError::Away,
        // The key has another type.
        "WRONGTYPE" => StorageError::Corrupt,
        wrong if named(wrong).is_some() => StorageError::Away,
        code => {
            let about_script = said.contains("script:") && !said.contains("args beginning");
            let words = if about_script { said } else { "" };
            StorageError::failed(format!("Redis: {} {code} {words}", error.category()))
        }
    }
}

/// An error inside a script, or of one command among several, may come as `ERR` with its own code in the text.
fn code(error: &RedisError) -> &str {
    error.detail().and_then(inner_code).or_else(|| error.code()).unwrap_or_default()
}

/// Redis 7 begins with the code, Redis 6 has it after a dash behind the place in the script.
fn inner_code(said: &str) -> Option<&str> {
    if said.contains("args beginning") {
        return None;
    }
    let mut words = said.split(' ').enumerate();
    words.find_map(|(at, word)| {
        let code = if at == 0 { word.strip_prefix('-').unwrap_or(word) } else { word.strip_prefix('-')? };
        let known = ["OOM", "MISCONF", "BUSY", "WRONGTYPE"].contains(&code) || WRONG_SERVER.contains(&code);
        known.then_some(code)
    })
}

/// Whether Redis refuses the user or the password, so that trying again does not help.
pub(super) fn is_refusal(error: &RedisError) -> bool {
    matches!(error.kind(), ErrorKind::AuthenticationFailed | ErrorKind::Server(ServerErrorKind::NoPerm))
        || matches!(error.code(), Some("WRONGPASS" | "NOAUTH"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn error(line: &str) -> RedisError {
        let parsed = redis::parse_redis_value(format!("-{line}\r\n").as_bytes()).unwrap();
        parsed.extract_error().unwrap_err()
    }

    #[test]
    fn a_server_that_is_not_the_one_to_write_to_is_known_by_its_code_wherever_that_stands() {
        for (line, code) in [
            ("READONLY You can't write against a read only replica.", "READONLY"),
            (
                "READONLY You can't write against a read only replica. script: 4a, on @user_script:1.",
                "READONLY",
            ),
            (
                "ERR Error running script (call to f_4a): @user_script:3: @user_script: 3: -READONLY You can't write \
                 against a read only replica.",
                "READONLY",
            ),
            ("ERR READONLY You can't write against a read only replica.", "READONLY"),
            ("EXECABORT READONLY You can't write against a read only replica.", "READONLY"),
            (
                "MASTERDOWN Link with MASTER is down and replica-serve-stale-data is set to 'no'.",
                "MASTERDOWN",
            ),
            ("LOADING Redis is loading the dataset in memory", "LOADING"),
            ("CLUSTERDOWN The cluster is down", "CLUSTERDOWN"),
            ("NOREPLICAS Not enough good replicas to write. script: 4a, on @user_script:1.", "NOREPLICAS"),
        ] {
            let error = error(line);
            assert_eq!(wrong_server(&error), Some(code), "{line}");
            assert!(matches!(explain(&error), StorageError::Away), "{line}");
        }
    }

    #[test]
    fn what_is_about_something_else_is_not_about_the_server() {
        for line in [
            "OOM command not allowed when used memory > 'maxmemory'.",
            "MISCONF Redis is configured to save RDB snapshots, but it is currently unable to persist to disk.",
            "BUSY Redis is busy running a script.",
            "ERR unknown command 'X', with args beginning with: 'a' '-READONLY' ",
            "ERR this word, READONLY, is said by somebody else",
            "NOSCRIPT No matching script.",
            "WRONGTYPE Operation against a key holding the wrong kind of value",
        ] {
            assert_eq!(wrong_server(&error(line)), None, "{line}");
        }
        assert!(matches!(explain(&error("ERR OOM command not allowed")), StorageError::Full));
        let kind = "ERR Error running script (call to f_4a): @user_script:3: @user_script: 3: -WRONGTYPE Operation \
            against a key holding the wrong kind of value";
        assert!(matches!(explain(&error(kind)), StorageError::Corrupt));
    }
}
