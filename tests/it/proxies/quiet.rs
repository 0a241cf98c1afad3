//! A stream on which nothing happens for 95 s, in real time: what the server sends to keep it open is enough for the time-outs
//! that the files set, and for those that the proxies have by themselves. With shorter ones it is not.

use std::time::{Duration, Instant};

use futures::future::join_all;
use reqwest::header::HeaderMap;
use simulator::Simulator;

use super::client::Client;
use super::front::{Front, Kind, Plan};
use super::{KEY, builder};
use crate::support::{Viewer, soon, whatsapp};

const QUIET: Duration = Duration::from_secs(95);

#[derive(Clone, Copy, Debug, PartialEq)]
enum TimeOuts {
    OfTheFile,
    OfTheProxy,
    /// 20 s: more than SSE needs, and less than WebSocket does.
    Short,
}

/// A proxy, and a viewer of each kind behind it.
struct Watched {
    kind: Kind,
    time_outs: TimeOuts,
    _front: Front,
    sse: Viewer,
    socket: Viewer,
}

pub(super) async fn streams_stay() {
    let whatsapp = whatsapp().await;
    let server = builder(&whatsapp).start().await.with_key(KEY);
    let session = server.init("ada").await;
    let jid = session.link(&whatsapp).await;
    let token = session.answer["streamToken"].as_str().unwrap();
    let all = Kind::ALL.into_iter().flat_map(|kind| {
        [TimeOuts::OfTheFile, TimeOuts::OfTheProxy, TimeOuts::Short].map(|time_outs| (kind, time_outs))
    });
    // Caddy has none: its file is all three.
    let all = all.filter(|(kind, time_outs)| *kind != Kind::Caddy || *time_outs == TimeOuts::OfTheFile);
    let watched = all.map(|(kind, time_outs)| watches(kind, time_outs, &server.base, &session.id, token));
    let mut watched: Vec<Watched> = join_all(watched).await;
    join_all(watched.iter_mut().map(Watched::waits)).await;
    something_happens(&whatsapp, &jid);
    join_all(watched.iter_mut().map(Watched::is_told)).await;
}

async fn watches(kind: Kind, time_outs: TimeOuts, server: &str, id: &str, token: &str) -> Watched {
    let front = plan(kind, time_outs).start(server).await;
    let client = Client::from("127.0.0.9", &front).await;
    let path = |what: &str| format!("/api/sessions/{id}/{what}?token={token}");
    let mut sse = client.sse(&path("events")).await;
    let mut socket = client.websocket(&path("ws"), &front.base, HeaderMap::new()).await;
    sse.awaits("ready").await;
    socket.awaits("ready").await;
    Watched { kind, time_outs, _front: front, sse, socket }
}

fn plan(kind: Kind, time_outs: TimeOuts) -> Plan {
    let plan = Plan::of(kind);
    let lines: &[(&'static str, &str)] = match kind {
        Kind::Nginx => &[("proxy_read_timeout 60s;", "proxy_read_timeout 20s;")],
        Kind::Apache => &[("ProxyTimeout 60\n", "ProxyTimeout 20\n")],
        Kind::Caddy => &[],
        Kind::Haproxy => &[
            ("timeout client 60s", "timeout client 20s"),
            ("timeout server 60s", "timeout server 20s"),
            ("timeout tunnel 60s", "timeout tunnel 20s"),
        ],
    };
    lines.iter().fold(plan, |plan, (line, short)| match time_outs {
        TimeOuts::OfTheFile => plan,
        TimeOuts::Short => plan.change(line, short),
        // Debian's own file has these, and nothing about tunnels.
        TimeOuts::OfTheProxy if kind == Kind::Haproxy && !line.contains("tunnel") => {
            plan.change(line, &line.replace("60s", "50s"))
        }
        TimeOuts::OfTheProxy => plan.change(line, ""),
    })
}

fn something_happens(whatsapp: &Simulator, jid: &str) {
    assert_eq!(whatsapp.drop_connections(Some(jid)).unwrap(), 1);
}

impl Watched {
    /// Hears nothing but the signs of life.
    async fn waits(&mut self) {
        let began = Instant::now();
        if self.is_cut() {
            let end = soon(&format!("the end behind {:?}", self.kind), self.socket.read()).await;
            assert!(end.is_err(), "{:?}: {end:?}", self.kind);
            return;
        }
        while began.elapsed() < QUIET {
            self.socket.heartbeat().await;
        }
    }

    /// Apache's time-out is not one for WebSocket.
    fn is_cut(&self) -> bool {
        self.time_outs == TimeOuts::Short && self.kind != Kind::Apache
    }

    async fn is_told(&mut self) {
        let what = format!("{:?} with the time-outs {:?}", self.kind, self.time_outs);
        assert_eq!(self.sse.next().await.expect(&what).event, "disconnected", "{what}");
        let beats = self.sse.asides.iter().filter(|line| line.starts_with(": keep-alive")).count();
        assert!(beats >= 6, "{what}: {beats}");
        if !self.is_cut() {
            assert_eq!(self.socket.next().await.expect(&what).event, "disconnected", "{what}");
        }
    }
}
