//! The layer before every route that is not public: finds out who the caller is, and whether it may use the route.
//!
//! `http.rs` says in its table who may use which route; [`guard`] checks it. It stands above `door/`, which it asks, and above
//! `app.rs`, because what a token is good for depends on its session.

use axum::extract::rejection::RawPathParamsRejection;
use axum::extract::{RawPathParams, Request, State};
use axum::http::{Method, StatusCode};
use axum::middleware::Next;
use axum::response::{IntoResponse as _, Response};
use tracing::Span;

use super::app::App;
use super::door::caller::{Access, Caller};
use super::door::client::Client;
use super::door::credentials::identify;
use super::door::limits::connections::Connection;
use super::door::limits::{Asked, Limited};
use super::door::refusal::{AuthFailure, Refusal};
use super::door::tokens::{Claims, Scope};
use super::error::ApiError;
use crate::id::{InvalidSessionId, SessionId};

/// Lets in whoever may use this route, within the limits, and says why nobody else.
pub(super) async fn guard(
    State((app, access)): State<(App, Access)>,
    params: Result<RawPathParams, RawPathParamsRejection>,
    mut request: Request,
    next: Next,
) -> Response {
    let id = match &params {
        Ok(params) => params.iter().find(|(name, _)| *name == "id").map(|(_, id)| named_session(id)),
        // No UTF-8.
        Err(_) => Some(Err(InvalidSessionId)),
    };
    let (asked, admitted) = admit(&app, access, id, &mut request).await;
    if let Err(Refusal::Failed(failure)) = &admitted {
        app.alerts.auth_failed(*failure);
    }
    let was_refused = admitted.as_ref().is_err_and(|refusal| !refusal.passes());
    let mut response = match admitted {
        Ok(()) => next.run(request).await,
        Err(refusal) => match refusal.close().filter(|_| access == Access::Stream) {
            // An EventSource gives up for good on any status but 200: it is told when to come back.
            Some(close) => {
                request.extensions_mut().insert(close);
                next.run(request).await
            }
            None => refusal.into_error().into_response(),
        },
    };
    let allowance = match asked {
        Ok(asked) => asked.ended(was_refused || is_lost(response.status())),
        Err(Limited { allowance, .. }) => Some(allowance),
    };
    if let Some(allowance) = allowance {
        allowance.write(response.headers_mut());
    }
    response
}

/// Whether an answer says that the request was wrong, or led nowhere. What is only not so yet, or no longer, was found.
fn is_lost(status: StatusCode) -> bool {
    use StatusCode as S;
    status.is_client_error() && ![S::CONFLICT, S::GONE, S::TOO_MANY_REQUESTS].contains(&status)
}

/// Looks who asks, counts the request, and writes into it who it is from. Guesses are counted like everything else.
async fn admit(
    app: &App,
    access: Access,
    id: Option<Result<SessionId, InvalidSessionId>>,
    request: &mut Request,
) -> (Result<Asked, Limited>, Result<(), Refusal>) {
    let caller = identify(&app.config.security, app.signer().as_deref(), request);
    let client = Client::of(caller.as_ref().ok(), request.extensions());
    if let Some(connection) = request.extensions().get::<Connection>() {
        connection.belongs_to(&client);
    }
    let session = counted_session(caller.as_ref().ok(), id.as_ref(), request.method());
    let asked = match app.limits.ask(access, &client, session) {
        Ok(asked) => asked,
        Err(limited) => return (Err(limited), Err(Refusal::Limited(limited.wait))),
    };
    let admitted = async {
        let caller = caller?;
        if let Caller::Key(key) = &caller {
            Span::current().record("key", &key.name);
        }
        check(app, access, id, &caller).await?;
        request.extensions_mut().insert(client);
        request.extensions_mut().insert(caller);
        Ok(())
    };
    let admitted = admitted.await;
    (Ok(asked), admitted)
}

/// The session that a request is counted for. What a stranger names need not exist, and there are many names: nor need a
/// session that is deleted, which is no error.
fn counted_session<'a>(
    caller: Option<&'a Caller>,
    named: Option<&'a Result<SessionId, InvalidSessionId>>,
    method: &Method,
) -> Option<&'a SessionId> {
    match caller? {
        _ if method == Method::DELETE => None,
        Caller::Token(claims) => Some(&claims.session),
        Caller::Anyone | Caller::Key(_) => named?.as_ref().ok(),
    }
}

/// The session that a path names, perhaps as an image.
fn named_session(name: &str) -> Result<SessionId, InvalidSessionId> {
    let image = [".png", ".svg"].into_iter().find_map(|format| name.strip_suffix(format));
    image.unwrap_or(name).parse()
}

/// Whether this caller may use this route for this session.
async fn check(
    app: &App,
    access: Access,
    id: Option<Result<SessionId, InvalidSessionId>>,
    caller: &Caller,
) -> Result<(), Refusal> {
    match (caller, id.transpose().map_err(ApiError::from)?) {
        (Caller::Anyone, _) => Ok(()),
        (Caller::Key(key), None) if access != Access::Operator || key.prefix.is_none() => Ok(()),
        (Caller::Key(_), Some(session)) if caller.has_user(session.user_id()) => Ok(()),
        (Caller::Token(claims), Some(session)) if claims.session == session => {
            check_token(app, access, claims).await
        }
        (Caller::Key(_) | Caller::Token(_), _) => Err(AuthFailure::Forbidden.into()),
    }
}

/// Whether a token of the session is good for this route.
async fn check_token(app: &App, access: Access, claims: &Claims) -> Result<(), Refusal> {
    if matches!(access, Access::Stream | Access::Status) {
        return Ok(());
    }
    let session = app.find(&claims.session).await?;
    if session.snapshot().deleted.is_some() {
        return Err(AuthFailure::Invalid.into());
    }
    match access {
        Access::Operator | Access::Key | Access::Init => Err(AuthFailure::Forbidden.into()),
        Access::Link if claims.scope != Scope::Link => Err(AuthFailure::Forbidden.into()),
        _ => Ok(()),
    }
}
