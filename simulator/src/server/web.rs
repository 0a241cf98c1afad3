//! The plain HTTP that clients ask for beside the WebSocket: `sw.js`, which names the newest build of WhatsApp Web.
//! `control` puts it on the simulator's port.
//!
//! Source: `wacore` 0.7.0 `version.rs` (`parse_sw_js`); the form of the file is that of web.whatsapp.com.

use axum::http::StatusCode;
use axum::http::header::CONTENT_TYPE;
use axum::response::{IntoResponse, Response};

use super::Shared;
use crate::state::Latest;

/// Answers `GET /sw.js`; not while the simulator is paused.
pub(crate) async fn sw_js(shared: &Shared) -> Response {
    let latest = {
        let versions = &mut shared.shelf.world().versions;
        versions.lookups += 1;
        versions.latest
    };
    let mut paused = shared.paused.subscribe();
    let answers = async {
        if latest == Latest::Silent {
            std::future::pending::<()>().await;
        }
        // An error means that the simulator is gone, and then nobody hears the answer.
        let _ended = paused.wait_for(|paused| !paused).await;
    };
    tokio::select! {
        () = answers => {}
        () = shared.stop.cancelled() => return StatusCode::SERVICE_UNAVAILABLE.into_response(),
    }
    match latest {
        Latest::Build(build) => {
            ([(CONTENT_TYPE, "application/javascript; charset=utf-8")], script(build)).into_response()
        }
        Latest::Broken | Latest::Silent => (StatusCode::BAD_REQUEST, "Bad Request").into_response(),
    }
}

/// The part of the real file that matters, in its own notation: JSON inside of a string.
fn script(build: u32) -> String {
    let data = format!(
        r#"{{\\"dynamic_data\\":{{\\"SiteData\\":{{\\"server_revision\\":{build},\\"client_revision\\":{build},\\"push_phase\\":\\"C3\\"}}}}}}"#
    );
    format!("/*FB_PKG_DELIM*/\n\nself.__swData=JSON.parse(\"{data}\");importScripts(\"/sw-bundle.js\");\n")
}

#[cfg(test)]
mod tests {
    use super::script;
    use wacore::version::parse_sw_js;

    #[test]
    fn the_client_reads_the_build() {
        assert_eq!(parse_sw_js(&script(1_050_000_001)), Some((2, 3000, 1_050_000_001)));
    }
}
