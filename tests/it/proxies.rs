//! Behind a reverse proxy: the real nginx, Apache, Caddy and HAProxy, by the files in `deploy/proxies` that operators copy. What
//! is seen here stands in docs/behind-a-proxy.md.
//!
//! nginx is tried each time, the others with the long tests. proxy.rs has the proxies on the other side, to WhatsApp.

mod away;
mod client;
mod compression;
mod front;
mod path;
mod quiet;
mod streams;

use simulator::Simulator;

use self::front::Kind;
use crate::support::Server;
use crate::support::browser::{Browser, Screen};
use crate::support::server::Builder;

const KEY: &str = "all-of-it";

/// A server that believes the proxy, and nobody else, about who asks.
fn builder(whatsapp: &Simulator) -> Builder {
    Server::builder(&whatsapp.url())
        .variable("API_KEYS", "main:all-of-it")
        .variable("TRUSTED_PROXIES", "127.0.0.1/32")
}

/// A browser that takes the proxy's certificate.
async fn chromium(url: &str) -> Browser {
    Browser::open_as(Screen::NARROW, url, |config| config.arg("--ignore-certificate-errors")).await
}

/// All but nginx, as far as they are there.
fn others() -> impl Iterator<Item = Kind> {
    Kind::ALL.into_iter().filter(|kind| *kind != Kind::Nginx && kind.is_there())
}

#[tokio::test]
async fn behind_nginx_streams_are_live() {
    if Kind::Nginx.is_there() {
        streams::are_live(Kind::Nginx).await;
    }
}

#[tokio::test]
async fn behind_nginx_a_client_has_its_own_address() {
    if Kind::Nginx.is_there() {
        streams::have_the_address_of_their_client(Kind::Nginx).await;
    }
}

#[tokio::test]
async fn behind_nginx_no_event_source_is_lost_when_the_server_is_away() {
    if Kind::Nginx.is_there() {
        away::loses_no_event_source(Kind::Nginx).await;
    }
}

#[tokio::test]
async fn behind_nginx_it_works_as_a_folder_of_a_site() {
    if Kind::Nginx.is_there() {
        path::works(Kind::Nginx).await;
    }
}

#[tokio::test]
#[ignore = "long: three more proxies"]
async fn behind_the_others_streams_are_live() {
    for kind in others() {
        streams::are_live(kind).await;
    }
}

#[tokio::test]
#[ignore = "long: three more proxies"]
async fn behind_the_others_a_client_has_its_own_address() {
    for kind in others() {
        streams::have_the_address_of_their_client(kind).await;
    }
}

#[tokio::test]
#[ignore = "long: three more proxies"]
async fn behind_the_others_no_event_source_is_lost_when_the_server_is_away() {
    for kind in others() {
        away::loses_no_event_source(kind).await;
    }
}

#[tokio::test]
#[ignore = "long: three more proxies"]
async fn behind_the_others_it_works_as_a_folder_of_a_site() {
    for kind in others() {
        path::works(kind).await;
    }
}

#[tokio::test]
#[ignore = "long: all four proxies, with two replicas each"]
async fn viewers_of_a_replica_that_is_killed_go_to_another() {
    for kind in Kind::ALL.into_iter().filter(|kind| kind.is_there()) {
        away::another_replica_takes_its_viewers(kind).await;
    }
}

#[tokio::test]
#[ignore = "long: another browser, and what must not happen"]
async fn without_the_lines_for_it_nginx_ends_an_event_source() {
    if Kind::Nginx.is_there() {
        away::without_an_answer_of_its_own_the_proxy_ends_it().await;
    }
}

#[tokio::test]
#[ignore = "long: two more browsers, and what must not happen"]
async fn the_page_of_another_site_is_told_as_well() {
    if Kind::Nginx.is_there() {
        away::a_page_of_another_site(true).await;
        away::a_page_of_another_site(false).await;
    }
}

#[tokio::test]
#[ignore = "long: streams are quiet for 95 s"]
async fn quiet_streams_stay_open() {
    if Kind::ALL.into_iter().all(Kind::is_there) {
        quiet::streams_stay().await;
    }
}

#[tokio::test]
#[ignore = "long: all four proxies"]
async fn compression_leaves_streams_alone() {
    for kind in Kind::ALL.into_iter().filter(|kind| kind.is_there()) {
        compression::leaves_streams_alone(kind).await;
    }
}

#[tokio::test]
#[ignore = "long: waits for what does not come"]
async fn compressed_streams_are_live_or_held_back() {
    if [Kind::Nginx, Kind::Apache, Kind::Caddy].into_iter().all(Kind::is_there) {
        compression::of_streams().await;
    }
}
