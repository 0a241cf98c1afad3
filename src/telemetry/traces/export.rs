//! Sends the spans of `traces` to a collector, by OTLP over HTTP. Called by `telemetry::start`.

use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;
use opentelemetry::trace::TracerProvider as _;
use opentelemetry::{Key, KeyValue};
use opentelemetry_http::{HttpClient, HttpError, Request, Response};
use opentelemetry_otlp::{Protocol, SpanExporter, WithExportConfig as _, WithHttpConfig as _};
use opentelemetry_sdk::Resource;
use opentelemetry_sdk::trace::SdkTracerProvider;
use tracing::Subscriber;
use tracing_subscriber::Layer;
use tracing_subscriber::filter::filter_fn;
use tracing_subscriber::registry::LookupSpan;

use super::TARGET;

/// How long a collector may take to answer, and an exit to send what is left.
const TIMEOUT: Duration = Duration::from_secs(3);

/// Sends what is left when it is dropped.
pub(crate) struct Exporter(SdkTracerProvider);

impl Drop for Exporter {
    fn drop(&mut self) {
        // A collector that is away costs traces, and nothing else.
        let _ = self.0.shutdown_with_timeout(TIMEOUT);
    }
}

/// A layer that collects the spans, and what sends them. `endpoint` is the collector's address, without `/v1/traces`.
pub(crate) fn start<S>(endpoint: &str) -> anyhow::Result<(impl Layer<S> + use<S>, Exporter)>
where
    S: Subscriber + for<'a> LookupSpan<'a>,
{
    let exporter = SpanExporter::builder()
        .with_http()
        .with_http_client(Post::new())
        .with_protocol(Protocol::HttpBinary)
        .with_endpoint(format!("{}/v1/traces", endpoint.trim_end_matches('/')))
        .build()?;
    let provider =
        SdkTracerProvider::builder().with_resource(resource()).with_batch_exporter(exporter).build();
    let layer = tracing_opentelemetry::layer().with_tracer(provider.tracer("qrcast"));
    let ours = filter_fn(|metadata| metadata.target() == TARGET);
    Ok((layer.with_filter(ours), Exporter(provider)))
}

/// Who sends them: as OTEL_SERVICE_NAME and OTEL_RESOURCE_ATTRIBUTES say, where they do.
fn resource() -> Resource {
    let of_us =
        || Resource::builder().with_attribute(KeyValue::new("service.version", env!("CARGO_PKG_VERSION")));
    let told = of_us().build();
    let name = told.get(&Key::from_static_str("service.name"));
    match name.is_some_and(|name| !name.as_str().starts_with("unknown_service")) {
        true => told,
        false => of_us().with_service_name("qrcast").build(),
    }
}

/// The HTTP client of `qrcast health`. It blocks, which the exporter's own thread may.
#[derive(Debug)]
struct Post(ureq::Agent);

impl Post {
    fn new() -> Self {
        let agent = ureq::Agent::config_builder().timeout_global(Some(TIMEOUT)).http_status_as_error(false);
        Self(agent.build().into())
    }
}

#[async_trait]
impl HttpClient for Post {
    async fn send_bytes(&self, request: Request<Bytes>) -> Result<Response<Bytes>, HttpError> {
        let (head, body) = request.into_parts();
        let (head, mut body) = self.0.run(Request::from_parts(head, body.to_vec()))?.into_parts();
        Ok(Response::from_parts(head, Bytes::from(body.read_to_vec()?)))
    }
}
