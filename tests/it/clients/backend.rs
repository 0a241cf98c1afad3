//! The back-end of somebody who embeds qrcast: it gives stream tokens to the recipes, and shows the page among them.

use std::collections::HashMap;
use std::sync::{Arc, Mutex};

use axum::Router;
use axum::extract::{Query, State};
use axum::http::StatusCode;
use axum::response::{Html, IntoResponse as _, Response};
use axum::routing::get;
use serde_json::{Value, json};
use tokio::net::TcpListener;

use super::recipe::PAGE;

/// What a recipe is given first.
#[derive(Clone)]
pub(super) enum Token {
    This(String),
    /// A good one for so many seconds.
    For(u32),
}

/// It ends with the test's runtime.
pub(super) struct Backend {
    pub(super) base: String,
    given: Arc<Mutex<HashMap<String, usize>>>,
}

#[derive(Clone)]
struct Rules {
    /// Where a session's tokens come from.
    issuer: String,
    key: String,
    first: Vec<Token>,
    given: Arc<Mutex<HashMap<String, usize>>>,
}

impl Backend {
    /// For one session of a server. Each recipe gets the `first` ones, then such as are good for an hour.
    pub(super) async fn start(listener: TcpListener, issuer: String, key: &str, first: Vec<Token>) -> Self {
        let base = format!("http://{}", listener.local_addr().unwrap());
        let given = Arc::<Mutex<HashMap<_, _>>>::default();
        let rules = Rules { issuer, key: key.to_owned(), first, given: given.clone() };
        let app = Router::new()
            .route("/", get(async || Html(page())))
            .route("/qrcast-token", get(token))
            .with_state(rules);
        tokio::spawn(async move { axum::serve(listener, app).await });
        Self { base, given }
    }

    /// How many tokens it has given to a recipe.
    pub(super) fn given(&self, recipe: &str) -> usize {
        self.given.lock().unwrap().get(recipe).copied().unwrap_or_default()
    }
}

async fn token(State(rules): State<Rules>, Query(query): Query<HashMap<String, String>>) -> Response {
    // The page asks as a page of one's own does: without saying who it is.
    let recipe = query.get("recipe").map_or(PAGE, String::as_str);
    let given = rules.given.lock().unwrap().get(recipe).copied().unwrap_or_default();
    let body = match rules.first.get(given) {
        Some(Token::This(token)) => json!({ "streamToken": token }),
        other => {
            let seconds = if let Some(Token::For(seconds)) = other { *seconds } else { 3600 };
            let request = reqwest::Client::new().post(&rules.issuer).bearer_auth(&rules.key);
            let Ok(answer) = request.json(&json!({ "ttlSeconds": seconds })).send().await else {
                return StatusCode::BAD_GATEWAY.into_response();
            };
            if answer.status() != StatusCode::OK {
                return answer.status().into_response();
            }
            let Ok(body) = answer.json::<Value>().await else {
                return StatusCode::BAD_GATEWAY.into_response();
            };
            body
        }
    };
    *rules.given.lock().unwrap().entry(recipe.to_owned()).or_default() += 1;
    body.to_string().into_response()
}

/// As it stands there, but for a witness of its connections.
fn page() -> String {
    let page = std::fs::read_to_string("examples/clients/eventsource.html").unwrap();
    let witness = "<script>
      globalThis.sources = [];
      globalThis.EventSource = class extends EventSource {
        constructor(...options) {
          super(...options);
          sources.push(this);
        }
      };
    </script>";
    page.replacen("<pre>", &format!("<link rel=icon href='data:,'>{witness}<pre>"), 1)
}
