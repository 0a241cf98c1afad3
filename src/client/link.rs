//! `qrcast link`: gets a person linked from a terminal. What they see is one of three things: the QR on the terminal
//! (`screen.rs`), its picture in a file, or a code to type on the phone.

use std::fs::OpenOptions;
use std::io::{self, IsTerminal as _, Write as _};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::Path;
use std::pin::pin;
use std::time::Duration;

use serde_json::{Value, json};
use tokio::signal::unix::{SignalKind, signal};
use tokio::time::{MissedTickBehavior, interval};

use super::api::Api;
use super::arguments::Link;
use super::failure::Failure;
use super::follow::{Follower, Frame, Told};
use super::screen::Screen;
use super::words::{WHERE, account, clean, escaped, say};
use crate::qr;

pub(super) async fn run(api: &Api, wanted: &Link) -> Result<(), Failure> {
    if wanted.phone.is_none() && wanted.png.is_none() && !io::stdout().is_terminal() {
        // In a pipe or a log a QR is out of date within a minute, and until then anybody can scan it.
        let said = "a QR changes every 20 s, so it is shown on a terminal only; add --png FILE for a picture that is kept current, or --phone NUMBER for a code";
        return Err(Failure::new(Failure::USAGE, said));
    }
    let session = take_session(api, wanted).await?;
    let server = wanted.server.url.as_deref().map(|url| format!(" --server {url}")).unwrap_or_default();
    let again = format!("qrcast link --session {session}{server}");
    let stopped = format!(
        "stopped; the session goes on at the server: `{again}` shows it again, `qrcast logout {session}{server}` deletes it"
    );
    let mut linking = Linking { api, wanted, screen: Screen::new(again.clone()), again, session };
    // The screen is dropped, and with it the terminal is as it was, before anything else is said.
    tokio::select! {
        done = linking.follow() => done,
        heard = asked_to_stop() => Err(match heard {
            Ok(()) => Failure::new(Failure::INTERRUPTED, stopped),
            Err(error) => unheard(error),
        }),
    }
}

/// Ends at Ctrl-C, and when the terminal is closed or the machine stops.
async fn asked_to_stop() -> io::Result<()> {
    let mut interrupt = signal(SignalKind::interrupt())?;
    let mut terminate = signal(SignalKind::terminate())?;
    let mut hang_up = signal(SignalKind::hangup())?;
    tokio::select! {
        _ = interrupt.recv() => {}
        _ = terminate.recv() => {}
        _ = hang_up.recv() => {}
    }
    Ok(())
}

fn unheard(error: io::Error) -> Failure {
    Failure::new(Failure::REFUSED, format!("signals cannot be heard: {error}"))
}

/// The id of the session that is to be linked.
async fn take_session(api: &Api, wanted: &Link) -> Result<String, Failure> {
    let Some(session) = &wanted.session else {
        let body = json!({ "userId": wanted.user_id, "phoneNumber": wanted.phone });
        let made = api.post("/api/init-session", &body).await?;
        return Ok(clean(made["sessionId"].as_str().unwrap_or_default()));
    };
    let standing = api.get(&format!("/api/session-status/{}", escaped(session))).await?;
    if ["disconnected", "failed"].contains(&standing["status"].as_str().unwrap_or_default()) {
        api.post(&format!("/api/sessions/{}/restart", escaped(session)), &Value::Null).await?;
    }
    Ok(session.clone())
}

struct Linking<'a> {
    api: &'a Api,
    wanted: &'a Link,
    session: String,
    /// The command that takes this session.
    again: String,
    screen: Screen,
}

