//! Releases without a compiler: `install.sh` against a host on loopback, and the workflows that make a release.
//!
//! No release exists and no workflow was run: docs/releases.md says so.

use std::collections::{BTreeMap, BTreeSet};
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};
use std::sync::Arc;

use axum::Router;
use axum::http::{StatusCode, Uri};
use axum::response::IntoResponse as _;
use sha2::{Digest as _, Sha256};
use tempfile::TempDir;

use crate::support::is_installed;

const WORKFLOWS: [&str; 2] = [".github/workflows/ci.yml", ".github/workflows/release.yml"];

/// A host with releases of a program that only says its version, and a machine to install on.
struct World {
    url: String,
    machine: TempDir,
}

impl World {
    /// `spoil` may change what the host has, by its path.
    async fn new(spoil: impl FnOnce(&mut BTreeMap<String, Vec<u8>>)) -> Self {
        let machine = tempfile::tempdir().unwrap();
        let mut files = BTreeMap::new();
        for cpu in ["x86_64", "aarch64"] {
            for (folder, version) in [("latest/download", "2.0.0"), ("download/v1.2.3", "1.2.3")] {
                let name = format!("qrcast-{cpu}-unknown-linux-musl.tar.gz");
                let archive =
                    archive(machine.path(), &format!("#!/bin/sh\necho qrcast {version} for {cpu}\n"));
                let sum: String = Sha256::digest(&archive).iter().map(|byte| format!("{byte:02x}")).collect();
                files.insert(format!("/{folder}/{name}.sha256"), format!("{sum}  {name}\n").into_bytes());
                files.insert(format!("/{folder}/{name}"), archive);
            }
        }
        spoil(&mut files);
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap());
        let files = Arc::new(files);
        let app = Router::new().fallback(async move |path: Uri| match files.get(path.path()) {
            Some(file) => file.clone().into_response(),
            None => StatusCode::NOT_FOUND.into_response(),
        });
        tokio::spawn(async move { axum::serve(listener, app).await });
        Self { url, machine }
    }

    fn bin(&self) -> PathBuf {
        self.machine.path().join("bin")
    }

    /// The machine says of itself what `uname` is told to.
    async fn install(&self, kernel: &str, cpu: &str, variables: &[(&str, &str)]) -> Output {
        let fake = self.machine.path().join("fake");
        std::fs::create_dir_all(&fake).unwrap();
        let uname = format!("#!/bin/sh\ncase $1 in -s) echo {kernel} ;; -m) echo {cpu} ;; esac\n");
        program(&fake.join("uname"), &uname);
        let path = format!("{}:{}", fake.display(), std::env::var_os("PATH").unwrap().to_str().unwrap());
        let mut command = tokio::process::Command::new("sh");
        command
            .arg("install.sh")
            .env("PATH", path)
            .env("QRCAST_RELEASES", &self.url)
            .env("QRCAST_BIN", self.bin());
        command.env("TMPDIR", self.machine.path()).envs(variables.iter().copied()).output().await.unwrap()
    }

    /// What is installed says.
    fn installed(&self) -> Option<String> {
        let said = Command::new(self.bin().join("qrcast")).output().ok()?;
        Some(String::from_utf8(said.stdout).unwrap().trim().to_owned())
    }

    /// Nothing half done is left, neither there nor in the folder for what is temporary.
    fn is_clean(&self) -> bool {
        let left = |folder: &Path| -> BTreeSet<_> {
            let entries = std::fs::read_dir(folder).into_iter().flatten();
            entries.map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect()
        };
        left(&self.bin()).iter().all(|name| name == "qrcast")
            && left(self.machine.path()).iter().all(|name| ["bin", "fake", "packed"].contains(&name.as_str()))
    }
}

fn program(path: &Path, text: &str) {
    std::fs::write(path, text).unwrap();
    std::fs::set_permissions(path, std::fs::Permissions::from_mode(0o755)).unwrap();
}

