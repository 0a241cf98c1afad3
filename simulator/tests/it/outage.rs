//! A WhatsApp that does not answer.

use simulator::{Config, LinkError, Scan, Simulator, Write, WriteError};

use crate::client::{Client, Store};
use crate::eventually;

#[tokio::test]
async fn while_paused_nothing_is_answered_and_after_it_the_client_goes_on() {
    let simulator = Simulator::start(Config::default()).await.unwrap();
    simulator.pause();
    let store = Store::new();
    let mut client = Client::start(&simulator, &store).await;
    eventually("the connection is accepted", || simulator.state().clients == 1).await;
    assert!(simulator.state().paused && simulator.state().waiting.is_empty());
    simulator.resume();
    let qr = client.shows_qr().await;
    simulator.pause();
    let refused = simulator.scan(Scan { qr: qr.clone(), ..Scan::default() }).await;
    assert_eq!(refused, Err(LinkError::Paused));
    simulator.resume();
    simulator.scan(Scan { qr, ..Scan::default() }).await.unwrap();
    client.expects("Connected").await;
    client.stop().await;
}

#[tokio::test]
async fn a_client_dropped_in_an_outage_comes_back_after_it() {
    let simulator = Simulator::start(Config::default()).await.unwrap();
    let store = Store::new();
    let (client, jid) = Client::linked(&simulator, &store).await;
    client.stop().await;
    let mut client = Client::start_hasty(&simulator, &store, 40).await;
    client.expects("Connected").await;
    simulator.pause();
    simulator.drop_connections(Some(&jid)).unwrap();
    client.expects("Disconnected").await;
    eventually("it tries again", || simulator.state().clients == 1).await;
    simulator.resume();
    client.expects("Connected").await;
    client.stop().await;
    assert_eq!(simulator.state().devices[0].concurrent, 1);
}

#[tokio::test]
async fn clients_that_leave_in_an_outage_are_seen_to_leave() {
    let simulator = Simulator::start(Config::default()).await.unwrap();
    let store = Store::new();
    let (client, _) = Client::linked(&simulator, &store).await;
    simulator.pause();
    client.stop().await;
    eventually("the client is gone", || simulator.state().clients == 0).await;
    let mut client = Client::start(&simulator, &store).await;
    eventually("the next one is there", || simulator.state().clients == 1).await;
    simulator.resume();
    client.expects("Connected").await;
    assert_eq!(simulator.state().devices[0].concurrent, 1);
    client.stop().await;
}

#[tokio::test]
async fn the_end_of_the_simulator_waits_for_nobody() {
    let simulator = Simulator::start(Config::default()).await.unwrap();
    let store = Store::new();
    let (mut client, _) = Client::linked(&simulator, &store).await;
    simulator.pause();
    simulator.shutdown().await;
    client.expects("Disconnected").await;
    client.stop().await;
}

#[tokio::test]
async fn a_friend_does_not_hold_up_the_end() {
    let simulator = Simulator::start(Config::default()).await.unwrap();
    let store = Store::new();
    let (client, jid) = Client::linked(&simulator, &store).await;
    client.stop().await;
    let write = Write { jid, ..Write::default() };
    let (written, ()) = tokio::join!(simulator.write(write), async { simulator.stop() });
    assert_eq!(written, Err(WriteError::Ended));
    simulator.shutdown().await;
}
