//! Traces for operators: from the request that begins a link, through the link task, to each of its events.
//!
//! Requests, `registry` and the journal make these spans; nothing is below them, and no line of the log is in them. As long as
//! nobody collects traces their target is disabled, and a span costs a look at one flag. With the feature `otlp` and
//! `OTEL_EXPORTER_OTLP_ENDPOINT`, [`export::start`] sends them by OTLP.

#[cfg(feature = "otlp")]
pub(super) mod export;

use std::fmt::Display;

use tracing::field::Empty;
use tracing::{Span, trace_span};

/// The target of these spans, which no log filter enables by itself.
pub(super) const TARGET: &str = "qrcast::otlp";

/// The name of the span of a request, by the conventions of OpenTelemetry: its method and its route.
pub(crate) fn of_request(method: &str, route: &str) -> Span {
    trace_span!(
        target: TARGET,
        "request",
        otel.name = format_args!("{method} {route}"),
        otel.kind = "server",
        http.request.method = method,
        http.route = route,
        http.response.status_code = Empty,
    )
}

/// It was answered.
pub(crate) fn answered(request: &Span, status: u16) {
    request.record("http.response.status_code", status);
}

/// Work that goes on in another task, with what it begins in the trace of the request that asked for it.
#[cfg(feature = "otlp")]
pub(crate) fn carried<F: Future>(work: F) -> impl Future<Output = F::Output> {
    opentelemetry::context::FutureExt::with_current_context(work)
}

/// Work that goes on in another task. In this build there are no traces.
#[cfg(not(feature = "otlp"))]
pub(crate) fn carried<F: Future>(work: F) -> F {
    work
}

/// From the start of a link task until it is connected, or ended. In the trace of the request that began it, where one did.
pub(crate) fn of_link(session: impl Display, epoch: u64) -> Span {
    // Not below the request's span, which would then not end before this one.
    let link = trace_span!(target: TARGET, parent: None, "link", session.id = %session, epoch);
    #[cfg(feature = "otlp")]
    {
        use tracing_opentelemetry::OpenTelemetrySpanExt as _;
        // It fails where nobody collects traces.
        let _ = link.set_parent(opentelemetry::Context::current());
    }
    link
}

/// From a fact until it is stored and shown.
pub(crate) fn of_event(link: &Span, kind: &str, id: impl Display) -> Span {
    trace_span!(target: TARGET, parent: link, "event", otel.name = kind, event.id = %id)
}
