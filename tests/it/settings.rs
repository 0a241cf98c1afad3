//! The variables: what the documents say is what the code reads, and a wrong one stops the start.

use std::process::{Command, Output};

use qrcast::config::SETTINGS;

fn start(variables: &[(&str, &str)]) -> Output {
    let folder = tempfile::tempdir().unwrap();
    let data_dir = ("DATA_DIR", folder.path().to_str().unwrap());
    let variables = [data_dir].into_iter().chain(variables.iter().copied());
    Command::new(env!("CARGO_BIN_EXE_qrcast")).env_clear().envs(variables).output().unwrap()
}

#[test]
fn the_page_and_the_example_list_every_variable() {
    let page = std::fs::read_to_string("docs/configuration.md").unwrap();
    let example = std::fs::read_to_string(".env.example").unwrap();
    for setting in SETTINGS {
        let default =
            if setting.default.is_empty() { String::new() } else { format!("`{}`", setting.default) };
        let row = format!("| `{}` | {default} | {} |", setting.name, setting.meaning);
        assert!(page.contains(&row), "docs/configuration.md lacks: {row}");
        assert!(
            example.contains(&format!("# {}\n#{}={}\n", setting.meaning, setting.name, setting.default)),
            "{}",
            setting.name
        );
    }
    let names = page.lines().filter_map(|line| line.strip_prefix("| `")?.split_once("` | ").map(|row| row.0));
    let is_variable = |name: &&str| name.bytes().all(|b| b.is_ascii_uppercase() || b == b'_');
    assert_eq!(names.filter(is_variable).count(), SETTINGS.len());
    assert_eq!(
        example.lines().filter(|line| line.starts_with('#') && !line.starts_with("# ")).count(),
        SETTINGS.len()
    );
}

#[test]
fn wrong_variables_stop_the_start_and_are_all_named() {
    let output = start(&[("PORT", "99999"), ("HOST", "example")]);
    assert_eq!(output.status.code(), Some(64));
    let said = String::from_utf8(output.stderr).unwrap();
    assert!(said.contains("PORT: \"99999\"") && said.contains("HOST: \"example\""), "{said}");
}

#[test]
fn a_port_in_use_is_one_clear_line() {
    let taken = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let port = taken.local_addr().unwrap().port().to_string();
    let output = start(&[("PORT", &port), ("RUST_LOG", "off")]);
    assert_eq!(output.status.code(), Some(1));
    let said = String::from_utf8(output.stderr).unwrap();
    assert!(said.contains(&format!("cannot listen on 127.0.0.1:{port}")), "{said}");
    assert_eq!(said.lines().count(), 1, "{said}");
}

#[test]
fn a_metrics_port_in_use_is_one_clear_line() {
    let taken = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let port = taken.local_addr().unwrap().port().to_string();
    let output = start(&[("PORT", "0"), ("METRICS_PORT", &port), ("RUST_LOG", "off")]);
    assert_eq!(output.status.code(), Some(1));
    let said = String::from_utf8(output.stderr).unwrap();
    assert!(said.contains(&format!("cannot listen on 127.0.0.1:{port} for METRICS_PORT")), "{said}");
    assert_eq!(said.lines().count(), 1, "{said}");
}

#[test]
fn a_build_with_the_simulator_says_so_in_its_first_line() {
    let taken = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let port = taken.local_addr().unwrap().port().to_string();
    let output = start(&[("PORT", &port)]);
    let said = String::from_utf8(output.stderr).unwrap();
    assert!(said.lines().next().unwrap().contains("certificate is NOT checked"), "{said}");
}
