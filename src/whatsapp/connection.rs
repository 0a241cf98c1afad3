//! Watches the client's connections. The library does not report that it cannot reach WhatsApp, so the dialler that it
//! is given does.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use async_trait::async_trait;
use bytes::Bytes;
use metrics::counter;
use parking_lot::Mutex;
use whatsapp_rust::anyhow;
use whatsapp_rust::async_channel::Receiver;
use whatsapp_rust::transport::{Transport, TransportEvent, TransportFactory};
use whatsapp_rust::wacore::stats::TransportResourceReport;

use super::Signal;
use super::egress::Egress;
use super::reach::Pass;
use super::translate::Translator;
use crate::telemetry::metrics::WHATSAPP_CONNECTS;

/// The first write is the hello. A second one follows only after WhatsApp has answered and not refused.
/// Source: `do_handshake` in whatsapp-rust 0.7.0.
const HELLO: usize = 1;

/// A frame of more bytes is held until the next one is sent. The library's sender keeps the largest buffer that it has
/// ever filled and that nobody else holds, for as long as the connection stands: 40 KiB after it has sent 812 pre-keys.
/// While this one is held it begins another of 4 KiB. Source: `sender_task` in `socket/noise_socket.rs`.
const LARGE_FRAME: usize = 8 * 1024;

/// Dials for one client through its way out, and signals the result.
pub(super) struct WatchedDialler {
    pub(super) egress: Arc<Egress>,
    pub(super) pass: Pass,
    pub(super) translator: Arc<Translator>,
}

#[async_trait]
impl TransportFactory for WatchedDialler {
    async fn create_transport(&self) -> anyhow::Result<(Arc<dyn Transport>, Receiver<TransportEvent>)> {
        self.translator.connecting();
        // Refused at once, without sending a packet. The library tries again as after any failure, and the link task
        // builds another client when the way works again.
        if let Err(detail) = self.egress.reach().admits(self.pass) {
            counter!(WHATSAPP_CONNECTS, "result" => "held").increment(1);
            self.translator.signal(Signal::ConnectFailed { detail: detail.clone() });
            return Err(anyhow::anyhow!(detail));
        }
        // The library drops this future after 20 s, which is a failed try as well.
        let unanswered = Unanswered(Some(self.translator.clone()));
        let result = self.egress.dial().await;
        unanswered.settled();
        match result {
            Ok((transport, events)) => {
                let translator = self.translator.clone();
                let (sent, held) = (AtomicUsize::new(0), Mutex::default());
                let watched = WatchedTransport { transport, sent, held, translator };
                Ok((Arc::new(watched), events))
            }
            Err(error) => {
                failed(&self.translator, format!("{error:#}"));
                Err(error)
            }
        }
    }
}

fn failed(translator: &Translator, detail: String) {
    counter!(WHATSAPP_CONNECTS, "result" => "failed").increment(1);
    translator.signal(Signal::ConnectFailed { detail });
}

/// Signals a failed try, unless it is given a result first.
struct Unanswered(Option<Arc<Translator>>);

impl Unanswered {
    fn settled(mut self) {
        self.0 = None;
    }
}

impl Drop for Unanswered {
    fn drop(&mut self) {
        if let Some(translator) = &self.0 {
            failed(translator, "no connection within the client's time".into());
        }
    }
}

struct WatchedTransport {
    transport: Arc<dyn Transport>,
    sent: AtomicUsize,
    /// The last frame, if it was large.
    held: Mutex<Option<Bytes>>,
    translator: Arc<Translator>,
}

#[async_trait]
impl Transport for WatchedTransport {
    async fn send(&self, data: Bytes) -> anyhow::Result<()> {
        self.translator.store_pairing().await?;
        self.translator.sending();
        if self.sent.fetch_add(1, Ordering::Relaxed) == HELLO {
            counter!(WHATSAPP_CONNECTS, "result" => "ok").increment(1);
        }
        *self.held.lock() = (data.len() > LARGE_FRAME).then(|| data.clone());
        self.transport.send(data).await
    }

    async fn disconnect(&self) {
        if self.sent.load(Ordering::Relaxed) > HELLO {
            // The answer was counted already.
        } else if self.translator.was_refused() {
            counter!(WHATSAPP_CONNECTS, "result" => "ok").increment(1);
        } else {
            failed(&self.translator, "WhatsApp did not answer".into());
        }
        self.transport.disconnect().await;
    }

    fn resource_report(&self) -> Option<TransportResourceReport> {
        self.transport.resource_report()
    }
}
