//! A proxy in front of a server: a real nginx, Apache, Caddy or HAProxy, run by its file of `deploy/proxies`. Of the file only
//! names, addresses, ports and folders are replaced, and what a test says that it changes.

use std::fmt::Write as _;
use std::path::Path;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use tempfile::TempDir;
use tokio::net::TcpStream;
use tokio::process::{Child, Command};
use tokio_rustls::rustls::pki_types::CertificateDer;

use crate::support::proxy::free_port;
use crate::support::{is_installed, soon};

#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) enum Kind {
    Nginx,
    Apache,
    Caddy,
    Haproxy,
}

impl Kind {
    pub(super) const ALL: [Kind; 4] = [Kind::Nginx, Kind::Apache, Kind::Caddy, Kind::Haproxy];

    /// Where Debian installs it.
    fn program(self) -> &'static str {
        match self {
            Kind::Nginx => "/usr/sbin/nginx",
            Kind::Apache => "/usr/sbin/apache2",
            Kind::Caddy => "/usr/bin/caddy",
            Kind::Haproxy => "/usr/sbin/haproxy",
        }
    }

    /// Whether this machine has it; where it does not, this says that a test was not run.
    pub(super) fn is_there(self) -> bool {
        is_installed(self.program())
    }

    fn file(self, in_a_folder: bool) -> &'static str {
        match (self, in_a_folder) {
            (Kind::Nginx, false) => "nginx.conf",
            (Kind::Nginx, true) => "nginx-path.conf",
            (Kind::Apache, false) => "apache.conf",
            (Kind::Apache, true) => "apache-path.conf",
            (Kind::Caddy, false) => "Caddyfile",
            (Kind::Caddy, true) => "Caddyfile-path",
            (Kind::Haproxy, false) => "haproxy.cfg",
            (Kind::Haproxy, true) => "haproxy-path.cfg",
        }
    }
}

/// A proxy, told what to be.
pub(super) struct Plan {
    kind: Kind,
    in_a_folder: bool,
    port: String,
    changes: Vec<(&'static str, String)>,
    around: String,
}

impl Plan {
    pub(super) fn of(kind: Kind) -> Self {
        Self { kind, in_a_folder: false, port: free_port(), changes: vec![], around: String::new() }
    }

    /// With the server as the folder `/wa` of a site.
    pub(super) fn in_a_folder(mut self) -> Self {
        self.in_a_folder = true;
        self
    }

    /// With this in place of what the file has there.
    pub(super) fn change(mut self, from: &'static str, to: &str) -> Self {
        self.changes.push((from, to.to_owned()));
        self
    }

    /// With lines in the program's own configuration, which includes the file.
    pub(super) fn around(mut self, lines: &str) -> Self {
        self.around.push_str(lines);
        self
    }

    /// Where browsers reach it.
    pub(super) fn origin(&self) -> String {
        format!("https://localhost:{}", self.port)
    }

    /// Starts it in front of this server and waits until it listens.
    pub(super) async fn start(self, server: &str) -> Front {
        let folder = tempfile::tempdir().unwrap();
        open_to_all(folder.path());
        let certificate = writes_certificate(folder.path());
        let plain = free_port();
        let text = self.text(folder.path(), server, &plain);
        let main = self.main(folder.path(), &text, &plain);
        let said = std::fs::File::create(folder.path().join("said.log")).unwrap();
        let process = Command::new(self.kind.program())
            .args(arguments(self.kind, folder.path(), &main))
            .env("XDG_DATA_HOME", folder.path())
            .env("XDG_CONFIG_HOME", folder.path())
            .stdout(said.try_clone().unwrap())
            .stderr(said)
            .kill_on_drop(true)
            .spawn()
            .unwrap();
        let plain = format!("http://localhost:{plain}");
        let mut front = Front { base: self.origin(), plain, certificate, folder, process };
        front.listens(&self.port).await;
        front
    }

    /// The file of `deploy/proxies`, with what is different here.
    fn text(&self, folder: &Path, server: &str, plain: &str) -> String {
        let file = Path::new("deploy/proxies").join(self.kind.file(self.in_a_folder));
        let folder = folder.display();
        let name = if self.in_a_folder { "www.example.com" } else { "qrcast.example.com" };
        let port = &self.port;
        let mut swaps = vec![("127.0.0.1:3000", server.strip_prefix("http://").unwrap().to_owned())];
        match self.kind {
            Kind::Nginx => swaps.extend([
                ("listen 443", format!("listen 127.0.0.1:{port}")),
                ("/etc/ssl/qrcast", folder.to_string()),
                ("/var/log/nginx", folder.to_string()),
                (name, "localhost".to_owned()),
            ]),
            Kind::Apache => swaps.extend([
                ("*:443", format!("127.0.0.1:{port}")),
                ("/etc/ssl/qrcast", folder.to_string()),
                ("/var/log/apache2", folder.to_string()),
                ("/etc/apache2", folder.to_string()),
                (name, "localhost".to_owned()),
            ]),
            // Nobody would give us a certificate for this machine.
            Kind::Caddy => swaps.push((
                if self.in_a_folder { "\nwww.example.com {" } else { "\nqrcast.example.com {" },
                format!(
                    "\nhttps://localhost:{port} {{\ntls {folder}/fullchain.pem {folder}/privkey.pem\nbind 127.0.0.1"
                ),
            )),
            Kind::Haproxy => swaps.extend([
                ("bind :443", format!("bind 127.0.0.1:{port}")),
                ("/etc/haproxy/qrcast.pem", format!("{folder}/qrcast.pem")),
            ]),
        }
        // Of the four only Caddy redirects by itself.
        if !self.in_a_folder {
            match self.kind {
                Kind::Nginx => swaps.push(("listen 80", format!("listen 127.0.0.1:{plain}"))),
                Kind::Apache => swaps.push(("*:80", format!("127.0.0.1:{plain}"))),
                Kind::Haproxy => swaps.push(("bind :80", format!("bind 127.0.0.1:{plain}"))),
                Kind::Caddy => {}
            }
        }
        // What a test changes is named as the file has it.
        let all = self.changes.iter().cloned().chain(swaps);
        all.fold(std::fs::read_to_string(file).unwrap(), |text, (from, to)| {
            assert!(text.contains(from), "{:?} has no {from}", self.kind);
            text.replace(from, &to)
        })
    }