/// As release.yml packs it.
fn archive(folder: &Path, text: &str) -> Vec<u8> {
    let folder = folder.join("packed");
    std::fs::create_dir_all(&folder).unwrap();
    program(&folder.join("qrcast"), text);
    let packed = Command::new("tar").args(["-cz", "-C"]).arg(&folder).arg("qrcast").output().unwrap();
    assert!(packed.status.success());
    packed.stdout
}

fn said(output: &Output) -> String {
    String::from_utf8([&output.stdout[..], &output.stderr[..]].concat()).unwrap()
}

#[tokio::test]
async fn it_installs_the_binary_of_this_machine() {
    for (cpu, expected) in
        [("x86_64", "x86_64"), ("amd64", "x86_64"), ("aarch64", "aarch64"), ("arm64", "aarch64")]
    {
        let world = World::new(|_| ()).await;
        let output = world.install("Linux", cpu, &[]).await;
        assert!(output.status.success(), "{}", said(&output));
        let version = format!("qrcast 2.0.0 for {expected}");
        assert_eq!(world.installed().as_deref(), Some(&*version));
        assert!(said(&output).contains(&format!("installed {version} as ")), "{}", said(&output));
        assert!(said(&output).contains("is not in PATH"), "{}", said(&output));
        assert!(world.is_clean());
    }
}

#[tokio::test]
async fn a_version_that_is_named_replaces_the_one_that_is_there() {
    let world = World::new(|_| ()).await;
    assert!(world.install("Linux", "x86_64", &[]).await.status.success());
    for version in ["1.2.3", "v1.2.3"] {
        assert!(world.install("Linux", "x86_64", &[("QRCAST_VERSION", version)]).await.status.success());
        assert_eq!(world.installed().as_deref(), Some("qrcast 1.2.3 for x86_64"));
    }
    assert!(world.is_clean());
}

#[tokio::test]
async fn what_is_not_whole_and_right_is_not_installed() {
    const FILE: &str = "/latest/download/qrcast-x86_64-unknown-linux-musl.tar.gz";
    type Spoil = fn(&mut BTreeMap<String, Vec<u8>>);
    let sum = |files: &mut BTreeMap<String, Vec<u8>>| {
        let sum: String = Sha256::digest(&files[FILE]).iter().map(|byte| format!("{byte:02x}")).collect();
        let line = format!("{sum}  {}\n", FILE.rsplit('/').next().unwrap());
        files.insert(format!("{FILE}.sha256"), line.into_bytes());
    };
    let resigned = World::new(|files| {
        // A program that this machine cannot run.
        files.insert(FILE.into(), archive(tempfile::tempdir().unwrap().path(), "#!/nonsense\n"));
        sum(files);
    })
    .await;
    let cases: [(Spoil, &str); 5] = [
        (|files| drop(files.remove(FILE)), "cannot download"),
        (|files| drop(files.remove(&format!("{FILE}.sha256"))), "cannot download"),
        (|files| files.get_mut(FILE).unwrap().truncate(100), "not what its checksum says"),
        (|files| files.get_mut(FILE).unwrap().push(0), "not what its checksum says"),
        (|files| drop(files.insert(format!("{FILE}.sha256"), b"<html>".to_vec())), "is no checksum of"),
    ];
    let mut worlds = vec![(resigned, "does not run on this machine")];
    for (spoil, why) in cases {
        worlds.push((World::new(spoil).await, why));
    }
    for (world, why) in worlds {
        std::fs::create_dir(world.bin()).unwrap();
        program(&world.bin().join("qrcast"), "#!/bin/sh\necho the old one\n");
        let output = world.install("Linux", "x86_64", &[]).await;
        assert_eq!(output.status.code(), Some(1), "{}", said(&output));
        assert!(said(&output).contains(why), "{why}: {}", said(&output));
        assert_eq!(world.installed().as_deref(), Some("the old one"), "{why}");
        assert!(world.is_clean(), "{why}");
    }
}

