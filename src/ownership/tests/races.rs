//! Answers that come late, get lost or overtake one another, and what must not follow: two clients of one account, a session
//! that nobody runs, an event of an owner that is none any more.

use std::time::Duration;

use tokio::time::sleep;

use super::harness::{Counters, LEASE, Net, eventually};
use crate::event::{Reason, Status};
use crate::memory::{Fate, Hold};
use crate::session::Error;
use crate::telemetry::metrics::LEASE_RENEWALS;
use crate::whatsapp::Signal;

#[tokio::test(start_paused = true)]
async fn a_dead_owners_session_goes_on_elsewhere_after_the_lease() {
    let net = Net::new();
    let (first, second) = (net.replica("first").await, net.replica("second").await);
    let id = net.links(&first, "ada").await;
    // A process that is killed takes its tasks and its clients with it: this one is cut off, and lets go when it is told.
    net.deployment.cuts("first");
    net.whatsapp.client(&id, 2).await;
    net.whatsapp.connects(&id);
    second.reaches(&id, Status::Connected).await;
    net.deployment.mends("first");
    eventually("the first to let go", || !first.registry.running().contains(&id)).await;
}

#[tokio::test(start_paused = true)]
async fn a_renewal_that_is_overtaken_by_a_release_takes_nothing_back() {
    let net = Net::new();
    let (first, second) = (net.replica("first").await, net.replica("second").await);
    let id = net.links(&first, "ada").await;
    let hold = Hold::default();
    net.deployment.next("first", "renew", Fate::AnswerHeld(hold.clone()));
    hold.comes().await;
    let stopping = first.stops();
    let released = async {
        sleep(Duration::from_millis(500)).await;
        hold.lets_go();
    };
    let (left, ()) = tokio::join!(stopping, released);
    assert_eq!(left, 0);
    net.is_run_by(&second, &id).await;
    sleep(3 * LEASE).await;
    net.is_run_by(&second, &id).await;
    net.never_two_clients(&id);
}

/// A lease is lost when another replica has it. One that was handed over or claimed anew since the renewal was sent has
/// ended as it should.
#[tokio::test(start_paused = true)]
async fn a_lease_counts_as_lost_only_when_another_replica_has_it() {
    let counters = Counters::default();
    let _counting = metrics::set_default_local_recorder(&counters);
    let net = Net::new();
    let (first, second) = (net.replica("first").await, net.replica("second").await);
    let id = net.links(&first, "ada").await;
    let hold = Hold::default();
    net.deployment.next("first", "renew", Fate::Held(hold.clone()));
    hold.comes().await;
    first.registry.restart(&id).await.unwrap();
    hold.lets_go();
    net.is_run_by(&first, &id).await;
    net.whatsapp.connects(&id);
    first.reaches(&id, Status::Connected).await;
    sleep(LEASE).await;
    assert!(counters.of(LEASE_RENEWALS, "kept") > 0);
    assert_eq!((counters.of(LEASE_RENEWALS, "lost"), counters.of(LEASE_RENEWALS, "missing")), (0, 0));

    net.deployment.cuts("first");
    eventually("the second to take it", || second.registry.running().contains(&id)).await;
    net.deployment.mends("first");
    eventually("the first to let go", || !first.registry.running().contains(&id)).await;
    assert_eq!(counters.of(LEASE_RENEWALS, "lost"), 1);
}

#[tokio::test(start_paused = true)]
async fn a_stop_while_the_store_is_away_is_told_and_ends() {
    let net = Net::new();
    let first = net.replica("first").await;
    let id = net.links(&first, "ada").await;
    net.deployment.cuts("first");
    assert_eq!(first.stops().await, 1, "one could not be released");
    assert_eq!(net.whatsapp.alive(&id), 0);
    let second = net.replica("second").await;
    net.is_run_by(&second, &id).await;
    net.never_two_clients(&id);
}

#[tokio::test(start_paused = true)]
async fn a_lease_that_lapses_in_the_middle_of_a_write_shows_nothing_of_it() {
    let net = Net::new();
    let (first, second) = (net.replica("first").await, net.replica("second").await);
    let id = net.links(&first, "ada").await;
    let hold = Hold::default();
    net.deployment.next("first", "append", Fate::Held(hold.clone()));
    net.whatsapp.says(&id, Signal::Lost { detail: "in the middle".into() });
    hold.comes().await;
    net.deployment.cuts("first");
    net.whatsapp.client(&id, 2).await;
    hold.lets_go();
    net.whatsapp.connects(&id);
    second.reaches(&id, Status::Connected).await;
    net.deployment.mends("first");
    eventually("the first to let go", || !first.registry.running().contains(&id)).await;
    net.is_run_by(&second, &id).await;
    let session = second.registry.find(&id).await.unwrap().unwrap();
    let details: Vec<_> = session.events().iter().map(|event| event.state.detail.clone()).collect();
    assert!(!details.contains(&Some("in the middle".into())), "{details:?}");
}