impl Linking<'_> {
    /// Until the account is linked.
    async fn follow(&mut self) -> Result<(), Failure> {
        let mut resized = signal(SignalKind::window_change()).map_err(unheard)?;
        let mut second = interval(Duration::from_secs(1));
        second.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let mut follower = Follower::new(self.api, Some(&self.session));
        // A session that was there before has no code for this number yet.
        let mut asked = self.wanted.session.is_none();
        loop {
            let told = {
                let mut next = pin!(follower.next());
                loop {
                    tokio::select! {
                        told = &mut next => break told?,
                        _ = second.tick() => self.screen.draw(),
                        _ = resized.recv() => self.screen.draw(),
                    }
                }
            };
            let frame = match told {
                Told::Frame(frame) => frame,
                Told::Cut(why) => {
                    self.note(&format!("{why}; trying again"), true);
                    continue;
                }
                Told::Ended => return Err(self.ended(&Value::Null)),
            };
            if let Some(number) = self.wanted.phone.as_ref().filter(|_| frame.event == "qr" && !asked) {
                asked = true;
                let path = format!("/api/sessions/{}/pairing-code", escaped(&self.session));
                self.api.post(&path, &json!({ "phoneNumber": number })).await?;
            }
            if self.hear(&frame)? {
                return Ok(());
            }
        }
    }

    /// Shows what an event says; whether the account is linked.
    fn hear(&mut self, frame: &Frame) -> Result<bool, Failure> {
        let data = frame.json();
        match frame.event.as_str() {
            "status" => self.screen.set_clock(&data["now"]),
            "qr" if self.wanted.phone.is_none() => self.show_qr(&data)?,
            "code" if self.wanted.phone.is_some() => {
                let (code, number) = (text(&data, "code"), text(&data, "phoneNumber"));
                let left = self.screen.left(&data);
                say(format_args!(
                    "Code: {code}, valid for {left} s\nOn the phone of +{number}: {WHERE} > Link with phone number instead"
                ));
            }
            "pairing_error" if self.wanted.phone.is_some() && data["method"] == "code" => {
                let said = format!(
                    "WhatsApp gives or takes no code: {} ({}); `{}` shows a QR instead, with --phone another code",
                    text(&data, "detail"),
                    text(&data, "code"),
                    self.again
                );
                return Err(Failure::new(Failure::REFUSED, said));
            }
            "pairing_error" => {
                let (detail, code) = (text(&data, "detail"), text(&data, "code"));
                self.note(&format!("That did not work: {detail} ({code}); a new QR comes"), false);
            }
            "passkey" => self.passkey(&data),
            "authenticated" => {
                self.screen.leave();
                say(format_args!(
                    "{} is being linked. Do not close WhatsApp on the phone until it is done.",
                    account(&data["me"])
                ));
            }
            "ready" => {
                self.ready(&data);
                return Ok(true);
            }
            "disconnected" if data["willReconnect"] == true => {
                self.screen.expire();
                let reason = text(&data, "reason");
                self.note(&format!("Not connected to WhatsApp ({reason}); it comes back by itself"), true);
            }
            "disconnected" => return Err(self.ended(&data)),
            _ => {}
        }
        Ok(false)
    }

    fn show_qr(&mut self, data: &Value) -> Result<(), Failure> {
        let Some(file) = &self.wanted.png else {
            self.screen.show(data);
            return Ok(());
        };
        let picture = qr::png_of(data["qrDataUrl"].as_str().unwrap_or_default());
        replace(file, &picture).map_err(|error| {
            let said =
                format!("cannot write {}: {error}; the session goes on: `{}`", file.display(), self.again);
            Failure::new(Failure::REFUSED, said)
        })?;
        let (attempt, of, left) = (&data["attempt"], &data["maxAttempts"], self.screen.left(data));
        say(format_args!("QR {attempt} of {of} is in {}, for {left} s. Scan it: {WHERE}", file.display()));
        Ok(())
    }

    /// WebAuthn needs a browser, so the rest of the link is the live page's.
    fn passkey(&mut self, data: &Value) {
        if data["stage"] == "required" {
            self.screen.leave();
            let page = self.api.page(&self.session);
            say(format_args!("The account wants its passkey, which takes a browser. Go on here: {page}"));
        }
    }

    fn ready(&mut self, data: &Value) {
        self.screen.leave();
        say(format_args!("Linked: {}, as session {}", account(&data["me"]), self.session));
        if data["incomplete"] == true {
            say("Not everything of the account is here yet: keep the phone online for some minutes.");
        }
    }

    /// Something to know while it goes on.
    fn note(&mut self, said: &str, passes: bool) {
        if !self.screen.note(said, passes) {
            eprintln!("qrcast: {}", clean(said));
        }
    }

    fn ended(&self, data: &Value) -> Failure {
        let again = &self.again;
        let (what, next) = match data["reason"].as_str().unwrap_or_default() {
            "qr_exhausted" => ("no phone has scanned a QR in time", format!("`{again}` shows new ones")),
            "deleted" => ("the session was deleted", "`qrcast link` makes a new one".to_owned()),
            "logged_out" => ("the phone has removed this device", format!("`{again}` begins with a new QR")),
            "banned" => ("WhatsApp has banned the account", format!("`{again}` tries once more")),
            "client_outdated" => {
                ("WhatsApp takes a newer version only", format!("`{again}` tries once more"))
            }
            "replaced" => ("another client has this device's place", format!("`{again}` tries once more")),
            _ => ("the session has ended", format!("`{again}` tries once more")),
        };
        let said = [what, &text(data, "detail"), &text(data, "help")].map(str::to_owned);
        let said = said.into_iter().filter(|said| !said.is_empty()).collect::<Vec<_>>().join(": ");
        Failure::new(Failure::REFUSED, format!("{said}; {next}"))
    }
}

fn text(data: &Value, name: &str) -> String {
    clean(data[name].as_str().unwrap_or_default())
}

/// Writes a file that only its owner can read, in one step: whoever looks sees the old picture or the new one.
fn replace(file: &Path, content: &[u8]) -> io::Result<()> {
    // A device, a pipe or a link would be gone afterwards.
    if file.symlink_metadata().is_ok_and(|there| !there.is_file()) {
        return Err(io::Error::other("there is something that is no ordinary file"));
    }
    let name = file.file_name().unwrap_or_default().to_string_lossy();
    let draft = file.with_file_name(format!(".{name}.{}", std::process::id()));
    let mut new = OpenOptions::new().write(true).create_new(true).mode(0o600).open(&draft)?;
    let done = new.write_all(content).and_then(|()| std::fs::rename(&draft, file));
    done.inspect_err(|_| drop(std::fs::remove_file(&draft)))
}