#[tokio::test]
async fn where_there_is_no_binary_it_says_what_to_do() {
    let world = World::new(|_| ()).await;
    for (kernel, cpu) in [("Darwin", "arm64"), ("Linux", "riscv64")] {
        let output = world.install(kernel, cpu, &[]).await;
        assert_eq!(output.status.code(), Some(1));
        assert!(said(&output).contains("build it: cargo build --profile dist"), "{}", said(&output));
    }
    // The copy in the repository belongs to no release.
    let output = world.install("Linux", "x86_64", &[("QRCAST_RELEASES", "")]).await;
    assert!(said(&output).contains("QRCAST_RELEASES is not set"), "{}", said(&output));
    // A folder that cannot be written to.
    let output = world.install("Linux", "x86_64", &[("QRCAST_BIN", "/proc/nowhere")]).await;
    assert!(said(&output).contains("set QRCAST_BIN"), "{}", said(&output));
    assert_eq!((world.installed(), world.is_clean()), (None, true));
}

#[test]
fn workflows_and_compose_have_the_form_that_their_readers_want() {
    const PROGRAM: &str = "check-jsonschema";
    if !is_installed(PROGRAM) {
        return;
    }
    // The schemas are those that came with the program.
    for (schema, files) in
        [("vendor.github-workflows", &WORKFLOWS[..]), ("vendor.compose-spec", &["deploy/compose.yaml"])]
    {
        let check = Command::new(PROGRAM).args(["--builtin-schema", schema]).args(files).output().unwrap();
        assert!(check.status.success(), "{}", said(&check));
    }
}

#[test]
fn no_workflow_trusts_more_than_it_must() {
    const PROGRAM: &str = "zizmor";
    for file in WORKFLOWS {
        let text = std::fs::read_to_string(file).unwrap();
        assert!(text.contains("\npermissions: {}\n"), "{file}: nothing, unless a job says otherwise");
        for action in
            text.lines().filter_map(|line| line.trim().trim_start_matches("- ").strip_prefix("uses: "))
        {
            let pin = action.split_once('@').unwrap().1.split(' ').next().unwrap();
            let is_pinned = pin.len() == 40 && pin.bytes().all(|byte| byte.is_ascii_hexdigit());
            assert!(is_pinned && action.contains(" # v"), "{file}: {action}");
        }
    }
    if !is_installed(PROGRAM) {
        return;
    }
    let check = Command::new(PROGRAM).args(["--offline", "--no-progress"]).args(WORKFLOWS).output().unwrap();
    assert!(check.status.success(), "{}", said(&check));
}

#[test]
fn what_is_released_is_what_install_sh_asks_for() {
    let (script, workflow) =
        (std::fs::read_to_string("install.sh").unwrap(), std::fs::read_to_string(WORKFLOWS[1]).unwrap());
    for cpu in ["x86_64", "aarch64"] {
        assert!(script.contains(&format!("echo {cpu}-unknown-linux-musl ;;")));
        assert!(workflow.contains(&format!("- cpu: {cpu}\n")));
    }
    assert!(workflow.contains("TARGET: ${{ matrix.cpu }}-unknown-linux-musl"));
    for file in ["qrcast-$TARGET.tar.gz", "qrcast-$TARGET.tar.gz.sha256"] {
        assert!(
            workflow.contains(&format!("\"{file}\"\n")) || workflow.contains(&format!("dist/{file}\"")),
            "{file}"
        );
    }
    // The line that the workflow fills in is there, once.
    assert_eq!(script.lines().filter(|line| *line == "releases=\"\"").count(), 1);
    assert!(workflow.contains("s|^releases=\\\"\\\"$|"));
    // Built as the image and the instructions have it, by the same Rust.
    assert!(
        workflow
            .contains("cargo build --profile dist --locked --package qrcast --features otlp --bin qrcast")
    );
    let dockerfile = std::fs::read_to_string("Dockerfile").unwrap();
    let rust = dockerfile.split("FROM rust:").nth(1).unwrap().split('-').next().unwrap();
    assert!(workflow.contains(&format!("rustup toolchain install {rust} ")), "{rust}");
    assert!(std::fs::read_to_string(WORKFLOWS[0]).unwrap().contains(&format!("image: rust:{rust}-trixie")));
}