    /// The program's own configuration, which Debian has under /etc; here in one process, which ends when it is killed.
    fn main(&self, folder: &Path, text: &str, plain: &str) -> String {
        let (around, dir) = (&self.around, folder.display());
        match self.kind {
            Kind::Nginx => {
                let temporary = ["client_body", "proxy", "fastcgi", "uwsgi", "scgi"];
                let temporary = temporary.map(|what| format!("{what}_temp_path {dir}/{what};")).join(" ");
                format!(
                    "daemon off; master_process off; pid {dir}/pid;\nevents {{}}\n\
                     http {{ access_log off; {temporary}\n{around}\n{text}}}\n"
                )
            }
            Kind::Apache => {
                let asis = "qrcast-away.asis";
                std::fs::copy(Path::new("deploy/proxies").join(asis), folder.join(asis)).unwrap();
                let mut main = String::new();
                // The last ones are Debian's without being asked for.
                let modules = "asis env headers http2 proxy proxy_http ssl \
                               mpm_event alias authz_core deflate filter mime socache_shmcb";
                for module in modules.split_whitespace() {
                    let file = format!("/usr/lib/apache2/modules/mod_{module}.so");
                    writeln!(main, "LoadModule {module}_module {file}").unwrap();
                }
                let port = &self.port;
                // A root would have to name somebody else.
                format!(
                    "{main}ServerRoot {dir}\nPidFile {dir}/pid\nDefaultRuntimeDir {dir}\nMutex file:{dir} default\n\
                     User nobody\nGroup nogroup\nErrorLog {dir}/error.log\nServerName localhost\nTypesConfig /dev/null\n\
                     Listen 127.0.0.1:{port}\nListen 127.0.0.1:{plain}\n{around}\n{text}"
                )
            }
            Kind::Caddy => {
                format!("{{\nadmin off\nskip_install_trust\nauto_https disable_redirects\n{around}}}\n{text}")
            }
            Kind::Haproxy => format!("global\nlog stdout format raw local0\n{around}\n{text}"),
        }
    }
}

/// A running proxy. Dropping it kills it.
pub(super) struct Front {
    /// Where browsers reach it.
    pub(super) base: String,
    /// The same without TLS, which leads there.
    pub(super) plain: String,
    pub(super) certificate: CertificateDer<'static>,
    folder: TempDir,
    process: Child,
}

impl Front {
    /// Everything that it wrote into a log.
    pub(super) fn logs(&self) -> String {
        let files = std::fs::read_dir(self.folder.path()).unwrap().map(|entry| entry.unwrap().path());
        let logs = files.filter(|file| file.extension().is_some_and(|extension| extension == "log"));
        logs.map(|log| std::fs::read_to_string(log).unwrap()).collect()
    }

    async fn listens(&mut self, port: &str) {
        soon("the proxy to listen", async {
            while TcpStream::connect(format!("127.0.0.1:{port}")).await.is_err() {
                let ended = self.process.try_wait().unwrap();
                assert!(ended.is_none(), "{ended:?}: {}", self.logs());
                tokio::time::sleep(std::time::Duration::from_millis(10)).await;
            }
        })
        .await;
    }
}

fn arguments(kind: Kind, folder: &Path, main: &str) -> Vec<String> {
    let file = folder.join("main");
    std::fs::write(&file, main).unwrap();
    let file = file.display();
    let arguments = match kind {
        Kind::Nginx => format!("-e stderr -p {} -c {file}", folder.display()),
        Kind::Apache => format!("-X -f {file}"),
        Kind::Caddy => format!("run --adapter caddyfile --config {file}"),
        Kind::Haproxy => format!("-db -f {file}"),
    };
    arguments.split(' ').map(str::to_owned).collect()
}

/// Where root starts Apache, it reads as somebody else.
fn open_to_all(folder: &Path) {
    use std::os::unix::fs::PermissionsExt as _;
    std::fs::set_permissions(folder, std::fs::Permissions::from_mode(0o755)).unwrap();
}

/// A certificate for this machine and its key, as each of the four wants them.
fn writes_certificate(folder: &Path) -> CertificateDer<'static> {
    let own = rcgen::generate_simple_self_signed(["localhost".to_owned()]).unwrap();
    let (chain, key) =
        (pem("CERTIFICATE", own.cert.der()), pem("PRIVATE KEY", &own.signing_key.serialize_der()));
    for (file, text) in [
        ("fullchain.pem", chain.clone()),
        ("privkey.pem", key.clone()),
        ("qrcast.pem", format!("{chain}{key}")),
    ] {
        std::fs::write(folder.join(file), text).unwrap();
    }
    own.cert.der().clone()
}

fn pem(what: &str, der: &[u8]) -> String {
    let text = STANDARD.encode(der);
    let lines: Vec<_> =
        text.as_bytes().chunks(64).map(|line| std::str::from_utf8(line).unwrap().to_owned()).collect();
    format!("-----BEGIN {what}-----\n{}\n-----END {what}-----\n", lines.join("\n"))
}
