//! The command line.

use std::process::{Command, Output};

fn qrcast(arguments: &[&str], variables: &[(&str, &str)]) -> Output {
    let mut command = Command::new(env!("CARGO_BIN_EXE_qrcast"));
    command.args(arguments).env_clear().envs(variables.iter().copied()).output().unwrap()
}

#[test]
fn help_lists_every_variable_with_its_default() {
    let output = qrcast(&["--help"], &[]);
    assert_eq!(output.status.code(), Some(0));
    let said = String::from_utf8(output.stdout).unwrap();
    for setting in qrcast::config::SETTINGS {
        assert!(said.contains(&format!("  {}", setting.name)), "{}", setting.name);
    }
    assert!(said.contains("PORT [3000]") && said.contains("check-config"), "{said}");
}

#[test]
fn version_says_the_packages() {
    let output = qrcast(&["--version"], &[]);
    assert_eq!(String::from_utf8(output.stdout).unwrap(), format!("qrcast {}\n", env!("CARGO_PKG_VERSION")));
}

#[test]
fn a_misspelt_variable_is_named_with_the_setting_that_may_be_meant() {
    let variables = [("MAX_STRAMS", "hunter2"), ("REDIS_URI", "hunter2")];
    let output = qrcast(&["check-config"], &variables);
    assert_eq!(output.status.code(), Some(0));
    let said = String::from_utf8(output.stderr).unwrap();
    for line in [
        "MAX_STRAMS is set and not read; MAX_STREAMS may be meant (a warning)",
        "REDIS_URI is set and not read; REDIS_URL may be meant (a warning)",
    ] {
        assert!(said.contains(line), "{said}");
    }
    // What a start lacks may stand under another name.
    let output = qrcast(&[], &[("HOST", "0.0.0.0"), ("API_KEY", "web:hunter2")]);
    assert_eq!(output.status.code(), Some(64));
    let refused = String::from_utf8(output.stderr).unwrap();
    assert!(refused.contains("API_KEY is set and not read; API_KEYS may be meant"), "{refused}");
    assert!(!said.contains("hunter2") && !refused.contains("hunter2"));
}

#[test]
fn check_config_says_whether_the_environment_is_right() {
    assert_eq!(qrcast(&["check-config"], &[("PORT", "4000")]).status.code(), Some(0));
    let output = qrcast(&["check-config"], &[("PORT", "x"), ("API_KEYS", "a:b:c:d")]);
    assert_eq!(output.status.code(), Some(64));
    let said = String::from_utf8(output.stderr).unwrap();
    assert!(said.contains("PORT: \"x\"") && said.contains("API_KEYS: \"***\""), "{said}");
}

#[test]
fn check_config_looks_at_what_the_variables_name() {
    let said = |variables: &[(&str, &str)]| {
        let output = qrcast(&["check-config"], variables);
        (output.status.code(), String::from_utf8(output.stderr).unwrap())
    };
    let folder = tempfile::tempdir().unwrap();
    let path = |name: &str| folder.path().join(name).to_str().unwrap().to_owned();
    // A folder that is to be made is right, and is not made.
    let (code, words) = said(&[("DATA_DIR", &path("a/b")), ("API_KEYS", "main:secret")]);
    assert_eq!(code, Some(0), "{words}");
    assert!(
        words.contains("API_KEYS: the secret of main has 6 characters") && words.ends_with("is right\n"),
        "{words}"
    );
    assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 0);
    std::fs::write(path("file"), "").unwrap();
    for wrong in [path("file"), path("file/below"), "/proc/none".into()] {
        let (code, words) = said(&[("DATA_DIR", &wrong)]);
        assert_eq!(code, Some(1), "{words}");
        assert!(words.starts_with(&format!("DATA_DIR: cannot write to {wrong}: ")), "{words}");
    }
    let nothing = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    let (code, words) = said(&[("REDIS_URL", &format!("redis://{nothing}"))]);
    assert_eq!(code, Some(1), "{words}");
    assert!(words.starts_with("REDIS_URL: Redis does not answer"), "{words}");
}

#[test]
fn health_without_a_server_says_what_to_do() {
    let port = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port().to_string();
    for (host, asked) in
        [("127.0.0.1", "http://127.0.0.1:"), ("::1", "http://[::1]:"), ("0.0.0.0", "http://127.0.0.1:")]
    {
        let keys = ("API_KEYS", "main:all-of-it-and-more");
        let output = qrcast(&["health"], &[("HOST", host), ("PORT", &port), keys]);
        let said = String::from_utf8(output.stderr).unwrap();
        assert_eq!((output.status.code(), said.lines().count()), (Some(1), 1), "{said}");
        assert!(
            said.contains(&format!("{asked}{port}/health does not answer"))
                && said.contains("start the server"),
            "{said}"
        );
    }
}

#[test]
fn a_folder_that_cannot_be_used_is_said_once_and_first() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("file");
    std::fs::write(&file, "").unwrap();
    for path in [file.clone(), file.join("below"), "/proc/none".into()] {
        let output = qrcast(
            &[],
            &[
                ("DATA_DIR", path.to_str().unwrap()),
                ("PORT", "0"),
                ("RUST_LOG", "qrcast::server=info,qrcast::http=info"),
            ],
        );
        let said = String::from_utf8(output.stderr).unwrap();
        assert_eq!((output.status.code(), said.lines().count()), (Some(1), 1), "{said}");
        assert!(said.starts_with(&format!("qrcast: cannot write to {}: ", path.display())), "{said}");
        let cause = said.trim_end().rsplit(": ").next().unwrap();
        assert_eq!(said.matches(cause).count(), 1, "{said}");
    }
}

#[test]
fn an_unknown_argument_is_refused() {
    assert_eq!(qrcast(&["serve"], &[]).status.code(), Some(2));
}

#[tokio::test]
async fn health_asks_the_server_that_runs_here() {
    let whatsapp = crate::support::whatsapp().await;
    // As the image runs it: on every address, with keys.
    let mut server = crate::support::Server::builder(&whatsapp.url())
        .variable("HOST", "::")
        .variable("API_KEYS", "main:all-of-it")
        .start()
        .await;
    let port = server.base.rsplit(':').next().unwrap().to_owned();
    let ask = || qrcast(&["health"], &[("HOST", "::"), ("API_KEYS", "main:all-of-it"), ("PORT", &port)]);
    let output = ask();
    let said = String::from_utf8(output.stderr).unwrap();
    assert_eq!(output.status.code(), Some(0), "{said}");
    assert!(said.contains("\"status\":\"healthy\""), "{said}");
    server.terminate().await;
    assert_eq!(ask().status.code(), Some(1));
}
