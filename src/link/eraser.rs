//! The end of a deleted session: logs the device out at WhatsApp, then forgets its keys.
//!
//! The word `deleted` is in the log already and the streams are closed; nobody waits for this.

use std::sync::Arc;

use tokio::sync::mpsc;
use tokio::time::timeout;
use tracing::{error, info, warn};

use super::{Parts, Start};
use crate::records::RecordsError;
use crate::session::Session;
use crate::whatsapp::{Account, Heard, Link, Signal};

/// A running client, and what it signals.
pub(crate) type Running = (Box<dyn Link>, Heard);

/// Whether a phone still lists the device.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Phone {
    Forgot,
    StillLists,
}

/// Logs a device out and wipes it. `running`: its client, where one runs; `connected`: whether that is logged in.
///
/// # Errors
/// When the session was not released: it may still be ours.
pub(crate) async fn erase(
    session: &Arc<Session>,
    parts: &Parts,
    start: &Start,
    running: Option<Running>,
    connected: bool,
) -> Result<(), RecordsError> {
    let running = match running {
        Some((link, _)) if !link.is_linked() && session.is_unpaired() => {
            // A phone may have linked it while it stopped.
            link.stop().await;
            None
        }
        running => running,
    };
    let linked = running.is_some() || has_device(session, parts).await;
    if linked && log_out(session, parts, start.epoch, running, connected).await == Phone::StillLists {
        warn!(sessionId = %session.id(), "session deleted, but its phone still lists the device");
    }
    start.lease.mark_releasing();
    forget(session, parts, start.epoch).await
}

/// Whether a phone has linked a device. Its keys say so, which are there before anybody is told of it.
async fn has_device(session: &Session, parts: &Parts) -> bool {
    match parts.whatsapp.is_linked(session.id()).await {
        Ok(linked) => linked,
        Err(error) => {
            error!(sessionId = %session.id(), %error, "session error");
            // As far as anybody was told.
            !session.is_unpaired()
        }
    }
}

async fn log_out(
    session: &Arc<Session>,
    parts: &Parts,
    epoch: u64,
    running: Option<Running>,
    connected: bool,
) -> Phone {
    let (mut link, mut signals) = match running {
        Some(running) => running,
        None => {
            let proxy = session.about().proxy.clone();
            let account =
                Account { session: session.id().clone(), epoch, device_name: None, proxy, push_name: None };
            let (sender, signals) = mpsc::unbounded_channel();
            match parts.whatsapp.start(&account, sender).await {
                Ok(link) => (link, signals),
                Err(error) => {
                    error!(sessionId = %session.id(), %error, "session error");
                    return Phone::StillLists;
                }
            }
        }
    };
    let ready =
        async { if connected { Answer::Connected } else { answer(link.as_mut(), &mut signals).await } };
    let answer = tokio::select! {
        answer = timeout(parts.timers.log_out, ready) => answer.unwrap_or(Answer::None),
        // Goes on at the next start.
        () = parts.shutdown.begun() => Answer::None,
    };
    match answer {
        Answer::Connected => {
            link.log_out().await;
            Phone::Forgot
        }
        Answer::LoggedOut => {
            link.stop().await;
            Phone::Forgot
        }
        Answer::None => {
            link.stop().await;
            Phone::StillLists
        }
    }
}

#[derive(Clone, Copy)]
enum Answer {
    Connected,
    LoggedOut,
    None,
}

/// WhatsApp's word on whether the device is linked.
async fn answer(link: &mut dyn Link, signals: &mut Heard) -> Answer {
    loop {
        if !link.may_dial() {
            link.turn().await;
            if link.retry().await.is_err() {
                return Answer::None;
            }
        }
        let Some(signal) = signals.recv().await else { return Answer::None };
        match *signal {
            // Whether it has all of its settings does not matter any more.
            Signal::LoggedIn | Signal::Connected { .. } => return Answer::Connected,
            Signal::LoggedOut { .. } => return Answer::LoggedOut,
            Signal::Replaced | Signal::Banned { .. } | Signal::Outdated { .. } | Signal::Rejected { .. } => {
                return Answer::None;
            }
            _ => {}
        }
    }
}

/// Wipes the keys. While the server stops the rest is left to its next start, or to another replica.
async fn forget(session: &Arc<Session>, parts: &Parts, epoch: u64) -> Result<(), RecordsError> {
    if parts.shutdown.has_begun() {
        parts.cluster.hand_over(session.id(), epoch).await?;
        info!(sessionId = %session.id(), "session left to be erased");
        return Ok(());
    }
    let wiped = parts.whatsapp.forget(session.id()).await;
    parts.records.release(session.id(), epoch).await?;
    session.mark_erased();
    match wiped {
        Ok(()) => info!(sessionId = %session.id(), "session erased"),
        // The session is released all the same; what is left of its keys goes with the next sweep.
        Err(error) => error!(sessionId = %session.id(), %error, "session error"),
    }
    Ok(())
}
