//! Which server the commands on a shell ask, and with which key. `main` reads it for them, and nothing else of the
//! environment: a machine that runs no server needs no server's settings.

use super::reader::Reader;
use super::security::{first_secret, is_of_a_key};
use super::{Mistake, Mistakes, PublicUrl, Secret, read_host, read_port};

/// The server that a command asks.
#[derive(Clone, Debug)]
pub struct ClientSettings {
    /// Its URL, without a slash at the end. `--server`, or by `HOST` and `PORT` the one that runs here
    pub server: String,
    /// The secret of an API key. `QRCAST_API_KEY`, or the first of `API_KEYS` for the server that runs here
    pub key: Option<Secret>,
}

impl ClientSettings {
    /// Reads them through `variable`; `server` is what the command line names.
    ///
    /// # Errors
    /// Lists every mistake, not only the first.
    pub fn read(variable: impl Fn(&str) -> Option<String>, server: Option<&str>) -> Result<Self, Mistakes> {
        let mut reader = Reader::new(&variable);
        let secret = |text: &str| is_of_a_key(text).then(|| text.to_owned());
        let key = reader.secret("QRCAST_API_KEY", "the secret of an API key, without its name", secret);
        let Some(server) = server else {
            let (host, port) = (read_host(&mut reader), read_port(&mut reader));
            // A name, because `::` is reached by IPv4 and by IPv6, and a machine may have only one of them.
            let host = match host {
                host if host.is_unspecified() => "localhost".to_owned(),
                host if host.is_ipv6() => format!("[{host}]"),
                host => host.to_string(),
            };
            // Only here: the keys of this server are not for another one.
            let key = key.or_else(|| first_secret(&reader.text("API_KEYS")?).map(str::to_owned));
            return reader.finish(Self { server: format!("http://{host}:{port}"), key: key.map(Secret) });
        };
        let url = PublicUrl::parse(server).ok_or_else(|| {
            let allowed = "an http:// or https:// URL without user, query and fragment".into();
            Mistakes(vec![Mistake::Value { name: "--server", found: "***".into(), allowed }])
        });
        reader.finish(Self { server: url?.http, key: key.map(Secret) })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(variables: &[(&str, &str)], server: Option<&str>) -> Result<(String, Option<String>), String> {
        let found = |name: &str| {
            variables.iter().find(|(known, _)| *known == name).map(|(_, value)| (*value).to_owned())
        };
        let read = ClientSettings::read(found, server).map_err(|mistakes| mistakes.to_string())?;
        Ok((read.server, read.key.map(|key| key.0)))
    }

    #[test]
    fn the_server_that_runs_here_is_asked_with_its_first_key() {
        let here = |variables: &[(&str, &str)]| read(variables, None).unwrap();
        assert_eq!(here(&[]), ("http://127.0.0.1:3000".into(), None));
        assert_eq!(here(&[("HOST", "::"), ("PORT", "80")]).0, "http://localhost:80");
        assert_eq!(here(&[("HOST", "::1")]).0, "http://[::1]:3000");
        let keys = ("API_KEYS", "web:s3cret, shop:0ther:shop-");
        assert_eq!(here(&[keys]).1.as_deref(), Some("s3cret"));
        assert_eq!(here(&[keys, ("QRCAST_API_KEY", "mine")]).1.as_deref(), Some("mine"));
    }

    #[test]
    fn another_server_never_gets_the_keys_of_this_one() {
        let there =
            |variables: &[(&str, &str)]| read(variables, Some("https://link.example.com/wa/")).unwrap();
        assert_eq!(there(&[("API_KEYS", "web:s3cret")]), ("https://link.example.com/wa".into(), None));
        assert_eq!(there(&[("QRCAST_API_KEY", "mine")]).1.as_deref(), Some("mine"));
    }

    #[test]
    fn what_cannot_be_read_is_named_without_the_secret() {
        let said = read(&[("QRCAST_API_KEY", "web:s3cret")], None).unwrap_err();
        assert!(said.starts_with("QRCAST_API_KEY: \"***\" is not allowed; the secret"), "{said}");
        let said = read(&[], Some("https://ada:s3cret@example.com")).unwrap_err();
        assert!(said.starts_with("--server: ") && !said.contains("s3cret"), "{said}");
    }
}
