//! `qrcast check-config`: what a start would meet, without a start. Changes nothing, and a server may run meanwhile.

use crate::config::Config;
use crate::storage::folder;
use crate::storage::redis::Redis;

/// What of the environment is wrong, and what is only unwise.
#[derive(Debug, Default)]
pub struct Findings {
    /// With these a server does not start, or waits.
    pub wrong: Vec<String>,
    /// It starts all the same.
    pub unwise: Vec<String>,
}

/// Looks at what the variables name: the folder or Redis, and the keys.
pub async fn check(config: &Config) -> Findings {
    let mut findings = Findings { unwise: config.security.unwise(), ..Findings::default() };
    match &config.redis {
        None => {
            if let Err(error) = folder::check(&config.data_dir) {
                findings.wrong.push(format!("DATA_DIR: {error}"));
            }
        }
        Some(settings) => match Redis::connect(&settings.url.0, &settings.prefix).await {
            Ok((redis, warnings)) => {
                findings.unwise.extend(warnings.iter().map(ToString::to_string));
                redis.close().await;
            }
            Err(error) => {
                let cause = std::error::Error::source(&error);
                let cause = cause.map(|cause| format!(" ({cause})")).unwrap_or_default();
                findings.wrong.push(format!("REDIS_URL: {error}{cause}"));
            }
        },
    }
    findings
}
