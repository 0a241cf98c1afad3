//! Clients that break a rule are told so.

use simulator::{Config, LinkError, Simulator};
use wacore::libsignal::protocol::KeyPair;
use wacore::pair::PairUtils;
use wacore::store::Device;
use wacore_binary::Node;
use wacore_binary::builder::NodeBuilder;

use crate::raw::{Raw, attr, error_code, linked, login, offered, sign};

fn complains(simulator: &Simulator, of: &str) {
    let complaints = simulator.complaints();
    assert!(complaints.iter().any(|complaint| complaint.contains(of)), "{of:?} in {complaints:?}");
}

async fn is_refused(simulator: &Simulator, noise: &KeyPair, device: &Device, reason: &str) {
    let mut raw = Raw::connect(simulator, noise, &device.get_client_payload()).await;
    assert_eq!(attr(&raw.hears_a("failure").await, "reason"), reason);
    assert_eq!(raw.hears().await, None);
}

#[tokio::test]
async fn a_registration_whose_signed_pre_key_is_forged_fails() {
    let simulator = Simulator::start(Config::default()).await.unwrap();
    let mut device = Device::new();
    device.signed_pre_key_signature[5] ^= 1;
    is_refused(&simulator, &device.noise_key.clone(), &device, "400").await;
    complains(&simulator, "signature of the signed pre-key");
}

#[tokio::test]
async fn a_forged_device_signature_is_told_to_the_client_and_to_the_phone() {
    let simulator = Simulator::start(Config::default()).await.unwrap();
    let device = Device::new();
    let (mut raw, pair_success, scanning) = offered(&simulator, &device).await;
    let (mut signed, index) = sign(&device, &pair_success);
    let last = signed.len() - 1;
    signed[last - 8] ^= 1;
    raw.says(PairUtils::build_pair_success_response(&attr(&pair_success, "id"), signed, index)).await;
    raw.hears_a("stream:error").await;
    assert!(matches!(scanning.await.unwrap(), Err(LinkError::Signature(_))));
    assert!(simulator.state().devices.is_empty());
    complains(&simulator, "pair-device-sign");
}

#[tokio::test]
async fn a_login_with_another_noise_key_or_of_a_stranger_fails_with_401() {
    let simulator = Simulator::start(Config::default()).await.unwrap();
    let mut device = linked(&simulator).await;
    is_refused(&simulator, &KeyPair::generate(&mut rand::rng()), &device, "401").await;
    complains(&simulator, "another Noise key");
    device.pn = Some("491500000000:7@s.whatsapp.net".parse().unwrap());
    is_refused(&simulator, &device.noise_key.clone(), &device, "401").await;
    complains(&simulator, "never linked");
}

#[tokio::test]
async fn a_login_counter_that_does_not_rise_is_noted_and_let_in() {
    let simulator = Simulator::start(Config::default()).await.unwrap();
    let mut device = linked(&simulator).await;
    device.login_counter = 3;
    login(&simulator, &device).await;
    device.login_counter = 4;
    login(&simulator, &device).await;
    assert_eq!(simulator.complaints(), Vec::<String>::new());
    login(&simulator, &device).await;
    complains(&simulator, "was 4 and is 4");
}

#[tokio::test]
async fn a_frame_under_the_wrong_counter_ends_the_stream() {
    let simulator = Simulator::start(Config::default()).await.unwrap();
    let device = linked(&simulator).await;
    let mut raw = login(&simulator, &device).await;
    raw.says_under(7, NodeBuilder::new("presence").attr("type", "available").build()).await;
    raw.hears_a("stream:error").await;
    assert_eq!(raw.hears().await, None);
    complains(&simulator, "does not open under its counter");
}

#[tokio::test]
async fn a_device_may_remove_only_itself() {
    let simulator = Simulator::start(Config::default()).await.unwrap();
    let device = linked(&simulator).await;
    let mut raw = login(&simulator, &device).await;
    let remove = |jid: &str| {
        let child = NodeBuilder::new("remove-companion-device")
            .attr("jid", jid)
            .attr("reason", "user_initiated")
            .build();
        NodeBuilder::new("iq").attr("xmlns", "md").attr("type", "set").children([child])
    };
    assert_eq!(error_code(&raw.asks("1", remove("491500000000:1@s.whatsapp.net")).await), "403");
    assert!(simulator.state().devices[0].linked);
    let own = simulator.state().devices[0].jid.clone();
    assert_eq!(attr(&raw.asks("2", remove(&own)).await, "type"), "result");
    assert!(!simulator.state().devices[0].linked);
    assert_eq!(attr(&raw.hears_a("stream:error").await, "code"), "401");
}