#[tokio::test(start_paused = true)]
async fn two_restarts_while_the_first_client_still_stops_leave_one_client() {
    for alone in [false, true] {
        let net = Net::new();
        let server = if alone { net.alone().await } else { net.replica("first").await };
        let id = net.links(&server, "ada").await;
        net.whatsapp.stops_take(Duration::from_secs(4));
        let again = || async { server.registry.restart(&id).await };
        let (one, two, three) = tokio::join!(again(), again(), again());
        assert!(one.is_ok() && two.is_ok() && three.is_ok(), "{one:?} {two:?} {three:?}");
        sleep(Duration::from_secs(60)).await;
        net.never_two_clients(&id);
        assert_eq!(net.whatsapp.alive(&id), 1, "alone: {alone}");
        let mut epochs = net.whatsapp.epochs(&id);
        let told = epochs.clone();
        epochs.sort_unstable();
        assert_eq!(told, epochs, "alone: {alone}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_delete_during_a_start_ends_the_session() {
    for alone in [false, true] {
        let net = Net::new();
        let server = if alone { net.alone().await } else { net.replica("first").await };
        let id = net.links(&server, "ada").await;
        net.whatsapp.stops_take(Duration::from_secs(2));
        let restart = async { server.registry.restart(&id).await };
        let delete = async {
            sleep(Duration::from_millis(100)).await;
            server.registry.delete(&id).await
        };
        let (restarted, deleted) = tokio::join!(restart, delete);
        deleted.unwrap();
        assert!(matches!(restarted, Ok(()) | Err(Error::Deleted)), "{restarted:?}");
        eventually("its client to be gone", || net.whatsapp.alive(&id) == 0).await;
        let session = server.registry.find(&id).await.unwrap().unwrap();
        assert_eq!(session.snapshot().state.reason, Some(Reason::Deleted));
        sleep(3 * LEASE).await;
        assert_eq!(net.whatsapp.alive(&id), 0, "alone: {alone}");
        net.never_two_clients(&id);
    }
}

#[tokio::test(start_paused = true)]
async fn a_restart_during_a_takeover_leaves_one_client() {
    let net = Net::new();
    let (first, second) = (net.replica("first").await, net.replica("second").await);
    let id = net.links(&first, "ada").await;
    let hold = Hold::default();
    net.deployment.next("second", "claim", Fate::AnswerHeld(hold.clone()));
    let takeover = async {
        let stopping = first.stops();
        let late = async {
            hold.comes().await;
            sleep(Duration::from_millis(300)).await;
            hold.lets_go();
        };
        tokio::join!(stopping, late).0
    };
    let restart = async {
        hold.comes().await;
        second.registry.restart(&id).await
    };
    let (_, restarted) = tokio::join!(takeover, restart);
    assert!(restarted.is_ok(), "{restarted:?}");
    net.is_run_by(&second, &id).await;
    sleep(3 * LEASE).await;
    net.is_run_by(&second, &id).await;
    net.never_two_clients(&id);
}

/// Its claim is stored, and its answer lost: the lease is this replica's, and no task runs.
#[tokio::test(start_paused = true)]
async fn a_session_whose_owner_died_is_never_shown_as_connected_by_the_next_one() {
    let net = Net::new();
    let (first, second) = (net.replica("first").await, net.replica("second").await);
    let id = net.links(&first, "ada").await;
    let hold = Hold::default();
    net.deployment.next("second", "append", Fate::Held(hold.clone()));
    net.deployment.cuts("first");
    hold.comes().await;
    assert!(second.registry.running().contains(&id), "it is taken, and its first word is not stored yet");
    assert_eq!(second.status(&id).await, Some(Status::Reconnecting));
    hold.lets_go();
    net.is_run_by(&second, &id).await;
}

#[tokio::test(start_paused = true)]
async fn a_claim_whose_answer_is_lost_is_made_again() {
    let net = Net::new();
    let (first, second) = (net.replica("first").await, net.replica("second").await);
    let id = net.links(&first, "ada").await;
    net.deployment.next("second", "claim", Fate::AnswerLost);
    first.stops().await;
    net.is_run_by(&second, &id).await;
    net.never_two_clients(&id);
}

/// A restart that could not be stored after all leaves no session without a task.
#[tokio::test(start_paused = true)]
async fn a_restart_that_is_not_stored_is_made_good() {
    for alone in [false, true] {
        let net = Net::new();
        let server = if alone { net.alone().await } else { net.replica("first").await };
        let id = net.links(&server, "ada").await;
        net.deployment.next(server.name, "check", Fate::Refused);
        server.registry.restart(&id).await.unwrap_err();
        assert_eq!((net.whatsapp.starts(&id), net.whatsapp.alive(&id)), (1, 1), "it was not stopped");
        // Now it is, and cannot be started again at once.
        net.deployment.next(server.name, "claim", Fate::Refused);
        server.registry.restart(&id).await.unwrap_err();
        net.is_run_by(&server, &id).await;
        net.whatsapp.connects(&id);
        server.reaches(&id, Status::Connected).await;
        net.never_two_clients(&id);
    }
}

/// The first does not know yet that the session is no longer its own; what its client says is stored nowhere and shown to
/// nobody.
#[tokio::test(start_paused = true)]
async fn of_two_owners_the_later_one_writes() {
    let net = Net::new();
    let (first, second) = (net.replica("first").await, net.replica("second").await);
    let id = net.links(&first, "ada").await;
    let epoch = net.whatsapp.epochs(&id)[0];
    let mut viewer = first.registry.find(&id).await.unwrap().unwrap().watch(None).live;
    net.deployment.cuts("first");
    net.whatsapp.client(&id, 2).await;
    net.whatsapp.says_in(&id, epoch, Signal::Lost { detail: "of the first".into() });
    sleep(Duration::from_secs(5)).await;
    net.whatsapp.connects(&id);
    second.reaches(&id, Status::Connected).await;
    assert!(viewer.try_recv().is_err(), "its lease has lapsed: it shows nothing");
    net.deployment.mends("first");
    eventually("the first to let go", || !first.registry.running().contains(&id)).await;
    net.is_run_by(&second, &id).await;
    first.reaches(&id, Status::Connected).await;
    for server in [&first, &second] {
        let session = server.registry.find(&id).await.unwrap().unwrap();
        let events = session.events();
        assert!(events.iter().all(|event| event.state.detail.as_deref() != Some("of the first")));
        assert!(events.windows(2).all(|pair| pair[0].at < pair[1].at));
    }
}
