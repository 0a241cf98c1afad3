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
fn check_config_says_whether_the_environment_is_right() {
    assert_eq!(qrcast(&["check-config"], &[("PORT", "4000")]).status.code(), Some(0));
    let output = qrcast(&["check-config"], &[("PORT", "x"), ("API_KEYS", "a:b:c:d")]);
    assert_eq!(output.status.code(), Some(64));
    let said = String::from_utf8(output.stderr).unwrap();
    assert!(said.contains("PORT: \"x\"") && said.contains("API_KEYS: \"***\""), "{said}");
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