fn upload(device: &Device, ids: [u32; 2], identity: &[u8]) -> NodeBuilder {
    let leaf = |tag: &'static str, bytes: &[u8]| NodeBuilder::new(tag).bytes(bytes).build();
    let keys: Vec<Node> = ids
        .iter()
        .map(|id| {
            NodeBuilder::new("key")
                .children([leaf("id", &id.to_be_bytes()[1..]), leaf("value", &[1; 32])])
                .build()
        })
        .collect();
    let skey = NodeBuilder::new("skey").children([
        leaf("id", &device.signed_pre_key_id.to_be_bytes()[1..]),
        leaf("value", device.signed_pre_key.public_key.public_key_bytes()),
        leaf("signature", &device.signed_pre_key_signature),
    ]);
    NodeBuilder::new("iq").attr("xmlns", "encrypt").attr("type", "set").children([
        leaf("registration", &device.registration_id.to_be_bytes()),
        leaf("type", &[5]),
        leaf("identity", identity),
        NodeBuilder::new("list").children(keys).build(),
        skey.build(),
    ])
}

#[tokio::test]
async fn pre_keys_must_be_well_formed() {
    let simulator = Simulator::start(Config::default()).await.unwrap();
    let mut device = linked(&simulator).await;
    let mut raw = login(&simulator, &device).await;
    let identity = device.identity_key.public_key.public_key_bytes().to_vec();
    assert_eq!(error_code(&raw.asks("1", upload(&device, [3, 3], &identity)).await), "406");
    complains(&simulator, "pre-key id 3 occurs twice");
    assert_eq!(error_code(&raw.asks("2", upload(&device, [3, 4], &[9; 32])).await), "406");
    complains(&simulator, "the identity is not the one of the registration");
    assert_eq!(error_code(&raw.asks("3", upload(&device, [3, 4], &identity[1..])).await), "406");
    let digest = || {
        let digest = NodeBuilder::new("digest").build();
        NodeBuilder::new("iq").attr("xmlns", "encrypt").attr("type", "get").children([digest])
    };
    assert_eq!(error_code(&raw.asks("4", digest()).await), "404");
    assert_eq!(attr(&raw.asks("5", upload(&device, [3, 4], &identity)).await, "type"), "result");
    assert!(raw.asks("6", digest()).await.get_optional_child_by_tag(&["digest", "hash"]).is_some());
    device.signed_pre_key_signature[0] ^= 1;
    assert_eq!(error_code(&raw.asks("7", upload(&device, [5, 6], &identity)).await), "406");
}

#[tokio::test]
async fn nothing_but_pairing_is_answered_before_it() {
    let simulator = Simulator::start(Config::default()).await.unwrap();
    let device = Device::new();
    let mut raw = Raw::connect(&simulator, &device.noise_key, &device.get_client_payload()).await;
    let privacy = NodeBuilder::new("iq").attr("xmlns", "privacy").attr("type", "get");
    assert_eq!(error_code(&raw.asks("1", privacy).await), "401");
    let ping = NodeBuilder::new("iq").attr("xmlns", "w:p").attr("type", "get");
    assert_eq!(attr(&raw.asks("2", ping).await, "type"), "result");
}

#[tokio::test]
async fn what_was_not_acknowledged_is_delivered_again() {
    let simulator = Simulator::start(Config::default()).await.unwrap();
    let device = linked(&simulator).await;
    let active = || {
        let active = NodeBuilder::new("active").build();
        NodeBuilder::new("iq").attr("xmlns", "passive").attr("type", "set").children([active])
    };
    let mut raw = login(&simulator, &device).await;
    raw.asks("1", active()).await;
    let first = raw.hears_a("message").await;
    let mut raw = login(&simulator, &device).await;
    raw.asks("1", active()).await;
    let again = raw.hears_a("message").await;
    assert_eq!(attr(&first, "id"), attr(&again, "id"));
    raw.says(NodeBuilder::new("receipt").attr("id", attr(&again, "id")).attr("type", "peer_msg").build())
        .await;
    raw.hears_a("ack").await;
    let mut raw = login(&simulator, &device).await;
    raw.asks("1", active()).await;
    loop {
        let node = raw.hears().await.unwrap();
        assert_ne!(node.tag, "message");
        if let Some(offline) = node.get_optional_child("offline") {
            assert_eq!(attr(offline, "count"), "0");
            break;
        }
    }
}

#[tokio::test]
async fn a_ping_is_answered() {
    let simulator = Simulator::start(Config::default()).await.unwrap();
    let device = linked(&simulator).await;
    let mut raw = login(&simulator, &device).await;
    let ping = NodeBuilder::new("iq").attr("xmlns", "w:p").attr("type", "get");
    assert_eq!(attr(&raw.asks("1", ping).await, "type"), "result");
    assert_eq!(simulator.complaints(), Vec::<String>::new());
}
