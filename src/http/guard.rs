//! The layer before every route that is not public: finds out who the caller is, and whether it may use the route.
//!
//! `http.rs` says in its table who may use which route; [`guard`] checks it. It stands above `door/`, which it asks, and above
//! `app.rs`, because what a token allows depends on its session.

use axum::extract::rejection::RawPathParamsRejection;
use axum::extract::{RawPathParams, Request, State};
use axum::http::{Method, StatusCode};
use axum::middleware::Next;
use axum::response::{IntoResponse as _, Response};
use tracing::Span;

use super::app::App;
use super::door::admission::{Admission, Admitted};
use super::door::caller::{Access, Caller};
use super::door::client::Client;
use super::door::credentials::identify;
use super::door::limits::connections::Connection;
use super::door::limits::{Asked, Budget, Limited};
use super::door::refusal::{AuthFailure, Refusal, Telling};
use super::door::tokens::{Claims, Scope};
use super::error::ApiError;
use crate::id::{InvalidSessionId, SessionId};

/// The terms on which a route is used.
#[derive(Clone, Copy)]
pub(super) struct Terms {
    pub(super) access: Access,
    pub(super) budget: Budget,
    pub(super) telling: Telling,
}

/// The session that a path names, if it is the id of one.
type Named = Result<SessionId, InvalidSessionId>;

/// Lets a request through if its caller may make it and the limits allow it; tells the client why not otherwise.
pub(super) async fn guard(
    State((app, terms)): State<(App, Terms)>,
    params: Result<RawPathParams, RawPathParamsRejection>,
    mut request: Request,
    next: Next,
) -> Response {
    let id = match &params {
        Ok(params) => params.iter().find(|(name, _)| *name == "id").map(|(_, id)| named_session(id)),
        // It is not UTF-8.
        Err(_) => Some(Err(InvalidSessionId)),
    };
    let Sender { caller, client, asked } = Sender::of(&app, terms.budget, id.as_ref(), &request);
    let admitted = match &asked {
        Ok(_) => admit(&app, terms.access, id, caller, client).await,
        Err(limited) => Err(Refusal::Limited(limited.wait)),
    };
    if let Err(Refusal::Failed(failure)) = &admitted {
        app.alerts.auth_failed(*failure);
    }
    let was_refused = admitted.as_ref().is_err_and(|refusal| !refusal.passes());
    let admitted: Result<Admitted, ApiError> = match admitted {
        Ok(admission) => Ok(Ok(admission)),
        Err(refusal) => refusal.told(terms.telling).map(Err),
    };
    let mut response = match admitted {
        Ok(admitted) => {
            request.extensions_mut().insert(admitted);
            next.run(request).await
        }
        Err(error) => error.into_response(),
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

/// Whether an answer says that the request was wrong or led nowhere. A conflict, or something that is gone, was found.
fn is_lost(status: StatusCode) -> bool {
    use StatusCode as S;
    status.is_client_error() && ![S::CONFLICT, S::GONE, S::TOO_MANY_REQUESTS].contains(&status)
}

/// Who sent a request, and the client that limits count it for. Guesses are counted like everything else.
struct Sender {
    caller: Result<Caller, Refusal>,
    client: Client,
    asked: Result<Asked, Limited>,
}

impl Sender {
    fn of(app: &App, budget: Budget, id: Option<&Named>, request: &Request) -> Self {
        let caller = identify(&app.config.security, app.signer().as_deref(), request);
        let client = Client::of(caller.as_ref().ok(), request.extensions());
        if let Some(connection) = request.extensions().get::<Connection>() {
            connection.belongs_to(&client);
        }
        let session = counted_session(caller.as_ref().ok(), id, request.method());
        let asked = app.limits.ask(budget, &client, session);
        Self { caller, client, asked }
    }
}

/// Lets the caller through if it may use this route for this session.
async fn admit(
    app: &App,
    access: Access,
    id: Option<Named>,
    caller: Result<Caller, Refusal>,
    client: Client,
) -> Result<Admission, Refusal> {
    let caller = caller?;
    if let Caller::Key(key) = &caller {
        Span::current().record("key", &key.name);
    }
    check(app, access, id, &caller).await?;
    Ok(Admission { caller, client })
}

/// The session that a request is counted for. None for a caller without a key or token, who may invent any number of names,
/// and none for a deletion, which is not refused when the session does not exist.
fn counted_session<'a>(
    caller: Option<&'a Caller>,
    named: Option<&'a Named>,
    method: &Method,
) -> Option<&'a SessionId> {
    match caller? {
        _ if method == Method::DELETE => None,
        Caller::Token(claims) => Some(&claims.session),
        Caller::Anyone | Caller::Key(_) => named?.as_ref().ok(),
    }
}

/// The session that a path names, with or without the suffix of an image.
fn named_session(name: &str) -> Named {
    let image = [".png", ".svg"].into_iter().find_map(|format| name.strip_suffix(format));
    image.unwrap_or(name).parse()
}

/// Whether this caller may use this route for this session.
async fn check(app: &App, access: Access, id: Option<Named>, caller: &Caller) -> Result<(), Refusal> {
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

/// Whether a token of the session may be used for this route.
async fn check_token(app: &App, access: Access, claims: &Claims) -> Result<(), Refusal> {
    if access == Access::Follow {
        return Ok(());
    }
    let session = app.session(&claims.session).await?;
    if session.snapshot().deleted.is_some() {
        return Err(AuthFailure::Invalid.into());
    }
    match access {
        Access::Operator | Access::Key => Err(AuthFailure::Forbidden.into()),
        Access::Link if claims.scope != Scope::Link => Err(AuthFailure::Forbidden.into()),
        _ => Ok(()),
    }
}
