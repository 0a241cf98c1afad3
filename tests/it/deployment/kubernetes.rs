//! The manifests in deploy/kubernetes: valid for Kubernetes, and right for this server.

use std::process::Command;

use super::{default_of, numbers_after, read};
use crate::support::is_installed;

const DEPLOYMENT: &str = "deploy/kubernetes/deployment.yaml";
const CONFIGURATION: &str = "deploy/kubernetes/configuration.yaml";

/// `--strict` refuses a field that Kubernetes does not know, such as a misspelt one.
#[test]
fn every_manifest_is_valid() {
    const PROGRAM: &str = "kubernetes-validate";
    if !is_installed(PROGRAM) {
        return;
    }
    let manifests = super::files_in("deploy/kubernetes");
    assert!(manifests.len() >= 4, "{manifests:?}");
    // An older one whose clusters are still about, and the newest that the program knows.
    for version in [&["-k", "1.31"][..], &[]] {
        let check = Command::new(PROGRAM).arg("--strict").args(version).args(&manifests).output().unwrap();
        assert!(check.status.success(), "{}", String::from_utf8_lossy(&check.stderr));
    }
}

#[test]
fn a_pod_has_the_time_to_stop() {
    let own = |name: &str| numbers_after(&read(CONFIGURATION), &format!("\n  {name}: \"")).first().copied();
    let delay = own("READY_DELAY_MS").unwrap_or(default_of("READY_DELAY_MS")) / 1000;
    let drain = own("DRAIN_SECONDS").unwrap_or(default_of("DRAIN_SECONDS"));
    let waits = numbers_after(&read(DEPLOYMENT), "terminationGracePeriodSeconds: ");
    assert!(waits.len() == 1 && waits[0] > delay + drain + 5, "{waits:?}");
    // Longer than it takes to notice that the pod is not ready.
    let text = read(DEPLOYMENT);
    let readiness = text.split("readinessProbe:").nth(1).unwrap().split("livenessProbe:").next().unwrap();
    let of = |name: &str| numbers_after(readiness, name)[0];
    assert!(of("periodSeconds: ") * of("failureThreshold: ") <= delay, "{readiness}");
}

#[test]
fn a_pod_may_do_no_more_than_the_image_needs() {
    let text = read(DEPLOYMENT);
    for line in [
        "runAsNonRoot: true",
        "runAsUser: 65532",
        "readOnlyRootFilesystem: true",
        "allowPrivilegeEscalation: false",
        "drop: [ALL]",
        "type: RuntimeDefault",
        "automountServiceAccountToken: false",
        "enableServiceLinks: false",
    ] {
        assert!(text.lines().any(|found| found.trim() == line), "{DEPLOYMENT} lacks {line}");
    }
    let user =
        super::instructions().into_iter().find_map(|line| Some(line.strip_prefix("USER ")?.to_owned()));
    assert_eq!(user.as_deref(), Some("65532:65532"), "the image's user is another");
}

#[test]
fn probes_and_ports_are_the_servers() {
    let text = read(DEPLOYMENT);
    for (probe, path) in [("readinessProbe:", "path: /readyz"), ("livenessProbe:", "path: /livez")] {
        let probe = text.split(probe).nth(1).unwrap();
        assert_eq!(probe.lines().map(str::trim).find(|line| line.starts_with("path: ")), Some(path));
    }
    assert_eq!(numbers_after(&text, "containerPort: "), [default_of("PORT"), 9091]);
    assert!(read(CONFIGURATION).contains("\n  METRICS_PORT: \"9091\"\n"));
    assert!(text.contains("prometheus.io/port: \"9091\""));
    // All of them mean the same pods.
    for file in super::files_in("deploy/kubernetes") {
        assert!(read(&file).contains("app.kubernetes.io/name: qrcast\n"), "{file}");
    }
}

#[test]
fn secrets_are_referred_to_and_stand_in_no_manifest() {
    let secret = ["API_KEYS", "TOKEN_SECRET", "REDIS_URL"];
    let text = read(DEPLOYMENT);
    let referred: Vec<_> =
        text.split("- name: ").skip(1).filter(|entry| entry.contains("secretKeyRef:")).collect();
    assert_eq!(referred.len(), secret.len());
    for (entry, name) in referred.iter().zip(secret) {
        assert!(entry.starts_with(name) && entry.contains(&format!("key: {name}\n")), "{entry}");
    }
    for file in super::files_in("deploy/kubernetes") {
        assert!(!read(&file).contains("kind: Secret"), "{file}");
    }
    // What the page's command makes is what the manifest wants.
    let page = read("docs/deploy.md");
    let command = page.split("create secret generic qrcast").nth(1).unwrap().split("```").next().unwrap();
    for name in secret {
        assert!(command.contains(&format!("--from-literal={name}=")), "{name}: {command}");
    }
}

/// The variables that the manifests set, for the comparison with the settings.
pub(super) fn variables() -> Vec<(&'static str, String)> {
    let configuration = read(CONFIGURATION);
    let data = configuration.split("\ndata:\n").nth(1).unwrap();
    let plain = data.lines().filter(|line| !line.trim_start().starts_with('#'));
    let mut set: Vec<_> =
        plain.map(|line| (CONFIGURATION, line.split(':').next().unwrap().trim().to_owned())).collect();
    let deployment = read(DEPLOYMENT);
    let names = deployment.lines().filter_map(|line| line.trim().strip_prefix("key: "));
    set.extend(names.map(|name| (DEPLOYMENT, name.to_owned())));
    assert!(set.len() > 5 && set.iter().all(|(_, name)| !name.is_empty()), "{set:?}");
    set
}
